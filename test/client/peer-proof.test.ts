import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { inspect } from 'node:util';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  ClientConfigError,
  createServiceTokenClient,
  type PeerOptions,
} from '../../src/client/index.js';
import { fc } from '../support/properties.js';
import { selfSignedCertificate } from '../support/certificates.js';
import { failureOf, requireHarmless, rig, type Rig } from './client-fixture.js';

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
/** A token as a platform issues it; nobody here verifies its signature. */
function workloadToken(sub = 'system:serviceaccount:shop:orders', jti = '1'): string {
  const claims = { iss: 'https://cluster.test', sub, aud: 'https://broker.test', jti };
  return `${encode({ alg: 'RS256', kid: 'k' })}.${encode(claims)}.c2lnbmF0dXJl`;
}

interface Received {
  readonly authorization: string | undefined;
  readonly form: Record<string, string>;
  readonly body: string;
  readonly certificate: string | undefined;
}

/** A broker that shows what it is sent. */
class SeeingBroker {
  readonly received: Received[] = [];
  /** The paths of other requests, which came over a connection that was let in. */
  readonly others: string[] = [];
  /** Status and body of the next answers, in turn; then a token. */
  readonly next: (readonly [number, object])[] = [];
  readonly #server: Server;

  constructor(makeServer: (listener: RequestListener) => Server = createServer) {
    this.#server = makeServer((request, response) => void this.#answer(request, response));
    this.#server.listen(0, '127.0.0.1');
    brokers.push(this);
  }

