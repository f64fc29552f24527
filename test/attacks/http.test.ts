import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { All, Controller, Module, type INestApplication } from '@nestjs/common';
import express from 'express';
import fastify from 'fastify';
import { createExpressGuard, type TokenRequirement } from '../../src/guard/express/index.js';
import { fastifyGuard } from '../../src/guard/fastify/index.js';
import {
  AllowCustomer,
  AllowService,
  createRemoteKeySet,
  createStaticKeySet,
  JwtGuardModule,
  type IssuerOptions,
} from '../../src/guard/index.js';
import { createApp, KeptLog, listen, PLATFORMS, type Platform } from '../guard/support/nest-app.js';
import { JwksServer } from '../verification/support/jwks-server.js';
import { ManualClock } from '../verification/support/manual-clock.js';
import {
  AUDIENCE,
  forge,
  ISSUER,
  ISSUER_KEYS,
  OTHER_ISSUER,
  OTHER_ISSUER_KEYS,
  type Attack,
} from './forge.js';

/** One line of `transport.jsonl`. `@good` is a token that is accepted elsewhere, `@bad` one that is not. */
interface TransportAttack {
  readonly name: string;
  readonly method?: string;
  readonly query?: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body?: string;
  readonly status: number;
}

/**
 * What HTTP makes of some lines of `tokens.jsonl`; every other one is a 401. White space around a header's value and
 * between scheme and token belongs to HTTP (RFC 9110 §5.5, RFC 6750 §2.1): what arrives is the good token itself.
 */
const STATUS_OVER_HTTP: ReadonlyMap<string, number> = new Map(
  Object.entries({
    'white space before': 200,
    'white space after': 200,
    // Not the syntax of RFC 6750 §2.1, or not that of HTTP.
    'padding in the header': 400,
    'a line break after': 400,
    'a line break inside': 400,
    'a tab inside': 400,
    'a NUL after': 400,
    'a no-break space after': 400,
    'a byte-order mark before the token': 400,
    'a comma and a second token': 400,
    empty: 400,
    // More than the 16 KiB that Node takes for all headers.
    'two megabytes': 431,
    'two megabytes of dots': 431,
    'claims of 20,000 characters': 431,
  }),
);

const linesOf = (name: string): readonly unknown[] =>
  readFileSync(new URL(name, import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
const tokens = linesOf('./tokens.jsonl') as readonly Attack[];
const transports = linesOf('./transport.jsonl') as readonly TransportAttack[];
const named = <Line extends { readonly name: string }>(
  lines: readonly Line[],
): readonly (readonly [string, Line])[] => lines.map((line) => [line.name, line] as const);

const clock = new ManualClock();
const RULES = { audiences: AUDIENCE, profile: 'auth0', maxTokenLifetimeSeconds: 86_400 } as const;
const good = (): string => forge({ name: 'good', code: '' }, clock.seconds);
const bad = (): string => forge({ name: 'bad', code: '', signer: 'stranger' }, clock.seconds);

@Controller()
class TargetController {
  @All('target')
  @AllowCustomer()
  @AllowService()
  target(): string {
    return 'reached';
  }
}

function moduleFor(issuers: readonly IssuerOptions[]) {
  @Module({
    imports: [JwtGuardModule.forRoot({ clock, issuers, realm: 'target' })],
    controllers: [TargetController],
  })
  class TargetModule {}
  return TargetModule;
}

/** More than Node takes for all headers. */
const FIRST_BYTES = 40_000;

/** Sends bytes as they are, which HTTP clients refuse to do, and reads until the server closes. */
async function exchange(url: string, request: string): Promise<{ status: number; text: string }> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let text = '';
  socket.setEncoding('latin1');
  socket.on('data', (part: string) => (text += part));
  // A server may close before it has read two megabytes; what it answered is what counts.
  socket.on('error', () => socket.destroy());
  socket.setTimeout(20_000, () => {
    text = 'HTTP/1.1 000 no answer in time';
    socket.destroy();
  });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.write(request.slice(0, FIRST_BYTES));
  if (request.length > FIRST_BYTES) {
    // No server waits for all of this; sent at once, the rest would reset the connection before the answer is read.
    await Promise.race([closed, new Promise((resolve) => socket.once('data', resolve))]);
    socket.write(request.slice(FIRST_BYTES));
  }
  await closed;
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]), text };
}

