import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Agent as HttpAgent } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import * as tls from 'node:tls';
import type { BrokerConfig, NetworkConfig } from '../config/broker-config.js';
import type { ProviderNetwork } from '../provider/oauth-provider.js';
import { BrokerError } from '../tokens/errors.js';
import { systemCode } from '../tokens/http.js';
import { exchangeOverNode } from '../tokens/node-exchange.js';
import { systemClock } from '../tokens/time.js';
import { ForwardAgent, openTunnel, refusalOf, TunnelAgent, type Trust } from './proxy-agents.js';
import { decideRoute, type Route } from './proxy-rules.js';
import { PEM_CERTIFICATE } from './server-certificate.js';

/** How the provider, keys and AWS are reached where that is not directly: by proxies, and with further authorities. */
export interface Network extends ProviderNetwork {
  /** `fetch` for what the provider and key sets send: complete bodies, and no redirect is followed. */
  readonly fetch: typeof globalThis.fetch;
  /** New agents, for a client of the AWS SDK. */
  readonly awsAgents: () => { readonly httpAgent: HttpAgent; readonly httpsAgent: HttpsAgent };
  readonly routeOf: (url: URL) => Route;
  /**
   * Opens a tunnel to an https URL and closes it, where a proxy is on the way. Rejects with a `ProxyError`, or with Node's
   * error when the destination's TLS fails.
   */
  readonly probe: (url: URL) => Promise<void>;
  /** The authorities of `BROKER_CA_FILE`; empty without one. */
  readonly authorities: readonly Authority[];
}

/** A certificate of `BROKER_CA_FILE`. */
export interface Authority {
  /** On one line: `CN=Example Root, O=Example`. */
  readonly subject: string;
  /** Milliseconds since the Unix epoch. */
  readonly endsAt: number;
  /** PEM. */
  readonly pem: string;
}

const known = new WeakMap<NetworkConfig, Promise<Network>>();

/**
 * The network of a configuration, the same for everybody who asks; `undefined` where neither a proxy nor further
 * authorities are configured, and Node's own `fetch` and agents do.
 *
 * @throws {BrokerError} `CA_FILE_INVALID`.
 */
export async function networkOf({
  network: config,
}: Pick<BrokerConfig, 'network'>): Promise<Network | undefined> {
  const { httpsProxy, httpProxy, caFile } = config;
  if (httpsProxy === undefined && httpProxy === undefined && caFile === undefined) return undefined;
  const network = known.get(config) ?? createNetwork(config);
  known.set(config, network);
  return network;
}

async function createNetwork({ caFile, ...rules }: NetworkConfig): Promise<Network> {
  const authorities = caFile === undefined ? [] : await readAuthorities(caFile);
  const settings = { rules, trust: await trustIn(authorities) };
  const [tunnels, forwards] = [new TunnelAgent(settings), new ForwardAgent(settings)];
  const agentFor = ({ protocol }: URL): HttpAgent => (protocol === 'https:' ? tunnels : forwards);
  const exchange = exchangeOverNode((url) => ({ agent: agentFor(url) }));
  const routeOf = (url: URL): Route => decideRoute(url, rules);
  return {
    fetch: async (input, { method = 'GET', headers, body, signal } = {}) => {
      const url = new URL(input instanceof Request ? input.url : input);
      const sent = new Headers(headers);
      // As Node's own fetch: some servers refuse requests without it.
      if (!sent.has('user-agent')) sent.set('user-agent', 'node');
      const response = await exchange(url, {
        method,
        headers: Object.fromEntries(sent),
        body,
        ...(signal && { signal }),
      });
      const { proxy } = routeOf(url);
      // Only a proxy sends it, here to a request by http: in a tunnel it would have been refused before.
      if (proxy !== undefined && response.status === 407) {
        void response.body?.cancel();
        throw refusalOf(proxy, url.host, 407, response.headers, systemClock.now());
      }
      return response;
    },
    agentFor,
    awsAgents: () => ({
      httpAgent: new ForwardAgent(settings, { keepAlive: true, maxSockets: 50 }),
      httpsAgent: new TunnelAgent(settings, { keepAlive: true, maxSockets: 50 }),
    }),
    routeOf,
    probe: async (url) => {
      const { proxy } = routeOf(url);
      if (proxy === undefined || url.protocol !== 'https:') return;
      const host = url.hostname.replace(/^\[|\]$/g, '');
      const options = settings.trust === undefined ? {} : { secureContext: settings.trust.context };
      const tunnel = await openTunnel(proxy, { host, port: url.port || '443' }, options, settings);
      tunnel.destroy();
    },
    authorities,
  };
}

/** Node's own authorities, those of NODE_EXTRA_CA_CERTS, and further ones: a list of ours takes the place of both. */
async function trustIn(authorities: readonly Authority[]): Promise<Trust | undefined> {
  if (authorities.length === 0) return undefined;
  const ca = [...(await usualAuthorities()), ...authorities.map(({ pem }) => pem)];
  return { ca, context: tls.createSecureContext({ ca }) };
}