  async ready(): Promise<this> {
    if (!this.#server.listening) await once(this.#server, 'listening');
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [status, body] = await this.#receive(request);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  }

  async #receive(request: IncomingMessage): Promise<readonly [number, object]> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const socket = request.socket as Partial<TLSSocket>;
    if (request.url !== '/oauth2/token') {
      this.others.push(request.url ?? '');
      return [404, {}];
    }
    this.received.push({
      authorization: request.headers.authorization,
      body,
      form: Object.fromEntries(new URLSearchParams(body)),
      certificate: socket.getPeerCertificate?.()?.fingerprint256,
    });
    const token = { access_token: 'a.b.c', token_type: 'Bearer', expires_in: 86_400 };
    return this.next.shift() ?? [200, token];
  }
}

const brokers: SeeingBroker[] = [];
afterEach(async () => {
  await Promise.all(brokers.splice(0).map((broker) => broker.close()));
});

async function asking(
  peer: PeerOptions,
  options: Parameters<typeof rig>[0] = {},
): Promise<Rig & { readonly broker: SeeingBroker }> {
  const broker = await new SeeingBroker().ready();
  const scene = await rig({ brokers: `http://127.0.0.1:${broker.port}`, peer, ...options }, 0);
  return { ...scene, broker };
}

describe('a secret', () => {
  test('is sent as before: the same bytes', async () => {
    const { client, broker } = await asking({ id: 'orders', secret: 's-1' });
    await client.getToken();
    expect(broker.received).toEqual([
      {
        authorization: `Basic ${btoa('orders:s-1')}`,
        body: 'grant_type=client_credentials',
        form: { grant_type: 'client_credentials' },
        certificate: undefined,
      },
    ]);
  });

  test('that cannot be read for a moment is read again within the same call', async () => {
    let reads = 0;
    const secret = (): string => {
      reads += 1;
      if (reads === 1) throw Object.assign(new Error('no'), { code: 'ENOENT' });
      return 's-1';
    };
    const { client, broker, clock } = await asking({ id: 'orders', secret });
    await client.getToken();
    expect(broker.received).toHaveLength(1);
    expect(clock.pauses).toEqual([250]);
  });
});

describe('which token', () => {
  const peer = { id: 'orders', secret: 's-1' };

  test('audience and resource are sent in the form', async () => {
    const audience = 'https://ledger.example.com/?a=1&b=2';
    const resource = 'urn:example:ledger';
    const { client, broker } = await asking(peer, { audience, resource });
    await client.getToken();
    expect(broker.received[0]?.form).toEqual({
      grant_type: 'client_credentials',
      audience,
      resource,
    });
  });

  test('one that the broker does not grant has words of its own', async () => {
    const { client, broker } = await asking(peer, { audience: 'https://ledger.example.com' });
    broker.next.push([400, { error: 'invalid_target' }]);
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_REQUEST_REFUSED', kind: 'misconfigured' });
    expect(failure.message).toMatch(
      /\(status 400, invalid_target\)\. There is no token for this "audience"/,
    );
  });
});

describe('a workload token', () => {
  test('is sent as a client assertion, without an Authorization header', async () => {
    const token = workloadToken();
    const { client, broker } = await asking({ workloadToken: async () => `\uFEFF${token}\r\n` });
    await client.getToken();
    expect(broker.received).toHaveLength(1);
    expect(broker.received[0]?.authorization).toBeUndefined();
    expect(broker.received[0]?.form).toEqual({
      grant_type: 'client_credentials',
      client_assertion_type: ASSERTION_TYPE,
      client_assertion: token,
    });
  });

  test('comes with the id, if one is given', async () => {
    const { client, broker } = await asking({
      id: ' orders\n',
      workloadToken: () => workloadToken(),
    });
    await client.getToken();
    expect(broker.received[0]?.form['client_id']).toBe('orders');
  });

  test('is read again for each request, and so the new one is sent', async () => {
    let current = workloadToken('orders', '1');
    const { client, broker, clock } = await asking({ workloadToken: () => current });
    await client.getToken();
    current = workloadToken('orders', '2');
    clock.advance(300_000);
    await client.getToken();
    expect(broker.received.map(({ form }) => form['client_assertion'])).toEqual([
      workloadToken('orders', '1'),
      current,
    ]);
  });

  const whole = workloadToken();
  test.each([
    ['an empty file', '', /it is empty/],
    ['white space', ' \n', /it is empty/],
    ['half of it', whole.slice(0, whole.indexOf('.') + 20), /three parts/],
    ['its claims cut short', `${whole.slice(0, whole.indexOf('.') + 20)}.x`, /claims are not/],
    ['a page', '<html>canary-in-body</html>', /three parts/],
    ['a header without an object', `${encode(7)}.${encode({})}.x`, /header or its claims/],
    ['no text', 7 as unknown as string, /it is empty/],
    ['something far too large', `${whole}${'x'.repeat(13_000)}`, /more than 12288 characters/],
  ])(
    '%s is not sent, and is read again as after other temporary failures',
    async (_what, bad, words) => {
      let reads = 0;
      const values = [bad, bad, bad, bad];
      const peer = { workloadToken: () => ((reads += 1), values.shift() ?? whole) };
      const { client, broker, clock, told } = await asking(peer);
      const failure = await failureOf(client.getToken());
      expect(failure).toMatchObject({ code: 'WORKLOAD_TOKEN_INVALID', kind: 'retry' });
      expect(failure.message).toMatch(words);
      expect([reads, broker.received.length]).toEqual([3, 0]);
      clock.advance(1_000);
      await client.getToken();
      expect([reads, broker.received.length]).toEqual([5, 1]);
      requireHarmless(told);
    },
  );

  test.each([
    ['throws', () => JSON.parse(`${whole}!`) as string, /failed \(SyntaxError\)/],
    [
      'rejects',
      () => Promise.reject(Object.assign(new Error(whole), { code: 'EACCES' })),
      /failed \(EACCES\)/,
    ],
  ])('whose function %s is an error that quotes nothing', async (_what, read, words) => {
    const { client, broker } = await asking({ workloadToken: read });
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'WORKLOAD_TOKEN_UNREADABLE', kind: 'retry' });
    expect(failure.message).toMatch(words);
    expect(broker.received).toEqual([]);
  });

  test('no token is used as long as the cached one lives: an unreadable file is no outage', async () => {
    let isReadable = true;
    const read = (): string => (isReadable ? whole : '');
    const { client, clock } = await asking({ workloadToken: read });
    const token = await client.getToken();
    isReadable = false;
    clock.advance(300_000);
    expect(await client.getToken()).toBe(token);
    expect(client.status().lastError).toMatchObject({ code: 'WORKLOAD_TOKEN_INVALID' });
  });

