// Compiled, never run: see test/package/types.test.ts. A line after `@ts-expect-error` must not compile.
import express from 'express';
import fastify from 'fastify';
import { createExpressGuard, type Principal } from '../../../src/guard/express/index.js';
import { fastifyGuard } from '../../../src/guard/fastify/index.js';
import type { TokenVerifier } from '../../../src/index.js';

declare const verifier: TokenVerifier;

const guard = createExpressGuard({ verifier, realm: 'orders', requestProperty: 'principal' });
export const app = express();
app.use(guard.openCalls());
app.use('/orders', guard.requireToken({ allow: ['customer', 'service'] }));
app.get(
  '/orders',
  guard.requireToken({ allow: 'service', clients: ['job'], scopes: ['orders:read'] }),
  (request, response) => {
    const principal: Principal | undefined = request.principal;
    // @ts-expect-error: it is there only behind the guard
    request.principal.subject.toUpperCase();
    response.json({ subject: principal?.subject });
  },
);

// @ts-expect-error: neither a verifier nor issuers
createExpressGuard({ realm: 'orders' });
// @ts-expect-error: a mistyped option
createExpressGuard({ verifier, relm: 'orders' });
// @ts-expect-error: nobody is allowed
guard.requireToken({ scopes: ['orders:read'] });
// @ts-expect-error: there is no third kind
guard.requireToken({ allow: 'admin' });
// @ts-expect-error: a mistyped member
guard.requireToken({ allow: 'service', scope: ['orders:read'] });
// @ts-expect-error: a list could mean one of them or all of them
guard.requireToken({ allow: 'service', claims: { roles: ['admin'] } });
// @ts-expect-error: a check says in words what it requires
guard.requireToken({ allow: 'service', check: { holds: () => true } });

export const server = fastify();
await server.register(fastifyGuard, { verifier });
server.get('/health', { config: { access: 'public' } }, () => 'ok');
server.get('/orders', { config: { access: { allow: 'customer' } } }, (request) => {
  const principal: Principal | null = request.principal;
  return principal?.subject;
});
// @ts-expect-error: another text than 'public'
server.get('/open', { config: { access: 'open' } }, () => 'ok');
// @ts-expect-error: there is no third kind
server.get('/typo', { config: { access: { allow: 'admin' } } }, () => 'ok');
