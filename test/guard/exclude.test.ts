import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Controller,
  Get,
  Injectable,
  Module,
  Post,
  UseGuards,
  type CanActivate,
  type DynamicModule,
  type INestApplication,
  type Type,
} from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  AllowCustomer,
  currentCallContext,
  JwtGuard,
  JwtGuardModule,
  Public,
  type JwtGuardModuleExtras,
  type JwtGuardModuleOptions,
} from '../../src/guard/index.js';
import { currentBehalf } from '../../src/context/call-context.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen, PLATFORMS, type Platform } from './support/nest-app.js';

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await createIssuer();
});

/** Another library's controller: it knows nothing of the guard. */
@Controller('library')
class LibraryController {
  @Get()
  show(): object {
    return { behalf: currentBehalf(), call: currentCallContext() === undefined };
  }

  @Post()
  change(): string {
    return 'changed';
  }
}

@Controller('derived')
class DerivedController extends LibraryController {}

@Injectable()
class Closed implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Controller('guarded-library')
@UseGuards(Closed)
class GuardedLibraryController {
  @Get()
  show(): string {
    return 'shown';
  }
}

@Controller('own')
class OwnController {
  @Get('declared')
  @AllowCustomer()
  declared(): string {
    return 'declared';
  }

  @Get('open')
  @Public()
  open(): string {
    return 'open';
  }

  @Get('forgotten')
  forgotten(): string {
    return 'forgotten';
  }

  /** No handler: nobody can call it from outside. */
  helper(): string {
    return 'helper';
  }
}

@WebSocketGateway()
class Gateway {
  @SubscribeMessage('forgotten')
  message(@MessageBody() body: unknown): unknown {
    return body;
  }
}

@Controller('half')
class HalfDecorated {
  @Get()
  @AllowCustomer()
  one(): string {
    return 'one';
  }
}

@Controller('by-hand')
@UseGuards(JwtGuard)
class GuardedByHand {
  @Get()
  one(): string {
    return 'one';
  }
}

@Injectable()
class Nowhere {}

function moduleOf(
  parts: { readonly controllers?: readonly Type[]; readonly providers?: readonly Type[] },
  extra: Partial<JwtGuardModuleOptions> & JwtGuardModuleExtras = {},
  isAsync = false,
): DynamicModule {
  const options = { clock: issuer.clock, issuers: [issuer.options], ...extra };
  @Module({})
  class TestModule {}
  return {
    module: TestModule,
    imports: [
      isAsync
        ? JwtGuardModule.forRootAsync({ useFactory: () => options })
        : JwtGuardModule.forRoot(options),
    ],
    controllers: [...(parts.controllers ?? [])],
    providers: [...(parts.providers ?? [])],
  };
}

let running: INestApplication | undefined;
afterEach(async () => {
  await running?.close();
  running = undefined;
});

async function start(
  module: DynamicModule,
  platform: Platform = 'fastify',
): Promise<{ readonly url: string; readonly log: KeptLog }> {
  const log = new KeptLog();
  running = await createApp(module, platform, log);
  return { url: await listen(running), log };
}

const warnings = (log: KeptLog): readonly string[] =>
  log.of('warn').filter((line) => line.includes('no decorator says'));

