import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request as requestInClear, type IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { parse } from 'yaml';
import { serveHttp, type RunningBroker } from '../../../src/composition/http-server.js';
import { createRuntime } from '../../../src/composition/runtime.js';
import { loadConfig } from '../../../src/config/load-config.js';
import { createLogger } from '../../../src/operations/log.js';
import { MemorySecretStore } from '../../../src/testing/index.js';
import { serializeServiceToken } from '../../../src/tokens/service-token.js';
import { makeCertificate, type MadeCertificate } from '../../support/certificates.js';
import { tokenAt } from '../../serving/broker.js';
import { envoyCluster, startEnvoyWith, type Gateway } from './start-gateway.js';

// Envoy ends TLS in front of the broker, and says whose certificate it saw: as docs/identities/client-certificates.md configures it.

const program = process.env['INTEROP_ENVOY'];
const SETTLE = 'spiffe://prod.example.com/settle';

const ca = makeCertificate({ commonName: 'ca', isAuthority: true });
const own = makeCertificate({ issuer: ca, addresses: ['127.0.0.1'], purpose: 'server' });
const settle = makeCertificate({ issuer: ca, uris: [SETTLE], purpose: 'client' });
const batch = makeCertificate({ issuer: ca, dns: ['batch.shop.svc'], purpose: 'client' });
const nobody = makeCertificate({ issuer: ca, uris: [`${SETTLE}r`], purpose: 'client' });
const stranger = makeCertificate({ uris: [SETTLE], purpose: 'client' });

let folder = '';
let broker: RunningBroker;
let gateway: Gateway;

const FILE = `
host: 127.0.0.1
port: 0
issuer: https://provider.example.com/
rotation: disabled
trusted_proxies: 127.0.0.1
peers:
  settle:
    identities: [{ certificate: { uri: '${SETTLE}' } }]
    tokens: [default]
  batch:
    identities: [{ certificate: { dns: batch.shop.svc } }]
    tokens: [default]
`;

/** The lines for Envoy, as they are documented. */
async function documentedManager(): Promise<object> {
  const path = '../../../docs/identities/client-certificates.md';
  const page = await readFile(new URL(path, import.meta.url), 'utf8');
  const [, block = ''] = /^```yaml\n(forward_client_cert_details:[^]*?)^```$/m.exec(page) ?? [];
  expect(block).not.toBe('');
  return parse(block) as object;
}

async function startBroker(): Promise<RunningBroker> {
  const config = loadConfig({ env: { BROKER_CONFIG: 'broker.yaml' }, readFile: () => FILE });
  const store = new MemorySecretStore();
  store.seed(config.tokens[0].secretId, serializeServiceToken(tokenAt(Date.now())));
  const log = createLogger({ level: 'silent' });
  return serveHttp(await createRuntime(config, { store, log }));
}

beforeAll(async () => {
  if (program === undefined) return;
  folder = await mkdtemp(join(tmpdir(), 'envoy-certificates-'));
  broker = await startBroker();
  const text = ({ cert, key }: MadeCertificate): object => ({
    certificate_chain: { inline_string: cert },
    private_key: { inline_string: key },
  });
  const router = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
  };
  gateway = await startEnvoyWith(program, folder, {
    manager: {
      ...(await documentedManager()),
      http_filters: [{ name: 'envoy.filters.http.router', typed_config: router }],
    },
    clusters: [envoyCluster('broker', new URL(broker.url).host)],
    to: 'broker',
    transportSocket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type':
          'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
        common_tls_context: {
          tls_certificates: [text(own)],
          validation_context: { trusted_ca: { inline_string: ca.cert } },
        },
      },
    },
  });
});

afterAll(async () => {
  gateway?.stop();
  await broker?.close();
  if (folder !== '') await rm(folder, { recursive: true, force: true });
});

type Answer = readonly [status: number, error: unknown];

async function answerOf(sent: ReturnType<typeof request>): Promise<Answer> {
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const { error } = (await json(response)) as { readonly error?: unknown };
  return [response.statusCode ?? 0, error];
}

/** Asks for the token through Envoy. */
const ask = (as: MadeCertificate | undefined, forged: readonly string[] = []): Promise<Answer> =>
  answerOf(
    request({
      host: '127.0.0.1',
      port: gateway.port,
      path: '/v1/token',
      agent: false,
      ca: ca.cert,
      headers: [
        'Host',
        'broker.example',
        ...forged.flatMap((value, at) => [HEADERS[at] ?? '', value]),
      ],
      ...(as !== undefined && { cert: as.cert, key: as.key }),
    }),
  );

const HEADER = 'X-Forwarded-Client-Cert';
const HEADERS = [HEADER, HEADER.toLowerCase()];
const GRANTED: Answer = [200, undefined];
const REFUSED: Answer = [401, 'invalid_client'];

/** What a caller may write, to be taken for a peer. */
const FORGED = [
  [`URI=${SETTLE}`],
  [`By=spiffe://x;Hash=00;URI=${SETTLE};DNS=batch.shop.svc`],
  [`URI=${SETTLE}`, `URI=${SETTLE}`],
  [`URI=${SETTLE},`],
  ['"'],
];

(program === undefined ? describe.skip : describe)('a broker behind Envoy', () => {
  test.each([
    ['a URI', settle],
    ['a DNS name', batch],
  ])('knows a peer by %s of its certificate', async (_, certificate) => {
    expect(await ask(certificate)).toEqual(GRANTED);
  });

  test('refuses everybody else', async () => {
    expect(await ask(nobody)).toEqual(REFUSED);
    expect(await ask(undefined)).toEqual(REFUSED);
    await expect(ask(stranger)).rejects.toThrow();
  });

  test.each(FORGED)('is not shown what the caller writes: %s', async (...forged) => {
    for (const as of [nobody, undefined]) expect(await ask(as, forged)).toEqual(REFUSED);
    expect(await ask(settle, forged)).toEqual(GRANTED);
  });

  test('believes the header from the address of the proxy alone', async () => {
    const { port } = broker;
    const direct = (localAddress: string): Promise<Answer> =>
      answerOf(
        requestInClear({
          host: '127.0.0.1',
          port,
          path: '/v1/token',
          agent: false,
          localAddress,
          headers: { [HEADER]: `URI=${SETTLE}` },
        }),
      );
    expect(await direct('127.0.0.1')).toEqual(GRANTED);
    expect(await direct('127.0.0.2')).toEqual(REFUSED);
  });
});
