import type { AddressInfo } from 'node:net';
import { HttpService } from '@nestjs/axios';
import { Controller, Get, Inject, Module, type INestApplication } from '@nestjs/common';
import { ClientProxyFactory, MessagePattern, Transport } from '@nestjs/microservices';
import { afterEach, describe, expect, test } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import { AllowCustomer, AllowService, JwtGuardModule, Public } from '../../../src/guard/index.js';
import {
  asCustomer,
  TokenRequestError,
  type ServiceTokenSource,
} from '../../../src/client/index.js';
import { RunAsService, ServiceClientModule } from '../../../src/client/nest/index.js';
import { BrokerError } from '../../../src/tokens/errors.js';
import { createIssuer } from '../../guard/support/issuer.js';
import {
  createApp,
  KeptLog,
  listen,
  PLATFORMS,
  type Platform,
} from '../../guard/support/nest-app.js';
import { startCallee } from '../attachment/support/callee.js';
import { ScriptedTokens } from '../attachment/support/scripted-tokens.js';

@Controller()
class CallsController {
  constructor(
    @Inject(HttpService) private readonly http: HttpService,
    @Inject('LEDGER') private readonly ledger: string,
  ) {}

  @Get('customer')
  @AllowCustomer()
  customer(): Promise<unknown> {
    return this.http.axiosRef.get(this.ledger);
  }

  @Get('service')
  @AllowService()
  async service(): Promise<unknown> {
    return (await firstValueFrom(this.http.get<unknown>(this.ledger))).data;
  }

  @Get('needs-customer')
  @AllowService()
  needsCustomer(): Promise<unknown> {
    return this.http.axiosRef.get(this.ledger, asCustomer);
  }

  @Get('public')
  @Public()
  public(): Promise<unknown> {
    return this.http.axiosRef.get(this.ledger);
  }

  @Get('hook')
  @Public()
  @RunAsService()
  async hook(): Promise<unknown> {
    return (await this.http.axiosRef.get<unknown>(this.ledger)).data;
  }

  @Get('stranger')
  @AllowService()
  stranger(): Promise<unknown> {
    return this.http.axiosRef.get('https://stranger.example/');
  }

  @Get('other')
  @Public()
  other(): never {
    throw new BrokerError('OTHER', 'retry', 'not of the client');
  }

  @MessagePattern('message')
  @Public()
  message(): Promise<unknown> {
    return this.http.axiosRef.get(this.ledger);
  }
}

let app: INestApplication | undefined;
afterEach(() => app?.close());

async function start(platform: Platform, tokens: ServiceTokenSource) {
  const issuer = await createIssuer();
  const callee = await startCallee();
  @Module({
    imports: [
      JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] }),
      ServiceClientModule.forRoot({ tokens, origins: [{ origin: callee.origin }] }),
    ],
    controllers: [CallsController],
    providers: [{ provide: 'LEDGER', useValue: callee.origin }],
  })
  class CallsModule {}
  const log = new KeptLog();
  app = await createApp(CallsModule, platform, log);
  const headers = {
    customer: { authorization: `Bearer ${await issuer.customerToken()}` },
    service: { authorization: `Bearer ${await issuer.serviceToken()}` },
    nobody: {},
  };
  const url = await listen(app);
  const get = async (path: string, as: keyof typeof headers) => {
    const response = await fetch(`${url}/${path}`, { headers: headers[as] });
    return {
      status: response.status,
      retryAfter: response.headers.get('retry-after'),
      body: await response.json(),
    };
  };
  return { app, callee, get, log };
}

describe.each(PLATFORMS)('a handler that cannot call another service, on %s', (platform) => {
  test('answers by what was missing, and logs what to do', async () => {
    const { callee, get, log } = await start(platform, new ScriptedTokens('service.token'));
    const forbidden = {
      status: 403,
      retryAfter: null,
      body: { statusCode: 403, message: 'The caller may not do this.' },
    };
    const failed = {
      status: 500,
      retryAfter: null,
      body: { statusCode: 500, message: 'Internal server error' },
    };
    expect(await get('customer', 'customer')).toEqual(forbidden);
    expect(await get('needs-customer', 'service')).toEqual(forbidden);
    expect(await get('public', 'nobody')).toEqual(failed);
    expect(await get('stranger', 'service')).toEqual(failed);
    expect(callee.arrivals).toHaveLength(0);
    const lines = log.of('error').join('\n');
    for (const code of [
      'CUSTOMER_NOT_ACCEPTED',
      'CUSTOMER_REQUIRED',
      'CALL_CONTEXT_UNKNOWN',
      'ORIGIN_NOT_LISTED',
    ]) {
      expect(lines).toContain(code);
    }
    expect(lines).toMatch(/acceptsCustomers: true/);
    expect(lines).not.toMatch(/eyJ|service\.token/);
    expect((await get('service', 'service')).status).toBe(200);
    expect((await get('hook', 'nobody')).status).toBe(200);
    expect(callee.tokens()).toEqual(Array(2).fill('Bearer service.token'));
  });

  test.each([
    [new TokenRequestError('BROKER_UNAVAILABLE', 'down', { retryAfterSeconds: 6.5 }), '7'],
    [new TokenRequestError('BROKER_CREDENTIALS_REFUSED', 'refused'), '1'],
    [new BrokerError('STORE_THROTTLED', 'retry', 'of a broker in this process'), '1'],
  ])('says 503 when no service token is available: %s', async (error, retryAfter) => {
    const { get, log } = await start(platform, {
      getToken: async () => {
        throw error;
      },
    });
    expect(await get('service', 'service')).toEqual({
      status: 503,
      retryAfter,
      body: { statusCode: 503, message: 'The service is not available at the moment.' },
    });
    expect(log.of('error').join('\n')).toContain(error.code);
  });

  test('leaves other errors to Nest', async () => {
    const { get, log } = await start(platform, new ScriptedTokens('service.token'));
    expect(await get('other', 'nobody')).toMatchObject({ status: 500, retryAfter: null });
    expect(log.of('error').join('\n')).toContain('not of the client');
  });
});

test('a message’s sender learns no more than a status', async () => {
  const { app: started } = await start('fastify', new ScriptedTokens('service.token'));
  const service = started.connectMicroservice(
    { transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } },
    { inheritAppConfig: true },
  );
  await started.startAllMicroservices();
  const { port } = service.unwrap<{ address(): AddressInfo }>().address();
  const client = ClientProxyFactory.create({
    transport: Transport.TCP,
    options: { host: '127.0.0.1', port },
  });
  await expect(firstValueFrom(client.send('message', {}))).rejects.toEqual({
    status: 'error',
    statusCode: 500,
    message: 'Internal server error',
  });
  client.close();
});
