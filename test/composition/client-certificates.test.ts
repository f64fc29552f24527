import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { OutgoingHttpHeaders } from 'node:http';
import { request, Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { createRuntime, type BrokerRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createServiceTokenClient } from '../../src/client/index.js';
import { createLogger } from '../../src/operations/log.js';
import { systemClock, type Clock } from '../../src/tokens/time.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { LogLines } from '../operations/log-lines.js';
import { basic, peerEntry, SECRETS, tokenAt } from '../serving/broker.js';
import { makeCertificate, type CertificateOptions } from '../support/certificates.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { pause } from '../support/pause.js';

const ca = makeCertificate({ commonName: 'authority', isAuthority: true });
const strange = makeCertificate({ commonName: 'authority', isAuthority: true });
const server = makeCertificate({ commonName: 'broker', addresses: ['127.0.0.1'] });
const SETTLE = 'spiffe://prod.example.com/settle';
const certificate = (options: CertificateOptions) => makeCertificate({ issuer: ca, ...options });
const settle = certificate({ uris: [SETTLE], purpose: 'client' });

const PEERS_OF_THE_FILE = `
  settle: { identities: [{ certificate: { uri: '${SETTLE}' } }], tokens: [default] }
  batch: { identities: [{ certificate: { uri: 'spiffe://prod.example.com/batch/*' } }, { certificate: { dns: settle.shop.svc } }], tokens: [default] }
  ledger: { identities: [{ certificate: { uri: 'spiffe://prod.example.com/ledger' } }], tokens: [], roles: [introspect] }
  operator: { identities: [{ certificate: { uri: 'spiffe://prod.example.com/operator' } }], roles: [admin] }
  off: { identities: [{ certificate: { uri: 'spiffe://prod.example.com/off' } }], tokens: [default], enabled: false }
`;

const folders: string[] = [];
const started: { broker: RunningBroker; runtime: BrokerRuntime }[] = [];

async function start(settings: string, env: NodeJS.ProcessEnv = {}, ticking?: Clock) {
  const folder = await mkdtemp(join(tmpdir(), 'client-certificates-'));
  folders.push(folder);
  const path = (name: string): string => join(folder, name);
  await writeFile(path('tls.crt'), server.cert);
  await writeFile(path('tls.key'), server.key);
  await writeFile(path('ca.crt'), ca.cert);
  const text = `
issuer: https://provider.example.com/
rotation: disabled
peers:${PEERS_OF_THE_FILE}${settings.replaceAll('FOLDER', folder)}`;
  const config = loadConfig({
    env: { BROKER_CONFIG: 'broker.yaml', HOST: '127.0.0.1', PORT: '0', ...env },
    readFile: () => text,
  });
  const clock = new VirtualClock(Date.now());
  const store = new MemorySecretStore();
  store.seed(config.tokens[0].secretId, serializeServiceToken(tokenAt(Date.now())));
  const orders = peerEntry(SECRETS.orders, ['token']);
  store.seed(config.secrets.peersSecretId, JSON.stringify({ peers: { orders } }));
  const out = new LogLines();
  const log = createLogger({ level: 'info', destination: out });
  const runtime = await createRuntime(config, { store, log, clock: ticking ?? clock });
  try {
    started.push({ broker: await serveHttp(runtime), runtime });
  } catch (error) {
    await runtime.audit?.close();
    throw error;
  }
  const broker = started.at(-1)?.broker as RunningBroker;
  return { broker, runtime, clock, store, out, path };
}

afterAll(async () => {
  for (const { broker, runtime } of started) {
    await broker.close(0);
    runtime.metrics.registry.clear();
  }
  for (const folder of folders) await rm(folder, { recursive: true });
});

interface Asked {
  readonly as?: { readonly cert: string; readonly key: string } | undefined;
  readonly headers?: OutgoingHttpHeaders;
  readonly path?: string;
  readonly form?: Readonly<Record<string, string>>;
  readonly agent?: Agent;
  /** Default: the broker's first certificate. */
  readonly ca?: string;
}

function ask(
  { port }: RunningBroker,
  { as, headers = {}, path = '/v1/token', form, agent, ca: trusted = server.cert }: Asked = {},
): Promise<{ status: number; headers: NodeJS.Dict<string[]>; body: string }> {
  const body =
    form && new URLSearchParams({ grant_type: 'client_credentials', ...form }).toString();
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        path,
        method: form ? 'POST' : 'GET',
        headers: {
          ...(body && { 'content-type': 'application/x-www-form-urlencoded' }),
          ...headers,
        },
        ca: trusted,
        agent: agent ?? false,
        ...(as && { cert: as.cert, key: as.key }),
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => (text += part));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headersDistinct,
            body: text,
          }),
        );
      },
    );
    sent.once('error', reject);
    sent.end(body);
  });
}

