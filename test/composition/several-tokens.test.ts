import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { createRuntime, runtimeOf, type BrokerRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { systemClock } from '../../src/tokens/time.js';
import { LogLines } from '../operations/log-lines.js';
import { MemorySecretStore } from '../support/memory-store.js';

// Three tokens of two providers, over HTTP; one of the providers goes down.

/** A provider: its keys and metadata, and a token endpoint that mints what is asked for. */
interface Provider {
  readonly issuer: TestIssuer;
  readonly tokenEndpoint: string;
  readonly mints: string[];
  isDown: boolean;
  close(): Promise<void>;
}

async function startProvider(): Promise<Provider> {
  const issuer = await startTestIssuer({ profile: 'rfc9068' });
  const mints: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const form = new URLSearchParams(body);
    if (provider.isDown) {
      response.destroy();
      return;
    }
    const audience = form.get('audience') ?? '';
    mints.push(audience);
    const scope = form.get('scope') ?? '';
    const scopes = scope === '' ? [] : scope.split(' ');
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({
        access_token: issuer.serviceToken({ audience, scopes, expiresInSeconds: 90_000 }),
        token_type: 'Bearer',
        expires_in: 90_000,
      }),
    );
  };
  const server: Server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const provider: Provider = {
    issuer,
    tokenEndpoint: `http://127.0.0.1:${port}/token`,
    mints,
    isDown: false,
    close: async () => {
      server.close();
      await issuer.close();
    },
  };
  return provider;
}

const secretOf = (peer: string): string => `${peer}-secret-0123456789abcdefghijklmnopqrstuvwxyz`;

function peerEntry(peer: string, roles: readonly string[], tokens?: readonly string[]): object {
  return {
    secret_sha256: createHash('sha256').update(secretOf(peer)).digest('base64url'),
    roles,
    ...(tokens && { tokens }),
    enabled: true,
    created_at: '2026-01-01T00:00:00.000Z',
  };
}

let one: Provider;
let two: Provider;
const store = new MemorySecretStore({ clock: systemClock });
let runtime: BrokerRuntime;
let broker: RunningBroker;
const log = new LogLines();

beforeAll(async () => {
  [one, two] = await Promise.all([startProvider(), startProvider()]);
  const provider = ({ issuer, tokenEndpoint }: Provider, secret: string): object => ({
    issuer: issuer.issuer,
    token_endpoint: tokenEndpoint,
    jwks_uri: issuer.jwksUri,
    credentials_secret: secret,
  });
  const file = {
    port: 0,
    host: '127.0.0.1',
    rotation: 'disabled',
    providers: { one: provider(one, 'c/one'), two: provider(two, 'c/two') },
    tokens: {
      default: { provider: 'one', audience: 'urn:services', secret: 't/default' },
      ledger: { provider: 'one', audience: 'urn:ledger', scope: 'post', secret: 't/ledger' },
      mail: { provider: 'two', audience: 'urn:mail', secret: 't/mail' },
      read: { provider: 'two', audience: 'urn:files', scope: 'read', secret: 't/read' },
      write: { provider: 'two', audience: 'urn:files', scope: 'read write', secret: 't/write' },
    },
  };
  const config = loadConfig({
    env: { BROKER_CONFIG: 'broker.yaml' },
    readFile: () => JSON.stringify(file),
  });
  for (const secretId of ['c/one', 'c/two']) {
    store.seed(secretId, '{"client_id":"broker","client_secret":"a-secret"}');
  }
  for (const { secretId } of config.tokens) store.seed(secretId);
  store.seed(
    config.secrets.peersSecretId,
    JSON.stringify({
      peers: {
        orders: peerEntry('orders', ['token']),
        settle: peerEntry('settle', ['token'], ['default', 'ledger', 'gone']),
        files: peerEntry('files', ['token'], ['read', 'write', 'mail']),
        ops: peerEntry('ops', ['admin']),
      },
    }),
  );
  runtime = await createRuntime(config, {
    store,
    log: createLogger({ level: 'info', destination: log }),
  });
  broker = await serveHttp(runtime);
});

