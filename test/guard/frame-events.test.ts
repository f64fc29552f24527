import { EventEmitter, once } from 'node:events';
import {
  Agent,
  createServer,
  request,
  type IncomingMessage,
  type RequestListener,
} from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { finished, pipeline, PassThrough, Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Catch,
  Controller,
  Get,
  Module,
  Post,
  Req,
  Res,
  Sse,
  StreamableFile,
  type ArgumentsHost,
  type CanActivate,
  type ExceptionFilter,
  type INestApplication,
  type MessageEvent,
} from '@nestjs/common';
import {
  APP_FILTER,
  APP_GUARD,
  BaseExceptionFilter,
  HttpAdapterHost,
  NestFactory,
} from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { interval, map, take, type Observable } from 'rxjs';
import {
  AllowCustomer,
  JwtGuardModule,
  Public,
  runAsService,
  type JwtGuardModuleOptions,
} from '../../src/guard/index.js';
import { currentBehalf } from '../../src/context/call-context.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen, PLATFORMS, type Platform } from './support/nest-app.js';

/** On whose behalf the calling code runs, in a word. */
function whose(): string {
  const behalf = currentBehalf();
  return typeof behalf === 'object' ? behalf.principal.subject : behalf;
}

/** Where the tests see what ran on whose behalf. */
const seen = new Map<string, Set<string>>();
const noted = new EventEmitter();
function note(where: string): void {
  const all = seen.get(where) ?? new Set();
  seen.set(where, all.add(whose()));
  noted.emit(where);
}
const everything = (): Record<string, string[]> =>
  Object.fromEntries([...seen].map(([where, subjects]) => [where, [...subjects]]));

type Raw = { readonly raw?: IncomingMessage };
const rawOf = (message: IncomingMessage & Raw): IncomingMessage => message.raw ?? message;

/** Notes in every way in which a handler can read a body. */
function readInEveryWay(message: IncomingMessage): Promise<void> {
  note('handler');
  message.on('data', () => note('request data'));
  message.on('end', () => note('request end'));
  message.on('close', () => note('request close'));
  message.socket.once('close', () => note('connection close'));
  message.socket.on('close', () => note('connection close, again'));
  message.socket.prependOnceListener('close', () => note('connection close, first'));
  finished(message, () => note('finished'));
  const sink = new Writable({
    write(_chunk, _encoding, done) {
      note('write');
      done();
    },
    final(done) {
      note('final');
      done();
    },
  });
  sink.on('finish', () => note('piped finish'));
  message.pipe(sink);
  return new Promise((resolve) => {
    pipeline(message, new PassThrough(), new PassThrough().resume(), () => {
      note('pipeline');
      resolve();
    });
  });
}

@Controller()
class StreamsController {
  @Post('upload')
  @AllowCustomer()
  async upload(@Req() message: IncomingMessage & Raw): Promise<string> {
    await readInEveryWay(rawOf(message));
    return 'done';
  }

  @Get('answer')
  @AllowCustomer()
  answer(@Res({ passthrough: true }) reply: EventEmitter & { raw?: EventEmitter }): string {
    const response = reply.raw ?? reply;
    response.on('finish', () => note('response finish'));
    response.on('close', () => note('response close'));
    return 'done';
  }

  @Get('file')
  @AllowCustomer()
  file(): StreamableFile {
    return new StreamableFile(
      Readable.from(
        (async function* () {
          for (let count = 0; count < 50; count += 1) {
            await nextTurn();
            note('file');
            yield Buffer.alloc(20_000, 'x');
          }
        })(),
      ),
    );
  }

  @Sse('events')
  @AllowCustomer()
  events(): Observable<MessageEvent> {
    return interval(1).pipe(
      take(3),
      map(() => ({ data: whose() })),
    );
  }

  @Get('later')
  @AllowCustomer()
  later(): string {
    ticking.on(
      'tick',
      bindHere(() => note('tick')),
    );
    return 'done';
  }