const errorOf = ({ body }: { body: string }): unknown =>
  (JSON.parse(body) as { error?: unknown }).error;

const OWN_TLS = `
tls_cert_file: FOLDER/tls.crt
tls_key_file: FOLDER/tls.key
tls_client_ca_file: FOLDER/ca.crt
audit: FOLDER/audit.jsonl
management_port: 0
`;

describe('over the broker’s own TLS', () => {
  let scene: Awaited<ReturnType<typeof start>>;
  beforeAll(async () => {
    scene = await start(OWN_TLS);
  });
  const lastReason = (): unknown =>
    scene.out.lines
      .map((line) => line as { reason?: string; message?: string })
      .findLast(({ message }) => message === 'a peer could not log in')?.reason;

  test('the certificate alone logs in, everywhere', async () => {
    const { broker } = scene;
    expect(broker.url).toMatch(/^https:/);
    const asks: readonly Asked[] = [
      { as: settle },
      { as: settle, path: '/v1/tokens/default' },
      { as: settle, path: '/oauth2/token', form: {} },
      { as: settle, path: '/oauth2/token', form: { client_id: 'settle' } },
      { as: certificate({ dns: ['SETTLE.shop.svc'] }) },
      { as: certificate({ uris: ['spiffe://prod.example.com/batch/7'] }) },
      // Several names of one peer, and names that are nobody's.
      {
        as: certificate({
          uris: ['spiffe://prod.example.com/batch/7', 'spiffe://other/settle'],
          dns: ['settle.shop.svc', 'x'],
        }),
      },
    ];
    for (const asked of asks) {
      const answer = await ask(broker, asked);
      expect([answer.status, answer.body]).toEqual([200, expect.stringContaining('access_token')]);
    }
    const operator = certificate({ uris: ['spiffe://prod.example.com/operator'] });
    expect((await ask(broker, { as: operator, path: '/metrics' })).status).toBe(200);
    expect((await ask(broker, { as: operator })).status).toBe(403);
    const ledger = certificate({ uris: ['spiffe://prod.example.com/ledger'] });
    expect((await ask(broker, { as: ledger })).status).toBe(403);
    const introspected = { as: ledger, path: '/oauth2/introspect', form: { token: 'x' } };
    // Admitted: what fails behind it is that this broker has no provider.
    expect((await ask(broker, introspected)).body).toContain('CREDENTIALS_SECRET_EMPTY');
  });

  describe('each route by each peer’s certificate', () => {
    const nobody = 'spiffe://prod.example.com/nobody';
    const of = (peer: string) => certificate({ uris: [`spiffe://prod.example.com/${peer}`] });
    // Columns: a peer with a token; with the role introspect alone; with the role admin alone; nobody; without a certificate.
    const callers = [
      settle,
      of('ledger'),
      of('operator'),
      certificate({ uris: [nobody] }),
      undefined,
    ];
    const FORM = { grant_type: 'client_credentials' };
    test.each<[string, Asked, readonly number[]]>([
      ['GET /v1/token', { path: '/v1/token' }, [200, 403, 403, 401, 401]],
      ['GET /v1/tokens/default', { path: '/v1/tokens/default' }, [200, 403, 403, 401, 401]],
      ['a token that nobody has', { path: '/v1/tokens/payroll' }, [404, 403, 403, 401, 401]],
      ['POST /oauth2/token', { path: '/oauth2/token', form: FORM }, [200, 403, 403, 401, 401]],
      [
        'another resource',
        { path: '/oauth2/token', form: { ...FORM, resource: 'https://payroll.example.com' } },
        [400, 403, 403, 401, 401],
      ],
      // Admitted: 503, since this broker has no credentials at a provider.
      ['POST /v1/rotate', { path: '/v1/rotate', form: {} }, [403, 403, 503, 401, 401]],
      [
        'POST /oauth2/introspect',
        { path: '/oauth2/introspect', form: { token: 'x' } },
        [403, 503, 403, 401, 401],
      ],
      ['GET /metrics', { path: '/metrics' }, [403, 403, 200, 401, 401]],
    ])('%s', async (_route, asked, expected) => {
      const { broker, clock } = scene;
      const statuses: number[] = [];
      for (const as of callers) {
        clock.advance(120_000);
        statuses.push((await ask(broker, { ...asked, as })).status);
      }
      expect(statuses).toEqual(expected);
    });

    test('what is refused for its name says the same, whether a token has it or not', async () => {
      const { broker } = scene;
      const as = of('ledger');
      const [granted, unknown] = [
        await ask(broker, { as, path: '/v1/tokens/default' }),
        await ask(broker, { as, path: '/v1/tokens/payroll' }),
      ];
      expect(unknown.body).toBe(granted.body);
    });
  });

  test('Prefer: wait is held for a certificate’s peer alone, and answered by the next token', async () => {
    // A virtual one would jump to the end of the wait.
    const { broker, runtime, store } = await start(OWN_TLS, {}, systemClock);
    const first = await ask(broker, { as: settle });
    const headers = { prefer: 'wait=300', 'if-none-match': first.headers['etag']?.[0] };
    const refused: number[] = [];
    for (const peer of ['ledger', 'nobody']) {
      const as = certificate({ uris: [`spiffe://prod.example.com/${peer}`] });
      for (const path of ['/v1/token', '/v1/tokens/default']) {
        refused.push((await ask(broker, { as, path, headers })).status);
      }
    }
    expect([refused, runtime.serving.waiting()]).toEqual([[403, 403, 401, 401], 0]);
    for (const [path, word] of [
      ['/v1/token', 'two'],
      ['/v1/tokens/default', 'three'],
    ] as const) {
      const { etag } = (await ask(broker, { as: settle })).headers;
      const waits = { prefer: 'wait=300', 'if-none-match': etag?.[0] };
      const held = ask(broker, { as: settle, path, headers: waits });
      while (runtime.serving.waiting() === 0) await pause();
      const next = tokenAt(Date.now(), { accessToken: `header.payload.signature-${word}` });
      store.edit(runtime.core.config.tokens[0].secretId, serializeServiceToken(next));
      // As after a rotation.
      const cache = runtime.serving.tokenCaches.get('default');
      cache?.invalidate();
      cache?.refresh();
      const { status, body } = await held;
      expect([status, body]).toEqual([200, expect.stringContaining(`signature-${word}`)]);
    }
  });

  test('other identities, probes and metadata go on without one', async () => {
    const { broker } = scene;
    const authorization = basic('orders', SECRETS.orders);
    expect((await ask(broker, { headers: { authorization } })).status).toBe(200);
    expect((await ask(broker, { headers: { authorization } })).headers['x-cache']).toEqual(['HIT']);
    expect((await ask(broker, { path: '/health/live' })).status).toBe(200);
    const metadata = await ask(broker, { path: '/.well-known/oauth-authorization-server' });
    expect(JSON.parse(metadata.body)).toMatchObject({
      token_endpoint_auth_methods_supported: [
        'client_secret_basic',
        'client_secret_post',
        'tls_client_auth',
      ],
      issuer: expect.stringMatching(/^https:/),
    });
  });

  test.each<[string, CertificateOptions, string]>([
    [
      'of another authority with the same name',
      { issuer: strange, uris: [SETTLE] },
      'certificate_untrusted',
    ],
    ['signed by itself', { issuer: undefined, uris: [SETTLE] }, 'certificate_untrusted'],
    ['for servers', { uris: [SETTLE], purpose: 'server' }, 'certificate_untrusted'],
    ['expired', { uris: [SETTLE], days: [-2, -1] }, 'certificate_expired'],
    ['of tomorrow', { uris: [SETTLE], days: [1, 2] }, 'certificate_untrusted'],
    ['without names', {}, 'certificate_unknown'],
    ['with a common name', { commonName: SETTLE }, 'certificate_unknown'],
    ['with the common name of a peer', { commonName: 'settle' }, 'certificate_unknown'],
    ['that is nobody’s', { uris: ['spiffe://prod.example.com/nobody'] }, 'certificate_unknown'],
    ['with a longer path', { uris: [`${SETTLE}/x`] }, 'certificate_unknown'],
    ['with a slash at the end', { uris: [`${SETTLE}/`] }, 'certificate_unknown'],
    ['in another case', { uris: [SETTLE.toUpperCase()] }, 'certificate_unknown'],
    ['with an escape', { uris: ['spiffe://prod.example.com/%73ettle'] }, 'certificate_unknown'],
    ['with a NUL', { uris: [`${SETTLE}\0.evil`] }, 'certificate_unknown'],
    ['with a list in one name', { uris: [`x://y, URI:${SETTLE}`] }, 'certificate_unknown'],
    ['with a URI as a DNS name', { dns: [SETTLE] }, 'certificate_unknown'],
    ['with a DNS name as a URI', { uris: ['settle.shop.svc'] }, 'certificate_unknown'],
    ['with a dot at the end', { dns: ['settle.shop.svc.'] }, 'certificate_unknown'],
    ['with a wildcard', { dns: ['*.shop.svc'] }, 'certificate_unknown'],
    [
      'of two peers',
      { uris: [SETTLE, 'spiffe://prod.example.com/batch/7'] },
      'certificate_ambiguous',
    ],
    ['of a disabled peer', { uris: ['spiffe://prod.example.com/off'] }, 'disabled_peer'],
  ])(
    'a certificate %s opens nothing, and says no more than any failed login',
    async (_w, options, reason) => {
      const { broker, clock } = scene;
      clock.advance(120_000);
      const usual = await ask(broker, { headers: { authorization: basic('nobody', 'wrong') } });
      clock.advance(120_000);
      const as = certificate(options);
      const answers = [
        await ask(broker, { as }),
        await ask(broker, { as, path: '/oauth2/token', form: {} }),
      ];
      for (const { status, body, headers } of answers) {
        expect([status, body, headers['www-authenticate']]).toEqual([
          401,
          usual.body,
          usual.headers['www-authenticate'],
        ]);
      }
      expect(lastReason()).toBe(reason);
      const metrics = await scene.runtime.metrics.registry.metrics();
      expect(metrics).toContain(`peer_login_failures_total{reason="${reason}"}`);
    },
  );

  test('the id of another peer beside the certificate: invalid_client', async () => {
    scene.clock.advance(120_000);
    const form = { client_id: 'batch' };
    const answer = await ask(scene.broker, { as: settle, path: '/oauth2/token', form });
    expect([answer.status, errorOf(answer)]).toEqual([401, 'invalid_client']);
    expect(lastReason()).toBe('other_client_id');
  });

  test('two proofs at once: 400, also where one of them is wrong, and also from a warm cache', async () => {
    const { broker, clock } = scene;
    const authorization = basic('orders', SECRETS.orders);
    const both = certificate({ uris: [SETTLE, 'spiffe://prod.example.com/batch/7'] });
    const off = certificate({ uris: ['spiffe://prod.example.com/off'] });
    for (const as of [settle, both, off]) {
      clock.advance(120_000);
      await ask(broker, { headers: { authorization } });
      const asks: readonly Asked[] = [
        { headers: { authorization } },
        { headers: { authorization: 'Bearer x' } },
        { headers: { authorization }, path: '/oauth2/token', form: {} },
        { path: '/oauth2/token', form: { client_id: 'orders', client_secret: SECRETS.orders } },
        { path: '/oauth2/token', form: { client_secret: 'x' } },
        { path: '/oauth2/token', form: { client_assertion: 'x' } },
      ];
      for (const asked of asks) {
        const answer = await ask(broker, { as, ...asked });
        expect([answer.status, errorOf(answer)]).toEqual([400, 'invalid_request']);
      }
    }
  });

  test('a certificate that is nobody’s proves nothing: the other proof decides alone', async () => {
    const { broker, clock } = scene;
    clock.advance(120_000);
    const as = certificate({ uris: ['spiffe://prod.example.com/nobody'] });
    const authorization = basic('orders', SECRETS.orders);
    expect((await ask(broker, { as, headers: { authorization } })).status).toBe(200);
    const form = { client_id: 'orders', client_secret: SECRETS.orders };
    expect((await ask(broker, { as, path: '/oauth2/token', form })).status).toBe(200);
    const wrong = { authorization: basic('orders', 'x'.repeat(43)) };
    expect((await ask(broker, { as, headers: wrong })).status).toBe(401);
  });

  test('a forged header of a proxy changes nothing, and alone opens nothing', async () => {
    const { broker, clock } = scene;
    clock.advance(120_000);
    const forged = { 'x-forwarded-client-cert': `By=x;Hash=1;URI=${SETTLE}` };
    const alone = await ask(broker, { headers: forged });
    expect([alone.status, errorOf(alone), lastReason()]).toEqual([
      401,
      'invalid_client',
      'proxy_untrusted',
    ]);
    const nobody = certificate({ uris: ['spiffe://prod.example.com/nobody'] });
    expect((await ask(broker, { as: nobody, headers: forged })).status).toBe(401);
    const authorization = basic('orders', SECRETS.orders);
    expect((await ask(broker, { headers: { ...forged, authorization } })).status).toBe(200);
    const batch = certificate({ uris: ['spiffe://prod.example.com/batch/1'] });
    const form = { client_id: 'batch' };
    const asked = { as: batch, headers: forged, path: '/oauth2/token', form };
    expect((await ask(broker, asked)).status).toBe(200);
  });

  test('a certificate that expires while its connection lives is refused from then on', async () => {
    const { broker, clock } = scene;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    try {
      const asked = { as: certificate({ uris: [SETTLE], days: [-1, 30] }), agent };
      expect((await ask(broker, asked)).status).toBe(200);
      const connection = Object.values(agent.freeSockets)[0]?.[0]?.localPort;
      clock.advance(31 * 86_400_000);
      const answer = await ask(broker, asked);
      expect([answer.status, lastReason()]).toEqual([401, 'certificate_expired']);
      expect(Object.values(agent.freeSockets)[0]?.[0]?.localPort).toBe(connection);
    } finally {
      clock.advance(-31 * 86_400_000);
      agent.destroy();
    }
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'a resumed connection (%s) proves what the first one did: a peer, or nobody',
    async (maxVersion) => {
      const { broker, clock } = scene;
      clock.advance(120_000);
      const get = (session?: Buffer, as?: { cert: string; key: string }) =>
        new Promise<{ status: string; session: Buffer | undefined; isResumed: boolean }>(
          (resolve, reject) => {
            let ticket: Buffer | undefined;
            let isResumed = false;
            let text = '';
            const socket = connect({
              host: '127.0.0.1',
              port: broker.port,
              ca: server.cert,
              maxVersion,
              ...(session && { session }),
              ...(as && { cert: as.cert, key: as.key }),
            });
            socket.once('secureConnect', () => (isResumed = socket.isSessionReused()));
            socket.on('session', (given: Buffer) => (ticket = given));
            socket.on('data', (part: Buffer) => (text += part.toString()));
            socket.once('error', reject);
            socket.once('close', () =>
              resolve({
                status: text.slice(9, 12),
                session: ticket,
                isResumed,
              }),
            );
            socket.write('GET /v1/token HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n');
          },
        );
      const first = await get(undefined, settle);
      expect(first.status).toBe('200');
      expect(await get(first.session)).toMatchObject({ status: '200', isResumed: true });
      const nobody = await get();
      expect(nobody.status).toBe('401');
      expect(await get(nobody.session)).toMatchObject({ status: '401', isResumed: true });
      const stranger = await get(undefined, makeCertificate({ issuer: strange, uris: [SETTLE] }));
      expect(await get(stranger.session)).toMatchObject({ status: '401', isResumed: true });
    },
  );

  test('TLS 1.1 and clear text are not answered', async () => {
    const { broker } = scene;
    const socket = connect({
      host: '127.0.0.1',
      port: broker.port,
      ca: server.cert,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    const error = await new Promise<Error>((resolve) => socket.once('error', resolve));
    expect(error.message).toMatch(/alert|protocol|version/i);
    await expect(fetch(`http://127.0.0.1:${broker.port}/health/live`)).rejects.toThrow();
  });

  test('every decision is in the audit, and nothing warns of clear text', async () => {
    scene.clock.advance(120_000);
    await ask(scene.broker, { as: settle });
    await ask(scene.broker, { as: makeCertificate({ issuer: strange, uris: [SETTLE] }) });
    let text = '';
    while (!/certificate_untrusted.*\n$/.test(text)) {
      text = await readFile(scene.path('audit.jsonl'), 'utf8');
      await new Promise(setImmediate);
    }
    expect(text).toMatch(
      /"peer":"settle"[^\n]*"outcome":"served"|"outcome":"served"[^\n]*"peer":"settle"/,
    );
    expect(text).not.toContain('BEGIN CERTIFICATE');
    expect(JSON.stringify(scene.out.lines)).not.toMatch(/clear text|PRIVATE KEY|nobody’s/);
  });
});

test('a renewed certificate and other authorities are used without a restart', async () => {
  const { broker, out, path } = await start(OWN_TLS);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const kept: Asked = { as: settle, agent };
  expect((await ask(broker, kept)).status).toBe(200);
  const renewed = makeCertificate({ commonName: 'renewed', addresses: ['127.0.0.1'] });
  await writeFile(path('tls.crt'), renewed.cert);
  await broker.certificates?.reread();
  expect(out.text).toContain('the TLS files have changed and cannot be used');
  expect((await ask(broker, { as: settle })).status).toBe(200);
  await writeFile(path('tls.key'), renewed.key);
  await broker.certificates?.reread();
  expect(out.text).toContain('the TLS files were replaced');
  await expect(ask(broker, { as: settle })).rejects.toThrow(/self-signed|certificate/);
  expect((await ask(broker, { as: settle, ca: renewed.cert })).status).toBe(200);
  // The connection that was open before.
  expect((await ask(broker, kept)).status).toBe(200);
  await writeFile(path('ca.crt'), strange.cert);
  await broker.certificates?.reread();
  expect((await ask(broker, kept)).headers['connection']).toEqual(['close']);
  const other = makeCertificate({ issuer: strange, uris: [SETTLE] });
  expect((await ask(broker, { as: other, ca: renewed.cert })).status).toBe(200);
  expect((await ask(broker, { as: settle, ca: renewed.cert })).status).toBe(401);
  agent.destroy();
});

test('a removed authority counts no more on connections that are open, not even for who waits', async () => {
  const { broker, runtime, path } = await start(OWN_TLS);
  const agents = [0, 1, 2].map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
  const [one, two, three] = agents;
  const first = await ask(broker, { as: settle, agent: one });
  const etag = first.headers['etag']?.[0] ?? '';
  await ask(broker, { as: settle, agent: two });
  const authorization = basic('orders', SECRETS.orders);
  await ask(broker, { headers: { authorization }, agent: three });
  const headers = { 'if-none-match': etag, prefer: 'wait=300' };
  const waiting = ask(broker, { as: settle, agent: one, headers });
  while (runtime.serving.waiting() === 0) await pause();

  // One more authority takes nothing from anybody.
  await writeFile(path('ca.crt'), strange.cert + ca.cert);
  await broker.certificates?.reread();
  expect(runtime.serving.waiting()).toBe(1);

  await writeFile(path('ca.crt'), strange.cert);
  await broker.certificates?.reread();
  expect((await waiting).status).toBe(401);
  const refused = await ask(broker, { as: settle, agent: two });
  expect([refused.status, errorOf(refused)]).toEqual([401, 'invalid_client']);
  expect(refused.headers['connection']).toEqual(['close']);
  expect((await ask(broker, { headers: { authorization }, agent: three })).status).toBe(200);
  for (const agent of agents) agent.destroy();
});

test('files that cannot be used are an error at start', async () => {
  await expect(
    start(`${OWN_TLS}tls_key_file: FOLDER/tls.crt\n`.replace('tls_key_file: FOLDER/tls.key\n', '')),
  ).rejects.toMatchObject({
    code: 'TLS_FILES_INVALID',
    kind: 'misconfigured',
  });
});

describe('the client of the kit', () => {
  test('gets the token by its certificate, with and without its id, and takes a renewed one', async () => {
    const { broker, clock, out } = await start(OWN_TLS);
    for (const id of [undefined, 'settle']) {
      let current = settle;
      const client = createServiceTokenClient({
        brokers: broker.url,
        peer: {
          ...(id !== undefined && { id }),
          certificate: () => current.cert,
          key: () => current.key,
          ca: server.cert,
        },
      });
      try {
        expect((await client.getToken()).accessToken).toBe('header.payload.signature-one');
        current = certificate({ uris: [SETTLE] });
        expect((await client.getToken({ force: true })).accessToken).toMatch(/signature-one$/);
      } finally {
        client.close();
      }
    }
    const stranger = makeCertificate({ issuer: strange, uris: [SETTLE] });
    const client = createServiceTokenClient({
      brokers: broker.url,
      peer: { certificate: stranger.cert, key: stranger.key, ca: server.cert },
    });
    clock.advance(120_000);
    await expect(client.getToken()).rejects.toMatchObject({ code: 'BROKER_CREDENTIALS_REFUSED' });
    client.close();
    expect(out.text).toContain('certificate_untrusted');
  });
});

describe('behind a proxy', () => {
  const PROXY = `
trusted_proxies: 127.0.0.1, 10.0.0.0/24
tls_cert_file: FOLDER/tls.crt
tls_key_file: FOLDER/tls.key
tls_client_ca_file: FOLDER/ca.crt
`;
  let scene: Awaited<ReturnType<typeof start>>;
  beforeAll(async () => {
    scene = await start(PROXY);
  });
  const forwarded = (value: string | string[]) => ({ 'x-forwarded-client-cert': value });

  test.each<[string, string | string[], number]>([
    ['a peer', `By=spiffe://a/proxy;Hash=1;Subject="CN=x";URI=${SETTLE}`, 200],
    ['a DNS name', 'Hash=1;URI=;DNS=settle.shop.svc', 200],
    ['the nearest proxy’s element', `URI=spiffe://a/b,By=x;URI=${SETTLE}`, 200],
    ['two headers', ['URI=spiffe://a/b', `URI=${SETTLE}`], 200],
    ['an element before it', `URI=${SETTLE},By=x;URI=spiffe://a/b`, 401],
    ['an element before it, in another header', [`URI=${SETTLE}`, 'Hash=1'], 401],
    ['nobody', 'URI=spiffe://a/b', 401],
    ['a subject', `Subject="URI=${SETTLE}"`, 401],
    ['two peers', `URI=${SETTLE};DNS=settle.shop.svc`, 401],
    ['what is malformed', `URI="${SETTLE}`, 400],
    ['nothing', '', 400],
  ])('of %s', async (_what, value, status) => {
    scene.clock.advance(120_000);
    const answer = await ask(scene.broker, { headers: forwarded(value) });
    expect([answer.status, answer.body.includes('access_token')]).toEqual([status, status === 200]);
  });

  test('two proofs at once, also from a warm cache', async () => {
    const { broker } = scene;
    const authorization = basic('orders', SECRETS.orders);
    expect((await ask(broker, { headers: { authorization } })).status).toBe(200);
    for (const value of [`URI=${SETTLE}`, 'URI="']) {
      const headers = { authorization, ...forwarded(value) };
      expect((await ask(broker, { headers })).status).toBe(400);
    }
    const headers = { authorization, ...forwarded('URI=spiffe://a/b') };
    expect((await ask(broker, { headers })).status).toBe(200);
  });

  test('the proxy’s own certificate proves nothing: its connection carries the requests of others', async () => {
    const { broker } = scene;
    scene.clock.advance(120_000);
    expect((await ask(broker, { as: settle })).status).toBe(401);
    const headers = forwarded('URI=spiffe://prod.example.com/batch/1');
    const form = { client_id: 'batch' };
    const asked = { as: settle, headers, path: '/oauth2/token', form };
    expect((await ask(broker, asked)).status).toBe(200);
  });
});

test('metrics and health show when the broker’s certificate ends; expired, it makes nothing unready', async () => {
  const { broker, runtime, clock, path } = await start(OWN_TLS);
  const gauge = async (): Promise<number> => {
    const text = await runtime.metrics.registry.metrics();
    return Number(
      /^service_token_broker_tls_certificate_expires_timestamp_seconds (\S+)$/m.exec(text)?.[1],
    );
  };
  const part = async ({ cert }: { cert: string } = server): Promise<unknown> => {
    const [port, answer] = await Promise.all([
      ask(broker, { path: '/health/ready', ca: cert }),
      fetch(`${broker.managementUrl}/health/ready`),
    ]);
    const { details } = (await answer.json()) as { details: Readonly<Record<string, unknown>> };
    return [port.status, details['certificate']];
  };
  const endOf = ({ cert }: { cert: string }): number =>
    Date.parse(new X509Certificate(cert).validTo);
  const end = endOf(server);
  expect(await gauge()).toBe(end / 1_000);
  const expiresAt = { expires_at: new Date(end).toISOString() };
  expect(await part()).toEqual([200, { status: 'up', ...expiresAt }]);

  const renewed = makeCertificate({
    commonName: 'broker',
    addresses: ['127.0.0.1'],
    days: [-1, 0.1],
  });
  await writeFile(path('tls.crt'), renewed.cert);
  await writeFile(path('tls.key'), renewed.key);
  await broker.certificates?.reread();
  expect(await gauge()).toBe(endOf(renewed) / 1_000);

  clock.set(endOf(renewed) - 1);
  expect(await part(renewed)).toMatchObject([200, { status: 'up' }]);
  clock.set(endOf(renewed));
  expect(await part(renewed)).toEqual([
    200,
    {
      status: 'degraded',
      expires_at: new Date(endOf(renewed)).toISOString(),
      code: 'TLS_CERTIFICATE_EXPIRED',
      reason: expect.stringContaining('runbook'),
    },
  ]);
});

test('without TLS of its own the end of a certificate is unknown', async () => {
  const { runtime } = await start('');
  expect(runtime.readiness.certificate?.()).toBeUndefined();
  expect(await runtime.metrics.registry.metrics()).toContain(
    'service_token_broker_tls_certificate_expires_timestamp_seconds Nan\n',
  );
});
