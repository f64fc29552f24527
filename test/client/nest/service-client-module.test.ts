import { HttpModule, HttpService } from '@nestjs/axios';
import axios from 'axios';
import { Inject, Injectable, Module, type DynamicModule, type Type } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { describe, expect, test } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import {
  asService,
  runAsService,
  runInCallContext,
  type AuthorizedFetch,
  type ServiceTokenSource,
} from '../../../src/client/index.js';
import {
  AUTHORIZED_FETCH,
  SERVICE_TOKEN_SOURCE,
  ServiceClientModule,
  type ServiceClientModuleOptions,
} from '../../../src/client/nest/index.js';
import { startCallee } from '../attachment/support/callee.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN } from '../attachment/support/principals.js';
import { ScriptedTokens } from '../attachment/support/scripted-tokens.js';
import { PEER_SECRET, serveTokens } from '../client-fixture.js';

const SERVICE = 'Bearer service.token';
/** What `HttpService` of `@nestjs/axios` has injected. */
const AXIOS = 'AXIOS_INSTANCE_TOKEN';
const CUSTOMER = `Bearer ${CUSTOMER_TOKEN}`;

/** What an application injects: in a module of its own, which does not import the client's. */
@Injectable()
class Calls {
  constructor(
    @Inject(HttpService) readonly http: HttpService,
    @Inject(AUTHORIZED_FETCH) readonly fetch: AuthorizedFetch,
    @Inject(SERVICE_TOKEN_SOURCE) readonly tokens: ServiceTokenSource,
  ) {}
}

@Module({ providers: [Calls] })
class CallsModule {}

async function withApplication(
  imports: readonly (Type | DynamicModule)[],
  use: (calls: Calls, application: TestingModule) => Promise<void>,
): Promise<void> {
  const application = await Test.createTestingModule({ imports: [...imports] }).compile();
  try {
    await use(application.get(Calls, { strict: false }), application);
  } finally {
    await application.close();
  }
}

describe('ServiceClientModule', () => {
  test('gives an HttpService, a fetch and the source, to every module', async () => {
    const callee = await startCallee();
    const tokens = new ScriptedTokens('service.token');
    const options: ServiceClientModuleOptions = {
      tokens,
      outsideCalls: 'service',
      origins: [{ origin: callee.origin, acceptsCustomers: true }],
      axios: { baseURL: callee.origin, headers: { own: '1' } },
    };
    await withApplication([ServiceClientModule.forRoot(options), CallsModule], async (calls) => {
      expect(calls.tokens).toBe(tokens);
      await firstValueFrom(calls.http.get('/a', asService));
      await calls.fetch(callee.origin, { as: 'service' });
      await runInCallContext(CUSTOMER_CALL, async () => {
        await firstValueFrom(calls.http.get('/a'));
        await firstValueFrom(calls.http.post('/a', {}, asService));
        await calls.http.axiosRef.get('/a');
        await calls.fetch(callee.origin);
      });
      expect(callee.tokens()).toEqual([SERVICE, SERVICE, CUSTOMER, SERVICE, CUSTOMER, CUSTOMER]);
      expect(callee.arrivals[0]).toMatchObject({ url: '/a', headers: { own: '1' } });
      await expect(firstValueFrom(calls.http.get('http://127.0.0.1:1/'))).rejects.toMatchObject({
        code: 'ORIGIN_NOT_LISTED',
      });
    });
  });

  test('asks a broker, with options that are injected', async () => {
    const callee = await startCallee();
    const broker = await serveTokens();
    const PEER = Symbol('PEER');
    @Module({
      providers: [{ provide: PEER, useValue: { id: 'orders', secret: PEER_SECRET } }],
      exports: [PEER],
    })
    class SecretsModule {}
    const client = ServiceClientModule.forRootAsync({
      imports: [SecretsModule],
      inject: [PEER],
      useFactory: async (peer: { id: string; secret: string }) => ({
        broker: { brokers: broker.origin, peer },
        outsideCalls: 'service',
        origins: [{ origin: callee.origin }],
      }),
    });
    await withApplication([client, CallsModule], async ({ http, fetch, tokens }) => {
      await firstValueFrom(http.get(callee.origin, asService));
      await fetch(callee.origin, { as: 'service' });
      const { accessToken } = await tokens.getToken();
      expect(callee.tokens()).toEqual([`Bearer ${accessToken}`, `Bearer ${accessToken}`]);
      expect(broker.received('token')).toHaveLength(1);
    });
  });

  test('calls with the source that a test puts in place of its own', async () => {
    const callee = await startCallee();
    const broker = await serveTokens();
    const client = ServiceClientModule.forRoot({
      broker: { brokers: broker.origin, peer: { id: 'orders', secret: PEER_SECRET } },
      origins: [{ origin: callee.origin }],
    });
    const application = await Test.createTestingModule({ imports: [client, CallsModule] })
      .overrideProvider(SERVICE_TOKEN_SOURCE)
      .useValue(new ScriptedTokens('service.token'))
      .compile();
    const { http, fetch } = application.get(Calls, { strict: false });
    await firstValueFrom(http.get(callee.origin, asService));
    await fetch(callee.origin, { as: 'service' });
    expect(callee.tokens()).toEqual([SERVICE, SERVICE]);
    expect(broker.received('token')).toHaveLength(0);
    await application.close();
  });

  test('is for the modules that import it alone, when told so', async () => {
    const options: ServiceClientModuleOptions = {
      tokens: new ScriptedTokens('service.token'),
      origins: [{ origin: 'https://a.internal' }],
    };
    const local = ServiceClientModule.forRoot({ ...options, global: false });
    await expect(withApplication([local, CallsModule], async () => undefined)).rejects.toThrow(
      'HttpService',
    );
    @Module({ imports: [local], providers: [Calls] })
    class ImportingModule {}
    await withApplication([ImportingModule], async ({ tokens }) => {
      expect(tokens).toBe(options.tokens);
    });
  });

  test.each<[string, object, RegExp]>([
    ['no origins', { tokens: new ScriptedTokens('a'), origins: [] }, /"origins"/],
    ['no source', { origins: [{ origin: 'https://a.internal' }] }, /"broker" or "tokens"/],
    [
      'two sources',
      { origins: [{ origin: 'https://a.internal' }], tokens: new ScriptedTokens('a'), broker: {} },
      /not both/,
    ],
    [
      'a broker without a peer',
      { origins: [{ origin: 'https://a.internal' }], broker: { brokers: 'https://b.internal' } },
      /"peer"/,
    ],
  ])('stops the start: %s', async (_name, options, message) => {
    const client = ServiceClientModule.forRoot(options as ServiceClientModuleOptions);
    await expect(Test.createTestingModule({ imports: [client] }).compile()).rejects.toMatchObject({
      code: 'CLIENT_MISCONFIGURED',
      message: expect.stringMatching(message),
    });
  });
});

