import { on, once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Module, type INestApplication } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { interval, map, take, type Observable } from 'rxjs';
import { WebSocket, type RawData } from 'ws';
import {
  AllowCustomer,
  AllowService,
  currentCallContext,
  CurrentPrincipal,
  JwtGuardModule,
  keepHandshakes,
  Public,
  type CredentialsOptions,
  type Principal,
} from '../../src/guard/index.js';
import { currentBehalf } from '../../src/context/call-context.js';
import { authorizationOfHandshake } from '../../src/guard/call-credentials.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen } from './support/nest-app.js';

interface Answer {
  readonly event: string;
  readonly data: unknown;
}

const whose = (): string => {
  const behalf = currentBehalf();
  return typeof behalf === 'object' ? behalf.principal.subject : behalf;
};

@WebSocketGateway()
class OrdersGateway {
  @SubscribeMessage('customer')
  @AllowCustomer()
  async customer(
    @MessageBody() body: unknown,
    @CurrentPrincipal() who: Principal,
  ): Promise<Answer> {
    await new Promise(setImmediate);
    const runner = currentCallContext()?.principal.subject;
    return { event: 'customer', data: { body, who: who.subject, runner } };
  }

  @SubscribeMessage('service')
  @AllowService()
  service(@CurrentPrincipal() who: Principal): Answer {
    return { event: 'service', data: who.subject };
  }

  @SubscribeMessage('public')
  @Public()
  public(): Answer {
    return { event: 'public', data: whose() };
  }

  @SubscribeMessage('several')
  @AllowCustomer()
  several(): Observable<Answer> {
    return interval(1).pipe(
      take(3),
      map(() => ({ event: 'several', data: whose() })),
    );
  }

  readonly connected: string[] = [];
  handleConnection(client: WebSocket): void {
    this.connected.push(whose());
    client.once('message', () => this.connected.push(whose()));
  }

  @SubscribeMessage('forgotten')
  forgotten(): Answer {
    return { event: 'forgotten', data: 'open' };
  }
}

let issuer: TestIssuer;
const log = new KeptLog();
const opened: WebSocket[] = [];

async function startApp(options: CredentialsOptions, keeps: boolean): Promise<INestApplication> {
  @Module({
    imports: [
      JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options], ...options }),
    ],
    providers: [OrdersGateway],
  })
  class GatewayModule {}
  const app = await createApp(GatewayModule, 'fastify', log);
  const adapter = new WsAdapter(app);
  app.useWebSocketAdapter(keeps ? keepHandshakes(adapter) : adapter);
  return app;
}

async function open(url: string, headers: Record<string, string | string[]>): Promise<WebSocket> {
  const socket = new WebSocket(url.replace('http', 'ws'), { headers });
  opened.push(socket);
  await once(socket, 'open');
  return socket;
}

async function ask(socket: WebSocket, event: string, data: unknown = null): Promise<Answer> {
  const answered = once(socket, 'message') as Promise<[RawData]>;
  socket.send(JSON.stringify({ event, data }));
  const [bytes] = await answered;
  return JSON.parse((bytes as Buffer).toString()) as Answer;
}

const refusedWith = (data: object): object => ({
  event: 'exception',
  data: expect.objectContaining({ status: 'error', ...data }),
});

beforeAll(async () => {
  issuer = await createIssuer();
});

afterEach(() => {
  for (const socket of opened.splice(0)) socket.terminate();
});

