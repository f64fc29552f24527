import type { IncomingMessage, ServerResponse } from 'node:http';
import { isObject } from '../../tokens/json.js';
import type { Principal } from '../../verification/principal.js';
import { HttpGuard, type CallRefusedError, type HttpGuardOptions } from '../http-guard.js';
import type { RefusalLogger } from '../refusal-log.js';
import { readTokenRequirement, type TokenRequirement } from '../token-requirement.js';

declare global {
  // oxlint-disable-next-line typescript/no-namespace -- it is how the types of Express are extended.
  namespace Express {
    interface Request {
      /** Who calls, behind `requireToken`; `undefined` before it. */
      principal?: Principal;
    }
  }
}

/** A middleware for Express 4 and 5, and for what has its form. */
export type ExpressMiddleware = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void;

/** The guard of an Express application. */
export interface ExpressGuard {
  /**
   * A middleware that lets a request pass only with a token that meets the requirement. It sets `request.principal`, and all
   * that follows runs in the call context of the principal. In front of all routes it closes them; for one route it may
   * require more: both must be met.
   *
   * @throws {GuardConfigError} at once, for a requirement with a mistake.
   */
  requireToken(requirement: TokenRequirement): ExpressMiddleware;
  /**
   * A middleware that begins the call of each request. First of all, it keeps middleware before `requireToken`, and public
   * routes, from calling other services: without it they run outside of every call, where `outsideCalls: 'service'` of the
   * client holds.
   */
  openCalls(): ExpressMiddleware;
}

/** Where there is no logger, a warning of the process; each refusal is not one. */
const WARNINGS: RefusalLogger = {
  warn: (line) => process.emitWarning(line, 'GuardWarning'),
};

/**
 * Makes the guard of an Express application (4 or 5), without NestJS: the same decisions, answers and call context as
 * `JwtGuardModule`.
 *
 * Express has no routes that are closed by default: what stands before `app.use(guard.requireToken(…))` is open. Middleware that
 * answers CORS preflights stands before it, as they carry no token.
 *
 * @throws {VerifierConfigError} when an option of the verifier is missing or wrong.
 * @throws {GuardConfigError} when another option is.
 *
 * @example
 * ```ts
 * import express from 'express';
 * import { createRemoteKeySet } from 'service-token-kit';
 * import { createExpressGuard } from 'service-token-kit/guard/express';
 *
 * const issuer = 'https://tenant.eu.auth0.com/';
 * const keys = createRemoteKeySet({ jwksUri: `${issuer}.well-known/jwks.json` });
 * const guard = createExpressGuard({
 *   issuers: [{ issuer, audiences: 'https://orders.example.com', profile: 'auth0', keys }],
 * });
 *
 * const app = express();
 * app.use(guard.openCalls());
 * app.get('/health', (request, response) => response.send('ok'));
 * app.use(guard.requireToken({ allow: ['customer', 'service'] }));
 * app.get('/orders', (request, response) => response.json({ for: request.principal?.subject }));
 * app.post('/orders', guard.requireToken({ allow: 'customer', scopes: ['orders:write'] }), create);
 * ```
 */
export function createExpressGuard(options: HttpGuardOptions): ExpressGuard {
  const guard = new HttpGuard(options, WARNINGS);
  return {
    openCalls: () => (request, response, next) => guard.callOf(request, response).run(() => next()),
    requireToken(requirement) {
      const required = readTokenRequirement('requireToken()', requirement);
      return (request, response, next) => {
        const call = guard.callOf(request, response);
        const conclude = (refused: CallRefusedError | undefined): void => {
          if (refused === undefined) next();
          else if (guard.passesRefusals || response.headersSent) next(refused);
          else answer(response, refused);
        };
        call.run(() => {
          const judged = guard.judge(request, call, required, () => routeOf(request));
          if (judged instanceof Promise) judged.then(conclude, next);
          else conclude(judged);
        });
      };
    },
  };
}

/** The route's pattern: the address itself may hold anything. */
function routeOf(request: IncomingMessage & { readonly route?: unknown }): string {
  const { method = 'GET', route } = request;
  const path = isObject(route) ? route['path'] : undefined;
  const patterns = [path]
    .flat()
    .map((one) => (typeof one === 'string' ? one : one instanceof RegExp ? one.source : '*'));
  return `${method} ${patterns.join(',')}`;
}

function answer(response: ServerResponse, { statusCode, headers, body }: CallRefusedError): void {
  response.statusCode = statusCode;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  const text = JSON.stringify(body);
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  response.setHeader('Content-Length', Buffer.byteLength(text));
  response.end(text);
}
