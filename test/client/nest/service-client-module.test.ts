import { HttpModule, HttpService } from '@nestjs/axios';
import { Inject, Injectable, Module, type DynamicModule, type Type } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { describe, expect, test } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import {
  asService,
  AUTHORIZED_FETCH,
  runInCallContext,
  SERVICE_TOKEN_SOURCE,
  ServiceClientModule,
  type AuthorizedFetch,
  type ServiceClientModuleOptions,
  type ServiceTokenSource,
} from '../../../src/client/index.js';
import { startCallee } from '../attachment/support/callee.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN } from '../attachment/support/principals.js';
import { ScriptedTokens } from '../attachment/support/scripted-tokens.js';
import { PEER_SECRET, serveTokens } from '../client-fixture.js';

const SERVICE = 'Bearer service.token';
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
  imports: readonly (Type | DynamicModule | Promise<DynamicModule>)[],
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
      origins: [{ origin: callee.origin, acceptsCustomers: true }],
      axios: { baseURL: callee.origin, headers: { own: '1' } },
    };
    await withApplication([ServiceClientModule.forRoot(options), CallsModule], async (calls) => {
      expect(calls.tokens).toBe(tokens);
      await firstValueFrom(calls.http.get('/a'));
      await calls.fetch(callee.origin);
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
        origins: [{ origin: callee.origin }],
      }),
    });
    await withApplication([client, CallsModule], async ({ http, fetch, tokens }) => {
      await firstValueFrom(http.get(callee.origin));
      await fetch(callee.origin);
      const { accessToken } = await tokens.getToken();
      expect(callee.tokens()).toEqual([`Bearer ${accessToken}`, `Bearer ${accessToken}`]);
      expect(broker.received('token')).toHaveLength(1);
    });
  });

  test('leaves an HttpModule beside it as it is', async () => {
    const callee = await startCallee();
    @Module({ imports: [HttpModule], providers: [Calls] })
    class OwnHttpModule {}
    const client = ServiceClientModule.forRoot({
      tokens: new ScriptedTokens('service.token'),
      origins: [{ origin: callee.origin }],
    });
    await withApplication([client, OwnHttpModule], async ({ http, fetch }) => {
      await firstValueFrom(http.get(callee.origin));
      await fetch(callee.origin);
      expect(callee.tokens()).toEqual([undefined, SERVICE]);
    });
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