describe('over WebSockets', () => {
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    app = await startApp({}, true);
    url = await listen(app);
  });

  afterAll(() => app.close());

  test('the handshake’s token is judged for each message', async () => {
    const socket = await open(url, { authorization: `Bearer ${await issuer.customerToken()}` });
    await expect(ask(socket, 'customer', 'hello')).resolves.toEqual({
      event: 'customer',
      data: { body: 'hello', who: 'ann', runner: 'ann' },
    });
    await expect(ask(socket, 'service')).resolves.toEqual({
      event: 'exception',
      data: {
        status: 'error',
        statusCode: 403,
        error: 'insufficient_scope',
        message: 'Only services may do this.',
      },
    });
    await expect(ask(socket, 'public')).resolves.toEqual({ event: 'public', data: 'nobody' });
  });

  test('what a handler returns is pulled on its behalf; what no guard has judged is on nobody’s', async () => {
    const socket = await open(url, { authorization: `Bearer ${await issuer.customerToken()}` });
    const answers = on(socket, 'message') as AsyncIterableIterator<[RawData]>;
    socket.send(JSON.stringify({ event: 'several' }));
    for (let count = 0; count < 3; count += 1) {
      const [bytes] = (await answers.next()).value as [RawData];
      expect(JSON.parse((bytes as Buffer).toString())).toEqual({ event: 'several', data: 'ann' });
    }
    expect(new Set(app.get(OrdersGateway).connected)).toEqual(new Set(['unjudged']));
  });

  test('a token that expires during the connection is refused', async () => {
    const short = await createIssuer();
    const token = await short.customerToken({ exp: short.clock.seconds + 10 });
    @Module({
      imports: [JwtGuardModule.forRoot({ clock: short.clock, issuers: [short.options] })],
      providers: [OrdersGateway],
    })
    class ShortModule {}
    const shortApp = await createApp(ShortModule, 'fastify', log);
    shortApp.useWebSocketAdapter(keepHandshakes(new WsAdapter(shortApp)));
    try {
      const socket = await open(await listen(shortApp), { authorization: `Bearer ${token}` });
      await expect(ask(socket, 'customer')).resolves.toMatchObject({ event: 'customer' });
      short.clock.advance(71_000);
      await expect(ask(socket, 'customer')).resolves.toEqual(
        refusedWith({ statusCode: 401, error: 'invalid_token' }),
      );
    } finally {
      await shortApp.close();
    }
  });

  test.each<[string, Record<string, string | string[]>, object]>([
    ['no token', {}, { statusCode: 401, message: 'A bearer token is required.' }],
    ['nonsense', { authorization: 'Bearer nonsense' }, { statusCode: 401, error: 'invalid_token' }],
    [
      'two headers',
      { authorization: ['Bearer a', 'Bearer b'] },
      { statusCode: 400, error: 'invalid_request' },
    ],
  ])('%s', async (_, headers, data) => {
    const socket = await open(url, headers);
    await expect(ask(socket, 'customer')).resolves.toEqual(refusedWith(data));
  });

  test('a token in the query or in the message is not read', async () => {
    const token = await issuer.customerToken();
    const socket = await open(`${url}/?access_token=${token}`, {});
    await expect(ask(socket, 'customer', { authorization: `Bearer ${token}` })).resolves.toEqual(
      refusedWith({ statusCode: 401 }),
    );
  });

  test('without decorators: closed', async () => {
    const socket = await open(url, { authorization: `Bearer ${await issuer.serviceToken()}` });
    const answer = await ask(socket, 'forgotten');
    expect(answer).toMatchObject({ event: 'exception' });
    expect(JSON.stringify(answer)).not.toContain('open');
    expect(log.of('warn').join('\n')).toContain('OrdersGateway.forgotten');
  });

  test('interleaved messages of many connections, also in one piece', async () => {
    const subjects = Array.from({ length: 10 }, (_, index) => `customer-${index}`);
    const seen = await Promise.all(
      subjects.map(async (sub) => {
        const token = await issuer.customerToken({ sub });
        const socket = await open(url, { authorization: `Bearer ${token}` });
        const answers: Answer[] = [];
        const done = new Promise<void>((resolve) => {
          socket.on('message', (bytes: Buffer) => {
            answers.push(JSON.parse(bytes.toString()) as Answer);
            if (answers.length === 20) resolve();
          });
        });
        for (let round = 0; round < 10; round += 1) {
          socket.send(JSON.stringify({ event: 'customer', data: round }));
          socket.send(JSON.stringify({ event: 'public' }));
        }
        await done;
        return answers;
      }),
    );
    for (const [index, answers] of seen.entries()) {
      const customers = answers.filter(({ event }) => event === 'customer');
      const who = subjects[index];
      expect(customers.map(({ data }) => data).sort(byBody)).toEqual(
        Array.from({ length: 10 }, (_, body) => ({ body, who, runner: who })),
      );
      const others = answers.filter(({ event }) => event !== 'customer');
      expect(others).toHaveLength(10);
      for (const other of others) expect(other).toEqual({ event: 'public', data: 'nobody' });
    }
  });

  test('no token is in any log line', () => {
    expect(log.lines.join('\n')).not.toMatch(/eyJ/);
  });
});

test('a connection without a kept handshake is refused', async () => {
  const app = await startApp({}, false);
  try {
    const token = await issuer.customerToken();
    const socket = await open(await listen(app), { authorization: `Bearer ${token}` });
    await expect(ask(socket, 'customer')).resolves.toEqual(refusedWith({ statusCode: 401 }));
  } finally {
    await app.close();
  }
});

test('tokenFromWs replaces the handshake', async () => {
  const app = await startApp(
    { tokenFromWs: (_, data) => (data as { token?: string } | null)?.token },
    true,
  );
  try {
    const token = await issuer.customerToken();
    const socket = await open(await listen(app), { authorization: `Bearer ${token}` });
    await expect(ask(socket, 'customer', { token })).resolves.toMatchObject({ event: 'customer' });
    await expect(ask(socket, 'customer', {})).resolves.toEqual(refusedWith({ statusCode: 401 }));
    await expect(ask(socket, 'customer', { token: 7 })).resolves.toEqual(
      refusedWith({ statusCode: 400 }),
    );
  } finally {
    await app.close();
  }
});

test.each<[string, object, readonly unknown[]]>([
  [
    'socket.io, by its request',
    {
      request: {
        headers: { authorization: 'a' },
        rawHeaders: ['Authorization', 'a', 'Authorization', 'b'],
      },
      handshake: { headers: { authorization: 'a' } },
    },
    ['a', 'b'],
  ],
  ['socket.io, by its handshake', { handshake: { headers: { authorization: 'a' } } }, ['a']],
  ['a client that says nothing', {}, []],
])('%s', (_, client, values) => {
  expect(authorizationOfHandshake(client)).toEqual(values);
});

function byBody(left: unknown, right: unknown): number {
  return (left as { body: number }).body - (right as { body: number }).body;
}
