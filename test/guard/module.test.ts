import { beforeAll, describe, expect, jest, test } from '@jest/globals';
import {
  Controller,
  Get,
  Injectable,
  Module,
  Scope,
  Sse,
  UseGuards,
  type DynamicModule,
  type INestApplication,
  type Type,
} from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { Test } from '@nestjs/testing';
import { defer, from, map, timer, type Observable } from 'rxjs';
import {
  AllowCustomer,
  AllowService,
  CallRefusedException,
  createRemoteKeySet,
  createTokenVerifier,
  currentCallContext,
  CurrentPrincipal,
  JwtGuard,
  JwtGuardModule,
  Public,
  RequireScopes,
  TOKEN_VERIFIER,
  type JwtGuardModuleExtras,
  type JwtGuardModuleOptions,
  type Principal,
  type RefusedCall,
  type TokenVerifierOptions,
} from '../../src/guard/index.js';
import { createIssuer, OTHER_ISSUER, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen } from './support/nest-app.js';
import { OrdersModule } from './support/orders.js';

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await createIssuer();
});

const options = (): JwtGuardModuleOptions => ({ clock: issuer.clock, issuers: [issuer.options] });

function moduleOf(
  controllers: readonly Type[],
  extra: JwtGuardModuleExtras & Partial<JwtGuardModuleOptions> = {},
): DynamicModule {
  @Module({})
  class TestModule {}
  return {
    module: TestModule,
    imports: [JwtGuardModule.forRoot({ ...options(), ...extra })],
    controllers: [...controllers],
  };
}

async function withApp(
  module: DynamicModule | Type,
  use: (
    get: (path: string, token?: string) => Promise<Response>,
    app: INestApplication,
  ) => Promise<void>,
  log = new KeptLog(),
): Promise<void> {
  const app = await createApp(module, 'fastify', log);
  try {
    const url = await listen(app);
    await use(
      (path, token) =>
        fetch(`${url}/${path}`, {
          headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        }),
      app,
    );
  } finally {
    await app.close();
  }
}

describe('contradictory decorators stop the start', () => {
  class PublicAndCustomer {
    @Get()
    @Public()
    @AllowCustomer()
    handler(): void {}
  }
  class ScopesAlone {
    @Get()
    @RequireScopes('orders:read')
    handler(): void {}
  }
  class ServiceTwice {
    @Get()
    @AllowService('a')
    @AllowService('b')
    handler(): void {}
  }
  @Public()
  class PublicClassWithScopes {
    @Get()
    @RequireScopes('orders:read')
    handler(): void {}
  }
  const all = [PublicAndCustomer, ScopesAlone, ServiceTwice, PublicClassWithScopes];
  for (const one of all) Controller(one.name)(one);

  test.each(all.map((one) => [one.name, one] as const))('%s', async (name, controller) => {
    await expect(createApp(moduleOf([controller]), 'fastify')).rejects.toMatchObject({
      code: 'GUARD_MISCONFIGURED',
      kind: 'misconfigured',
      message: expect.stringContaining(`${name}.handler: `),
    });
  });

  test('and all of them are named at once', async () => {
    const error: unknown = await createApp(
      moduleOf(all, { guardEveryHandler: false }),
      'fastify',
    ).catch((thrown: unknown) => thrown);
    const lines = (error as Error).message.split('\n');
    expect(lines.map((line) => line.split('.')[0])).toEqual(all.map(({ name }) => name));
  });
});

describe('decorators refuse what would allow more or less than is meant', () => {
  test.each<[string, () => unknown]>([
    ['an empty list of clients', () => AllowService([])],
    ['an empty client', () => AllowService('')],
    ['a client without an issuer', () => AllowService({ clientId: 'job', issuer: '' })],
    ['no client', () => AllowService(undefined as unknown as string)],
    ['an empty client in a list', () => AllowService(['job', ''])],
    ['no scope', () => (RequireScopes as (...scopes: string[]) => unknown)()],
    ['two scopes in one text', () => RequireScopes('a b')],
    ['an empty scope', () => RequireScopes('')],
    ['a scope with a quotation mark', () => RequireScopes('a"b')],
    [
      'a property',
      () => {
        class Wrong {}
        (AllowCustomer() as (target: object, key: string, descriptor?: object) => void)(
          Wrong.prototype,
          'field',
        );
      },
    ],
  ])('%s', (_, decorate) => {
    expect(decorate).toThrow(expect.objectContaining({ code: 'GUARD_MISCONFIGURED' }));
  });
});