describe('several mistakes', () => {
  test('are reported at once', async () => {
    const client = ServiceClientModule.forRoot({
      broker: { brokers: 'ftp://b.internal', peer: { id: '' }, rounds: 0 },
      origins: [{ origin: 'https://a.internal/path' }, { origin: 'http://b.internal' }],
      otherOrigins: 'maybe',
      fetch: 'fetch',
    } as never);
    await expect(Test.createTestingModule({ imports: [client] }).compile()).rejects.toMatchObject({
      code: 'CLIENT_MISCONFIGURED',
      mistakes: [
        expect.stringContaining('"brokers"'),
        expect.stringContaining('"peer.id"'),
        expect.stringContaining('"peer.secret"'),
        expect.stringContaining('"rounds"'),
        expect.stringContaining('"otherOrigins"'),
        expect.stringContaining('"origins[0].origin"'),
        expect.stringContaining('"origins[1].origin"'),
        expect.stringContaining('"fetch"'),
      ],
    });
  });
});

describe('a module with a plain HttpService', () => {
  @Module({ imports: [HttpModule], providers: [Calls] })
  class StripeModule {}
  @Module({ imports: [HttpModule.register({ timeout: 1 })], exports: [HttpModule] })
  class SharedModule {}
  @Module({ imports: [SharedModule], providers: [Calls] })
  class FarModule {}
  @Module({ providers: [HttpService, { provide: AXIOS, useValue: axios.create() }, Calls] })
  class OwnModule {}
  @Module({ providers: [{ provide: HttpService, useFactory: () => new HttpService() }, Calls] })
  class FactoryModule {}
  @Module({ imports: [HttpModule.register({ global: true })] })
  class GlobalModule {}

  const client = (extras: object = {}): DynamicModule =>
    ServiceClientModule.forRoot({
      tokens: new ScriptedTokens('service.token'),
      origins: [{ origin: 'https://a.internal' }],
      ...extras,
    });
  const start = (...imports: readonly (Type | DynamicModule)[]): Promise<void> =>
    withApplication([...imports], async () => undefined);

  test.each<[string, Type, RegExp]>([
    ['imports HttpModule', StripeModule, /^StripeModule has .*plainHttpIn: \[StripeModule\]/],
    ['imports it with options', SharedModule, /^SharedModule has /],
    ['gets it from another module', FarModule, /^SharedModule has /],
    ['provides it by its class', OwnModule, /^OwnModule has /],
    ['provides it by a function', FactoryModule, /^FactoryModule has /],
    ['makes it global', GlobalModule, /^HttpModule is global /],
  ])('stops the start: one that %s', async (_name, module, message) => {
    for (const imports of [
      [client(), module],
      [module, client()],
    ]) {
      await expect(start(...imports)).rejects.toMatchObject({
        code: 'CLIENT_MISCONFIGURED',
        mistakes: [expect.stringMatching(message)],
      });
    }
  });

  test('stops the start with all of them named', async () => {
    await expect(start(client(), StripeModule, OwnModule)).rejects.toMatchObject({
      mistakes: [expect.stringContaining('StripeModule'), expect.stringContaining('OwnModule')],
    });
  });

  test('is allowed by name, and sends no token', async () => {
    const callee = await startCallee();
    const named = client({
      outsideCalls: 'service',
      origins: [{ origin: callee.origin }],
      plainHttpIn: [StripeModule],
    });
    await withApplication([named, StripeModule], async ({ http, fetch }) => {
      await runAsService(async () => {
        await firstValueFrom(http.get(callee.origin));
        await fetch(callee.origin);
      });
      expect(callee.tokens()).toEqual([undefined, SERVICE]);
    });
    await expect(
      start(client({ plainHttpIn: [StripeModule] }), StripeModule, SharedModule),
    ).rejects.toMatchObject({ mistakes: [expect.stringContaining('SharedModule')] });
    await start(client({ plainHttpIn: [SharedModule] }), FarModule);
  });

  test('is no concern of a client that is not global, but where both are imported', async () => {
    @Module({ imports: [client({ global: false })], providers: [Calls] })
    class CallingModule {}
    await start(CallingModule, SharedModule);
    @Module({ imports: [client({ global: false }), HttpModule] })
    class BothModule {}
    await expect(start(BothModule)).rejects.toMatchObject({
      mistakes: [expect.stringContaining('BothModule')],
    });
  });
});
