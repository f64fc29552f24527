import type { Server } from 'node:http';
import {
  Catch,
  Controller,
  Get,
  Module,
  ServiceUnavailableException,
  type ArgumentsHost,
  type ExceptionFilter,
  type INestApplication,
  type LoggerService,
} from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterEach, describe, expect, test } from '@jest/globals';
import request from 'supertest';
import { createLogger } from '../../src/operations/log.js';
import { BrokerMetrics } from '../../src/operations/metrics.js';
import { NestLogger } from '../../src/operations/nest-logger.js';
import { OperationsModule } from '../../src/operations/operations.module.js';
import {
  READINESS_TIMEOUT,
  type CoverageReadiness,
  type PeersReadiness,
  type ReadinessSource,
  type RotationReadiness,
  type TokenReadiness,
  type TokenReadinessSource,
} from '../../src/operations/health.js';
import { systemClock, type Clock } from '../../src/tokens/time.js';
import { assertNoCanary, CANARIES } from '../support/canaries.js';
import { LogLines } from './log-lines.js';
import { pause } from '../support/pause.js';

class Source implements ReadinessSource, TokenReadinessSource {
  readonly tokens = new Map<string, TokenReadinessSource>([['default', this]]);
  token: TokenReadiness | Promise<TokenReadiness> | Error = { ok: true, remainingSeconds: 3600 };
  rotates: RotationReadiness | undefined = { ok: true, next: '2026-01-01T03:00:00.000Z' };
  covers: CoverageReadiness | undefined = { ok: true };
  knows: PeersReadiness | undefined = { ok: true };
  asked = 0;

  async tokenState(): Promise<TokenReadiness> {
    this.asked += 1;
    const token = await this.token;
    if (token instanceof Error) throw token;
    return token;
  }

  rotation(): RotationReadiness | undefined {
    return this.rotates;
  }

  coverage(): CoverageReadiness | undefined {
    return this.covers;
  }

  peers(): PeersReadiness | undefined {
    return this.knows;
  }

  stopping = false;

  isStopping(): boolean {
    return this.stopping;
  }
}

/** A clock whose sleeps end when the test says so. */
class HeldClock implements Clock {
  readonly slept: number[] = [];
  wake = (): void => undefined;

  now(): number {
    return 0;
  }

  sleep(milliseconds: number): Promise<void> {
    this.slept.push(milliseconds);
    return new Promise((resolve) => (this.wake = resolve));
  }
}

/** What the broker's own application does with every other error: it has one text per status. */
@Catch()
class OneTextFilter implements ExceptionFilter {
  constructor(private readonly adapters: HttpAdapterHost) {}

  catch(_error: unknown, host: ArgumentsHost): void {
    this.adapters.httpAdapter.reply(host.switchToHttp().getResponse(), { error: 'generic' }, 500);
  }
}

@Controller('elsewhere')
class Elsewhere {
  @Get()
  fail(): void {
    throw new ServiceUnavailableException();
  }
}

const running: INestApplication[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((app) => app.close()));
});

interface Started {
  readonly app: INestApplication;
  readonly source: Source;
  readonly metrics: BrokerMetrics;
  readonly out: LogLines;
  readonly server: Server;
}

async function start(
  adapter: FastifyAdapter | ExpressAdapter = new FastifyAdapter(),
  clock: Clock = systemClock,
): Promise<Started> {
  const source = new Source();
  const metrics = new BrokerMetrics();
  const out = new LogLines();
  const logger: LoggerService = new NestLogger(createLogger({ level: 'info', destination: out }));

  @Module({
    imports: [OperationsModule.forRoot({ readiness: source, metrics, clock })],
    controllers: [Elsewhere],
  })
  class Application {}

  const app: INestApplication = await NestFactory.create(Application, adapter, { logger });
  app.useGlobalFilters(new OneTextFilter(app.get(HttpAdapterHost)));
  running.push(app);
  await app.listen(0, '127.0.0.1');
  out.text = '';
  return { app, source, metrics, out, server: app.getHttpServer() as Server };
}

