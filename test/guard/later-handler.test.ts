import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Catch,
  Controller,
  Get,
  HttpException,
  Module,
  Next,
  Req,
  UseFilters,
  UseGuards,
  type ArgumentsHost,
  type CanActivate,
  type ExceptionFilter,
  type INestApplication,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, EventPattern, Payload, Transport } from '@nestjs/microservices';
import { ExpressAdapter } from '@nestjs/platform-express';
import {
  AllowCustomer,
  AllowService,
  callContextOf,
  createTokenVerifier,
  currentCallContext,
  CurrentPrincipal,
  JwtGuardModule,
  Public,
  RequireScopes,
  type Principal,
} from '../../src/guard/index.js';
import { currentBehalf } from '../../src/context/call-context.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen } from './support/nest-app.js';

function whose(): string {
  const behalf = currentBehalf();
  return typeof behalf === 'object' ? behalf.principal.subject : behalf;
}

interface UserRequest {
  readonly user?: Principal;
  ofContext?: string | null;
}

/** What the code of a request sees of its caller. */
const sight = (request: UserRequest): object => ({
  whose: whose(),
  user: request.user?.subject ?? null,
  current: currentCallContext()?.principal.subject ?? null,
});

/** What the earlier handler still does, after the later one. */
let leftOver: Promise<object> = Promise.resolve({});
/** Fails from then on with an error that says nothing about the token. */
let isBroken = false;

@Controller()
class EarlierController {
  @Get(['public', 'principal', 'refused', 'scopes', 'undeclared', 'broken', 'admitted', 'third'])
  @AllowCustomer()
  pass(@Req() request: UserRequest & { url: string }, @Next() next: () => void): void {
    expect(sight(request)).toEqual({ whose: 'ann', user: 'ann', current: 'ann' });
    isBroken = request.url === '/broken';
    leftOver = new Promise((resolve) => setTimeout(() => resolve(sight(request)), 20));
    next();
  }
}

const ContextGuard: CanActivate = {
  canActivate: (context) => {
    const request = context.switchToHttp().getRequest<UserRequest>();
    request.ofContext = callContextOf(context)?.principal.subject ?? null;
    return true;
  },
};

@Catch()
class SeeingFilter implements ExceptionFilter<Error> {
  catch(error: Error, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const status = error instanceof HttpException ? error.getStatus() : 500;
    http
      .getResponse<{ status(status: number): { json(body: object): void } }>()
      .status(status)
      .json(sight(http.getRequest()));
  }
}

@Controller()
@UseFilters(SeeingFilter)
class LaterController {
  @Get('public')
  @Public()
  @UseGuards(ContextGuard)
  public(@Req() request: UserRequest): object {
    return { ...sight(request), ofContext: request.ofContext };
  }

  @Get('principal')
  @Public()
  principal(@CurrentPrincipal() principal: Principal): object {
    return principal;
  }

  @Get('refused')
  @AllowService()
  refused(): void {}

  @Get('scopes')
  @AllowCustomer()
  @RequireScopes('admin')
  scopes(): void {}

  @Get('undeclared')
  undeclared(): void {}

  @Get('broken')
  @AllowCustomer()
  broken(): void {}

  @Get('admitted')
  @AllowCustomer()
  admitted(@Req() request: UserRequest, @CurrentPrincipal() { subject }: Principal): object {
    return { ...sight(request), subject };
  }

  @Get('third')
  @Public()
  third(@Next() next: () => void): void {
    next();
  }
}

@Controller()
class LastController {
  @Get('third')
  @AllowCustomer()
  last(@Req() request: UserRequest, @CurrentPrincipal() { subject }: Principal): object {
    return { ...sight(request), subject };
  }
}

/** An adapter that the guard has not heard of: its calls run in frames of interceptors. */
class OtherAdapter extends ExpressAdapter {
  override getType(): string {
    return 'other';
  }
}

const KINDS = ['express', 'other', 'without frames'] as const;

