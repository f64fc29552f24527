// Runs in the projects of the matrix: with jest and vitest, as CommonJS and as an ES module. Imports no file of its own.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { HttpService } from '@nestjs/axios';
import { Controller, Get, Inject, type INestApplication } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { createTokenVerifier, TokenRejectedError } from 'service-token-kit';
import { createServiceTokenClient, type AuthorizedFetch } from 'service-token-kit/client';
import { AUTHORIZED_FETCH, RunAsService, ServiceClientModule } from 'service-token-kit/client/nest';
import {
  AllowCustomer,
  AllowService,
  CurrentPrincipal,
  JwtGuardModule,
  type Principal,
} from 'service-token-kit/guard';
import {
  createOfflineTestIssuer,
  startTestIssuer,
  type TestIssuer,
} from 'service-token-kit/testing';

let origin: string;

@Controller()
class OrdersController {
  constructor(
    @Inject(AUTHORIZED_FETCH) private readonly send: AuthorizedFetch,
    @Inject(HttpService) private readonly http: HttpService,
  ) {}

  @Get('who')
  @AllowCustomer()
  @AllowService()
  who(@CurrentPrincipal() principal: Principal): { readonly kind: string } {
    return { kind: principal.kind };
  }

  @Get('customers')
  @AllowCustomer()
  customers(): string {
    return 'ok';
  }

  @Get('undecided')
  undecided(): string {
    return 'never';
  }

  @Get('relay')
  @AllowCustomer()
  relay(): Promise<readonly unknown[]> {
    return this.callBoth();
  }

  @RunAsService()
  callBoth_(): Promise<readonly unknown[]> {
    return this.callBoth();
  }

  private async callBoth(): Promise<readonly unknown[]> {
    const fetched = await this.send(`${origin}/who`);
    const { data } = await this.http.axiosRef.get<unknown>(`${origin}/who`);
    return [await fetched.json(), data];
  }
}

/** A broker that has one token to give. */
async function startBroker(token: string): Promise<Server> {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: 3_600 }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const originOf = (server: Server): string =>
  `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe.each(['express', 'fastify'])('on %s', (platform) => {
  let issuer: TestIssuer;
  let broker: Server;
  let app: INestApplication;

  beforeAll(async () => {
    issuer = await startTestIssuer({ profile: 'auth0' });
    broker = await startBroker(issuer.serviceToken());
    const port = await freePort();
    origin = `http://127.0.0.1:${port}`;
    const testing = await Test.createTestingModule({
      imports: [
        JwtGuardModule.forRoot(issuer.verifierOptions()),
        ServiceClientModule.forRoot({
          tokens: createServiceTokenClient({
            brokers: originOf(broker),
            peer: { id: 'orders', secret: 'secret' },
          }),
          origins: [{ origin, acceptsCustomers: true }],
        }),
      ],
      controllers: [OrdersController],
    }).compile();
    app =
      platform === 'express'
        ? testing.createNestApplication(new ExpressAdapter())
        : testing.createNestApplication(new FastifyAdapter());
    await app.listen(port, '127.0.0.1');
  });

  afterAll(async () => {
    await app.close();
    broker.close();
    await issuer.close();
  });

  const ask = (path: string, token?: string): Promise<Response> =>
    fetch(`${origin}/${path}`, {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    });

  test('the guard tells customers and services apart', async () => {
    expect(await (await ask('who', issuer.customerToken())).json()).toEqual({ kind: 'customer' });
    expect(await (await ask('who', issuer.serviceToken())).json()).toEqual({ kind: 'service' });
    expect((await ask('customers', issuer.customerToken())).status).toBe(200);
    expect((await ask('customers', issuer.serviceToken())).status).toBe(403);
  });

  test('the guard refuses a call without a token, with a wrong one, and to a route without a decorator', async () => {
    expect((await ask('who')).status).toBe(401);
    expect((await ask('who', issuer.customerToken({ fault: 'expired' }))).status).toBe(401);
    expect((await ask('undecided', issuer.customerToken())).status).toBe(403);
  });

  test('fetch and axios carry the customer’s token within a customer’s call', async () => {
    const kinds = await (await ask('relay', issuer.customerToken())).json();
    expect(kinds).toEqual([{ kind: 'customer' }, { kind: 'customer' }]);
  });

  test('and the service token where the service acts for itself', async () => {
    const kinds = await app.get(OrdersController).callBoth_();
    expect(kinds).toEqual([{ kind: 'service' }, { kind: 'service' }]);
  });
});

test('the verifier and the test kit work without Nest', async () => {
  const issuer = await createOfflineTestIssuer();
  const verifier = createTokenVerifier(issuer.verifierOptions());
  const { principal } = await verifier.verify(issuer.serviceToken());
  expect(principal.kind).toBe('service');
  const error: unknown = await verifier.verify('no token').catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(TokenRejectedError);
  expect((error as TokenRejectedError).code).toBe('TOKEN_MALFORMED');
});
