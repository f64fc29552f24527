import { EventEmitter, once } from 'node:events';
import { Agent, request, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AsyncResource } from 'node:async_hooks';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Body,
  Controller,
  Get,
  Module,
  Post,
  type INestApplication,
  type NestInterceptor,
  UseInterceptors,
  type MiddlewareConsumer,
  type NestModule,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import {
  AllowCustomer,
  AllowService,
  createTokenVerifier,
  currentCallContext,
  currentCorrelation,
  JwtGuardModule,
  Public,
  runAsService,
  runWithPrincipal,
} from '../../src/guard/index.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen, PLATFORMS } from './support/nest-app.js';

const whoseCall = (): string => currentCallContext()?.principal.subject ?? 'nobody';

const WatchingInterceptor: NestInterceptor = {
  intercept: (context, next) => {
    context.switchToHttp().getRequest<{ seen?: string }>().seen = whoseCall();
    return next.handle();
  },
};

@Controller()
class FramesController {
  @Post('body')
  @AllowCustomer()
  async body(@Body() body: { size?: number; text?: string }): Promise<object> {
    const atOnce = whoseCall();
    await nextTurn();
    return { atOnce, later: whoseCall(), received: body.text?.length };
  }

  @Get('everywhere')
  @AllowCustomer()
  @AllowService()
  async everywhere(): Promise<object> {
    const emitter = new EventEmitter();
    const heard = new Promise((resolve) => emitter.once('event', () => resolve(whoseCall())));
    const timer = new Promise((resolve) => setTimeout(() => resolve(whoseCall()), 1));
    emitter.emit('event');
    const stream = Readable.from(
      (async function* (): AsyncGenerator<string> {
        await nextTurn();
        yield whoseCall();
      })(),
    );
    return {
      event: await heard,
      timer: await timer,
      stream: await text(stream),
      service: await runAsService(async () => {
        await nextTurn();
        return whoseCall();
      }),
      after: whoseCall(),
    };
  }

  @Get('public')
  @Public()
  public(): object {
    return { subject: whoseCall() };
  }

  @Get('watched')
  @AllowService()
  @UseInterceptors(WatchingInterceptor)
  watched(): object {
    return { subject: whoseCall() };
  }

  @Get('correlation')
  @Public()
  async correlation(): Promise<object> {
    await nextTurn();
    return { ...currentCorrelation() };
  }
}

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await createIssuer();
});

function framesModule() {
  const { clock, options } = issuer;
  @Module({
    imports: [JwtGuardModule.forRoot({ clock, issuers: [options] })],
    controllers: [FramesController],
  })
  class FramesModule {}
  return FramesModule;
}

/** Express under another name: an adapter that the guard has not heard of. */
class OtherAdapter extends ExpressAdapter {
  override getType(): string {
    return 'other';
  }
}

