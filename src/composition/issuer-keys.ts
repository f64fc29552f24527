import { readFile } from 'node:fs/promises';
import { BlockList, isIP } from 'node:net';
import type { BrokerConfig } from '../config/broker-config.js';
import type { IdentitiesConfig } from '../config/peer-sections.js';
import { nameOfIdentity } from '../peers/certificate-names.js';
import type { FilePeers, FilePeersSource } from '../peers/file-peers.js';
import { IdentityTable, type TrustedIssuer } from '../peers/identities.js';
import { TokenUses, WorkloadTokens } from '../peers/workload-tokens.js';
import { CertificateLogin } from '../serving/certificate-login.js';
import { systemCode } from '../tokens/http.js';
import { exchangeOverNode } from '../tokens/node-exchange.js';
import type { Clock } from '../tokens/time.js';
import { createRemoteKeySet, KeyFetchError, type KeySet } from '../verification/index.js';
import { trustsClientsOf } from './listener.js';
import { networkOf, type Network } from './network.js';

/** The public keys of a trusted issuer, fetched and kept as those of a provider. @param network Default: directly. */
export function issuerKeys(
  issuer: TrustedIssuer,
  clock: Clock,
  network?: () => Promise<Network | undefined>,
): KeySet {
  const { caFile, tokenFile, jwksUri } = issuer;
  const needsOwn = caFile !== undefined || tokenFile !== undefined;
  return createRemoteKeySet({
    jwksUri,
    clock,
    fetch: needsOwn
      ? fetchWithFiles({ caFile, tokenFile }, network)
      : async (input, init) => ((await network?.())?.fetch ?? globalThis.fetch)(input, init),
  });
}

/** The peers of the configuration file while the broker runs. */
export interface ReplaceableFilePeers extends FilePeersSource {
  /**
   * Takes other peers and issuers in place of all before. Tokens that were verified are judged anew; an issuer whose entry is
   * the same keeps its keys; a token that was used once stays used.
   */
  replace(identities: IdentitiesConfig): void;
}

/** Makes what lets the peers of the configuration file in. */
export function createFilePeers(
  config: Pick<BrokerConfig, 'identities' | 'network' | 'tokens'>,
  clock: Clock,
): ReplaceableFilePeers {
  const { identities, tokens } = config;
  const { clockSkewSeconds } = tokens[0].verification;
  const create = (issuer: TrustedIssuer): KeySet =>
    issuerKeys(issuer, clock, () => networkOf(config));
  const uses = new TokenUses(clock, clockSkewSeconds);
  let keys = new Map<TrustedIssuer, KeySet>();

  const make = ({ issuers, peers }: IdentitiesConfig): FilePeers => {
    const kept = keepSame([...keys.keys()], issuers);
    const next = new Map(kept.map((one) => [one, keys.get(one) ?? create(one)]));
    const keysOf = (issuer: TrustedIssuer): KeySet => next.get(issuer) ?? create(issuer);
    const workloadTokens =
      kept.length === 0 || peers.length === 0
        ? undefined
        : new WorkloadTokens({ issuers: kept, peers, keysOf, clock, clockSkewSeconds, uses });
    keys = next;
    const certified = peers.filter((peer) => peer.identities.some(nameOfIdentity));
    const certificates = certified.length === 0 ? undefined : new IdentityTable(certified);
    return { workloadTokens, certificates };
  };

  let current = make(identities);
  return {
    get current() {
      return current;
    },
    replace: (next) => {
      current = make(next);
    },
  };
}

/** The entries, each that equals a known one as the known one. */
function keepSame(
  known: readonly TrustedIssuer[],
  entries: readonly TrustedIssuer[],
): readonly TrustedIssuer[] {
  const byText = new Map(known.map((one) => [JSON.stringify(one), one]));
  return entries.map((one) => byText.get(JSON.stringify(one)) ?? one);
}

/** What accepts the client certificates of the peers of the file. */
export function certificateLoginOf(
  { tls, trustedProxies }: BrokerConfig['http'],
  filePeers: FilePeersSource,
  clock: Clock,
): CertificateLogin {
  const proxies = new BlockList();
  for (const { address, prefix, family } of trustedProxies) {
    proxies.addSubnet(address, prefix, family);
  }
  return new CertificateLogin({
    filePeers,
    // Another application's server may trust other authorities.
    trustsServerOf: (connection) => tls?.clientCaFile !== undefined && trustsClientsOf(connection),
    trustsProxy: (address) => {
      const version = isIP(address);
      return version !== 0 && proxies.check(address, version === 4 ? 'ipv4' : 'ipv6');
    },
    clock,
  });
}

/** Files for the request for keys. Each is read anew every time: a cluster replaces both. */
interface KeyFiles {
  readonly caFile: string | undefined;
  readonly tokenFile: string | undefined;
}

/**
 * A `fetch` for the keys of a cluster, which has a certificate authority of its own and gives its keys only to those who
 * log in. Only what the key set uses: GET, headers and a signal. Follows no redirect, so that the token goes nowhere else.
 */
export function fetchWithFiles(
  { caFile, tokenFile }: KeyFiles,
  network?: () => Promise<Network | undefined>,
): typeof globalThis.fetch {
  return async (input, { headers, signal } = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const ca = caFile === undefined ? undefined : await readKeyFile('ca_file', caFile);
    const token =
      tokenFile === undefined ? '' : (await readKeyFile('token_file', tokenFile)).toString().trim();
    const sent = new Headers(headers);
    if (token !== '') sent.set('authorization', `Bearer ${token}`);
    const agent = (await network?.())?.agentFor(url) ?? false;
    const exchange = exchangeOverNode(() => ({ agent, ...(ca !== undefined && { ca }) }));
    return exchange(url, {
      method: 'GET',
      headers: Object.fromEntries(sent),
      ...(signal && { signal }),
    });
  };
}

/** A file of a trusted issuer. @throws {KeyFetchError} that names it: the network is not what has failed. */
async function readKeyFile(member: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new KeyFetchError(
      'KEYS_UNREACHABLE',
      `The issuer's keys cannot be asked for: its ${member} ${JSON.stringify(path)} cannot be read (${systemCode(error) ?? 'unknown'}).`,
      { cause: error },
    );
  }
}