afterAll(async () => {
  await broker?.close(100);
  await Promise.all([one?.close(), two?.close()]);
});

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
}

async function ask(
  peer: string,
  path: string,
  options: Omit<RequestInit, 'headers'> & {
    readonly headers?: Readonly<Record<string, string>>;
  } = {},
): Promise<Answer> {
  const login = Buffer.from(`${peer}:${secretOf(peer)}`).toString('base64');
  const response = await fetch(new URL(path, broker.url), {
    ...options,
    headers: { authorization: `Basic ${login}`, ...options.headers },
  });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

const grant = (peer: string, form: Record<string, string>): Promise<Answer> =>
  ask(peer, '/oauth2/token', {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'client_credentials', ...form }),
  });

function audienceOf({ text }: Answer): unknown {
  const { access_token: token } = JSON.parse(text) as { access_token: string };
  const [, claims = ''] = token.split('.');
  return (JSON.parse(Buffer.from(claims, 'base64url').toString()) as { aud: unknown }).aud;
}

const outcomeOf = ({ status, text }: Answer): readonly unknown[] => [
  status,
  (JSON.parse(text) as { error?: string }).error,
];

test('each token is rotated by its own schedule, and the keys of a provider are fetched once', async () => {
  const before = one.issuer.requests;
  await Promise.all([...runtime.each.values()].map(({ schedule }) => schedule.check()));
  expect(one.mints.toSorted()).toEqual(['urn:ledger', 'urn:services']);
  expect(two.mints.toSorted()).toEqual(['urn:files', 'urn:files', 'urn:mail']);
  expect(one.issuer.requests - before).toBe(1);
});

describe('by its path', () => {
  test('a peer gets the tokens that it may have, with the headers of GET /v1/token', async () => {
    expect(audienceOf(await ask('settle', '/v1/token'))).toBe('urn:services');
    const ledger = await ask('settle', '/v1/tokens/ledger');
    expect(audienceOf(ledger)).toBe('urn:ledger');
    const tag = ledger.headers.get('etag') ?? '';
    const again = await ask('settle', '/v1/tokens/ledger', { headers: { 'if-none-match': tag } });
    expect([again.status, again.text]).toEqual([304, '']);
    // The second one comes by the hot lane.
    const hot = await ask('settle', '/v1/tokens/ledger');
    expect([hot.status, hot.headers.get('x-cache')]).toEqual([200, 'HIT']);
    expect((await ask('settle', '/v1/tokens/ledger?min_ttl=99999999')).status).toBe(400);
  });

  test('a token that is not granted is as one that does not exist', async () => {
    const answers = [
      await ask('settle', '/v1/tokens/mail'),
      await ask('settle', '/v1/tokens/nothing'),
      // Granted, and not configured.
      await ask('settle', '/v1/tokens/gone'),
      await ask('settle', '/v1/tokens/..%2Ftoken'),
      await ask('files', '/v1/token'),
    ];
    for (const answer of answers) expect(outcomeOf(answer)).toEqual([404, 'invalid_target']);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  });

  test('a peer without the role is told so, whatever it asks for', async () => {
    for (const name of ['default', 'nothing']) {
      expect(outcomeOf(await ask('ops', `/v1/tokens/${name}`))).toEqual([
        403,
        'unauthorized_client',
      ]);
    }
  });
});