  @Get('public')
  @Public()
  public(): string {
    note('public');
    return 'done';
  }

  @Get('reorder')
  @Public()
  reorder(): string {
    runAsService(() => note('as service'));
    return 'done';
  }
}

const ticking = new EventEmitter();
/** As a timer or a connection does that is made here. */
function bindHere(run: () => void): () => void {
  let tick = (): void => {};
  void (async () => {
    for (;;) {
      await new Promise<void>((resolve) => (tick = resolve));
      run();
    }
  })();
  return () => tick();
}

/** A guard of the application that runs before ours, and asks another service. */
class EarlyGuard implements CanActivate {
  canActivate(): boolean {
    note('early guard');
    return true;
  }
}

@Catch()
class NotingFilter extends BaseExceptionFilter implements ExceptionFilter {
  constructor(host: HttpAdapterHost) {
    super(host.httpAdapter);
  }
  override catch(exception: unknown, host: ArgumentsHost): void {
    note('filter');
    // oxlint-disable-next-line promise/valid-params -- it is the filter's method, not a promise's.
    super.catch(exception, host);
  }
}

@Module({ providers: [{ provide: APP_GUARD, useClass: EarlyGuard }] })
class EarlyModule {}

let issuer: TestIssuer;
let apps: INestApplication[] = [];
beforeAll(async () => {
  issuer = await createIssuer();
});
afterEach(async () => {
  seen.clear();
  ticking.removeAllListeners();
  for (const app of apps) await app.close();
  apps = [];
});

function streamsModule(options: Partial<JwtGuardModuleOptions> = {}) {
  const { clock } = issuer;
  const guard = { clock, issuers: [issuer.options], ...options } as JwtGuardModuleOptions;
  @Module({
    imports: [EarlyModule, JwtGuardModule.forRoot(guard)],
    controllers: [StreamsController],
    providers: [
      {
        provide: APP_FILTER,
        useFactory: (host: HttpAdapterHost) => new NotingFilter(host),
        inject: [HttpAdapterHost],
      },
    ],
  })
  class StreamsModule {}
  return StreamsModule;
}

/** Adds a hook or a middleware that runs before everything else, and notes. */
function addHooks(app: INestApplication, platform: Platform): void {
  const instance: unknown = app.getHttpAdapter().getInstance();
  if (platform === 'fastify') {
    const fastify = instance as {
      addHook(name: string, hook: (...args: unknown[]) => void): void;
      addContentTypeParser(type: string, parse: (...args: unknown[]) => void): void;
    };
    for (const name of ['onRequest', 'onResponse']) {
      fastify.addHook(name, (...args) => {
        note(name);
        (args.at(-1) as () => void)();
      });
    }
    fastify.addContentTypeParser('application/octet-stream', (_message, _body, done) =>
      (done as (error: null) => void)(null),
    );
    return;
  }
  (instance as { use(middleware: unknown): void }).use(
    (_message: unknown, response: EventEmitter, next: () => void) => {
      note('onRequest');
      response.on('finish', () => note('onResponse'));
      next();
    },
  );
}

async function start(platform: Platform, options?: Partial<JwtGuardModuleOptions>) {
  const app = await createApp(streamsModule(options), platform);
  apps.push(app);
  addHooks(app, platform);
  const url = await listen(app);
  const authorization = `Bearer ${await issuer.customerToken()}`;
  const get = async (path: string, headers = { authorization }): Promise<string> =>
    (await fetch(`${url}/${path}`, { headers })).text();
  return { app, url, authorization, get };
}

const EVENTS = [
  'request data',
  'request end',
  'request close',
  'finished',
  'write',
  'final',
  'piped finish',
  'pipeline',
  'connection close',
  'connection close, again',
  'connection close, first',
];

