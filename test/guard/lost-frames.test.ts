import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { expect, test } from '@jest/globals';
import { Controller, Module, Post, type MiddlewareConsumer, type NestModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import {
  AllowCustomer,
  currentCallContext,
  JwtGuardModule,
  Public,
} from '../../src/guard/index.js';
import { createIssuer } from './support/issuer.js';
import { KeptLog, listen } from './support/nest-app.js';

type Next = () => void;

/** A connection that all requests share, such as one to Redis: its callbacks run in the context it was opened in. */
const shared = new EventEmitter();
const opened = new AsyncResource('shared');

/** Loads a session, as middleware with callbacks does. */
function loadSession(bind: (next: Next) => Next) {
  return (_request: unknown, _response: unknown, next: Next): void => {
    shared.once('answer', bind(next));
    setImmediate(() => opened.runInAsyncScope(() => shared.emit('answer')));
  };
}

/** What handlers of webhooks use to get at the bytes that were signed. */
function readRawBody(request: IncomingMessage, _response: unknown, next: Next): void {
  request.resume();
  request.on('end', next);
}

@Controller()
class HooksController {
  @Post('customer')
  @AllowCustomer()
  customer(): object {
    return { who: currentCallContext()?.principal.subject ?? 'nobody' };
  }

  @Post('public')
  @Public()
  public(): object {
    return { who: currentCallContext()?.principal.subject ?? 'nobody' };
  }
}

async function start(
  middleware: (request: IncomingMessage, response: unknown, next: Next) => void,
) {
  const issuer = await createIssuer();
  @Module({
    imports: [JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] })],
    controllers: [HooksController],
  })
  class HooksModule implements NestModule {
    configure(consumer: MiddlewareConsumer): void {
      consumer.apply(middleware).forRoutes('{*all}');
    }
  }
  const log = new KeptLog();
  const app = await NestFactory.create(HooksModule, new ExpressAdapter(), {
    logger: log,
    bodyParser: false,
  });
  const url = await listen(app);
  const authorization = `Bearer ${await issuer.customerToken()}`;
  const post = async (path: string): Promise<readonly [number, unknown]> => {
    const response = await fetch(`${url}/${path}`, {
      method: 'POST',
      headers: { authorization },
      body: '{"signed":true}',
    });
    return [response.status, await response.json()];
  };
  return { app, log, post };
}

test('a customer whose call context was lost on the way is not served as nobody', async () => {
  const { app, log, post } = await start(loadSession((next) => next));
  // The second time the token is remembered, and the guard admits it without a promise.
  for (let round = 0; round < 2; round += 1) {
    expect((await post('customer'))[0]).toBe(500);
  }
  expect(log.of('error').join('\n')).toMatch(
    /HooksController\.customer would run outside the call context.*AsyncResource\.bind\(next\)/,
  );
  expect(log.lines.join('\n')).not.toMatch(/eyJ/);
  expect(await post('public')).toEqual([201, { who: 'nobody' }]);
  await app.close();
});

test('a middleware that binds next keeps it', async () => {
  const { app, post } = await start(loadSession((next) => AsyncResource.bind(next)));
  expect(await post('customer')).toEqual([201, { who: 'ann' }]);
  await app.close();
});

test('a middleware that calls next from an event of the request keeps it', async () => {
  const { app, post } = await start(readRawBody);
  for (let round = 0; round < 3; round += 1) {
    expect(await post('customer')).toEqual([201, { who: 'ann' }]);
  }
  await app.close();
});