function requestOf({
  method = 'GET',
  query = '',
  headers,
  body = '',
}: Omit<TransportAttack, 'name' | 'status'>): string {
  const isChunked = headers.some(([name]) => name === 'Transfer-Encoding');
  const all: readonly (readonly [string, string])[] = [
    ['Host', 'target'],
    ...headers,
    ...(body === '' || isChunked ? [] : [['Content-Length', String(body.length)] as const]),
    ['Connection', 'close'],
  ];
  const head = all.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `${method} /target${query} HTTP/1.1\r\n${head}\r\n${body}`;
}

function expectNoLeak(token: string, ...places: readonly string[]): void {
  const parts = token.split(/[^A-Za-z0-9_-]+/).filter((part) => part.length > 10);
  for (const place of places) {
    for (const part of parts) expect(place.includes(part)).toBe(false);
    expect(place).not.toContain('attacker.example');
  }
}

test('names are unique, and each named status belongs to a line', () => {
  const names = new Set(tokens.map(({ name }) => name));
  expect([...STATUS_OVER_HTTP.keys()].filter((name) => !names.has(name))).toEqual([]);
  expect(new Set(transports.map(({ name }) => name)).size).toBe(transports.length);
});

interface Target {
  readonly url: string;
  close(): Promise<unknown>;
}

const ISSUERS = [
  { ...RULES, issuer: ISSUER, keys: createStaticKeySet(ISSUER_KEYS) },
  { ...RULES, issuer: OTHER_ISSUER, keys: createStaticKeySet(OTHER_ISSUER_KEYS) },
];
const BOTH: TokenRequirement = { allow: ['customer', 'service'] };

async function nestTarget(platform: Platform, log: KeptLog): Promise<Target> {
  const app = await createApp(moduleFor(ISSUERS), platform, log);
  return { url: await listen(app), close: () => app.close() };
}

async function expressTarget(log: KeptLog): Promise<Target> {
  const guard = createExpressGuard({ clock, issuers: ISSUERS, realm: 'target', logger: log });
  const app = express();
  app.use(express.json(), express.urlencoded());
  app.all('/target', guard.requireToken(BOTH), (_, response) => void response.send('reached'));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}

async function fastifyTarget(log: KeptLog): Promise<Target> {
  const app = fastify();
  app.addContentTypeParser('*', (_request, payload, done) => {
    payload.resume().once('end', () => done(null));
  });
  await app.register(fastifyGuard, { clock, issuers: ISSUERS, realm: 'target', logger: log });
  app.all('/target', { config: { access: BOTH } }, (_, reply) => reply.send('reached'));
  return { url: await app.listen({ port: 0, host: '127.0.0.1' }), close: () => app.close() };
}

describe.each<[string, (log: KeptLog) => Promise<Target>]>([
  ...PLATFORMS.map((platform): [string, (log: KeptLog) => Promise<Target>] => [
    platform,
    (log) => nestTarget(platform, log),
  ]),
  ['Express alone', expressTarget],
  ['Fastify alone', fastifyTarget],
])('over HTTP on %s', (_platform, start) => {
  let target: Target;
  let url: string;
  const log = new KeptLog();

  beforeAll(async () => {
    target = await start(log);
    ({ url } = target);
  });

  afterAll(() => target.close());

  test('the good token is accepted', async () => {
    const authorization = ['Authorization', `Bearer ${good()}`] as const;
    const form = ['Content-Type', 'application/x-www-form-urlencoded'] as const;
    for (const request of [
      { headers: [authorization] },
      { method: 'POST', headers: [authorization, form], body: 'access_token=ignored' },
      { method: 'GET', headers: [authorization], query: '?access_token=ignored' },
    ]) {
      const { status, text } = await exchange(url, requestOf(request));
      expect([200, 201]).toContain(status);
      expect(text).toContain('reached');
    }
  });

  test.each(named(tokens))('token: %s', async (name, attack) => {
    const token = forge(attack, clock.seconds);
    const before = log.lines.length;
    const { status, text } = await exchange(
      url,
      requestOf({ headers: [['Authorization', `Bearer ${token}`]] }),
    );
    const expected = STATUS_OVER_HTTP.get(name) ?? 401;
    expect(status).toBe(expected);
    const lines = log.lines.slice(before).join('\n');
    if (expected === 401) {
      expect(text).toMatch(/^WWW-Authenticate: Bearer realm="target", error="invalid_token"/im);
      expect(lines).toContain(`401 ${attack.code}`);
    }
    if (expected !== 200) expect(text).not.toContain('reached');
    expectNoLeak(token, text, lines);
  });

  test.each(named(transports))('transport: %s', async (_, attack) => {
    const before = log.lines.length;
    const [goodToken, badToken] = [good(), bad()];
    const fill = (text: string): string =>
      text.replaceAll('@good', goodToken).replaceAll('@bad', badToken);
    const { status, text } = await exchange(
      url,
      requestOf({
        ...attack,
        query: fill(attack.query ?? ''),
        headers: attack.headers.map(([name, value]) => [name, fill(value)] as const),
        body: fill(attack.body ?? ''),
      }),
    );
    expect(status).toBe(attack.status);
    expect(text).not.toContain('reached');
    if (status === 401) expect(text).toMatch(/^WWW-Authenticate: Bearer /im);
    expectNoLeak(`${goodToken} ${badToken}`, text, log.lines.slice(before).join('\n'));
  });

  test('nothing was an error of the server', () => {
    expect(log.of('error')).toEqual([]);
  });
});

