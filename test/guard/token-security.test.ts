import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Controller,
  Get,
  Module,
  Post,
  UseGuards,
  Version,
  VersioningType,
  type INestApplication,
} from '@nestjs/common';
import {
  ApiForbiddenResponse,
  ApiSecurity,
  DocumentBuilder,
  SwaggerModule,
  type OpenAPIObject,
} from '@nestjs/swagger';
import {
  AllowCustomer,
  AllowService,
  JwtGuard,
  JwtGuardModule,
  Public,
  RequireClaims,
  RequireScopes,
  type JwtGuardModuleExtras,
  type JwtGuardModuleOptions,
} from '../../src/guard/index.js';
import { createTokenSecuredDocument } from '../../src/guard/swagger/index.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp } from './support/nest-app.js';

class Base {
  @Get('list')
  list(): void {}

  @Get('narrow')
  @RequireScopes('orders:read')
  @RequireClaims({ tenant: 'acme-secret' })
  narrow(): void {}
}

@Controller('customers')
@AllowCustomer()
class CustomersController extends Base {}

@Controller('services')
@AllowService('secret-client')
@RequireScopes('orders:list')
class ServicesController extends Base {}

// The name occurs twice, as in an application of many modules.
const Twin = (() => {
  @Controller('twin')
  class CustomersController {
    @Get()
    @Public()
    list(): void {}
  }
  return CustomersController;
})();

@Controller('orders')
class OrdersController {
  @Get()
  @Public()
  open(): void {}

  @Get('forgotten')
  forgotten(): void {}

  @Post()
  @AllowCustomer()
  @AllowService()
  @ApiForbiddenResponse({ description: 'Ours.' })
  both(): void {}

  @Get('version')
  @Version(['1', '2'])
  @AllowCustomer()
  versioned(): void {}

  @Get('keyed')
  @AllowService()
  @ApiSecurity('api_key')
  keyed(): void {}
}

@Controller('library')
class LibraryController {
  @Get()
  metrics(): void {}
}

@Controller('named')
class NamedController {
  @Get()
  @UseGuards(JwtGuard)
  closed(): void {}
}

const CONTROLLERS = [
  CustomersController,
  ServicesController,
  Twin,
  OrdersController,
  LibraryController,
];

let issuer: TestIssuer;
const apps: INestApplication[] = [];
beforeAll(async () => {
  issuer = await createIssuer();
});
afterAll(async () => {
  for (const app of apps) await app.close();
});

async function start(
  controllers: readonly (new () => object)[],
  options: Partial<JwtGuardModuleOptions> & JwtGuardModuleExtras,
): Promise<INestApplication> {
  @Module({
    imports: [JwtGuardModule.forRoot({ issuers: [issuer.options], ...options })],
    controllers: [...controllers],
  })
  class App {}
  const app = await createApp(App, 'fastify');
  app.setGlobalPrefix('api');
  app.enableVersioning({ type: VersioningType.URI });
  await app.init();
  apps.push(app);
  return app;
}

const builder = (): DocumentBuilder => new DocumentBuilder().setTitle('Orders').setVersion('1');
type Path = OpenAPIObject['paths'][string];
const operation = (document: OpenAPIObject, path: string, method: keyof Path = 'get') =>
  document.paths[path]?.[method] as {
    security?: object;
    responses: Record<string, { description: string; headers?: object; content?: object }>;
  };
const answers = (document: OpenAPIObject, path: string, method: keyof Path = 'get') =>
  Object.keys(operation(document, path, method).responses);