async function upload(url: string, authorization: string, agent: Agent): Promise<void> {
  const sent = request(`${url}/upload`, {
    method: 'POST',
    agent,
    headers: { authorization, 'content-type': 'application/octet-stream' },
  });
  sent.flushHeaders();
  for (let piece = 0; piece < 3; piece += 1) {
    await new Promise((resolve) => sent.write(Buffer.alloc(1_000), resolve));
    await nextTurn();
  }
  sent.end();
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  expect([answer.statusCode, await text(answer)]).toEqual([201, 'done']);
}

describe.each(PLATFORMS)('on %s', (platform) => {
  test('all events of a request run on its behalf, the first of a connection or the hundredth', async () => {
    const { url, authorization } = await start(platform);
    const bob = `Bearer ${await issuer.customerToken({ sub: 'bob' })}`;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    await upload(url, authorization, agent);
    for (let round = 0; round < 98; round += 1) {
      const asked = request(`${url}/public`, { agent }).end();
      await text((await once(asked, 'response'))[0] as Readable);
    }
    seen.clear();
    const closed = once(noted, 'connection close, again');
    await upload(url, bob, agent);
    agent.destroy();
    await closed;
    await nextTurn();
    const { 'early guard': _, onRequest: _r, onResponse, handler, ...events } = everything();
    expect(handler).toEqual(['bob']);
    expect(onResponse).toEqual(['bob']);
    // The first upload's listeners of the connection are still there: each runs for its own customer.
    expect(events).toEqual(
      Object.fromEntries(
        EVENTS.map((event) => [
          event,
          event.startsWith('connection') ? expect.arrayContaining(['ann', 'bob']) : ['bob'],
        ]),
      ),
    );
  });

  test('what an answer still does runs on its behalf, also what is pulled from a stream', async () => {
    const { get } = await start(platform);
    await get('answer');
    await get('file');
    expect(await get('events')).toMatch(/^(?!.*data: (?!ann))/s);
    expect(await get('events')).toContain('data: ann');
    expect(everything()).toMatchObject({
      'response finish': ['ann'],
      'response close': ['ann'],
      file: ['ann'],
      onResponse: ['ann'],
    });
  });

  test('before the guard has judged a request, and after a refusal, nobody is known', async () => {
    const { get } = await start(platform);
    await get('answer', {} as never);
    await get('answer', { authorization: `Bearer ${await issuer.serviceToken()}` });
    expect(everything()).toEqual({
      onRequest: ['unjudged'],
      'early guard': ['unjudged'],
      filter: ['refused'],
      onResponse: ['refused'],
    });
    seen.clear();
    await get('public');
    await get('reorder');
    expect(everything()).toMatchObject({
      public: ['nobody'],
      onResponse: ['nobody'],
      'as service': ['service'],
    });
  });

  test('requests that came in one piece do not see one another', async () => {
    const { url, authorization } = await start(platform);
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    const line = (path: string, more = ''): string =>
      `GET /${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
    socket.write(
      line('answer', `Authorization: ${authorization}\r\n`) +
        line('answer') +
        line('public') +
        line('answer', `Authorization: ${authorization}\r\n`) +
        line('public', 'Connection: close\r\n'),
    );
    await text(socket);
    await nextTurn();
    const { onResponse, ...rest } = everything();
    expect(onResponse?.toSorted()).toEqual(['ann', 'nobody', 'refused']);
    expect(rest).toMatchObject({
      onRequest: ['unjudged'],
      filter: ['refused'],
      public: ['nobody'],
      'response finish': ['ann'],
      'response close': ['ann'],
    });
  });

  test.each([
    { options: {}, graceMs: 60_000 },
    { options: { callContextGraceSeconds: 5 }, graceMs: 5_000 },
  ])('a context ends after its response: $options', async ({ options, graceMs }) => {
    const { get } = await start(platform, options);
    await get('later');
    const tick = async (): Promise<string[] | undefined> => {
      seen.clear();
      ticking.emit('tick');
      await nextTurn();
      return everything()['tick'];
    };
    expect(await tick()).toEqual(['ann']);
    issuer.clock.advance(graceMs - 1);
    expect(await tick()).toEqual(['ann']);
    issuer.clock.advance(1);
    expect(await tick()).toEqual(['ended']);
  });

  test('a request that is aborted ends, too', async () => {
    const { url, authorization } = await start(platform);
    const sent = request(`${url}/upload`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/octet-stream' },
    });
    sent.on('error', () => {});
    const reading = once(noted, 'request data');
    sent.write(Buffer.alloc(1_000));
    await reading;
    const closed = once(noted, 'connection close');
    sent.destroy();
    await closed;
    expect(everything()).toMatchObject({
      'connection close': ['ann'],
      finished: ['ann'],
      pipeline: ['ann'],
    });
  });

  test('requests that come past the server have frames as well', async () => {
    const app = await createApp(streamsModule(), platform);
    apps.push(app);
    addHooks(app, platform);
    await app.init();
    const authorization = `Bearer ${await issuer.customerToken()}`;
    const instance: unknown = app.getHttpAdapter().getInstance();
    const fastify = instance as { routing?: RequestListener; ready?: () => Promise<void> };
    await fastify.ready?.();
    const second = createServer(fastify.routing ?? (instance as RequestListener));
    await once(second.listen(0, '127.0.0.1'), 'listening');
    const { port } = second.address() as AddressInfo;
    await fetch(`http://127.0.0.1:${port}/answer`, { headers: { authorization } });
    second.close();
    await nextTurn();
    expect(everything()).toMatchObject({ 'response finish': ['ann'], onResponse: ['ann'] });
  });
});