describe('options', () => {
  test.each<[string, () => JwtGuardModuleOptions, string]>([
    ['no issuer', () => ({ issuers: [] }), 'VERIFIER_MISCONFIGURED'],
    ['a realm that breaks the header', () => ({ ...options(), realm: '"' }), 'GUARD_MISCONFIGURED'],
    [
      'an invalid verifier',
      () => ({ verifier: {} }) as JwtGuardModuleOptions,
      'GUARD_MISCONFIGURED',
    ],
    [
      'a hook that is no function',
      () => ({ ...options(), tokenFromRpc: 'authorization' }) as unknown as JwtGuardModuleOptions,
      'GUARD_MISCONFIGURED',
    ],
  ])('%s stops the start', async (_, make, code) => {
    await expect(createApp(OrdersModule.with(make()), 'fastify')).rejects.toMatchObject({ code });
  });

  test('forRootAsync, with options that other providers give', async () => {
    @Injectable()
    class Configuration {
      readonly guard = options();
    }
    @Module({ providers: [Configuration], exports: [Configuration] })
    class ConfigurationModule {}
    @Module({
      imports: [
        JwtGuardModule.forRootAsync({
          imports: [ConfigurationModule],
          useFactory: async (configuration: Configuration) => {
            await new Promise(setImmediate);
            return configuration.guard;
          },
          inject: [Configuration],
        }),
        { module: OrdersModule },
      ],
    })
    class AsyncModule {}
    await withApp(AsyncModule, async (get) => {
      expect((await get('customer', await issuer.customerToken())).status).toBe(200);
      expect((await get('customer')).status).toBe(401);
      expect((await get('undeclared')).status).toBe(403);
    });
  });

  test('forRootAsync with a class that makes the options', async () => {
    class GuardConfiguration {
      create(): JwtGuardModuleOptions {
        return options();
      }
    }
    @Module({
      imports: [
        JwtGuardModule.forRootAsync({ useClass: GuardConfiguration, guardEveryHandler: false }),
        { module: OrdersModule },
      ],
    })
    class ClassModule {}
    await withApp(ClassModule, async (get) => {
      expect((await get('customer')).status).toBe(401);
      expect((await get('undeclared')).status).toBe(200);
    });
  });

  test('a verifier that exists already, and the one that is used', async () => {
    const verifier = createTokenVerifier({ clock: issuer.clock, issuers: [issuer.options] });
    await withApp(OrdersModule.with({ verifier }), async (get, app) => {
      expect((await get('customer', await issuer.customerToken())).status).toBe(200);
      expect(app.get(TOKEN_VERIFIER)).toBe(verifier);
    });
  });

  test('a verifier that a test puts in place of its own', async () => {
    const unreachable = createRemoteKeySet({ jwksUri: 'http://127.0.0.1:1/keys' });
    const issuers = [{ ...issuer.options, keys: unreachable }];
    const testing = await Test.createTestingModule({ imports: [OrdersModule.with({ issuers })] })
      .overrideProvider(TOKEN_VERIFIER)
      .useValue(createTokenVerifier(options() as TokenVerifierOptions))
      .compile();
    const app = testing.createNestApplication({ logger: false });
    const url = await listen(app);
    const token = await issuer.customerToken();
    const response = await fetch(`${url}/customer`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(response.status).toBe(200);
    await app.close();
  });

  test('decorators without the module stop the start, with its name; a test may override the guard', async () => {
    @Controller()
    class Alone {
      @Get()
      @AllowCustomer()
      handler(): string {
        return 'handled';
      }
    }
    const testing = () => Test.createTestingModule({ controllers: [Alone] });
    await expect(testing().compile()).rejects.toThrow('JwtGuardModule.forRoot');
    const module = await testing().overrideGuard(JwtGuard).useValue({}).compile();
    expect(module.get(Alone).handler()).toBe('handled');
  });

  test('a verifier that fails in an unknown way closes the handler, and says nothing', async () => {
    const log = new KeptLog();
    const verifier = {
      verify: () => Promise.reject(new Error('broken')),
      keyStates: () => new Map(),
    };
    await withApp(
      OrdersModule.with({ verifier }),
      async (get) => {
        const response = await get('customer', 'a.b.c');
        expect(response.status).toBe(500);
        expect(await response.text()).not.toContain('broken');
      },
      log,
    );
    expect(log.of('error').join('\n')).toContain('broken');
  });

  test('onRefused is notified instead of the log', async () => {
    const calls: RefusedCall[] = [];
    const log = new KeptLog();
    const onRefused = (call: RefusedCall): void => void calls.push(call);
    await withApp(
      OrdersModule.with({ ...options(), onRefused }),
      async (get) => {
        await get('customer', 'nonsense');
        await get('undeclared');
        await get('customer', await issuer.customerToken());
      },
      log,
    );
    expect(calls).toEqual([
      {
        handler: 'OrdersController.customer',
        transport: 'http',
        refusal: expect.objectContaining({ reason: 'TOKEN_MALFORMED' }),
        error: expect.objectContaining({ code: 'TOKEN_MALFORMED' }),
      },
      {
        handler: 'OrdersController.undeclared',
        transport: 'http',
        refusal: expect.objectContaining({ reason: 'NOT_DECLARED' }),
        error: undefined,
      },
    ]);
    expect(log.lines.join('\n')).not.toContain('Refused');
  });

  test.each<readonly [string, () => unknown]>([
    [
      'throws',
      (): never => {
        throw new Error('a mistake of the application');
      },
    ],
    ['rejects', () => Promise.reject(new Error('a mistake of the application'))],
  ])('an onRefused that %s does not change the answer', async (_what, onRefused) => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    await withApp(OrdersModule.with({ ...options(), onRefused }), async (get) => {
      const { status, headers } = await get('customer', 'nonsense');
      expect(status).toBe(401);
      expect(headers.get('www-authenticate')).toContain('invalid_token');
    });
    expect(String(warn.mock.calls[0]?.[0])).toContain('a mistake of the application');
    warn.mockRestore();
  });
});

