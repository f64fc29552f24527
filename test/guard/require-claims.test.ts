import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Controller, Get, Module, type INestApplication } from '@nestjs/common';
import {
  AllowCustomer,
  AllowService,
  JwtGuardModule,
  Public,
  RequireClaims,
  RequireScopes,
  type RefusedCall,
} from '../../src/guard/index.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen, PLATFORMS } from './support/nest-app.js';

@Controller('acme')
@AllowCustomer()
@AllowService()
@RequireClaims({ tenant: 'acme' })
class AcmeController {
  @Get('any')
  any(): string {
    return 'any';
  }

  @Get('admin')
  @RequireClaims({ roles: { includes: 'admin' } })
  @RequireClaims((claims) => claims['age'] === 30, 'thirty years')
  @RequireScopes('orders:read')
  admin(): string {
    return 'admin';
  }

  @Get('service')
  @AllowService()
  service(): string {
    return 'service';
  }

  @Get('broken')
  @RequireClaims((claims) => {
    throw new Error(`no ${String(claims['tenant'])} here`);
  }, 'something broken')
  broken(): string {
    return 'broken';
  }

  @Get('public')
  @Public()
  public(): string {
    return 'public';
  }
}

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await createIssuer();
});

describe.each(PLATFORMS)('RequireClaims on %s', (platform) => {
  let app: INestApplication;
  let url: string;
  const refused: RefusedCall[] = [];

  beforeAll(async () => {
    @Module({
      imports: [
        JwtGuardModule.forRoot({
          clock: issuer.clock,
          issuers: [issuer.options],
          onRefused: (call) => refused.push(call),
        }),
      ],
      controllers: [AcmeController],
    })
    class App {}
    app = await createApp(App, platform);
    url = await listen(app);
  });

  afterAll(() => app.close());

  const call = async (path: string, claims: object, kind: 'customer' | 'service' = 'customer') => {
    const change = { ...claims };
    const token = await (kind === 'customer'
      ? issuer.customerToken(change)
      : issuer.serviceToken(change));
    return fetch(`${url}/acme/${path}`, { headers: { authorization: `Bearer ${token}` } });
  };

  test.each([
    ['any', { tenant: 'acme' }, 200],
    ['any', { tenant: 'evil' }, 403],
    ['any', {}, 403],
    ['admin', { tenant: 'acme', roles: ['admin'], age: 30 }, 200],
    ['admin', { tenant: 'evil', roles: ['admin'], age: 30 }, 403],
    ['admin', { tenant: 'acme', roles: ['ops'], age: 30 }, 403],
    ['admin', { tenant: 'acme', roles: ['admin'], age: 31 }, 403],
    ['admin', { tenant: 'acme', roles: ['admin'], age: 30, scope: 'other' }, 403],
    ['service', { tenant: 'acme' }, 403],
    ['public', {}, 200],
  ])('/%s for %j: %d', async (path, claims, status) => {
    expect((await call(path, claims)).status).toBe(status);
  });

  test('claims of the class hold for a handler that says who', async () => {
    expect((await call('service', { tenant: 'acme' }, 'service')).status).toBe(200);
    expect((await call('service', {}, 'service')).status).toBe(403);
  });

  test('the answer is that of RFC 6750 §3.1, without the claim', async () => {
    const response = await call('any', { tenant: 'evil' });
    await expect(response.json()).resolves.toEqual({
      statusCode: 403,
      error: 'insufficient_scope',
      message: 'The access token lacks a required claim.',
    });
    expect(response.headers.get('www-authenticate')).toBe(
      'Bearer error="insufficient_scope", error_description="The access token lacks a required claim."',
    );
    expect(refused.at(-1)).toMatchObject({
      handler: 'AcmeController.any',
      refusal: { reason: 'CLAIM_NOT_MET', requirement: 'the claim "tenant"' },
      error: undefined,
    });
  });

  test('a check that throws refuses, and the observer gets what it threw', async () => {
    const response = await call('broken', { tenant: 'acme' });
    expect(response.status).toBe(403);
    await expect(response.text()).resolves.not.toContain('here');
    expect(refused.at(-1)).toMatchObject({
      refusal: { reason: 'CLAIM_CHECK_FAILED', requirement: 'something broken' },
      error: new Error('no acme here'),
    });
  });
});

test('without an observer a check that throws is warned of once in ten seconds, without its words', async () => {
  const log = new KeptLog();
  @Module({
    imports: [JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] })],
    controllers: [AcmeController],
  })
  class App {}
  const app = await createApp(App, 'fastify', log);
  const url = await listen(app);
  const token = await issuer.customerToken({ tenant: 'acme' });
  const warnings = (): readonly string[] =>
    log.of('warn').filter((line) => line.includes('A check of claims failed'));
  const call = () => fetch(`${url}/acme/broken`, { headers: { authorization: `Bearer ${token}` } });
  await call();
  await call();
  expect(warnings()).toHaveLength(1);
  issuer.clock.advance(10_000);
  await call();
  expect(warnings()).toHaveLength(2);
  expect(warnings().join()).toContain('AcmeController.broken are refused: something broken');
  expect(log.lines.join('\n')).not.toContain('no acme here');
  await app.close();
});

test.each<[string, () => unknown, RegExp]>([
  ['nothing', () => RequireClaims({}), /requires no claim/],
  // @ts-expect-error: a list could mean two things
  ['a list', () => RequireClaims({ roles: ['admin'] }), /can mean two things/],
  // @ts-expect-error: scopes have a decorator of their own
  ['a scope', () => RequireClaims({ scope: 'orders:read' }), /RequireScopes/],
  // @ts-expect-error: a check needs words
  ['a check without words', () => RequireClaims(() => true), /needs words/],
])('%s is refused where it stands', (_, decorate, words) => {
  expect(decorate).toThrow(
    expect.objectContaining({ code: 'GUARD_MISCONFIGURED', message: expect.stringMatching(words) }),
  );
});

test('claims without anybody who may call stop the start', async () => {
  class Orders {
    list(): void {}
  }
  const method = Object.getOwnPropertyDescriptor(Orders.prototype, 'list') as PropertyDescriptor;
  RequireClaims({ tenant: 'acme' })(Orders.prototype, 'list', method);
  Get()(Orders.prototype, 'list', method);
  Controller('orders')(Orders);
  @Module({
    imports: [JwtGuardModule.forRoot({ issuers: [issuer.options] })],
    controllers: [Orders],
  })
  class App {}
  await expect(createApp(App, 'fastify')).rejects.toThrow(/RequireClaims\(\) does not say who/);
});