describe('by a token request', () => {
  test.each<[string, string, Record<string, string>, string]>([
    ['no target', 'settle', {}, 'urn:services'],
    ['the audience', 'settle', { audience: 'urn:ledger' }, 'urn:ledger'],
    ['the resource', 'settle', { resource: 'urn:ledger' }, 'urn:ledger'],
    [
      'the same target twice',
      'settle',
      { resource: 'urn:ledger', audience: 'urn:ledger' },
      'urn:ledger',
    ],
    [
      'the scope, among those of an audience',
      'files',
      { audience: 'urn:files', scope: 'write' },
      'urn:files',
    ],
  ])('%s chooses', async (_what, peer, form, audience) => {
    expect(audienceOf(await grant(peer, form))).toBe(audience);
  });

  test('what fits none, several, or was not granted has one answer', async () => {
    const answers = [
      await grant('settle', { audience: 'urn:nobody' }),
      await grant('settle', { audience: 'urn:mail' }),
      await grant('settle', { audience: 'urn:ledger', resource: 'urn:services' }),
      await grant('files', { audience: 'urn:files' }),
      await grant('files', { audience: 'urn:files', scope: 'read' }),
      await grant('files', {}),
    ];
    for (const answer of answers) expect(outcomeOf(answer)).toEqual([400, 'invalid_target']);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  });
});

test('metrics carry the name of the token', async () => {
  const text = await runtime.metrics.registry.metrics();
  expect(text).toMatch(/tokens_served_total\{token="ledger",cache="HIT"\} [1-9]/);
  expect(text).toMatch(
    /rotations_total\{token="mail",trigger="schedule",result="rotated",code="OK"\} 1/,
  );
  expect(text).toMatch(/token_remaining_seconds\{token="ledger"\} \d{5}/);
});

test('an admin rotates the token that it names', async () => {
  const rotate = (query: string): Promise<Answer> =>
    ask('ops', `/v1/rotate${query}`, { method: 'POST' });
  const before = one.mints.length;
  // A moment ago it was rotated: nothing is minted, and the version is the one of the name.
  const answer = JSON.parse((await rotate('?token=ledger')).text) as { version_id: string };
  const served = await ask('settle', '/v1/tokens/ledger');
  expect(served.headers.get('etag')).toBe(`"${answer.version_id}"`);
  expect(one.mints.length).toBe(before);
  expect(outcomeOf(await rotate('?token=nothing'))).toEqual([404, 'invalid_target']);
  expect(outcomeOf(await rotate('?token=ledger&token=mail'))).toEqual([404, 'invalid_target']);
});

test('a provider that is down touches the tokens of no other', async () => {
  two.isDown = true;
  const mints = one.mints.length;
  const rotated = await Promise.allSettled(
    ['mail', 'read', 'default', 'ledger'].map((name) =>
      runtimeOf(runtime, name).core.rotator.rotate({ trigger: 'cli', force: true }),
    ),
  );
  expect(rotated.map(({ status }) => status)).toEqual([
    'rejected',
    'rejected',
    'fulfilled',
    'fulfilled',
  ]);
  expect(one.mints.length - mints).toBe(2);
  expect(audienceOf(await ask('settle', '/v1/tokens/ledger'))).toBe('urn:ledger');
  // Its own is still served, from before.
  expect(audienceOf(await ask('files', '/v1/tokens/mail'))).toBe('urn:mail');
  const lines = log.lines.filter(({ message }) => message === 'rotation failed');
  expect(lines.map(({ tokenName }) => String(tokenName)).toSorted()).toEqual(['mail', 'read']);
}, 60_000);

test('readiness names each token, and one that can be served is enough', async () => {
  store.edit('t/mail', 'no token');
  runtimeOf(runtime, 'mail').cache.invalidate();
  const ready = await fetch(new URL('/health/ready', broker.url));
  expect(ready.status).toBe(200);
  const { status, details } = (await ready.json()) as {
    status: string;
    details: Record<string, { status: string; code?: string }>;
  };
  expect(status).toBe('degraded');
  expect(details['token:ledger']).toMatchObject({ status: 'up' });
  expect(details['token:mail']).toMatchObject({ status: 'degraded', code: 'TOKEN_SECRET_INVALID' });
  expect(details).not.toHaveProperty('token');
});