describe('the former option "global" is refused', () => {
  const refusal = expect.objectContaining({
    code: 'GUARD_MISCONFIGURED',
    message: expect.stringContaining('"global" of JwtGuardModule is now "guardEveryHandler"'),
  });
  const former = { global: false } as object;

  test('of forRoot and forRootAsync, where they are called', () => {
    expect(() => JwtGuardModule.forRoot({ ...options(), ...former })).toThrow(refusal);
    const useFactory = (): JwtGuardModuleOptions => options();
    expect(() => JwtGuardModule.forRootAsync({ useFactory, ...former })).toThrow(refusal);
  });

  test('of what a factory returns, at start', async () => {
    const useFactory = (): JwtGuardModuleOptions => ({ ...options(), ...former });
    const module = {
      module: class FactoryModule {},
      imports: [JwtGuardModule.forRootAsync({ useFactory })],
    };
    await expect(createApp(module, 'fastify')).rejects.toEqual(refusal);
  });
});

test('with "guardEveryHandler" off: decorated handlers are guarded, others are not', async () => {
  @Controller('closed')
  @UseGuards(JwtGuard)
  class ClosedController {
    @Get()
    handler(): string {
      return 'open';
    }
  }
  @Module({
    imports: [OrdersModule.with({ ...options(), guardEveryHandler: false })],
    controllers: [ClosedController],
  })
  class LocalModule {}
  await withApp(LocalModule, async (get) => {
    const customer = await issuer.customerToken();
    expect((await get('customer')).status).toBe(401);
    expect((await get('class/inherits')).status).toBe(401);
    expect((await get('class/inherits', customer)).status).toBe(200);
    expect((await get('service', customer)).status).toBe(403);
    expect((await get('undeclared')).status).toBe(200);
    expect((await get('closed', customer)).status).toBe(403);
  });
});

test('clients are distinguished by their issuer', async () => {
  const other = await createIssuer(OTHER_ISSUER, issuer.clock);
  @Controller()
  class AuditController {
    @Get('audit')
    @AllowService({ clientId: 'job', issuer: OTHER_ISSUER })
    handler(): string {
      return 'open';
    }
  }
  const both = { issuers: [issuer.options, other.options] };
  await withApp(moduleOf([AuditController], both), async (get) => {
    expect((await get('audit', await issuer.serviceToken())).status).toBe(403);
    expect((await get('audit', await other.serviceToken())).status).toBe(200);
  });
});