describe.each([
  ['Fastify', () => new FastifyAdapter()],
  ['Express', () => new ExpressAdapter()],
])('on %s', (_name, adapter) => {
  test('it lives', async () => {
    const { server, source } = await start(adapter());
    source.token = { ok: false, reason: 'anything' };
    const response = await request(server).get('/health/live').expect(200, { status: 'ok' });
    expect(response.headers['cache-control']).toBe('no-store');
    expect(source.asked).toBe(0);
  });

  test('it is ready when a token can be served', async () => {
    const { server, source } = await start(adapter());
    const response = await request(server).get('/health/ready').expect(200);
    expect(response.headers['cache-control']).toContain('no-store');
    expect(response.body).toMatchObject({
      status: 'ok',
      details: {
        token: { status: 'up', remaining_seconds: 3600 },
        rotation: { status: 'up', next: '2026-01-01T03:00:00.000Z' },
        coverage: { status: 'up' },
        peers: { status: 'up' },
      },
    });
    expect(source.asked).toBe(1);
  });

  test('it is not ready, and says why', async () => {
    const { server, source } = await start(adapter());
    source.token = {
      ok: false,
      code: 'TOKEN_SECRET_EMPTY',
      reason: 'No service token yet. Rotate.',
    };
    const response = await request(server).get('/health/ready').expect(503);
    expect(response.headers['content-type']).toContain('application/json');
    expect(response.body).toMatchObject({
      status: 'error',
      error: {
        token: {
          status: 'down',
          code: 'TOKEN_SECRET_EMPTY',
          reason: 'No service token yet. Rotate.',
        },
      },
    });
  });

  test('metrics are Prometheus text', async () => {
    const { server, metrics } = await start(adapter());
    metrics.recordTokenServed('HIT');
    const response = await request(server).get('/metrics').expect(200);
    expect(response.headers['content-type']).toMatch(
      /^text\/plain; version=0\.0\.4; charset=utf-8$/,
    );
    expect(response.headers['cache-control']).toBe('no-store');
    expect(response.text).toContain(
      'service_token_broker_tokens_served_total{token="default",cache="HIT"} 1\n',
    );
  });
});

test("filters of the application keep what is the application's", async () => {
  const { server } = await start();
  await request(server).get('/elsewhere').expect(500, { error: 'generic' });
});

test.each<[string, Partial<Source>, object]>([
  [
    'a token that receivers refuse',
    { token: { ok: true, refused: true, code: 'TOKEN_KEY_UNKNOWN', reason: 'The key is gone.' } },
    {
      token: {
        status: 'degraded',
        refused: true,
        code: 'TOKEN_KEY_UNKNOWN',
        reason: 'The key is gone.',
      },
    },
  ],
  [
    'a token that is served stale',
    { token: { ok: true, stale: true, reason: 'The store fails.' } },
    { token: { status: 'degraded', stale: true, reason: 'The store fails.' } },
  ],
  [
    'rotations that fail',
    { rotates: { ok: false, code: 'STORE_BUSY', reason: 'Rotation fails.' } },
    { token: { status: 'up' }, rotation: { status: 'degraded', reason: 'Rotation fails.' } },
  ],
  [
    'a token that does not outlive the gap',
    { covers: { ok: false, reason: 'Too short.' } },
    { coverage: { status: 'degraded', reason: 'Too short.' } },
  ],
  [
    'a list of peers that is served stale',
    { knows: { ok: false, stale: true, reason: 'The store fails.' } },
    {
      token: { status: 'up' },
      peers: { status: 'degraded', stale: true, reason: 'The store fails.' },
    },
  ],
])('%s: still ready, and degraded', async (_what, state, details) => {
  const { server, source, out } = await start();
  Object.assign(source, state);
  const response = await request(server).get('/health/ready').expect(200);
  expect(response.body).toMatchObject({ status: 'degraded', details });
  expect(out.line).toMatchObject({
    level: 'warn',
    message: expect.stringMatching(/^Ready, degraded\. \S/),
  });
});

test('what a process knows nothing of it leaves out', async () => {
  const { server, source } = await start();
  Object.assign(source, { rotates: undefined, covers: undefined, knows: undefined });
  const response = await request(server).get('/health/ready').expect(200);
  expect(Object.keys((response.body as { details: object }).details)).toEqual(['token']);
});

