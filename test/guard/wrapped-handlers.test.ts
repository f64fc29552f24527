import { describe, expect, test } from '@jest/globals';
import { Controller, Get, Module } from '@nestjs/common';
import {
  AllowCustomer,
  AllowService,
  JwtGuardModule,
  Public,
  RequireScopes,
} from '../../src/guard/index.js';
import { requirementOf, type Declared } from '../../src/guard/declarations.js';
import { createIssuer } from './support/issuer.js';
import { createApp, listen, PLATFORMS } from './support/nest-app.js';

/** Puts a function in the method's place, as decorators for transactions, tracing and retries do. */
function Wrapped(copies: 'all metadata' | 'nothing'): MethodDecorator {
  return (_target, _key, descriptor: PropertyDescriptor) => {
    const wrapped = descriptor.value as (...args: unknown[]) => unknown;
    descriptor.value = function around(this: unknown, ...args: unknown[]): unknown {
      return wrapped.apply(this, args);
    };
    if (copies === 'nothing') return;
    for (const key of Reflect.getMetadataKeys(wrapped)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, wrapped), descriptor.value);
    }
  };
}

@Public()
@Controller('open')
class MostlyOpenController {
  @Wrapped('all metadata')
  @Get()
  @AllowService()
  wrapped(): object {
    return {};
  }
}

@AllowCustomer()
@Controller('customers')
class CustomersController {
  @AllowService('billing')
  @Wrapped('all metadata')
  @Get()
  wrapped(): object {
    return {};
  }

  @Get('inherited')
  @Wrapped('nothing')
  inherited(): object {
    return {};
  }
}

@Public()
@Controller('lost')
class LostController {
  @Get()
  @Wrapped('nothing')
  @AllowService()
  lost(): object {
    return {};
  }
}

describe.each(PLATFORMS)('a method that a decorator has replaced, on %s', (platform) => {
  test('is open to whom the guard’s decorators allow, and to nobody else', async () => {
    const issuer = await createIssuer();
    @Module({
      imports: [JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] })],
      controllers: [MostlyOpenController, CustomersController],
    })
    class WrappedModule {}
    const app = await createApp(WrappedModule, platform);
    const url = await listen(app);
    const status = async (path: string, token?: string): Promise<number> => {
      const headers = new Headers(token === undefined ? {} : { authorization: `Bearer ${token}` });
      return (await fetch(`${url}/${path}`, { headers })).status;
    };
    const customer = await issuer.customerToken();
    const service = await issuer.serviceToken();
    expect(await status('open')).toBe(401);
    expect(await status('open', customer)).toBe(403);
    expect(await status('open', service)).toBe(200);
    expect(await status('customers', customer)).toBe(403);
    expect(await status('customers', service)).toBe(403);
    expect(await status('customers/inherited', customer)).toBe(200);
    expect(await status('customers/inherited', service)).toBe(403);
    await app.close();
  });

  test('stops the start when what they say was lost', async () => {
    const issuer = await createIssuer();
    @Module({
      imports: [JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] })],
      controllers: [LostController],
    })
    class LostModule {}
    await expect(createApp(LostModule, platform)).rejects.toMatchObject({
      code: 'GUARD_MISCONFIGURED',
      message: expect.stringMatching(
        /^LostController\.lost: a decorator has replaced the method.*Put them above it/,
      ),
    });
  });
});

test('a subclass that overrides a method says anew who may call it', () => {
  class Base {
    @AllowService()
    run(): string {
      return 'base';
    }
  }
  @AllowCustomer()
  class Derived extends Base {
    override run(): string {
      return 'derived';
    }
  }
  const methodOf = ({ prototype }: Declared) => Reflect.get(prototype, 'run') as Declared;
  expect(requirementOf(methodOf(Base), Derived)).toMatchObject({ services: 'all' });
  expect(requirementOf(methodOf(Derived), Derived)).toMatchObject({ services: 'none' });
});

describe('what is left of a method’s decorators', () => {
  const handlerOf = ({ prototype }: Declared, name = 'run') =>
    Reflect.get(prototype, name) as Declared;
  const lost = (name: string) =>
    expect.objectContaining({
      message: expect.stringMatching(new RegExp(`^\\w+\\.${name}: a decor`)),
    });

  test('is not enough when some of them are lost', () => {
    @AllowCustomer()
    class Orders {
      @AllowService()
      @Wrapped('nothing')
      @RequireScopes('admin')
      run(): string {
        return 'run';
      }
    }
    expect(() => requirementOf(handlerOf(Orders), Orders)).toThrow(lost('run'));
  });

  test('is known of a method that was bound, or wrapped for one instance, by its name', () => {
    @AllowCustomer()
    class Orders {
      @AllowService()
      purge(): string {
        return 'purge';
      }
      list(): string {
        return 'list';
      }
    }
    expect(() =>
      requirementOf(handlerOf(Orders, 'purge').bind(undefined) as Declared, Orders),
    ).toThrow(lost('purge'));
    const bound = handlerOf(Orders, 'list').bind(undefined) as Declared;
    expect(requirementOf(bound, Orders)).toMatchObject({ customers: true });
    // As tracing does it: another function of the same name, with all of the metadata.
    const traced = { purge: (): string => 'purge', list: (): string => 'list' };
    for (const [name, wrapper] of Object.entries(traced)) {
      for (const key of Reflect.getMetadataKeys(handlerOf(Orders, name))) {
        Reflect.defineMetadata(key, Reflect.getMetadata(key, handlerOf(Orders, name)), wrapper);
      }
    }
    expect(requirementOf(traced.purge, Orders)).toMatchObject({
      services: 'all',
      customers: false,
    });
    expect(requirementOf(traced.list, Orders)).toMatchObject({ customers: true });
    expect(() => requirementOf(() => 'nameless', Orders)).toThrow(/a decorator has replaced/);
  });
});