test('over HTTP/2, all events of a request run on its behalf', async () => {
  const app = await NestFactory.create(
    streamsModule(),
    new FastifyAdapter({ http2: true } as never),
    { logger: new KeptLog() },
  );
  apps.push(app);
  addHooks(app, 'fastify');
  const url = await listen(app);
  const session = connectHttp2(url);
  for (const subject of ['ann', 'bob']) {
    seen.clear();
    const stream = session.request({
      ':method': 'POST',
      ':path': '/upload',
      authorization: `Bearer ${await issuer.customerToken({ sub: subject })}`,
      'content-type': 'application/octet-stream',
    });
    stream.write(Buffer.alloc(1_000));
    await nextTurn();
    stream.end(Buffer.alloc(1_000));
    expect(await text(stream)).toBe('done');
    await nextTurn();
    expect(everything()).toMatchObject({
      handler: [subject],
      'request data': [subject],
      'request end': [subject],
      write: [subject],
      final: [subject],
      'piped finish': [subject],
      pipeline: [subject],
      onResponse: [subject],
    });
  }
  session.close();
});

test('a listener of a connection is found and removed by what was added', async () => {
  let socket: Socket | undefined;
  @Controller()
  class ListeningController {
    @Get()
    @AllowCustomer()
    listen(@Req() message: IncomingMessage): string[] {
      socket = message.socket;
      const heard: string[] = [];
      const hear = (name: string) => () => void heard.push(name);
      const [a, b, c] = [hear('a'), hear('b'), hear('c')] as const;
      socket.on('custom', a).once('custom', b).prependOnceListener('custom', c);
      expect(socket.listeners('custom')).toEqual([c, a, b]);
      socket.emit('custom');
      socket.emit('custom');
      socket.once('custom', b).off('custom', b).off('custom', a);
      expect(socket.listenerCount('custom')).toBe(0);
      socket.emit('custom');
      return heard;
    }
  }
  @Module({
    imports: [JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] })],
    controllers: [ListeningController],
  })
  class ListeningModule {}
  const app = await createApp(ListeningModule, 'express');
  apps.push(app);
  const url = await listen(app);
  const headers = { authorization: `Bearer ${await issuer.customerToken()}` };
  const answer = await fetch(url, { headers });
  expect(await answer.json()).toEqual(['c', 'a', 'b', 'a']);
});
