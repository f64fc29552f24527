import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Controller,
  Module,
  UseGuards,
  UseInterceptors,
  type CanActivate,
  type INestApplication,
  type NestInterceptor,
} from '@nestjs/common';
import {
  ClientProxyFactory,
  MessagePattern,
  Payload,
  Transport,
  type ClientProxy,
} from '@nestjs/microservices';
import { firstValueFrom, interval, map, take, toArray, type Observable } from 'rxjs';
import {
  AllowCustomer,
  AllowService,
  callContextOf,
  currentCallContext,
  CurrentPrincipal,
  JwtGuardModule,
  Public,
  runInCallContext,
  type CredentialsOptions,
  type Principal,
} from '../../src/guard/index.js';
import { readCredentials } from '../../src/guard/call-credentials.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog } from './support/nest-app.js';

const whoseCall = (): string => currentCallContext()?.principal.subject ?? 'nobody';
const seen: Record<string, string> = {};

const WatchingGuard: CanActivate = {
  canActivate: (context) => {
    seen['guard'] = whoseCall();
    seen['guardByHand'] = runInCallContext(callContextOf(context), whoseCall);
    return true;
  },
};

const WatchingInterceptor: NestInterceptor = {
  intercept: (_, next) => {
    seen['interceptor'] = whoseCall();
    return next.handle();
  },
};

@Controller()
class OrdersHandlers {
  @MessagePattern('watched')
  @UseGuards(WatchingGuard)
  @AllowCustomer()
  @UseInterceptors(WatchingInterceptor)
  watched(): object {
    return { ...seen, handler: whoseCall() };
  }

  @MessagePattern('customer')
  @AllowCustomer()
  async customer(@Payload() body: unknown, @CurrentPrincipal() who: Principal): Promise<object> {
    await new Promise(setImmediate);
    return { body, who: who.subject, runner: currentCallContext()?.principal.subject };
  }

  @MessagePattern('several')
  @AllowCustomer()
  several(): Observable<string> {
    return interval(1).pipe(take(3), map(whoseCall));
  }

  @MessagePattern('service')
  @AllowService()
  service(@CurrentPrincipal() who: Principal): string {
    return who.subject;
  }

  @MessagePattern('public')
  @Public()
  public(): string {
    return currentCallContext() === undefined ? 'nobody' : 'somebody';
  }
}

@Controller()
class ForgottenHandlers {
  @MessagePattern('forgotten')
  forgotten(): string {
    return 'open';
  }
}

let issuer: TestIssuer;
const log = new KeptLog();

/** A hybrid application, for which Nest does not run its global guards on messages. */
async function start(options: CredentialsOptions): Promise<{
  app: INestApplication;
  clientWith: (metadata: Record<string, string>) => ClientProxy;
}> {
  @Module({
    imports: [
      JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options], ...options }),
    ],
    controllers: [OrdersHandlers],
  })
  class HandlersModule {}
  const app = await createApp(HandlersModule, 'fastify', log);
  const service = app.connectMicroservice({
    transport: Transport.TCP,
    options: { host: '127.0.0.1', port: 0 },
  });
  await app.startAllMicroservices();
  const { port } = service.unwrap<{ address(): AddressInfo }>().address();
  const clientWith = (metadata: Record<string, string>): ClientProxy => {
    const client = ClientProxyFactory.create({
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port },
    });
    client.setOnDispatchHook((packet) => {
      packet.metadata = metadata;
    });
    clients.push(client);
    return client;
  };
  return { app, clientWith };
}

const clients: ClientProxy[] = [];
const ask = (client: ClientProxy, pattern: string, data: unknown = {}): Promise<unknown> =>
  firstValueFrom(client.send(pattern, data));

beforeAll(async () => {
  issuer = await createIssuer();
});

afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
});