describe.each(KINDS)(
  'on %s, after an earlier handler of the same request was admitted,',
  (kind) => {
    let issuer: TestIssuer;
    let app: INestApplication;
    let url: string;

    beforeAll(async () => {
      issuer = await createIssuer();
      const { clock, options } = issuer;
      const verifier = createTokenVerifier({ clock, issuers: [options] });
      const breaking = {
        verify: (token: string) =>
          isBroken ? Promise.reject(new Error('broken')) : verifier.verify(token),
        keyStates: () => verifier.keyStates(),
      };
      @Module({
        imports: [JwtGuardModule.forRoot({ verifier: breaking, clock, requestProperty: 'user' })],
        controllers: [EarlierController, LaterController, LastController],
      })
      class LaterModule {}
      const adapter = kind === 'express' ? new ExpressAdapter() : new OtherAdapter();
      app = await NestFactory.create(LaterModule, adapter, { logger: new KeptLog() });
      await app.init();
      // As a server that is not one of Node.js: then only interceptors make frames.
      if (kind === 'without frames') Reflect.deleteProperty(app.getHttpServer(), 'emit');
      url = await listen(app);
    });

    afterAll(() => app.close());

    const nobody = { user: null, current: null };
    test.each<[string, number, object]>([
      ['public', 200, { whose: 'nobody', ...nobody, ofContext: null }],
      ['principal', 500, { whose: 'nobody', ...nobody }],
      ['refused', 403, { whose: 'refused', ...nobody }],
      ['scopes', 403, { whose: 'refused', ...nobody }],
      ['undeclared', 403, { whose: 'refused', ...nobody }],
      ['broken', 500, { whose: 'unjudged', ...nobody }],
      ['admitted', 200, { whose: 'ann', user: 'ann', current: 'ann', subject: 'ann' }],
      ['third', 200, { whose: 'ann', user: 'ann', current: 'ann', subject: 'ann' }],
    ])('%s: %i, and %j', async (path, status, seen) => {
      const { whose: own } = seen as { whose: string };
      // Without frames of requests, only the handlers themselves know more.
      const around = kind === 'without frames' && own !== 'ann' ? 'unjudged' : own;
      isBroken = false;
      const headers = { authorization: `Bearer ${await issuer.customerToken()}` };
      const response = await fetch(`${url}/${path}`, { headers });
      const expected = path === 'public' ? seen : { ...seen, whose: around };
      expect([response.status, await response.json()]).toEqual([status, expected]);
      expect(await leftOver).toHaveProperty('whose', around);
    });
  },
);

test('several handlers of one message are each judged for themselves', async () => {
  const issuer = await createIssuer();
  const seen: string[] = [];
  const heard = new EventEmitter();
  const note = (name: string): void => {
    seen.push(`${name}: ${whose()}`);
    heard.emit('note');
  };

  @Controller()
  class ListenersController {
    @EventPattern('ordered')
    @AllowCustomer()
    first(@Payload() _order: object): void {
      note('first');
    }

    @EventPattern('ordered')
    @Public()
    last(@Payload() _order: object): void {
      note('last');
    }
  }
  @Module({
    imports: [JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] })],
    controllers: [ListenersController],
  })
  class ListenersModule {}
  const app = await createApp(ListenersModule, 'fastify');
  const options = { host: '127.0.0.1', port: 0 };
  const service = app.connectMicroservice({ transport: Transport.TCP, options });
  await app.startAllMicroservices();
  const { port } = service.unwrap<{ address(): AddressInfo }>().address();
  const client = ClientProxyFactory.create({
    transport: Transport.TCP,
    options: { ...options, port },
  });
  const authorization = `Bearer ${await issuer.customerToken()}`;
  client.setOnDispatchHook((packet) => {
    packet.metadata = { authorization };
  });
  // The second time the token is remembered, and the guard admits it without a promise.
  for (let round = 0; round < 2; round += 1) {
    client.emit('ordered', {});
    while (seen.length < 2) await once(heard, 'note');
    expect(seen.splice(0).toSorted()).toEqual(['first: ann', 'last: nobody']);
  }
  await client.close();
  await app.close();
});