describe.each(PLATFORMS)('a flood of random key ids on %s', (platform) => {
  const FLOOD = 300;
  let app: INestApplication;
  let url: string;
  let jwks: JwksServer;
  const log = new KeptLog();

  beforeAll(async () => {
    jwks = await JwksServer.start(...ISSUER_KEYS.keys);
    const keys = createRemoteKeySet({ jwksUri: jwks.uri, clock });
    app = await createApp(moduleFor([{ ...RULES, issuer: ISSUER, keys }]), platform, log);
    url = await listen(app);
  });

  afterAll(async () => {
    await app.close();
    await jwks.stop();
  });

  const send = async (token: string): Promise<number> =>
    (await fetch(`${url}/target`, { headers: { authorization: `Bearer ${token}` } })).status;
  const flood = (): Promise<readonly number[]> =>
    Promise.all(
      Array.from({ length: FLOOD }, (_, index) =>
        send(forge({ name: '', code: '', header: { kid: `invented-${index}` } }, clock.seconds)),
      ),
    );

  test('the provider is up, then breaks, then answers nothing', async () => {
    await expect(send(good())).resolves.toBe(200);
    expect(jwks.requests).toBe(1);

    // Refused is what a look has not found; without a look nobody can tell, and there are no more than four at first.
    const answers = await flood();
    expect(answers).toContain(401);
    expect(answers.filter((status) => status !== 401 && status !== 503)).toEqual([]);
    expect(jwks.requests).toBeLessThanOrEqual(1 + 4);
    await expect(send(good())).resolves.toBe(200);

    // Nothing is left for a key that is new in truth: it is put off, with the time of the next look, and not refused.
    await flood();
    const newKey = forge({ name: '', code: '', header: { kid: 'new' } }, clock.seconds);
    const putOff = await fetch(`${url}/target`, { headers: { authorization: `Bearer ${newKey}` } });
    expect(putOff.status).toBe(503);
    expect(putOff.headers.get('retry-after')).toBe('30');
    expect(putOff.headers.get('www-authenticate')).toBe(null);
    jwks.keys = [{ ...ISSUER_KEYS.keys[0], kid: 'new' }] as JwksServer['keys'];
    clock.advance(30_000);
    await expect(send(newKey)).resolves.toBe(200);
    await expect(send(good())).resolves.toBe(503);
    jwks.keys = ISSUER_KEYS.keys;
    clock.advance(30_000);
    await expect(send(good())).resolves.toBe(200);

    for (const kind of ['break', 'hang'] as const) {
      jwks.behaviour = { kind };
      const before = jwks.requests;
      clock.advance(61_000);
      const answers = flood();
      if (kind === 'hang') {
        await jwks.requestArrived(before + 1);
        await expect(send(good())).resolves.toBe(200);
        clock.advance(30_000);
      }
      const statuses = new Set(await answers);
      expect([...statuses].filter((status) => status !== 401 && status !== 503)).toEqual([]);
      expect(jwks.requests - before).toBeLessThanOrEqual(3);
      await expect(send(good())).resolves.toBe(200);
    }
    expect(log.of('error')).toEqual([]);
    expect(log.lines.join('\n')).not.toMatch(/eyJ|invented/);
  });
});