describe('over a microservice’s TCP', () => {
  let app: INestApplication;
  let clientWith: (metadata: Record<string, string>) => ClientProxy;

  beforeAll(async () => {
    ({ app, clientWith } = await start({}));
  });

  afterAll(() => app.close());

  test('the token of the message’s metadata', async () => {
    const client = clientWith({ authorization: `Bearer ${await issuer.customerToken()}` });
    await expect(ask(client, 'customer', 'hello')).resolves.toEqual({
      body: 'hello',
      who: 'ann',
      runner: 'ann',
    });
    await expect(ask(client, 'service')).rejects.toEqual({
      status: 'error',
      statusCode: 403,
      error: 'insufficient_scope',
      message: 'Only services may do this.',
    });
    await expect(ask(client, 'public')).resolves.toBe('nobody');
  });

  test('what a handler returns is pulled on its behalf', async () => {
    const client = clientWith({ authorization: `Bearer ${await issuer.customerToken()}` });
    const answers = client.send<string>('several', {}).pipe(toArray());
    await expect(firstValueFrom(answers)).resolves.toEqual(['ann', 'ann', 'ann']);
  });

  test('reaches the handler’s interceptors, and its guards by hand', async () => {
    const client = clientWith({ authorization: `Bearer ${await issuer.customerToken()}` });
    await expect(ask(client, 'watched')).resolves.toEqual({
      guard: 'nobody',
      guardByHand: 'ann',
      interceptor: 'ann',
      handler: 'ann',
    });
  });

  test.each<[string, Record<string, string>, object]>([
    ['no token', {}, { statusCode: 401, message: 'A bearer token is required.' }],
    ['nonsense', { authorization: 'Bearer x' }, { statusCode: 401, error: 'invalid_token' }],
    ['no scheme', { authorization: 'x' }, { statusCode: 401 }],
    [
      'two spellings',
      { authorization: 'Bearer x', Authorization: 'Bearer y' },
      { statusCode: 400, error: 'invalid_request' },
    ],
  ])('%s', async (_, metadata, answer) => {
    await expect(ask(clientWith(metadata), 'customer')).rejects.toMatchObject(answer);
  });

  test('the payload is not read', async () => {
    const authorization = `Bearer ${await issuer.customerToken()}`;
    await expect(
      ask(clientWith({}), 'customer', { authorization, headers: { authorization } }),
    ).rejects.toMatchObject({ statusCode: 401 });
  });

  test('interleaved messages never see one another’s principal', async () => {
    const subjects = Array.from({ length: 10 }, (_, index) => `customer-${index}`);
    const seen = await Promise.all(
      subjects.map(async (sub) => {
        const client = clientWith({
          authorization: `Bearer ${await issuer.customerToken({ sub })}`,
        });
        const rounds = Array.from({ length: 10 }, (_, body) =>
          body % 2 === 0 ? ask(client, 'public') : ask(client, 'customer', body),
        );
        return Promise.all(rounds);
      }),
    );
    expect(seen).toEqual(
      subjects.map((who) =>
        Array.from({ length: 10 }, (_, body) =>
          body % 2 === 0 ? 'nobody' : { body, who, runner: who },
        ),
      ),
    );
  });

  test('no token is in any log line, and no refusal is an unknown error', () => {
    expect(log.lines.join('\n')).not.toMatch(/eyJ/);
    expect(log.of('error')).toEqual([]);
  });
});

test('tokenFromRpc replaces the metadata', async () => {
  const { app, clientWith } = await start({
    tokenFromRpc: (data) => (data as { token?: string }).token,
  });
  try {
    const token = await issuer.customerToken();
    const client = clientWith({ authorization: `Bearer ${token}` });
    await expect(ask(client, 'customer', { token })).resolves.toMatchObject({ who: 'ann' });
    await expect(ask(client, 'customer', {})).rejects.toMatchObject({ statusCode: 401 });
  } finally {
    await app.close();
  }
});

test('a message handler without decorators stops the start', async () => {
  @Module({
    imports: [JwtGuardModule.forRoot({ issuers: [issuer.options] })],
    controllers: [ForgottenHandlers],
  })
  class ForgottenModule {}
  await expect(createApp(ForgottenModule, 'fastify')).rejects.toMatchObject({
    code: 'GUARD_MISCONFIGURED',
    message: expect.stringContaining('ForgottenHandlers.forgotten handles messages'),
  });
});

describe('the places of other transports', () => {
  const bearer = 'Bearer abc';
  const taken = { kind: 'token', token: 'abc' };
  test.each<[string, unknown, object]>([
    ['NATS', { getHeaders: () => new Map([['Authorization', bearer]]) }, taken],
    [
      'NATS, twice',
      { getHeaders: () => ({ get: () => bearer, values: () => [bearer, bearer] }) },
      { kind: 'malformed' },
    ],
    ['NATS, none', { getHeaders: () => ({ get: () => '', values: () => [] }) }, { kind: 'none' }],
    ['NATS without headers', { getHeaders: () => undefined }, { kind: 'none' }],
    ['Kafka', { getMessage: () => ({ headers: { authorization: Buffer.from(bearer) } }) }, taken],
    [
      'Kafka, twice',
      { getMessage: () => ({ headers: { authorization: [Buffer.from(bearer), bearer] } }) },
      { kind: 'malformed' },
    ],
    [
      'RabbitMQ',
      { getMessage: () => ({ properties: { headers: { authorization: bearer } } }) },
      taken,
    ],
    [
      'MQTT',
      { getPacket: () => ({ properties: { userProperties: { authorization: bearer } } }) },
      taken,
    ],
    ['gRPC', { getMap: () => ({}), get: () => [bearer] }, taken],
    ['gRPC, none', { getMap: () => ({}), get: () => [] }, { kind: 'none' }],
    ['a transport that says nothing', {}, { kind: 'none' }],
    ['no context', undefined, { kind: 'none' }],
  ])('%s', (_, context, credentials) => {
    const data = { authorization: bearer, headers: { authorization: bearer } };
    expect(readCredentials('rpc', [data, context], {})).toEqual(credentials);
  });

  test('an error of tokenFromRpc refuses the message', async () => {
    const { app, clientWith } = await start({
      tokenFromRpc: () => {
        throw new Error('a mistake of the application');
      },
    });
    try {
      await expect(ask(clientWith({}), 'customer')).rejects.toMatchObject({ status: 'error' });
    } finally {
      await app.close();
    }
  });
});