async function usualAuthorities(): Promise<readonly string[]> {
  // From Node.js 22.15 on.
  const { getCACertificates } = tls as { getCACertificates?: (type: 'default') => string[] };
  if (getCACertificates !== undefined) return getCACertificates('default');
  const extra = process.env['NODE_EXTRA_CA_CERTS'] ?? '';
  if (extra === '') return tls.rootCertificates;
  // Node ignores a file that it cannot read, with a warning.
  const text = await readFile(extra, 'utf8').catch(() => '');
  return [...tls.rootCertificates, ...(text.match(PEM_CERTIFICATE) ?? [])];
}

/** More than any bundle of authorities has. */
const MOST_BYTES = 4_194_304;

/**
 * Reads a file of authorities.
 *
 * @throws {BrokerError} `CA_FILE_INVALID` for a file that cannot be read, has no certificate or a damaged one, or has a
 *   private key.
 */
export async function readAuthorities(path: string): Promise<readonly Authority[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw invalid(
      `The file ${path} cannot be read (${systemCode(error) ?? 'unknown reason'}). Check BROKER_CA_FILE and who may read it.`,
    );
  }
  if (text.length > MOST_BYTES)
    throw invalid(`The file ${path} has more than 4 MiB. Check BROKER_CA_FILE.`);
  return judgeAuthorities(text, path);
}

/** The certificates of a PEM text; others than authorities count too, as Node takes them. Pure. @throws as {@link readAuthorities} */
export function judgeAuthorities(text: string, path: string): readonly Authority[] {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw invalid(
      `The file ${path} (BROKER_CA_FILE) has a private key in it, which must not be there: only the certificates of authorities are needed. Take it out, and replace the key if others could read the file.`,
    );
  }
  const blocks = text.match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0) {
    throw invalid(
      `The file ${path} (BROKER_CA_FILE) has no certificate in PEM ("-----BEGIN CERTIFICATE-----"). One in DER is turned into it by: openssl x509 -inform der -in FILE`,
    );
  }
  return blocks.map((pem, index) => {
    try {
      const { subject, validTo } = new X509Certificate(pem);
      const name = subject.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim();
      return { subject: name, endsAt: Date.parse(validTo), pem };
    } catch {
      throw invalid(
        `The certificate ${index + 1} of ${blocks.length} in the file ${path} (BROKER_CA_FILE) is damaged.`,
      );
    }
  });
}

function invalid(message: string): BrokerError {
  return new BrokerError('CA_FILE_INVALID', 'misconfigured', message);
}

/** What is probably a slip in how servers are reached, a sentence each. @throws {BrokerError} `CA_FILE_INVALID`. */
export async function networkWarnings(
  config: Pick<BrokerConfig, 'network' | 'secrets'>,
  now: number,
  env: NodeJS.ProcessEnv = process.env,
): Promise<readonly string[]> {
  const network = await networkOf(config);
  return [
    ...expiredAuthorities(network?.authorities ?? [], now),
    ...(leaksCredentials(config, env) ? [LEAK] : []),
  ];
}

const LEAK =
  'With NODE_USE_ENV_PROXY the AWS SDK asks for the credentials of this machine or pod through HTTP_PROXY, which must not see ' +
  'them: add 169.254.169.254,169.254.170.2,169.254.170.23 to NO_PROXY, or leave NODE_USE_ENV_PROXY out, which the broker does not need.';

/** Whether Node's own proxies, which the SDK knows nothing of, stand before the credentials of a machine. Pure. */
function leaksCredentials(
  { secrets }: Pick<BrokerConfig, 'secrets'>,
  env: NodeJS.ProcessEnv,
): boolean {
  const proxy = env['http_proxy'] || env['HTTP_PROXY'];
  const noProxy = env['no_proxy'] || env['NO_PROXY'] || '';
  if (secrets.store !== 'aws' || env['NODE_USE_ENV_PROXY'] !== '1' || !proxy) return false;
  const entries = noProxy.split(/[,\s]+/);
  // Node's own list knows no range with a slash.
  return !['169.254.169.254', '169.254.170.2', '169.254.170.23'].every((host) =>
    entries.some((entry) => entry === host || entry === '*'),
  );
}

/** A sentence for each authority that has expired. Pure. @param now milliseconds since the Unix epoch. */
export function expiredAuthorities(
  authorities: readonly Authority[],
  now: number,
): readonly string[] {
  return authorities
    .filter(({ endsAt }) => endsAt <= now)
    .map(
      ({ subject, endsAt }) =>
        `The authority "${subject}" of BROKER_CA_FILE expired at ${new Date(endsAt).toISOString()}: what it signed is not trusted.`,
    );
}
