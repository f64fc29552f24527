import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, test, afterAll, beforeAll } from '@jest/globals';
import { type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  headerValues,
  authorizationOfRequest,
  unreadToken,
} from '../../src/guard/call-credentials.js';
import { readBearer } from '../../src/verification/bearer-access.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen } from './support/nest-app.js';
import { OrdersModule } from './support/orders.js';

describe('authorizationOfRequest', () => {
  const headers = { authorization: 'Bearer first' };

  test.each<[string, unknown, readonly unknown[]]>([
    ['nothing', undefined, []],
    ['no request', 'text', []],
    ['no headers', {}, []],
    ['Node', { headers, rawHeaders: ['Authorization', 'Bearer first'] }, ['Bearer first']],
    [
      'Node, twice',
      { headers, rawHeaders: ['Authorization', 'Bearer first', 'AUTHORIZATION', 'Bearer second'] },
      ['Bearer first', 'Bearer second'],
    ],
    [
      'Fastify, twice',
      { headers, raw: { headers, rawHeaders: ['authorization', 'a', 'authorization', 'b'] } },
      ['a', 'b'],
    ],
    [
      'a header’s value that looks like its name',
      { headers: {}, rawHeaders: ['X', 'authorization'] },
      [],
    ],
    ['an adapter without raw headers', { headers, rawHeaders: [] }, ['Bearer first']],
    ['an adapter that keeps the case', { headers: { Authorization: 'Bearer a' } }, ['Bearer a']],
    [
      'an adapter with two spellings',
      { headers: { Authorization: 'Bearer a', authorization: 'Bearer b' } },
      ['Bearer a', 'Bearer b'],
    ],
    ['a list', { headers: { authorization: ['a', 'b'] } }, ['a', 'b']],
    ['the Fetch API', new Request('http://a.example', { headers }), ['Bearer first']],
    ['query and body', { headers: {}, query: headers, body: headers, url: '/?access_token=a' }, []],
  ])('%s', (_, request, values) => {
    expect(authorizationOfRequest(request)).toEqual(values);
  });

  test('two headers of the Fetch API arrive as one value that is malformed', () => {
    const both = new Headers([
      ['authorization', 'Bearer a'],
      ['authorization', 'Bearer b'],
    ]);
    expect(readBearer(headerValues(both, 'authorization'))).toEqual({ kind: 'malformed' });
  });

  test('the name may be inherited from nowhere', () => {
    expect(headerValues(Object.create({ authorization: 'Bearer a' }), 'authorization')).toEqual([]);
  });
});

/** Header names and values, alternating, repeated ones included: no HTTP client of Node.js sends them. */
type Headers = readonly (readonly [string, string])[];

/** @returns the status, as the answer's body names it; 200 where the body is the handler's. */
type Ask = (port: number, headers: Headers) => Promise<number>;

const askHttp1: Ask = async (port, headers) => {
  const socket = connect(port, '127.0.0.1');
  const lines = headers.map(([name, value]) => `${name}: ${value}`);
  const head = ['GET /both HTTP/1.1', 'Host: orders', ...lines, 'Connection: close', '', ''];
  socket.write(head.join('\r\n'));
  return Number((await text(socket)).slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length));
};

/** RFC 9113 by hand: the preface, SETTINGS, and one HEADERS frame of literals (RFC 7541 §6.2.2). */
const askHttp2: Ask = async (port, headers) => {
  const fields: Headers = [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/both'],
    [':authority', 'orders'],
    ...headers.map(([name, value]) => [name.toLowerCase(), value] as const),
  ];
  const block = fields.map(([name, value]) =>
    Buffer.concat([Buffer.from([0]), literal(name), literal(value)]),
  );
  const socket = connect(port, '127.0.0.1');
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(frame(4, 0, 0, Buffer.alloc(0)));
  socket.write(frame(1, 0x5, 1, Buffer.concat(block)));
  let seen = Buffer.alloc(0);
  let body = '';
  for (;;) {
    while (seen.length >= 9 && seen.length >= 9 + seen.readUIntBE(0, 3)) {
      const end = 9 + seen.readUIntBE(0, 3);
      const [type, flags] = [seen[3], seen[4] ?? 0];
      if (type === 0) body += seen.subarray(9, end).toString();
      // RST_STREAM or GOAWAY: the request was not answered.
      if (type === 3 || type === 7) throw new Error(`HTTP/2 frame of type ${type}`);
      seen = seen.subarray(end);
      if (type !== 0 || (flags & 1) === 0) continue;
      socket.destroy();
      return (JSON.parse(body) as { statusCode?: number }).statusCode ?? 200;
    }
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    seen = Buffer.concat([seen, chunk]);
  }
};

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A string without Huffman coding, its length as an integer with a prefix of seven bits (RFC 7541 §5.1). */
function literal(value: string): Buffer {
  const length: number[] = [];
  if (value.length < 127) length.push(value.length);
  else {
    length.push(127);
    let rest = value.length - 127;
    for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), Buffer.from(value)]);
}

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await createIssuer();
});