describe.each([...PLATFORMS, 'other'] as const)('calls on %s', (platform) => {
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    const start = (): Promise<INestApplication> =>
      platform === 'other'
        ? NestFactory.create(framesModule(), new OtherAdapter(), { logger: new KeptLog() })
        : createApp(framesModule(), platform);
    // An application that is started on somebody's behalf serves nobody in particular.
    const token = await issuer.customerToken({ sub: 'starter' });
    const verifier = createTokenVerifier({ clock: issuer.clock, issuers: [issuer.options] });
    const { principal } = await verifier.verify(token);
    [app, url] = await runWithPrincipal(principal, token, async () => {
      const started = await start();
      return [started, await listen(started)] as const;
    });
  });

  afterAll(() => app.close());

  const authorized = (token: string, more: Record<string, string> = {}) => ({
    authorization: `Bearer ${token}`,
    ...more,
  });
  const get = async (path: string, headers: Record<string, string> = {}): Promise<unknown> =>
    (await fetch(`${url}/${path}`, { headers })).json();

  test('reach everything that a handler starts', async () => {
    const token = await issuer.customerToken();
    // The second time the token is remembered, and the guard admits it without a promise.
    for (let round = 0; round < 2; round += 1) {
      await expect(get('everywhere', authorized(token))).resolves.toEqual({
        event: 'ann',
        timer: 'ann',
        stream: 'ann',
        service: 'nobody',
        after: 'ann',
      });
    }
  });

  test('reach handlers whose body came in pieces', async () => {
    const token = await issuer.customerToken();
    const sent = request(`${url}/body`, {
      method: 'POST',
      headers: authorized(token, { 'content-type': 'application/json' }),
    });
    sent.write('{"text":"');
    sent.flushHeaders();
    await nextTurn();
    for (let piece = 0; piece < 5; piece += 1) {
      await new Promise((resolve) => sent.write('x'.repeat(10_000), resolve));
      await nextTurn();
    }
    sent.end('"}');
    const [answer] = (await once(sent, 'response')) as [Readable];
    expect(JSON.parse(await text(answer))).toEqual({
      atOnce: 'ann',
      later: 'ann',
      received: 50_000,
    });
  });

  test('do not reach the next request of their connection, also when all come in one piece', async () => {
    const token = await issuer.customerToken();
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    const customer = `GET /everywhere HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n\r\n`;
    const nobody = 'GET /public HTTP/1.1\r\nHost: a\r\n\r\n';
    const last = 'GET /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    socket.write(customer + nobody + customer + last);
    const answers = await text(socket);
    expect(answers.match(/"subject":"\w+"/g)).toEqual(['"subject":"nobody"', '"subject":"nobody"']);
    expect(answers.match(/"after":"ann"/g)).toHaveLength(2);

    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const subjects: unknown[] = [];
    for (const path of ['everywhere', 'public', 'everywhere', 'public']) {
      const asked = request(`${url}/${path}`, { agent, headers: authorized(token) }).end();
      const [answer] = (await once(asked, 'response')) as [Readable];
      const body = JSON.parse(await text(answer)) as Record<string, unknown>;
      subjects.push(body['subject'] ?? body['after']);
    }
    agent.destroy();
    expect(subjects).toEqual(['ann', 'nobody', 'ann', 'nobody']);
  });

  test('carry their correlation, also to public handlers', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await expect(
      get('correlation', { traceparent, tracestate: 'a=1', 'x-request-id': 'r-1' }),
    ).resolves.toEqual({ traceparent, tracestate: 'a=1', requestId: 'r-1' });
    await expect(get('correlation', { traceparent: 'nonsense' })).resolves.toEqual({});
  });
});

test.each(PLATFORMS)('other interceptors on %s run in the call as well', async (platform) => {
  const app = await createApp(framesModule(), platform);
  let seen: unknown;
  const use: unknown = app.getHttpAdapter().getInstance();
  const note = (asked: { seen?: unknown }): void => void (seen = asked.seen);
  if (platform === 'fastify') {
    (use as { addHook(name: string, hook: unknown): void }).addHook(
      'onResponse',
      (asked: object, _: unknown, done: () => void) => {
        note(asked);
        done();
      },
    );
  } else {
    (use as { use(hook: unknown): void }).use(
      (asked: object, answer: EventEmitter, next: () => void) => {
        answer.once('finish', () => note(asked));
        next();
      },
    );
  }
  const url = await listen(app);
  const headers = { authorization: `Bearer ${await issuer.serviceToken()}` };
  const answer = await fetch(`${url}/watched`, { headers });
  expect(await answer.json()).toEqual({ subject: 'job' });
  await app.close();
  expect(seen).toBe('job');
});

