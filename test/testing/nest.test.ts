import { Controller, Get, type INestApplication } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  AllowCustomer,
  AllowService,
  CurrentPrincipal,
  JwtGuardModule,
  RequireScopes,
  type Principal,
} from '../../src/guard/index.js';
import {
  startTestIssuer,
  TOKEN_FAULTS,
  type TestIssuer,
  type TokenFault,
} from '../../src/testing/index.js';

// As docs/guard.md tells users to test their own services.

@Controller('orders')
class OrdersController {
  @Get()
  @AllowCustomer()
  @RequireScopes('orders:read')
  list(@CurrentPrincipal() { kind, subject }: Principal): object {
    return { kind, subject };
  }

  @Get('all')
  @AllowService('billing-job')
  all(@CurrentPrincipal() { kind, clientId }: Principal): object {
    return { kind, clientId };
  }
}

let issuer: TestIssuer;
let application: INestApplication;
let url: string;

beforeAll(async () => {
  issuer = await startTestIssuer({ profile: 'auth0' });
  const testing = await Test.createTestingModule({
    imports: [JwtGuardModule.forRoot(issuer.verifierOptions())],
    controllers: [OrdersController],
  }).compile();
  application = testing.createNestApplication(new FastifyAdapter(), { logger: false });
  await application.listen(0, '127.0.0.1');
  url = await application.getUrl();
});

afterAll(async () => {
  await application.close();
  await issuer.close();
});

async function get(path: string, token: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, body: await response.json() };
}

test('customers and services reach what is theirs', async () => {
  const customer = issuer.customerToken({ subject: 'auth0|ann', scopes: ['orders:read'] });
  expect(await get('/orders', customer)).toEqual({
    status: 200,
    body: { kind: 'customer', subject: 'auth0|ann' },
  });
  expect(await get('/orders/all', customer)).toMatchObject({ status: 403 });
  expect(await get('/orders', issuer.customerToken())).toMatchObject({ status: 403 });

  expect(await get('/orders/all', issuer.serviceToken())).toEqual({
    status: 200,
    body: { kind: 'service', clientId: 'billing-job' },
  });
  const other = issuer.serviceToken({ clientId: 'other-job' });
  expect(await get('/orders/all', other)).toMatchObject({ status: 403 });
});

test.each(Object.keys(TOKEN_FAULTS) as TokenFault[])(
  'a token with the fault "%s" is refused',
  async (fault) => {
    const token = issuer.customerToken({ fault, scopes: ['orders:read'] });
    expect(await get('/orders', token)).toMatchObject({
      status: 401,
      body: { error: 'invalid_token' },
    });
  },
);
