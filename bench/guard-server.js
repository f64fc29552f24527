// A Nest application on Fastify with one route. Started by `fork`; it is sent { guard, peer, isTracked, hasIdleGuard, issuer, jwks }
// once, and says on which port it listens. `guard` is the address of the guard's module, or null for an application without it;
// `peer` names what guards the route in its place, of ./peers/route-guards.js; with
// `isTracked` each request runs in an AsyncLocalStorage, as it does with the guard; with `hasIdleGuard` one of Nest's guards
// stands before the route that lets everybody through.
import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { Controller, Get, Module, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';

process.once('message', (wanted) => {
  start(wanted).then(
    (port) => process.send({ port }),
    (error) => process.send({ error: String(error) }),
  );
});

async function start({ guard, peer, isTracked, hasIdleGuard, issuer, jwks }) {
  const imports = [];
  const providers = [];
  const decorators = [Get('orders')];
  if (guard !== null) {
    const { AllowService, createStaticKeySet, JwtGuardModule } = await import(guard);
    imports.push(
      JwtGuardModule.forRoot({ issuers: [{ ...issuer, keys: createStaticKeySet(jwks) }] }),
    );
    decorators.push(AllowService());
  }
  if (peer !== undefined) {
    const { routeGuard } = await import('./peers/route-guards.js');
    const other = await routeGuard(peer, { jwks });
    providers.push(...other.providers);
    decorators.push(UseGuards(other.guard));
  }
  if (hasIdleGuard) decorators.push(UseGuards({ canActivate: () => true }));
  class OrdersController {
    list() {
      return { orders: [{ id: 1, state: 'paid' }] };
    }
  }
  const method = Object.getOwnPropertyDescriptor(OrdersController.prototype, 'list');
  for (const decorate of decorators) decorate(OrdersController.prototype, 'list', method);
  Controller()(OrdersController);
  class App {}
  Module({ imports, providers, controllers: [OrdersController] })(App);
  const app = await NestFactory.create(App, new FastifyAdapter(), { logger: false });
  if (isTracked) {
    const storage = new AsyncLocalStorage();
    const fastify = app.getHttpAdapter().getInstance();
    fastify.addHook('preHandler', (request, _reply, done) => storage.run(request, done));
  }
  await app.listen(0, '127.0.0.1');
  return app.getHttpServer().address().port;
}
