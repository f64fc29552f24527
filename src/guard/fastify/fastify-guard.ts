import type { FastifyPluginCallback, FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { isObject } from '../../tokens/json.js';
import type { Principal } from '../../verification/principal.js';
import { GuardConfigError, type AccessRequirement } from '../declarations.js';
import { HttpGuard, type CallRefusedError, type HttpGuardOptions } from '../http-guard.js';
import type { DeclarationWords } from '../refusal-log.js';
import { readTokenRequirement, type TokenRequirement } from '../token-requirement.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call the route, for `fastifyGuard`. Without it: nobody. `'public'`: everybody; no token is read. */
    access?: TokenRequirement | 'public';
  }
  interface FastifyRequest {
    /** Who calls; `null` in a public route. */
    principal: Principal | null;
  }
}

const WORDS: DeclarationWords = {
  missing: 'no config.access',
  remedy: "Add config: { access: { allow: 'service' } }, or access: 'public'.",
  remedyOfMany: "Add config: { access: { allow: 'service' } }, or access: 'public'.",
};

/**
 * The guard of a Fastify application (4 or 5), without NestJS: the same decisions, answers and call context as
 * `JwtGuardModule`. Each route says in `config.access` who may call it; a route that does not is closed. `request.principal` is
 * who calls.
 *
 * It holds for the instance that it is registered on, and for all below. Plugins that answer CORS preflights are registered
 * before it: preflights carry no token. Requests without a route are not judged.
 *
 * @throws {VerifierConfigError} when an option of the verifier is missing or wrong.
 * @throws {GuardConfigError} when another option is, or a route's `config.access`.
 *
 * @example
 * ```ts
 * import fastify from 'fastify';
 * import { createRemoteKeySet } from 'service-token-kit';
 * import { fastifyGuard } from 'service-token-kit/guard/fastify';
 *
 * const issuer = 'https://tenant.eu.auth0.com/';
 * const keys = createRemoteKeySet({ jwksUri: `${issuer}.well-known/jwks.json` });
 *
 * const app = fastify();
 * await app.register(fastifyGuard, {
 *   issuers: [{ issuer, audiences: 'https://orders.example.com', profile: 'auth0', keys }],
 * });
 * app.get('/health', { config: { access: 'public' } }, () => 'ok');
 * app.get('/orders', { config: { access: { allow: ['customer', 'service'] } } }, (request) => ({
 *   for: request.principal?.subject,
 * }));
 * ```
 */
export const fastifyGuard: FastifyPluginCallback<HttpGuardOptions> = (app, options, done) => {
  const guard = new HttpGuard(options, app.log, WORDS);
  guard.openCallsOf(app.server);
  if (!app.hasRequestDecorator(guard.property)) app.decorateRequest(guard.property, null);
  const routes: RouteOptions[] = [];
  // Now rather than at the route's first call.
  app.addHook('onRoute', (route) => {
    accessOf(route.config, nameOfRoute(route));
    routes.push(route);
  });
  app.addHook('onReady', (ready: () => void) => {
    const undeclared = routes.filter(
      (route) => accessOf(route.config, nameOfRoute(route)).kind === 'undeclared',
    );
    guard.warnOfUndeclared([...new Set(undeclared.map(nameOfRoute))]);
    ready();
  });
  app.addHook('onRequest', (request, reply, next) => {
    const call = guard.callOf(request.raw, reply.raw);
    const conclude = (refused: CallRefusedError | undefined): void => {
      if (refused === undefined) next();
      else if (guard.passesRefusals) next(refused);
      else answer(reply, refused);
    };
    call.run(() => {
      const judged = guard.judge(request, call, requirementOf(request), () => nameOf(request));
      if (judged instanceof Promise) judged.then(conclude, next);
      else conclude(judged);
    });
  });
  // A hook may have called back from something older than the request.
  app.addHook('preHandler', (request, reply, next) =>
    guard.callOf(request.raw, reply.raw).run(() => next()),
  );
  done();
};

Object.assign(fastifyGuard, {
  // Its hooks are for the instance that it is registered on, not for one of its own.
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'service-token-kit',
  [Symbol.for('plugin-meta')]: { fastify: '4.x || 5.x', name: 'service-token-kit' },
});

/** Requirements that were read before, by the route's `config`, which belongs to one route. */
const read = new WeakMap<object, AccessRequirement>();

function requirementOf(request: FastifyRequest): AccessRequirement {
  if (request.is404) return { kind: 'public' };
  const { config } = request.routeOptions;
  let requirement = read.get(config);
  if (requirement === undefined) {
    requirement = accessOf(config, nameOf(request));
    read.set(config, requirement);
  }
  return requirement;
}

function accessOf(config: unknown, route: string): AccessRequirement {
  const access = isObject(config) && Object.hasOwn(config, 'access') ? config['access'] : undefined;
  if (access === undefined) return { kind: 'undeclared' };
  if (access === 'public') return { kind: 'public' };
  if (typeof access !== 'string') return readTokenRequirement(`${route}: config.access`, access);
  throw new GuardConfigError(`${route}: config.access may be the text 'public' or an object.`);
}

function nameOfRoute({ method, url }: RouteOptions): string {
  return `${[method].flat().join(',')} ${url}`;
}

function nameOf({ method, routeOptions }: FastifyRequest): string {
  return `${method} ${routeOptions.url ?? '*'}`;
}

function answer(reply: FastifyReply, { statusCode, headers, body }: CallRefusedError): void {
  reply
    .code(statusCode)
    .headers({ ...headers })
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(body));
}