describe('a token that is remembered', () => {
  test('is judged by each handler, and at each moment, anew', async () => {
    const own = await createIssuer();
    const { clock, options } = own;
    @Module({
      imports: [JwtGuardModule.forRoot({ clock, issuers: [options] })],
      controllers: [FramesController],
    })
    class RememberingModule {}
    const app = await createApp(RememberingModule, 'fastify');
    const url = await listen(app);
    const token = await own.customerToken();
    const status = async (path: string, scheme = 'Bearer '): Promise<number> => {
      const headers = { authorization: `${scheme}${token}` };
      return (await fetch(`${url}/${path}`, { headers })).status;
    };
    expect(await status('everywhere')).toBe(200);
    expect(await status('everywhere')).toBe(200);
    expect(await status('watched')).toBe(403);
    expect(await status('everywhere', 'bearer   ')).toBe(200);
    expect(await status('everywhere', 'Basic ')).toBe(401);
    expect(await status('everywhere', '')).toBe(401);
    clock.advance(3_600_000 + 120_000);
    expect(await status('everywhere')).toBe(401);
    await app.close();
  });
});

type Next = () => void;

/** A connection that all requests share, such as one to Redis: its callbacks run in the context it was opened in. */
const shared = new EventEmitter();
const opened = new AsyncResource('shared');

/** Loads a session, as middleware with callbacks does. */
function loadSession(bind: (next: Next) => Next) {
  return (_request: unknown, _response: unknown, next: Next): void => {
    shared.once('answer', bind(next));
    setImmediate(() => opened.runInAsyncScope(() => shared.emit('answer')));
  };
}

/** What handlers of webhooks use to get at the bytes that were signed. */
function readRawBody(request: IncomingMessage, _response: unknown, next: Next): void {
  request.resume();
  request.on('end', next);
}

@Controller()
class HooksController {
  @Post('customer')
  @AllowCustomer()
  customer(): object {
    return { who: currentCallContext()?.principal.subject ?? 'nobody' };
  }

  @Post('public')
  @Public()
  public(): object {
    return { who: currentCallContext()?.principal.subject ?? 'nobody' };
  }
}

async function start(
  middleware: (request: IncomingMessage, response: unknown, next: Next) => void,
) {
  const issuer = await createIssuer();
  @Module({
    imports: [JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] })],
    controllers: [HooksController],
  })
  class HooksModule implements NestModule {
    configure(consumer: MiddlewareConsumer): void {
      consumer.apply(middleware).forRoutes('{*all}');
    }
  }
  const log = new KeptLog();
  const app = await NestFactory.create(HooksModule, new ExpressAdapter(), {
    logger: log,
    bodyParser: false,
  });
  const url = await listen(app);
  const authorization = `Bearer ${await issuer.customerToken()}`;
  const post = async (path: string): Promise<readonly [number, unknown]> => {
    const response = await fetch(`${url}/${path}`, {
      method: 'POST',
      headers: { authorization },
      body: '{"signed":true}',
    });
    return [response.status, await response.json()];
  };
  return { app, log, post };
}

test('a customer whose call context was lost on the way is not served as nobody', async () => {
  const { app, log, post } = await start(loadSession((next) => next));
  // The second time the token is remembered, and the guard admits it without a promise.
  for (let round = 0; round < 2; round += 1) {
    expect((await post('customer'))[0]).toBe(500);
  }
  expect(log.of('error').join('\n')).toMatch(
    /HooksController\.customer would run outside the call context.*AsyncResource\.bind\(next\)/,
  );
  expect(log.lines.join('\n')).not.toMatch(/eyJ/);
  expect(await post('public')).toEqual([201, { who: 'nobody' }]);
  await app.close();
});

test('a middleware that binds next keeps it', async () => {
  const { app, post } = await start(loadSession((next) => AsyncResource.bind(next)));
  expect(await post('customer')).toEqual([201, { who: 'ann' }]);
  await app.close();
});

test('a middleware that calls next from an event of the request keeps it', async () => {
  const { app, post } = await start(readRawBody);
  for (let round = 0; round < 3; round += 1) {
    expect(await post('customer')).toEqual([201, { who: 'ann' }]);
  }
  await app.close();
});
