import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Catch,
  Controller,
  Get,
  Module,
  Req,
  type ArgumentsHost,
  type ExceptionFilter,
  type INestApplication,
} from '@nestjs/common';
import { APP_FILTER, HttpAdapterHost } from '@nestjs/core';
import {
  AllowCustomer,
  CallRefusedException,
  JwtGuardModule,
  Public,
  RequireScopes,
  type JwtGuardModuleOptions,
  type Principal,
} from '../../src/guard/index.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, listen, PLATFORMS } from './support/nest-app.js';

interface PassportRequest {
  readonly user?: Principal;
}

const userOf = ({ user }: PassportRequest): object => ({
  kind: user?.kind ?? null,
  subject: user?.subject ?? null,
});

@Controller()
class UserController {
  @Get('customer')
  @AllowCustomer()
  customer(@Req() request: PassportRequest): object {
    return userOf(request);
  }

  @Get('admin')
  @AllowCustomer()
  @RequireScopes('admin')
  admin(@Req() request: PassportRequest): object {
    return userOf(request);
  }

  @Get('public')
  @Public()
  public(@Req() request: PassportRequest): object {
    return userOf(request);
  }
}

/** Shows what is on a request that was refused. */
@Catch(CallRefusedException)
class RefusedFilter implements ExceptionFilter<CallRefusedException> {
  catch(exception: CallRefusedException, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const { httpAdapter } = app.get(HttpAdapterHost);
    const request = http.getRequest<PassportRequest>();
    httpAdapter.reply(
      http.getResponse(),
      { ...userOf(request), isThere: 'user' in request },
      exception.getStatus(),
    );
  }
}

let issuer: TestIssuer;
let app: INestApplication;
beforeAll(async () => {
  issuer = await createIssuer();
});
afterEach(() => app.close());

describe.each(PLATFORMS)('on %s', (platform) => {
  async function start(
    options: Partial<JwtGuardModuleOptions>,
    prepare: (app: INestApplication) => unknown = () => undefined,
  ): Promise<string> {
    const { clock, options: trusted } = issuer;
    @Module({
      imports: [JwtGuardModule.forRoot({ clock, issuers: [trusted], ...options })],
      controllers: [UserController],
      providers: [{ provide: APP_FILTER, useClass: RefusedFilter }],
    })
    class App {}
    app = await createApp(App, platform);
    prepare(app);
    return listen(app);
  }

  const get = async (url: string, token: string) => {
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
    return [response.status, await response.json()];
  };

  test('request.user is the principal, where it is asked for', async () => {
    const url = await start({ requestProperty: 'user' });
    const token = await issuer.customerToken();
    const ann = { kind: 'customer', subject: 'ann' };
    // The token is new to the verifier first, and remembered then.
    expect(await get(`${url}/customer`, token)).toEqual([200, ann]);
    expect(await get(`${url}/customer`, token)).toEqual([200, ann]);
    const nobody = { kind: null, subject: null };
    expect(await get(`${url}/public`, token)).toEqual([200, nobody]);
    expect(await get(`${url}/admin`, token)).toEqual([403, { ...nobody, isThere: false }]);
    expect(await get(`${url}/customer`, 'nonsense')).toEqual([401, { ...nobody, isThere: false }]);
  });

  test('a refused request has none that others have set', async () => {
    const url = await start({ requestProperty: 'user' }, (one) =>
      one.use((request: object, _response: unknown, next: () => void) => {
        // Fastify gives middleware the request of Node, and filters its own.
        Object.assign(request, { user: { kind: 'customer', subject: 'of a session' } });
        next();
      }),
    );
    const nobody = { kind: null, subject: null };
    const [status, body] = await get(`${url}/customer`, 'nonsense');
    expect([status, body]).toEqual([401, expect.objectContaining(nobody)]);
  });

  test('it is not by default', async () => {
    const url = await start({});
    const nobody = { kind: null, subject: null };
    expect(await get(`${url}/customer`, await issuer.customerToken())).toEqual([200, nobody]);
  });

  test('a name that requests use themselves stops the start', async () => {
    await start({ requestProperty: 'user' });
    const previous = app;
    await expect(start({ requestProperty: 'body' })).rejects.toThrow(/"requestProperty" must be/);
    app = previous;
  });
});