  test('a refusal holds for new tokens of the same workload, and not for another', async () => {
    let count = 0;
    let subject = 'orders';
    const { client, broker, clock } = await asking({
      workloadToken: () => workloadToken(subject, String((count += 1))),
    });
    broker.next.push([401, { error: 'invalid_client' }]);
    const failure = await failureOf(client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_CREDENTIALS_REFUSED', kind: 'misconfigured' });
    expect(failure.message).toMatch(/the peer's workload token .* audience must be the broker's/);
    clock.advance(1_000);
    await failureOf(client.getToken());
    expect(broker.received).toHaveLength(1);
    subject = 'orders-2';
    clock.advance(1_000);
    await client.getToken();
    expect(broker.received).toHaveLength(2);
  });

  test('whatever a file holds, only what looks like a JWT is sent', async () => {
    const { client, broker, clock } = await asking({ workloadToken: () => text });
    let text = '';
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom(
        ...whole.split('.'),
        encode({}),
        encode([]),
        encode({ sub: 'a' }),
        '.',
        '',
        '=',
      ),
    );
    const value = fc.oneof(
      fc.string(),
      fc.array(piece, { maxLength: 6 }).map((parts) => parts.join('.')),
      fc.nat({ max: whole.length }).map((length) => whole.slice(0, length)),
    );
    await fc.assert(
      fc.asyncProperty(value, async (content) => {
        text = content;
        broker.received.length = 0;
        clock.advance(86_400_000);
        const outcome = await client.getToken().catch((error: unknown) => error);
        const sent = broker.received.map(({ form }) => form['client_assertion']);
        if (sent.length === 0) {
          expect(outcome).toMatchObject({ code: 'WORKLOAD_TOKEN_INVALID' });
        } else {
          expect(sent).toEqual([content.trim()]);
          expect(content.trim()).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('a client certificate', () => {
  const server = selfSignedCertificate('server');
  const first = selfSignedCertificate('first');
  const second = selfSignedCertificate('second');
  const strange = selfSignedCertificate('strange');

  async function tlsBroker(): Promise<SeeingBroker> {
    return new SeeingBroker((listener) =>
      createTlsServer(
        {
          key: server.key,
          cert: server.cert,
          requestCert: true,
          rejectUnauthorized: true,
          ca: [first.cert, second.cert],
        },
        listener,
      ),
    ).ready();
  }

  async function client(peer: PeerOptions): Promise<Rig & { readonly broker: SeeingBroker }> {
    const broker = await tlsBroker();
    const scene = await rig({ brokers: `https://localhost:${broker.port}`, peer }, 0);
    return { ...scene, broker };
  }

  test('is presented, and nothing else', async () => {
    const scene = await client({
      certificate: first.cert,
      key: Buffer.from(first.key),
      ca: server.cert,
    });
    expect((await scene.client.getToken()).accessToken).toBe('a.b.c');
    expect(scene.broker.received).toEqual([
      {
        authorization: undefined,
        body: 'grant_type=client_credentials',
        form: { grant_type: 'client_credentials' },
        certificate: expect.stringMatching(/^[0-9A-F:]{95}$/),
      },
    ]);
  });

  test('with the id, and renewed without a restart', async () => {
    let current = first;
    const scene = await client({
      id: 'orders',
      certificate: () => current.cert,
      key: async () => Buffer.from(current.key),
      ca: () => server.cert,
    });
    await scene.client.getToken();
    current = second;
    scene.clock.advance(300_000);
    await scene.client.getToken();
    const { received } = scene.broker;
    expect(received.map(({ form }) => form['client_id'])).toEqual(['orders', 'orders']);
    expect(new Set(received.map(({ certificate }) => certificate)).size).toBe(2);
  });

  test('is presented for the metadata, too: the connection may need it', async () => {
    const scene = await client({ certificate: first.cert, key: first.key, ca: server.cert });
    await scene.client.getToken();
    await scene.client.getToken();
    while (scene.client.status().waiting) await new Promise((resolve) => setImmediate(resolve));
    expect(scene.broker.others).toEqual(['/.well-known/oauth-authorization-server']);
  });

  test('of another authority is refused in words about the certificate', async () => {
    const scene = await client({ certificate: strange.cert, key: strange.key, ca: server.cert });
    const failure = await failureOf(scene.client.getToken());
    // Node's own server says nothing: it closes the connection.
    expect(failure.message).toMatch(/not take the peer's client certificate/);
    expect(scene.broker.received).toEqual([]);
  });

  test('does not make the broker trusted', async () => {
    const scene = await client({ certificate: first.cert, key: first.key });
    const failure = await failureOf(scene.client.getToken());
    expect(failure).toMatchObject({ code: 'BROKER_TLS_FAILED', kind: 'misconfigured' });
    expect(failure.message).toContain('NODE_EXTRA_CA_CERTS');
  });

  test.each([
    ['a key of another certificate', first.cert, second.key, /do not fit together/],
    ['half a certificate', first.cert.slice(0, 200), first.key, /one is damaged/],
    ['an empty file', '', first.key, /"peer\.certificate" is not the peer's certificate/],
    ['the files mixed up', first.key, first.cert, /"peer\.(?:certificate|key)" is not/],
  ])(
    '%s: an error that may pass, and the next call reads again',
    async (_what, cert, key, words) => {
      let current = { cert, key };
      const scene = await client({
        certificate: () => current.cert,
        key: () => current.key,
        ca: server.cert,
      });
      const failure = await failureOf(scene.client.getToken());
      expect(failure).toMatchObject({ code: 'PEER_CERTIFICATE_INVALID', kind: 'retry' });
      expect(failure.message).toMatch(words);
      expect(inspect(failure, { depth: 9 })).not.toContain('PRIVATE KEY');
      current = first;
      scene.clock.advance(1_000);
      await scene.client.getToken();
      expect(scene.broker.received).toHaveLength(1);
    },
  );

  test('a function that fails', async () => {
    const certificate = (): never => {
      throw Object.assign(new Error(first.key), { code: 'ENOENT' });
    };
    const scene = await client({ certificate, key: first.key });
    const failure = await failureOf(scene.client.getToken());
    expect(failure).toMatchObject({ code: 'PEER_CERTIFICATE_UNREADABLE', kind: 'retry' });
    expect(failure.message).toMatch(/peer's certificate failed \(ENOENT\)/);
  });
});

describe('options that are refused', () => {
  const brokers = 'https://broker.internal';
  const { cert, key } = selfSignedCertificate();
  const good = { certificate: cert, key };
  test.each([
    [
      'two proofs',
      { id: 'a', secret: 'b', workloadToken: () => '' },
      {},
      '"peer.secret" and "peer.workloadToken"',
    ],
    ['three', { secret: 'b', workloadToken: () => '', ...good }, {}, 'all but one'],
    ['a token that is a text', { workloadToken: 'eyJ.canary.x' }, {}, 'must be a function'],
    ['an id that is none', { id: ' ', workloadToken: () => '' }, {}, '"peer.id"'],
    ['a key alone', { id: 'a', key }, {}, '"peer.certificate" must stand beside it'],
    ['a key with a secret', { id: 'a', secret: 'b', key }, {}, 'no other proof'],
    ['a certificate alone', { certificate: cert }, {}, '"peer.key" must be'],
    [
      'a path in place of a certificate',
      { certificate: '/run/cert.pem', key },
      {},
      '"peer.certificate" must be',
    ],
    [
      'an encrypted key',
      { certificate: cert, key: '-----BEGIN ENCRYPTED PRIVATE KEY-----' },
      {},
      'passphrase',
    ],
    ['authorities that are a path', { ...good, ca: '/ca.pem' }, {}, '"peer.ca" must be'],
    [
      'a certificate over plain HTTP',
      good,
      { brokers: 'http://127.0.0.1:3000' },
      'over https: alone',
    ],
    ['a certificate and a fetch', good, { fetch: globalThis.fetch }, '"fetch" cannot be set'],
    ['an audience of nothing', { id: 'a', secret: 'b' }, { audience: '' }, '"audience"'],
    ['two audiences in one', { id: 'a', secret: 'b' }, { audience: 'a b' }, '"audience"'],
    ['a list of audiences', { id: 'a', secret: 'b' }, { audience: ['a'] }, '"audience"'],
    ['a relative resource', { id: 'a', secret: 'b' }, { resource: '/ledger' }, '"resource"'],
    [
      'a resource with a fragment',
      { id: 'a', secret: 'b' },
      { resource: 'https://a.test/#' },
      'RFC 8707',
    ],
  ])('%s', (_what, peer, more, words) => {
    const make = (): unknown => createServiceTokenClient({ brokers, peer, ...more } as never);
    expect(make).toThrow(ClientConfigError);
    expect(make).toThrow(words);
    expect(make).not.toThrow(/canary|BEGIN/);
  });

  test('no proof: the words of today', () => {
    const make = (): unknown => createServiceTokenClient({ brokers, peer: { id: 'a' } as never });
    expect(make).toThrow('"peer.secret" must be the peer\'s secret');
  });
});
