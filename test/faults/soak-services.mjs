// Two services of the soak, each in a process of its own, which report what they see every ten seconds. Started by `fork`, with
// their options as JSON: `{ role: 'callee', … }` has a NestJS application with the guard; `{ role: 'caller', … }` calls it with
// the client's token, and asks brokers for theirs over HTTP.
import { readdirSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const options = JSON.parse(process.argv[2]);
const EVERY = 10_000;
const { load, ...roles } = {
  load: (path) => import(new URL(`../../dist/${path}`, import.meta.url).href),
  callee,
  caller,
};
const delay = monitorEventLoopDelay({ resolution: 10 });
delay.enable();
const extra = await roles[options.role]();
setInterval(() => {
  const { heapUsed, rss } = process.memoryUsage();
  process.send({
    usage: {
      rss,
      heap: heapUsed,
      descriptors: readdirSync('/proc/self/fd').length,
      resources: process.getActiveResourcesInfo().length,
      // Its own resolution is part of what the monitor measures.
      delay: Math.max(0, delay.percentile(99) / 1e6 - 10),
    },
    ...extra(),
  });
  delay.reset();
}, EVERY);
process.on('disconnect', () => process.exit(0));

async function callee() {
  await import('reflect-metadata');
  const { Controller, Get, Module } = await import('@nestjs/common');
  const { NestFactory } = await import('@nestjs/core');
  const { FastifyAdapter } = await import('@nestjs/platform-fastify');
  const { AllowService, JwtGuardModule } = await load('guard/index.js');
  const { createRemoteKeySet } = await load('verification/index.js');
  const { issuer, audiences, jwksUri } = options;
  const keys = createRemoteKeySet({ jwksUri });
  class OrdersController {
    list() {
      return { orders: [{ id: 1, state: 'paid' }] };
    }
  }
  const method = Object.getOwnPropertyDescriptor(OrdersController.prototype, 'list');
  for (const decorate of [Get('orders'), AllowService()]) {
    decorate(OrdersController.prototype, 'list', method);
  }
  Controller()(OrdersController);
  class App {}
  Module({
    imports: [
      JwtGuardModule.forRoot({ issuers: [{ issuer, audiences, profile: 'rfc9068', keys }] }),
    ],
    controllers: [OrdersController],
  })(App);
  const app = await NestFactory.create(App, new FastifyAdapter(), { logger: false });
  await app.listen(0, '127.0.0.1');
  process.send({ port: app.getHttpServer().address().port });
  return () => ({});
}

async function caller() {
  const { createAuthorizedFetch, createServiceTokenClient } = await load('client/index.js');
  const tokens = createServiceTokenClient(options.client);
  const send = createAuthorizedFetch({
    tokens,
    outsideCalls: 'service',
    origins: [{ origin: options.callee }],
  });
  let counts = {};
  let seen = [];
  const known = new Set();
  const count = (target, status) => {
    counts[target] ??= {};
    counts[target][status] = (counts[target][status] ?? 0) + 1;
  };
  const note = (token, at) => {
    if (known.has(token)) return;
    known.add(token);
    // Old ones never come again, and must not look like a leak.
    if (known.size > 20) known.delete(known.values().next().value);
    seen.push({ token, askedAt: at, cameAt: Date.now() });
  };
  const agent = new Agent({ keepAlive: true });
  const ask = (name, url) => {
    const at = Date.now();
    const headers = { authorization: options.authorization };
    const request = get(`${url}/v1/token`, { agent, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => (text += part));
      response.on('error', () => count(name, 'cut off'));
      response.on('end', () => {
        if (response.statusCode !== 200) return count(name, response.statusCode);
        const token = JSON.parse(text).access_token;
        const { exp } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
        count(name, exp * 1_000 - at > options.skewMs ? 200 : 'a token that is too old');
        note(token, at);
      });
    });
    request.on('error', (error) => {
      // A server may close a kept connection while a request is sent on it: RFC 9110 §9.2.2, RFC 9112 §9.3.1.
      if (request.reusedSocket) ask(name, url);
      else count(name, error.code ?? error.message);
    });
  };
  const call = async () => {
    try {
      const response = await send(`${options.callee}/orders`);
      await response.arrayBuffer();
      count('guarded service', response.status);
    } catch (error) {
      count('guarded service', error.code ?? error.name);
    }
  };
  process.on('message', ({ brokers }) => {
    const pause = 1_000 / options.perSecond;
    for (const [name, url] of Object.entries(brokers)) setInterval(ask, pause, name, url);
    setInterval(() => void call(), pause);
  });
  return () => {
    const report = { counts, seen };
    counts = {};
    seen = [];
    return report;
  };
}