test('changes are logged, probes are not', async () => {
  const { server, source, out } = await start();
  const probe = async (): Promise<void> => {
    await request(server).get('/health/ready');
    await request(server).get('/health/ready');
  };
  await probe();
  source.token = { ok: false, reason: 'The store is down. Look at it.' };
  await probe();
  source.token = { ok: true };
  await probe();
  expect(out.lines).toMatchObject([
    { level: 'error', context: 'Readiness', message: 'Not ready. The store is down. Look at it.' },
    { level: 'info', context: 'Readiness', message: 'Ready again.' },
  ]);
});

test('a cache that does not answer in time', async () => {
  const clock = new HeldClock();
  const { server, source } = await start(new FastifyAdapter(), clock);
  let answer = (_state: TokenReadiness): void => undefined;
  source.token = new Promise<TokenReadiness>((resolve) => (answer = resolve));
  const response = request(server).get('/health/ready').expect(503);
  const pending = response.then(({ body }: { body: unknown }) => body);
  while (clock.slept.length === 0) await pause();
  clock.wake();
  expect(await pending).toMatchObject({
    details: { token: { status: 'down', code: 'READINESS_TIMEOUT' } },
  });
  expect(clock.slept).toEqual([READINESS_TIMEOUT]);
  answer({ ok: true });
});

test('a source that throws: 503, the fault in the log, nothing of it in the answer', async () => {
  const { server, source, out } = await start();
  source.token = new Error(`lost it: ${CANARIES.clientSecret}`);
  const response = await request(server).get('/health/ready').expect(503);
  expect(response.body).toMatchObject({ details: { token: { code: 'UNEXPECTED' } } });
  expect(response.text).not.toContain('lost it');
  expect(out.lines).toContainEqual(
    expect.objectContaining({
      level: 'error',
      err: expect.objectContaining({ message: 'lost it: [redacted]' }),
    }),
  );
  assertNoCanary(response.text + out.text);
});

test('no canary gets into an answer', async () => {
  const { server, source, out } = await start();
  const { jwt, clientSecret, peerSecret } = CANARIES;
  source.token = { ok: false, reason: `Wrong token ${jwt}`, code: peerSecret };
  source.rotates = { ok: false, reason: `client_secret=${clientSecret}` };
  source.covers = { ok: false, reason: peerSecret };
  source.knows = { ok: false, reason: `secret=${peerSecret}` };
  const response = await request(server).get('/health/ready').expect(503);
  assertNoCanary(response.text + out.text);
});

test('while it stops it is not ready, reads nothing, and logs no failure', async () => {
  const { server, source, out } = await start();
  source.stopping = true;
  const { body } = await request(server).get('/health/ready').expect(503);
  expect(body).toMatchObject({
    status: 'error',
    error: { process: { status: 'down', code: 'BROKER_STOPPING' } },
  });
  await request(server).get('/health/live').expect(200);
  expect(source.asked).toBe(0);
  expect(out.text).toBe('');
});

test('while it shuts down it is not ready', async () => {
  const source = new Source();
  const statuses: number[] = [];
  const probe = async (): Promise<void> => {
    const server = app.getHttpServer() as Server;
    statuses.push((await request(server).get('/health/ready')).status);
  };
  // Hooks run by distance from the root: of the nearest and the farthest module, one is after Terminus.
  const hook = { provide: 'probe', useValue: { beforeApplicationShutdown: probe } };
  @Module({ providers: [hook] })
  class Farthest {}
  @Module({ imports: [Farthest] })
  class Farther {}
  @Module({ imports: [Farther] })
  class Far {}
  @Module({
    imports: [OperationsModule.forRoot({ readiness: source, metrics: new BrokerMetrics() }), Far],
    providers: [hook],
  })
  class Application {}
  const app: INestApplication = await NestFactory.create(Application, new FastifyAdapter(), {
    logger: false,
  });
  await app.listen(0, '127.0.0.1');
  await probe();
  await app.close();
  expect(statuses).toHaveLength(3);
  expect(statuses[0]).toBe(200);
  expect(statuses[2]).toBe(503);
});
