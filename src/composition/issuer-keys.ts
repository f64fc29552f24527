import { readFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { BlockList, isIP } from 'node:net';
import { Readable } from 'node:stream';
import type { BrokerConfig } from '../config/broker-config.js';
import { nameOfIdentity } from '../peers/certificate-names.js';
import type { TrustedIssuer } from '../peers/identities.js';
import { WorkloadTokens } from '../peers/workload-tokens.js';
import { CertificateLogin } from '../serving/certificate-login.js';
import type { Clock } from '../tokens/time.js';
import { createRemoteKeySet, type KeySet } from '../verification/index.js';

/** The public keys of a trusted issuer, fetched and kept as those of a provider. */
export function issuerKeys(issuer: TrustedIssuer, clock: Clock): KeySet {
  const { caFile, tokenFile, jwksUri } = issuer;
  const needsOwn = caFile !== undefined || tokenFile !== undefined;
  return createRemoteKeySet({
    jwksUri,
    clock,
    ...(needsOwn && { fetch: fetchWithFiles({ caFile, tokenFile }) }),
  });
}

/** What accepts the workload tokens of the configured peers; `undefined` when there are none. */
export function workloadTokensOf(
  { identities: { issuers, peers }, tokens: [{ verification }] }: BrokerConfig,
  clock: Clock,
): WorkloadTokens | undefined {
  if (issuers.length === 0) return undefined;
  return new WorkloadTokens({
    issuers,
    peers,
    keysOf: (issuer) => issuerKeys(issuer, clock),
    clock,
    clockSkewSeconds: verification.clockSkewSeconds,
  });
}

/** What accepts the client certificates of the configured peers; `undefined` when none is known by one. */
export function certificateLoginOf(
  { identities: { peers }, http: { tls, trustedProxies } }: BrokerConfig,
  clock: Clock,
): CertificateLogin | undefined {
  const certified = peers.filter(({ identities }) => identities.some(nameOfIdentity));
  if (certified.length === 0) return undefined;
  const proxies = new BlockList();
  for (const { address, prefix, family } of trustedProxies) {
    proxies.addSubnet(address, prefix, family);
  }
  return new CertificateLogin({
    peers: certified,
    asksForCertificates: tls?.clientCaFile !== undefined,
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
export function fetchWithFiles({ caFile, tokenFile }: KeyFiles): typeof globalThis.fetch {
  return async (input, { headers, signal } = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const ca = caFile === undefined ? undefined : await readFile(caFile);
    const token = tokenFile === undefined ? '' : (await readFile(tokenFile, 'utf8')).trim();
    const sent = new Headers(headers);
    if (token !== '') sent.set('authorization', `Bearer ${token}`);
    const message = await send(url, {
      headers: Object.fromEntries(sent),
      ...(ca !== undefined && { ca }),
      ...(signal && { signal }),
    });
    const received = new Headers();
    for (const [name, values = []] of Object.entries(message.headersDistinct)) {
      for (const value of values) received.append(name, value);
    }
    const status = message.statusCode ?? 0;
    // These have no body (RFC 9110 §6.4.1), and Response takes none.
    const isBodyless = status === 204 || status === 205 || status === 304;
    if (isBodyless) message.resume();
    const body = isBodyless ? null : (Readable.toWeb(message) as ReadableStream<Uint8Array>);
    return new Response(body, { status, headers: received });
  };
}

function send(url: URL, options: RequestOptions): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? httpsRequest : httpRequest;
    request(url, { ...options, agent: false }, resolve)
      .on('error', reject)
      .end();
  });
}