test('each token is verified once per call, however often the guard stands before it', async () => {
  @Controller('often')
  @UseGuards(JwtGuard)
  @AllowCustomer()
  class OftenController {
    @Get()
    @AllowCustomer()
    handler(@CurrentPrincipal() principal: Principal): string {
      return principal.subject;
    }
  }
  const verifier = createTokenVerifier({ clock: issuer.clock, issuers: [issuer.options] });
  let verified = 0;
  const counting = {
    ...verifier,
    verify: (token: unknown) => {
      verified += 1;
      return verifier.verify(token);
    },
  };
  @Module({
    imports: [JwtGuardModule.forRoot({ verifier: counting })],
    controllers: [OftenController],
  })
  class OftenModule {}
  await withApp(OftenModule, async (get) => {
    expect(await (await get('often', await issuer.customerToken())).text()).toBe('ann');
    expect(verified).toBe(1);
  });
});

test('the guard may be imported once more, with options of its own', async () => {
  @Controller('orders')
  class OrdersOfServices {
    @Get()
    @AllowService()
    list(): string | undefined {
      return currentCallContext()?.principal.kind;
    }
  }
  const module = {
    ...moduleOf([OrdersOfServices]),
    imports: [
      JwtGuardModule.forRoot(options()),
      JwtGuardModule.forRoot({ ...options(), guardEveryHandler: false }),
    ],
  };
  await withApp(module, async (get) => {
    expect((await get('orders')).status).toBe(401);
    expect(await (await get('orders', await issuer.serviceToken())).text()).toBe('service');
  });
});

describe('the call context', () => {
  @Injectable({ scope: Scope.REQUEST })
  class RequestScoped {
    readonly bornFor = currentCallContext()?.principal.subject;
    subject = (): string | undefined => currentCallContext()?.principal.subject;
  }
  @Controller('scoped')
  @AllowCustomer()
  class ScopedController {
    constructor(readonly scoped: RequestScoped) {}

    @Get('request')
    request(@CurrentPrincipal() principal: Principal): object {
      return { principal: principal.subject, service: this.scoped.subject() };
    }

    @Get('observable')
    observable(): Observable<object> {
      return defer(() => from(Promise.resolve())).pipe(
        map(() => ({ subject: currentCallContext()?.principal.subject })),
      );
    }

    @Sse('events')
    events(): Observable<{ data: object }> {
      return timer(5).pipe(
        map(() => ({ data: { subject: currentCallContext()?.principal.subject } })),
      );
    }
  }

  test.each([
    ['request', { principal: 'ann', service: 'ann' }],
    ['observable', { subject: 'ann' }],
  ])('reaches %s', async (path, body) => {
    const module = { ...moduleOf([ScopedController]), providers: [RequestScoped] };
    await withApp(module, async (get) => {
      const response = await get(`scoped/${path}`, await issuer.customerToken());
      expect(await response.json()).toEqual(body);
    });
  });

  test('reaches server-sent events', async () => {
    const module = { ...moduleOf([ScopedController]), providers: [RequestScoped] };
    await withApp(module, async (get) => {
      const response = await get('scoped/events', await issuer.customerToken());
      expect(await response.text()).toContain('data: {"subject":"ann"}');
    });
  });
});

test.each(['kafka-stream', 'necord', '', '__proto__'])(
  'a context of the unknown kind %j is refused',
  async (kind) => {
    const { Handlers, handler } = bareHandlers();
    Public()(Handlers);
    await withApp(OrdersModule.with(options()), async (_, app) => {
      const context = new ExecutionContextHost([{ headers: {} }], Handlers, handler);
      context.getType = () => kind as never;
      const run = async (): Promise<unknown> => app.get(JwtGuard).canActivate(context);
      await expect(run()).rejects.toBeInstanceOf(CallRefusedException);
      await expect(run()).rejects.toMatchObject({
        refusal: { status: 403, reason: 'UNKNOWN_CONTEXT' },
      });
    });
  },
);

test('arguments that are no request have no credentials', async () => {
  const { Handlers, handler } = bareHandlers();
  AllowCustomer()(Handlers);
  await withApp(OrdersModule.with(options()), async (_, app) => {
    const context = new ExecutionContextHost(['text'], Handlers, handler);
    await expect(app.get(JwtGuard).canActivate(context)).rejects.toMatchObject({
      refusal: { reason: 'NO_CREDENTIALS' },
    });
  });
});

/** A class and a function that nothing is known about. */
function bareHandlers() {
  class Handlers {}
  return { Handlers, handler: (): void => {} };
}
