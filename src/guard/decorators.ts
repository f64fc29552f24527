import {
  Catch,
  createParamDecorator,
  UseFilters,
  UseGuards,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { throwError, type Observable } from 'rxjs';
import { currentCallContext } from '../context/call-context.js';
import { isObject } from '../tokens/json.js';
import type { AllowedClient } from '../verification/bearer-access.js';
import type { Principal } from '../verification/principal.js';
import {
  readClaimCheck,
  readRequiredClaims,
  type ClaimCheck,
  type RequiredClaims,
} from '../verification/required-claims.js';
import {
  addDeclaration,
  countDeclaration,
  GuardConfigError,
  type AccessDeclaration,
} from './declarations.js';
import { admissionOf } from './admissions.js';
import { JwtGuard } from './jwt.guard.js';
import { readClients, readScopeNames, requirementsOf } from './token-requirement.js';
import { MessageRefusedException } from './refusal-exceptions.js';

/** A decorator for a handler, or for a class and so for all of its handlers. */
export type AccessDecorator = ClassDecorator & MethodDecorator;

/**
 * Lets customers call. Together with {@link AllowService}: both.
 *
 * A handler's decorators replace those of its class.
 *
 * @example
 * ```ts
 * import { Controller, Get } from '@nestjs/common';
 * import { AllowCustomer, CurrentPrincipal, type CustomerPrincipal } from 'service-token-kit/guard';
 *
 * @Controller('orders')
 * export class OrdersController {
 *   @Get()
 *   @AllowCustomer()
 *   list(@CurrentPrincipal() customer: CustomerPrincipal) {
 *     return this.orders.of(customer.issuer, customer.subject);
 *   }
 * }
 * ```
 */
export function AllowCustomer(): AccessDecorator {
  return declare({ says: 'customer' });
}

/**
 * Lets services call: all of them, or only the named clients. Together with {@link AllowCustomer}: both.
 *
 * A client id is unique within its issuer only. With several issuers name both, or any of them can make a client of that id.
 * Pass a list from configuration as it is, not its elements: an empty list is refused, whereas no arguments mean every
 * service.
 *
 * @throws {GuardConfigError} when a client is empty or the list is.
 *
 * @example
 * ```ts
 * import { Controller, Post } from '@nestjs/common';
 * import { AllowService } from 'service-token-kit/guard';
 *
 * @Controller('invoices')
 * export class InvoicesController {
 *   @Post()
 *   @AllowService('billing-job', { clientId: 'audit', issuer: 'https://login.example.com/' })
 *   create() {}
 * }
 * ```
 */
export function AllowService(
  ...clients: readonly AllowedClient[] | readonly [readonly AllowedClient[]]
): AccessDecorator {
  if (clients.length === 0) return declare({ says: 'service', clients: undefined });
  const [first] = clients;
  const list: readonly unknown[] = clients.length === 1 && Array.isArray(first) ? first : clients;
  if (list.length === 0) {
    throw new GuardConfigError('AllowService([]) allows nobody. Name at least one client id.');
  }
  return declare({ says: 'service', clients: readClients('AllowService()', list) });
}

/**
 * Lets everybody call. No token is read, even when one is sent: there is no principal.
 *
 * @example
 * ```ts
 * import { Public } from 'service-token-kit/guard';
 *
 * class HealthController {
 *   @Public()
 *   live() {}
 * }
 * ```
 */
export function Public(): AccessDecorator {
  return declare({ says: 'public' });
}

/**
 * Requires all of these scopes of whoever may call. Scopes on a class and on its handler add up. It needs
 * {@link AllowCustomer} or {@link AllowService} beside it: alone it does not say who may call, which is an error.
 *
 * @throws {GuardConfigError} for no scope, and for one that RFC 6749 §3.3 does not allow.
 *
 * @example
 * ```ts
 * import { AllowService, RequireScopes } from 'service-token-kit/guard';
 *
 * class InvoicesController {
 *   @AllowService()
 *   @RequireScopes('invoices:write')
 *   create() {}
 * }
 * ```
 */
export function RequireScopes(...scopes: readonly [string, ...string[]]): AccessDecorator {
  return declare({ says: 'scopes', scopes: readScopeNames('RequireScopes()', scopes) });
}

/**
 * Requires claims of whoever may call: all that is named. Without them the answer is 403 `insufficient_scope` (RFC 6750 §3.1),
 * which names neither the claim nor its value; `onRefused` gets the claim's name, or the words. Several of these decorators,
 * on a class and on its handler, add up. It needs {@link AllowCustomer} or {@link AllowService} beside it.
 *
 * Values are compared exactly, by type and code points. A value alone means that the claim is this value; for one out of
 * several, and for lists, see {@link ClaimExpectation}. A claim within a claim needs a function.
 *
 * @throws {GuardConfigError} when nothing is required, for a value that is empty or missing, for a bare list, and for `scope`,
 *   `scp`, `exp`, `nbf` and `iat`.
 *
 * @example
 * ```ts
 * import { AllowCustomer, RequireClaims } from 'service-token-kit/guard';
 *
 * class InvoicesController {
 *   @AllowCustomer()
 *   @RequireClaims({ tenant: 'acme', plan: { oneOf: ['pro', 'team'] }, roles: { includes: 'billing' } })
 *   list() {}
 * }
 * ```
 */
export function RequireClaims(required: RequiredClaims): AccessDecorator;
/**
 * Requires that a check of the claims returns `true`. A check that throws, or returns a promise, refuses the call with 403;
 * `onRefused` gets what it threw.
 *
 * @param words what it requires, for logs and `onRefused`; not sent to the caller.
 *
 * @example
 * ```ts
 * import { AllowCustomer, RequireClaims } from 'service-token-kit/guard';
 *
 * class ReportsController {
 *   @AllowCustomer()
 *   @RequireClaims(({ age }) => typeof age === 'number' && age >= 18, 'an age of 18 or more')
 *   list() {}
 * }
 * ```
 */
export function RequireClaims(check: ClaimCheck, words: string): AccessDecorator;
export function RequireClaims(required: RequiredClaims | ClaimCheck, words?: string) {
  const reading =
    typeof required === 'function' ? readClaimCheck(required, words) : readRequiredClaims(required);
  return declare({ says: 'claims', claims: requirementsOf('RequireClaims()', reading) });
}

/**
 * The principal of the call, as a handler's parameter, over any transport. Narrow it by `kind` where the handler allows
 * both.
 *
 * In a GraphQL field resolver without a guard of its own, it is whom the operation was admitted for.
 *
 * @throws {GuardConfigError} on a handler that runs for nobody, such as a public one.
 *
 * @example
 * ```ts
 * import { AllowCustomer, AllowService, CurrentPrincipal, type Principal } from 'service-token-kit/guard';
 *
 * class OrdersController {
 *   @AllowCustomer()
 *   @AllowService()
 *   list(@CurrentPrincipal() principal: Principal) {
 *     return principal.kind === 'customer' ? this.of(principal.subject) : this.all(principal.clientId);
 *   }
 * }
 * ```
 */
export const CurrentPrincipal: () => ParameterDecorator = createParamDecorator(
  (_: unknown, context): Principal => {
    const callContext =
      context.getType<string>() === 'http'
        ? admissionOf(context)?.callContext
        : currentCallContext();
    if (callContext === undefined) {
      throw new GuardConfigError(
        `CurrentPrincipal() in ${context.getClass().name}: the handler runs for nobody. It must have AllowCustomer() or AllowService(), and no Public(); a GraphQL field resolver needs "guards" and "interceptors" in fieldResolverEnhancers.`,
      );
    }
    return callContext.principal;
  },
);

function declare(declaration: AccessDeclaration): AccessDecorator {
  const bring: readonly AccessDecorator[] = [UseGuards(JwtGuard), UseFilters(MessageRefusedFilter)];
  return (target: object, key?: string | symbol, descriptor?: PropertyDescriptor): void => {
    const declared: unknown = descriptor === undefined ? target : descriptor.value;
    if (typeof declared !== 'function') {
      throw new GuardConfigError(
        `${String(key)} is not a method. The guard's decorators are for classes and methods.`,
      );
    }
    if (key !== undefined) countDeclaration(target, key);
    const isFirst = addDeclaration(declared, declaration);
    if (!isFirst) return;
    for (const decorate of bring) {
      if (key === undefined || descriptor === undefined) decorate(declared);
      else decorate(target, key, descriptor);
    }
  };
}

/** Answers a refused message the way Nest answers a `WsException` or an `RpcException`. */
@Catch(MessageRefusedException)
class MessageRefusedFilter implements ExceptionFilter<MessageRefusedException> {
  catch(exception: MessageRefusedException, host: ArgumentsHost): Observable<never> | undefined {
    if (host.getType() === 'rpc') return throwError(() => exception.answer);
    emit(host.switchToWs().getClient<unknown>(), exception.answer);
    return undefined;
  }
}

function emit(client: unknown, answer: Readonly<Record<string, unknown>>): void {
  if (!isObject(client)) return;
  // A native WebSocket has an `emit` too, which sends nothing.
  if (typeof client['readyState'] === 'number' && typeof client['send'] === 'function') {
    client['send'](JSON.stringify({ event: 'exception', data: answer }));
  } else if (typeof client['emit'] === 'function') {
    client['emit']('exception', answer);
  }
}