describe.each(PLATFORMS)('excluded classes on %s', (platform) => {
  test.each([false, true])('are left alone, and only they (async: %s)', async (isAsync) => {
    const { url, log } = await start(
      moduleOf(
        { controllers: [LibraryController, DerivedController, OwnController] },
        { exclude: [LibraryController] },
        isAsync,
      ),
      platform,
    );
    const status = async (path: string, method = 'GET'): Promise<number> =>
      (await fetch(`${url}/${path}`, { method })).status;
    expect([await status('library'), await status('library', 'POST')]).toEqual([200, 201]);
    // A class that extends one of them is not meant.
    expect(await status('derived')).toBe(403);
    expect(await status('own/declared')).toBe(401);
    expect(await status('own/open')).toBe(200);
    expect(await status('own/forgotten')).toBe(403);
    expect(warnings(log)).toHaveLength(1);
    expect(warnings(log)[0]).not.toContain('LibraryController');
  });

  test('run for nobody, whatever token came', async () => {
    const { url } = await start(
      moduleOf({ controllers: [LibraryController] }, { exclude: [LibraryController] }),
      platform,
    );
    const headers = { authorization: `Bearer ${await issuer.customerToken()}` };
    const answer = await fetch(`${url}/library`, { headers });
    expect(await answer.json()).toEqual({ behalf: 'nobody', call: true });
  });

  test('keep their own guards', async () => {
    const { url } = await start(
      moduleOf(
        { controllers: [GuardedLibraryController] },
        { exclude: [GuardedLibraryController] },
      ),
      platform,
    );
    expect((await fetch(`${url}/guarded-library`)).status).toBe(403);
  });
});

describe('the application does not start when an excluded class', () => {
  test.each<[string, Type, JwtGuardModuleExtras, RegExp]>([
    ['has a decorated handler', HalfDecorated, {}, /"exclude" names HalfDecorated.*decorators/],
    ['names the guard itself', GuardedByHand, {}, /"exclude" names GuardedByHand.*decorators/],
    ['is nowhere in it', Nowhere, {}, /"exclude" names Nowhere, which is not a controller/],
    [
      'meets no guard of the application',
      LibraryController,
      { guardEveryHandler: false },
      /"exclude" has no effect/,
    ],
  ])('%s', async (_what, excluded, extras, message) => {
    const controllers = [HalfDecorated, GuardedByHand, LibraryController];
    const module = moduleOf({ controllers }, { exclude: [excluded], ...extras });
    await expect(createApp(module, 'fastify')).rejects.toThrow(message);
  });

  test.each([['text'], [['LibraryController']], [[undefined]], [{}]])(
    'is not a list of classes: %j',
    async (exclude) => {
      const module = moduleOf({ controllers: [LibraryController] }, { exclude } as never);
      await expect(createApp(module, 'fastify')).rejects.toThrow(
        '"exclude" must be a list of classes.',
      );
    },
  );
});

describe('handlers that no decorator says who may call', () => {
  test('are named in one warning at start, and not again at a call', async () => {
    const { url, log } = await start(
      moduleOf({ controllers: [OwnController, LibraryController], providers: [Nowhere] }),
    );
    const [warning, ...others] = warnings(log);
    expect(others).toEqual([]);
    expect(warning).toContain(
      ': OwnController.forgotten, LibraryController.show, LibraryController.change. Add ',
    );
    expect((await fetch(`${url}/own/forgotten`)).status).toBe(403);
    expect(warnings(log)).toHaveLength(1);
    expect(log.lines.join('\n')).not.toMatch(/OwnController\.(declared|open|helper)/);
  });

  test('also of a gateway, unless it is excluded', async () => {
    const log = new KeptLog();
    // Without an adapter for WebSockets the application only comes to its bootstrap hooks.
    running = await createApp(moduleOf({ providers: [Gateway] }), 'fastify', log);
    running.get(JwtGuardModule).onApplicationBootstrap();
    expect(warnings(log)[0]).toContain('Gateway.message');
    await running.close();
    const quiet = new KeptLog();
    const excluded = moduleOf({ providers: [Gateway] }, { exclude: [Gateway] });
    running = await createApp(excluded, 'fastify', quiet);
    running.get(JwtGuardModule).onApplicationBootstrap();
    expect(warnings(quiet)).toEqual([]);
  });

  test('are not named with guardEveryHandler off: they are open', async () => {
    const { url, log } = await start(
      moduleOf({ controllers: [OwnController] }, { guardEveryHandler: false }),
    );
    expect(warnings(log)).toEqual([]);
    expect((await fetch(`${url}/own/forgotten`)).status).toBe(200);
  });

  test('no warning where every handler is declared', async () => {
    const { log } = await start(moduleOf({ controllers: [HalfDecorated] }));
    expect(warnings(log)).toEqual([]);
  });
});