describe.each<
  [string, (module: ReturnType<typeof OrdersModule.with>) => Promise<INestApplication>, Ask]
>([
  ['fastify over HTTP/1.1', (module) => createApp(module, 'fastify'), askHttp1],
  ['express over HTTP/1.1', (module) => createApp(module, 'express'), askHttp1],
  [
    'fastify over HTTP/2',
    (module) =>
      NestFactory.create(module, new FastifyAdapter({ http2: true } as never), {
        logger: new KeptLog(),
      }),
    askHttp2,
  ],
])('two Authorization headers on %s', (_name, create, ask) => {
  let app: INestApplication;
  let port: number;
  let remembered: string;
  let other: string;

  beforeAll(async () => {
    const { clock, options } = issuer;
    app = await create(OrdersModule.with({ clock, issuers: [options] }));
    port = Number(new URL(await listen(app)).port);
    [remembered, other] = [
      await issuer.customerToken(),
      await issuer.customerToken({ sub: 'bob' }),
    ];
    // Twice, so that both are remembered, and that this way of asking is known to be let in.
    for (const token of [remembered, other, remembered, other]) {
      await expect(ask(port, [['Authorization', `Bearer ${token}`]])).resolves.toBe(200);
    }
  });
  afterAll(() => app.close());

  test.each<[string, () => readonly string[]]>([
    ['a remembered token, then another', () => [`Bearer ${remembered}`, `Bearer ${other}`]],
    ['a remembered token twice', () => [`Bearer ${remembered}`, `Bearer ${remembered}`]],
    ['a remembered token, then nonsense', () => [`Bearer ${remembered}`, 'Bearer nonsense']],
    ['nonsense, then a remembered token', () => ['Bearer nonsense', `Bearer ${remembered}`]],
    ['a remembered token, then another scheme', () => [`Bearer ${remembered}`, 'Basic YTpi']],
    ['another scheme, then a remembered token', () => ['Basic YTpi', `Bearer ${remembered}`]],
    ['a remembered token, then nothing', () => [`Bearer ${remembered}`, '']],
    ['three', () => [`Bearer ${remembered}`, `Bearer ${remembered}`, `Bearer ${other}`]],
  ])('%s: refused', async (_what, values) => {
    const spellings = ['Authorization', 'authorization', 'AUTHORIZATION'];
    const same: Headers = values().map((value) => ['Authorization', value]);
    const mixed: Headers = values().map((value, index) => [spellings[index] ?? '', value]);
    expect([await ask(port, same), await ask(port, mixed)]).toEqual([400, 400]);
  });
});

describe('a token is looked up unread only where it is the only one', () => {
  const token = 'Bearer one';
  const request = (...values: readonly string[]): object => ({
    headers: { authorization: values[0] },
    rawHeaders: values.flatMap((value) => ['authorization', value]),
  });
  const metadata = (...values: readonly string[]): object => ({
    getMap: () => ({}),
    get: () => values,
  });
  test.each([
    ['http', (...values: readonly string[]) => [request(...values)]],
    ['graphql', (...values: readonly string[]) => [{}, {}, { req: request(...values) }]],
    ['ws', (...values: readonly string[]) => [{ request: request(...values) }]],
    ['rpc', (...values: readonly string[]) => [{}, metadata(...values)]],
  ] as const)('%s', (transport, argsOf) => {
    const unread = (...values: readonly string[]): string | undefined =>
      unreadToken(transport, argsOf(...values), {});
    expect(unread(token)).toBe('one');
    expect(unread(token, 'Bearer two')).toBeUndefined();
    expect(unread(token, 'Basic YTpi')).toBeUndefined();
    expect(unread()).toBeUndefined();
  });

  test('a GraphQL subscription whose handshake and connection_init differ', () => {
    const context = {
      req: { ...request(token), connectionParams: { Authorization: 'Bearer two' } },
    };
    expect(unreadToken('graphql', [{}, {}, context], {})).toBeUndefined();
  });
});
