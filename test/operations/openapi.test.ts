import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { BrokerModule } from '../../src/composition/broker.module.js';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { createRuntime, type BrokerRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import { openApiDocument } from '../../src/operations/openapi.js';
import { PAGE_PATHS } from '../../src/operations/status-page/page-facts.js';
import { LoginThrottle } from '../../src/peers/login-throttle.js';
import { HttpErrorCode } from '../../src/serving/answers.js';
import type { ReceiverSource } from '../../src/serving/authorize-endpoint.js';
import type { RotateNow } from '../../src/serving/kept-token.js';
import { createOfflineTestIssuer } from '../../src/testing/index.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { createStaticKeySet } from '../../src/verification/keys/key-set.js';
import { createReceivers } from '../../src/verification/receivers.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import {
  AUDIENCE,
  basic,
  createBroker,
  peerEntry,
  PEERS_SECRET,
  SECRETS,
  send,
  TOKEN_SECRET,
  type RawAnswer,
  type TestBroker,
} from '../serving/broker.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { pause } from '../support/pause.js';

interface Schema {
  readonly $ref?: string;
  readonly allOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, { readonly enum?: readonly string[] }>>;
}
interface Header {
  readonly $ref?: string;
  readonly required?: boolean;
  readonly schema?: object;
}
interface Documented {
  readonly $ref?: string;
  readonly description: string;
  readonly headers: Readonly<Record<string, Header>>;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}
interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description: string;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly responses: Readonly<Record<string, Documented>>;
}
interface OpenApi {
  readonly openapi: string;
  readonly servers: readonly { readonly url: string }[];
  readonly paths: Readonly<
    Record<
      string,
      { readonly get?: Operation; readonly post?: Operation; readonly parameters?: [] }
    >
  >;
  readonly components: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** As a client reads it. */
const documentText = JSON.stringify(openApiDocument());
const document = JSON.parse(documentText) as OpenApi;
const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
ajv.addSchema(document, 'openapi');

/** Every operation by its method and its path. */
const OPERATIONS = new Map<string, Operation>();
for (const [path, { get, post }] of Object.entries(document.paths)) {
  if (get !== undefined) OPERATIONS.set(`GET ${path}`, get);
  if (post !== undefined) OPERATIONS.set(`POST ${path}`, post);
}

function resolved<Part extends { readonly $ref?: string }>(part: Part): Part {
  if (part.$ref === undefined) return part;
  const steps = part.$ref.split('/').slice(1);
  return steps.reduce<unknown>(
    (at, step) => (at as Record<string, unknown>)[step],
    document,
  ) as Part;
}

function responseOf(operation: Operation, status: number | string): Documented | undefined {
  const found = operation.responses[status];
  return found && resolved(found);
}

/** The error codes that a response documents. */
function codesOf(response: Documented | undefined): readonly string[] {
  const schema = response?.content?.['application/json']?.schema;
  return (schema?.allOf ?? []).flatMap(({ properties }) => properties?.['error']?.enum ?? []);
}

/** What in an answer is not as it is documented. Members that are not documented are mistakes here. */
function mistakesIn(response: Documented, answer: RawAnswer): readonly unknown[] {
  const mistakes: unknown[] = [];
  for (const [name, header] of Object.entries(response.headers)) {
    const { required, schema } = resolved(header);
    const sent = answer.headers[name.toLowerCase()];
    if (sent === undefined) {
      if (required === true) mistakes.push(`${name} is missing`);
      continue;
    }
    const isNumber = schema !== undefined && 'type' in schema && schema.type === 'integer';
    const valid = ajv.validate(schema ?? {}, isNumber ? Number(sent) : sent);
    if (!valid) mistakes.push([name, sent, ajv.errors]);
  }
  const undocumented = Object.keys(answer.headers).filter(
    (name) =>
      !['content-type', 'content-length', 'date', 'connection', 'keep-alive'].includes(name) &&
      !Object.keys(response.headers).some((known) => known.toLowerCase() === name),
  );
  if (undocumented.length > 0) mistakes.push(undocumented);
  const type = answer.headers['content-type'];
  // Without a body there is no type, and where a body is documented its description says so.
  if (type === undefined) {
    const mayBeEmpty = response.content === undefined || response.description.includes('empty');
    if (!mayBeEmpty || answer.text !== '') mistakes.push('the type is missing');
    return mistakes;
  }
  const schema = response.content?.[type]?.schema;
  if (schema === undefined) return [...mistakes, `${type} is not documented`];
  const isJson = type === 'application/json';
  const isFree = JSON.stringify(schema) === '{"type":"object"}';
  const strict = {
    ...(JSON.parse(
      JSON.stringify(schema).replaceAll('"#/components', '"openapi#/components'),
    ) as object),
    ...(isJson && !isFree && { unevaluatedProperties: false }),
  };
  if (!ajv.validate(strict, isJson ? JSON.parse(answer.text) : answer.text)) {
    mistakes.push(ajv.errors, answer.text);
  }
  return mistakes;
}

const issuer = await createOfflineTestIssuer({ audience: AUDIENCE });
const receivers = createReceivers({
  receivers: [
    {
      issuer: issuer.issuer,
      profile: 'rfc9068',
      audiences: AUDIENCE,
      keys: createStaticKeySet(issuer.jwks()),
    },
  ],
});
const GATEWAY_SECRET = 'gateway-secret-0123456789abcdefghijklmnopqrs';

const ORDERS = { authorization: basic('orders', SECRETS.orders) };
const ADMIN = { authorization: basic('admin', SECRETS.admin) };
const GATEWAY = { authorization: basic('gateway', GATEWAY_SECRET) };
/** A peer to which another token is granted. */
const LEDGER = { authorization: basic('ledger', GATEWAY_SECRET) };
const WRONG = { authorization: basic('orders', 'wrong') };
const CALLER = { authorization: `Bearer ${issuer.serviceToken({ clientId: 'billing' })}` };
const NO_HOST = { host: 'not a host' };
const PUBLIC_URL = 'https://broker.example.com/tokens';

type BrokerOptions = NonNullable<Parameters<typeof createBroker>[0]>;

interface Scene extends TestBroker {
  readonly runtime: BrokerRuntime;
  readonly running: RunningBroker;
}

async function sceneOf(
  options: BrokerOptions,
  env: NodeJS.ProcessEnv = {},
  fails?: Error,
): Promise<Scene> {
  const broker = createBroker({ maxWaiting: 10, ...options });
  const { store, clock, serving } = broker;
  store.edit(
    PEERS_SECRET,
    JSON.stringify({
      peers: {
        orders: peerEntry(SECRETS.orders, ['token']),
        admin: peerEntry(SECRETS.admin, ['admin']),
        gateway: peerEntry(GATEWAY_SECRET, ['introspect']),
        ledger: { ...peerEntry(GATEWAY_SECRET, ['token']), tokens: ['ledger'] },
      },
    }),
  );
  store.before = ({ method }) => {
    if (method === 'read' && fails !== undefined) throw fails;
  };
  const config = loadConfig({
    env: {
      PORT: '0',
      HOST: '127.0.0.1',
      BROKER_MANAGEMENT_PORT: '0',
      BROKER_TOKEN_SECRET_ID: TOKEN_SECRET,
      BROKER_PEERS_SECRET_ID: PEERS_SECRET,
      BROKER_ROTATION: 'disabled',
      ...env,
    },
  });
  const log = createLogger({ level: 'silent' });
  const runtime = { ...(await createRuntime(config, { store, clock, log })), serving };
  return { ...broker, runtime, running: await serveHttp(runtime) };
}

const rotator: RotateNow = {
  rotate: async ({ revoke }) => {
    if (revoke !== true) return { versionId: 'version-2', result: 'rotated' };
    throw new BrokerError('WITHDRAWAL_IMPOSSIBLE', 'rejected', 'Secrets Manager rotates.');
  },
};
const elsewhere: RotateNow = {
  rotate: async () => ({ versionId: 'version-2', result: 'requested' }),
};
const failing = (error: Error): ReceiverSource => ({
  get: async () => {
    throw error;
  },
  peek: () => undefined,
});
const DOWN = new SecretStoreError('STORE_UNAVAILABLE', 'The store is down.');
const BUG = new TypeError('A bug.');
const GIVEN: ReceiverSource = { get: async () => receivers, peek: () => receivers };

/** Brokers in the states that documented statuses need. */
const SCENES = {
  /** Everything is configured, and works. */
  whole: () => sceneOf({ rotator, receivers: GIVEN, authorizes: true, scope: 'read' }),
  /** Nothing beyond tokens is configured. */
  bare: () => sceneOf({}),
  /** Secrets Manager rotates, and a proxy leads to the broker. */
  elsewhere: () => sceneOf({ rotator: elsewhere, publicUrl: PUBLIC_URL }),
  /** Every failed login is one too many. */
  guessed: () =>
    sceneOf({
      rotator,
      receivers: GIVEN,
      throttle: new LoginThrottle({ clock: new VirtualClock(), perPeer: 0, perAddress: 0 }),
    }),
  broken: () => sceneOf({ rotator, receivers: failing(DOWN), authorizes: true }, {}, DOWN),
  buggy: () => sceneOf({ rotator, receivers: failing(BUG), authorizes: true }, {}, BUG),
  /** Its only connection is in use, by a peer that waits for the next token. */
  full: async () => {
    const scene = await sceneOf({}, { BROKER_MAX_CONNECTIONS: '1' });
    const headers = { ...ORDERS, 'if-none-match': '*', prefer: 'wait=300' };
    httpRequest({ port: scene.running.port, path: '/v1/token', headers })
      .on('error', () => undefined)
      .end();
    while (scene.serving.waiting() === 0) await pause();
    return scene;
  },
};

type SceneName = keyof typeof SCENES;
const scenes = new Map<SceneName, Scene>();
beforeAll(async () => {
  for (const [name, start] of Object.entries(SCENES)) scenes.set(name as SceneName, await start());
});
afterAll(async () => {
  for (const { running } of scenes.values()) await running.close(0);
});

/** A request, and the status that a broker in a scene answers. */
interface Exchange {
  readonly scene?: SceneName;
  readonly status: number;
  /** Default: the path as it is documented. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly form?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Default: the broker's own port. */
  readonly port?: 'management';
}

const LARGE = `a=${'a'.repeat(20_000)}`;

/** The failures of every operation that knows its peer. */
const loginFailures = (
  right: Readonly<Record<string, string>>,
  other: Readonly<Record<string, string>>,
  more: Pick<Exchange, 'form' | 'path'> = {},
): readonly Exchange[] => [
  { ...more, status: 401, headers: WRONG },
  { ...more, status: 403, headers: other },
  { ...more, scene: 'guessed', status: 429, headers: WRONG },
  { ...more, scene: 'buggy', status: 500, headers: right },
  { ...more, scene: 'broken', status: 503, headers: right },
];

const tokenExchanges = (path: string): readonly Exchange[] => [
  { status: 200, path, headers: ORDERS },
  { status: 200, path, headers: { ...ORDERS, 'cache-control': 'no-cache' } },
  { status: 200, path: `${path}?min_ttl=60`, headers: { ...ORDERS, 'x-request-id': 'one' } },
  { status: 304, path, headers: { ...ORDERS, 'if-none-match': '*' } },
  { status: 400, path: `${path}?other=1`, headers: ORDERS },
  { status: 400, path, headers: NO_HOST },
  { status: 404, path, headers: LEDGER },
  { scene: 'full', status: 503, path, headers: ORDERS },
  ...loginFailures(ORDERS, ADMIN, { path }),
];

const GRANT = { grant_type: 'client_credentials' };

const authorizeExchanges = (pathOf: (policy: string) => string): readonly Exchange[] => [
  { status: 200, path: pathOf('allow=service'), headers: CALLER },
  { status: 400, path: pathOf('other=1') },
  { status: 401, path: pathOf('allow=service') },
  { status: 401, path: pathOf('allow=service'), headers: { authorization: 'Bearer no.token.x' } },
  { status: 401, path: pathOf('allow=service'), headers: { authorization: 'Bearer' } },
  { status: 403, path: pathOf('allow=customer'), headers: CALLER },
  { status: 403, path: pathOf('scope=x'), headers: CALLER },
  { scene: 'bare', status: 404, path: pathOf('allow=service'), headers: CALLER },
  { scene: 'buggy', status: 500, path: pathOf('allow=service'), headers: CALLER },
  { scene: 'broken', status: 503, path: pathOf('allow=service'), headers: CALLER },
];

const METADATA = '/.well-known/oauth-authorization-server';

/** For each operation what shows every documented status, and every documented error code. */
const EXCHANGES: Readonly<Record<string, readonly Exchange[]>> = {
  'POST /oauth2/token': [
    { status: 200, headers: ORDERS, form: GRANT },
    { status: 200, headers: ORDERS, form: { ...GRANT, audience: AUDIENCE } },
    { status: 400, headers: ORDERS, form: {} },
    { status: 400, headers: ORDERS, form: { grant_type: 'password' } },
    { status: 400, headers: ORDERS, form: { ...GRANT, scope: 'other' } },
    { status: 400, headers: ORDERS, form: { ...GRANT, audience: 'https://other.example' } },
    { status: 413, headers: ORDERS, body: LARGE },
    ...loginFailures(ORDERS, ADMIN, { form: GRANT }),
  ],
  'GET /v1/token': tokenExchanges('/v1/token'),
  'GET /v1/tokens/{name}': [
    ...tokenExchanges('/v1/tokens/default'),
    { status: 404, path: `/v1/tokens/${'long-'.repeat(40)}`, headers: ORDERS },
  ],
  'POST /v1/rotate': [
    { status: 200, headers: ADMIN },
    { scene: 'elsewhere', status: 202, headers: ADMIN },
    { status: 400, path: '/v1/rotate?revoke_cached=maybe', headers: ADMIN },
    { status: 404, path: '/v1/rotate?token=other', headers: ADMIN },
    { scene: 'bare', status: 404, headers: ADMIN },
    { status: 409, path: '/v1/rotate?revoke_cached=true', headers: ADMIN },
    { status: 413, headers: ADMIN, body: LARGE },
    ...loginFailures(ADMIN, ORDERS),
  ],
  'POST /oauth2/introspect': [
    { status: 200, headers: GATEWAY, form: { token: issuer.serviceToken({ scopes: ['read'] }) } },
    { status: 200, headers: GATEWAY, form: { token: issuer.customerToken() } },
    { status: 200, headers: GATEWAY, form: { token: 'no.token.x' } },
    { status: 400, headers: GATEWAY, form: {} },
    { scene: 'bare', status: 404, headers: GATEWAY, form: { token: 'x' } },
    { status: 413, headers: GATEWAY, body: LARGE },
    ...loginFailures(GATEWAY, ORDERS, { form: { token: 'x' } }),
  ],
  'GET /v1/authorize': authorizeExchanges((policy) => `/v1/authorize?${policy}`),
  'GET /v1/authorize/{policy}': authorizeExchanges((policy) => `/v1/authorize/${policy}`),
  [`GET ${METADATA}`]: [
    { status: 200 },
    { scene: 'bare', status: 200 },
    { status: 400, headers: NO_HOST },
    { scene: 'full', status: 503 },
  ],
  [`GET ${METADATA}/{path}`]: [
    { scene: 'elsewhere', status: 200, path: `${METADATA}/tokens` },
    { status: 400, path: `${METADATA}/other`, headers: NO_HOST },
    { status: 404, path: `${METADATA}/other` },
    { scene: 'full', status: 503, path: `${METADATA}/other` },
  ],
  'GET /health/live': [
    { status: 200 },
    { port: 'management', status: 200 },
    { status: 400, headers: NO_HOST },
    { port: 'management', status: 400, headers: NO_HOST },
  ],
  'GET /health/ready': [
    { status: 200 },
    { status: 200, headers: ADMIN },
    { port: 'management', status: 200 },
    { status: 400, headers: NO_HOST },
    ...loginFailures(ADMIN, ORDERS),
    { scene: 'broken', status: 503 },
    { scene: 'broken', port: 'management', status: 503 },
  ],
  'GET /metrics': [
    { status: 200, headers: ADMIN },
    { port: 'management', status: 200 },
    { status: 400, headers: NO_HOST },
    ...loginFailures(ADMIN, ORDERS),
  ],
  'GET /openapi.json': [
    { port: 'management', status: 200 },
    { port: 'management', status: 400, headers: NO_HOST },
  ],
};

async function ask(method: string, path: string, exchange: Exchange): Promise<RawAnswer> {
  const scene = scenes.get(exchange.scene ?? 'whole');
  if (scene === undefined) throw new Error('There is no such scene.');
  const { port, managementUrl = '' } = scene.running;
  const { form, body = form && new URLSearchParams(form).toString() } = exchange;
  return send(
    exchange.port === 'management' ? Number(new URL(managementUrl).port) : port,
    method,
    exchange.path ?? path,
    {
      ...exchange.headers,
      ...(body !== undefined && {
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': String(body.length),
      }),
    },
    body,
  );
}

describe('every documented operation', () => {
  test.each([...OPERATIONS])('%s answers as documented', async (name, operation) => {
    const [method = '', path = ''] = name.split(' ');
    const seen = new Map<string, Set<string>>();
    for (const exchange of EXCHANGES[name] ?? []) {
      const answer = await ask(method, path, exchange);
      const { status, text } = answer;
      expect({ exchange, status, text }).toMatchObject({ status: exchange.status });
      const response = responseOf(operation, status);
      if (response === undefined) throw new Error(`${status} is not documented.`);
      expect({ exchange, mistakes: mistakesIn(response, answer) }).toEqual({
        exchange,
        mistakes: [],
      });
      const codes = seen.get(String(status)) ?? new Set();
      seen.set(String(status), codes);
      const isJson = answer.headers['content-type'] === 'application/json';
      const { error } = (isJson ? JSON.parse(text) : {}) as { error?: unknown };
      if (typeof error === 'string') codes.add(error);
    }
    expect([...seen.keys()].toSorted()).toEqual(Object.keys(operation.responses).toSorted());
    for (const [status, codes] of seen) {
      const documented = codesOf(responseOf(operation, status));
      expect([status, ...documented]).toEqual([
        status,
        ...documented.filter((code) => codes.has(code)),
      ]);
    }
  });

  test('refuses methods that are not documented, with those that are', async () => {
    for (const [path, methods] of Object.entries(document.paths)) {
      // Gateways ask with the method of the request in front.
      if (path.startsWith('/v1/authorize')) continue;
      const takes = methods.get ? 'GET, HEAD' : 'POST';
      const target = path.replace('{name}', 'default').replace('/{path}', '');
      const port = path === '/openapi.json' ? 'management' : undefined;
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']) {
        if (takes.includes(method)) continue;
        const answer = await ask(method, target, { status: 405, ...(port && { port }) });
        expect([path, method, answer.status, answer.headers.allow]).toEqual([
          path,
          method,
          405,
          takes,
        ]);
        expect(JSON.parse(answer.text)).toMatchObject({ error: 'method_not_allowed' });
      }
    }
  });

  test('has what a reader and a generator need', () => {
    const ids = [...OPERATIONS.values()].map(({ operationId }) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const tags = new Set(
      (document as unknown as { tags: { name: string }[] }).tags.map((tag) => tag.name),
    );
    for (const { summary, description, tags: own, security, operationId } of OPERATIONS.values()) {
      expect(operationId).toMatch(/^[a-z][A-Za-z]+$/);
      expect(summary.length).toBeGreaterThan(5);
      expect(description.length).toBeGreaterThan(10);
      expect(own.length).toBe(1);
      for (const tag of own) expect(tags).toContain(tag);
      for (const scheme of security.flatMap((one) => Object.keys(one))) {
        expect(document.components['securitySchemes']).toHaveProperty(scheme);
      }
    }
  });

  test('has a type beside every enum and constant, which generators for Go need', () => {
    const untyped: string[] = [];
    const find = (part: unknown, path: string): void => {
      if (typeof part !== 'object' || part === null) return;
      if (('enum' in part || 'const' in part) && !('type' in part)) untyped.push(path);
      for (const [name, member] of Object.entries(part)) find(member, `${path}/${name}`);
    };
    find(JSON.parse(documentText), '');
    expect(untyped).toEqual([]);
  });

  test('names every component that there is, and no other', () => {
    const used = new Set(
      [...documentText.matchAll(/"\$ref":"#\/components\/([^"]+)"/g)].map(([, path = '']) => path),
    );
    const components = Object.entries(document.components)
      .filter(([kind]) => kind !== 'securitySchemes')
      .flatMap(([kind, parts]) => Object.keys(parts).map((name) => `${kind}/${name}`));
    expect([...used].toSorted()).toEqual(
      // Of a method that is not documented.
      components.filter((name) => name !== 'headers/Allow').toSorted(),
    );
  });

  test('has every error code', () => {
    const documented = new Set(
      [...OPERATIONS.values()].flatMap((operation) =>
        Object.keys(operation.responses).flatMap((status) =>
          codesOf(responseOf(operation, status)),
        ),
      ),
    );
    const codes = HttpErrorCode.def.entries;
    expect([...documented, 'method_not_allowed'].toSorted()).toEqual(Object.keys(codes).toSorted());
  });

  test('holds nothing that looks like a token', () => {
    expect(documentText).not.toMatch(/eyJ[\w-]{6,}|[\w-]{40,}/);
  });
});

describe('the routes', () => {
  test('are documented, and no other', async () => {
    const runtime = scenes.get('whole')?.runtime;
    if (runtime === undefined) throw new Error('There is no such scene.');
    const adapter = new FastifyAdapter();
    const routes = new Set<string>();
    adapter.getInstance().addHook('onRoute', ({ url }) => void routes.add(url));
    // Its store stays open: the scene closes it.
    const app = await NestFactory.create(
      BrokerModule.forRuntime(
        { ...runtime, core: { ...runtime.core, close: async () => undefined } },
        { opensDetails: true },
      ),
      adapter,
      { logger: false },
    );
    await app.init();
    const documented = [...routes].map((route) =>
      route
        .replace(/\/:name$/, '/{name}')
        .replace(/^\/v1\/authorize\/\*$/, '/v1/authorize/{policy}')
        .replace(/^(\/\.well-known\/[a-z-]+)\/:.*$/, '$1/{path}'),
    );
    await app.close();
    // The status page is for people: it is no part of an interface that programs are generated for.
    expect([...new Set(documented)].toSorted()).toEqual(
      [...Object.keys(document.paths), ...PAGE_PATHS].toSorted(),
    );
  });

  test('of the management port are those of the operators', async () => {
    for (const [name, { tags }] of OPERATIONS) {
      const [method = '', path = ''] = name.split(' ');
      const { status } = await ask(method, path, { status: 200, port: 'management' });
      expect([name, status]).toEqual([name, tags.includes('operations') ? 200 : 404]);
    }
  });

  test('have no document where anybody may reach them', async () => {
    const { status } = await ask('GET', '/openapi.json', { status: 404, headers: ADMIN });
    expect(status).toBe(404);
  });

  test('have it where only this machine reaches them, and where a public URL says they are', async () => {
    const alone = await sceneOf({}, { BROKER_MANAGEMENT_PORT: undefined });
    const own = await send(alone.running.port, 'GET', '/openapi.json');
    expect([own.status, own.text]).toEqual([200, documentText]);
    await alone.running.close(0);
    const { running } = await sceneOf({}, { BROKER_PUBLIC_URL: PUBLIC_URL });
    const { managementUrl = '' } = running;
    const inside = await send(Number(new URL(managementUrl).port), 'GET', '/openapi.json');
    expect((JSON.parse(inside.text) as OpenApi).servers).toMatchObject([{ url: PUBLIC_URL }]);
    await running.close(0);
  });
});