describe('a document', () => {
  let app: INestApplication;
  let document: OpenAPIObject;
  beforeAll(async () => {
    app = await start(CONTROLLERS, { exclude: [LibraryController] });
    const config = builder().build();
    document = createTokenSecuredDocument(app, () => SwaggerModule.createDocument(app, config));
  });

  test('has the scheme once', () => {
    expect(document.components?.securitySchemes).toEqual({
      bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
    });
    expect(JSON.stringify(document)).not.toContain('service-token-kit/');
  });

  test('a public route, and one of an excluded class, need no token', () => {
    for (const path of ['/api/orders', '/api/twin', '/api/library']) {
      expect(operation(document, path).security).toBeUndefined();
      expect(answers(document, path)).toEqual(['200']);
    }
  });

  test('a route with a token has security, and the answers of the guard', () => {
    expect(operation(document, '/api/customers/list').security).toEqual([{ bearer: [] }]);
    expect(answers(document, '/api/customers/list')).toEqual(['200', '401', '403', '503']);
    const { responses } = operation(document, '/api/customers/list');
    expect(responses['401']?.headers).toHaveProperty('WWW-Authenticate');
    expect(responses['503']?.headers).toHaveProperty('Retry-After');
    expect(responses['403']?.content).toHaveProperty(['application/json']);
    expect(responses['403']?.description).toContain('Allowed: customers.');
  });

  test('a method of two classes has what each class says', () => {
    const words = (path: string) => operation(document, path).responses['403']?.description;
    expect(words('/api/services/list')).toContain(
      'certain services, with the scopes: orders:list.',
    );
    expect(words('/api/customers/narrow')).toContain(
      'customers, with the scopes: orders:read, with certain claims.',
    );
    expect(words('/api/services/narrow')).toContain('orders:list orders:read');
    // The document may be public.
    expect(JSON.stringify(document)).not.toMatch(/secret-client|acme-secret/);
  });

  test('a route that nobody may call: 403 alone', () => {
    expect(operation(document, '/api/orders/forgotten').security).toBeUndefined();
    expect(answers(document, '/api/orders/forgotten')).toEqual(['200', '403']);
  });

  test('what the application says itself stays', () => {
    expect(operation(document, '/api/orders', 'post').responses['403']?.description).toBe('Ours.');
    expect(operation(document, '/api/orders/keyed').security).toEqual([
      { api_key: [], bearer: [] },
    ]);
  });

  test('every version of a route', () => {
    for (const path of ['/api/v1/orders/version', '/api/v2/orders/version']) {
      expect(operation(document, path).security).toEqual([{ bearer: [] }]);
    }
  });

  test('nothing is left on the classes: the next document is as before', () => {
    const plain = SwaggerModule.createDocument(app, builder().build());
    expect(operation(plain, '/api/customers/list').security).toBeUndefined();
    expect(operation(plain, '/api/orders/keyed').security).toEqual([{ api_key: [] }]);
    const again = createTokenSecuredDocument(app, () =>
      SwaggerModule.createDocument(app, builder().build()),
    );
    expect(again).toEqual(document);
  });

  test('nor when making it fails', () => {
    const broken = new Error('broken');
    expect(() =>
      createTokenSecuredDocument(app, () => {
        throw broken;
      }),
    ).toThrow(broken);
    const plain = SwaggerModule.createDocument(app, builder().build());
    expect(operation(plain, '/api/customers/list').security).toBeUndefined();
  });

  test('with OAuth 2 the scopes stand in security', () => {
    const config = builder()
      .addOAuth2({ type: 'oauth2', flows: {} }, 'login')
      .addSecurityRequirements('login')
      .build();
    const make = () => SwaggerModule.createDocument(app, config);
    const made = createTokenSecuredDocument(app, make, { name: 'login' });
    expect(operation(made, '/api/customers/narrow').security).toEqual([{ login: ['orders:read'] }]);
    // Required everywhere by the document, and here of nobody.
    expect(operation(made, '/api/orders').security).toEqual([]);
    expect(Object.keys(made.components?.securitySchemes ?? {})).toEqual(['login']);
  });

  test('a scheme of one’s own', () => {
    const scheme = { type: 'openIdConnect', openIdConnectUrl: 'https://issuer.example/' };
    const make = () => SwaggerModule.createDocument(app, builder().build());
    const made = createTokenSecuredDocument(app, make, { name: 'oidc', scheme });
    expect(made.components?.securitySchemes).toEqual({ oidc: scheme });
    expect(operation(made, '/api/services/list').security).toEqual([{ oidc: ['orders:list'] }]);
  });
});

test('with guardEveryHandler: false, a route without a decorator is open, but for one that names the guard', async () => {
  const app = await start([OrdersController, NamedController], { guardEveryHandler: false });
  const document = createTokenSecuredDocument(app, () =>
    SwaggerModule.createDocument(app, builder().build()),
  );
  expect(answers(document, '/api/orders/forgotten')).toEqual(['200']);
  expect(answers(document, '/api/named')).toEqual(['200', '403']);
});
