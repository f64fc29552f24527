import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { CallContext, CallLife } from '../context/call-context.js';
import { isObject } from '../tokens/json.js';
import type { Refusal } from '../verification/bearer-access.js';
import type { Principal } from '../verification/principal.js';
import { refusalHeaders, UNKNOWN_CONTEXT } from './access.js';
import { hasCallContext } from './call-context.interceptor.js';
import { requestOfGraphql, transportOf, type Transport } from './call-credentials.js';
import { judgeCall, type CallVerdict } from './call-judgement.js';
import {
  GuardConfigError,
  nameOf,
  requirementOf,
  type AccessRequirement,
  type Declared,
} from './declarations.js';
import { GUARD_SETTINGS, type GuardSettings } from './guard-options.js';
import { addAdmission, admissionOf, callOf, forgetAdmission } from './admissions.js';
import type { HttpCall } from './http-call.js';
import {
  CallRefusedException,
  GraphqlCallRefusedException,
  MessageRefusedException,
} from './refusal-exceptions.js';
import { reportRefusal } from './refusal-log.js';

/**
 * Admits a call when its token is genuine and speaks for somebody whom the handler's decorators allow. A handler without
 * decorators is closed.
 *
 * `JwtGuardModule.forRoot` makes it the guard of the whole application, and `AllowCustomer()` and `AllowService()` bring it
 * along. Name it yourself only with `guardEveryHandler: false`, to close a handler without decorators.
 *
 * @throws {CallRefusedException} for HTTP and GraphQL.
 * @throws {MessageRefusedException} for WebSockets and microservices.
 * @throws {GuardConfigError} when the handler's decorators contradict one another.
 *
 * @example
 * ```ts
 * import { Controller, UseGuards } from '@nestjs/common';
 * import { JwtGuard } from 'service-token-kit/guard';
 *
 * @Controller('orders')
 * @UseGuards(JwtGuard)
 * export class OrdersController {}
 * ```
 */
@Injectable()
export class JwtGuard implements CanActivate {
  readonly #settings: GuardSettings;

  constructor(@Inject(GUARD_SETTINGS) settings: GuardSettings) {
    this.#settings = settings;
  }

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const transport = transportOf(context);
    if (transport === undefined) return this.#refuse(context, transport, UNKNOWN_CONTEXT);
    const [handler, onClass] = [context.getHandler(), context.getClass()];
    // The guard stands on a class, a method and the application: one call meets it up to three times, in several instances.
    const known = admissionOf(context, transport);
    const isOurs = known?.by === this.#settings;
    if (isOurs && known.handler === handler && known.onClass === onClass) return true;
    const requirement = this.#requirementOf(handler, onClass);
    const verdict = judgeCall(this.#settings, requirement, transport, context.getArgs());
    return verdict instanceof Promise
      ? verdict.then(
          (one) => this.#conclude(context, transport, one),
          (error) => {
            this.#leaveEarlier(context, transport, 'unjudged');
            throw error;
          },
        )
      : this.#conclude(context, transport, verdict);
  }

  /** Decorators count on an excluded class, too: they are more specific than the list. */
  #requirementOf(handler: Declared, onClass: Declared): AccessRequirement {
    const requirement = requirementOf(handler, onClass);
    const isExcluded = requirement.kind === 'undeclared' && this.#settings.excluded.has(onClass);
    return isExcluded ? { kind: 'public' } : requirement;
  }

  #conclude(context: ExecutionContext, transport: Transport, verdict: CallVerdict): boolean {
    if (verdict.kind === 'refused') {
      return this.#refuse(context, transport, verdict.refusal, verdict.error);
    }
    if (verdict.kind === 'open') {
      this.#leaveEarlier(context, transport, 'nobody');
      return true;
    }
    const call = callOf(context, transport);
    const [handler, onClass] = [context.getHandler(), context.getClass()];
    if (call?.isRunning() !== true) requireInterceptor(transport, handler, onClass);
    const { timing, options } = this.#settings;
    const { principal, token } = verdict;
    const life = call === undefined ? new CallLife(timing) : undefined;
    const callContext = new CallContext(principal, token, life ?? call);
    const admission = { by: this.#settings, handler, onClass, callContext, life };
    if (transport === 'http' && call !== undefined) call.admission = admission;
    else addAdmission(context, transport, admission);
    if (options.requestProperty !== undefined) {
      setOnRequest(context, transport, options.requestProperty, principal);
    }
    return true;
  }

  /**
   * Notes why nobody is known. In Express an earlier handler of the same request may have been admitted, and called `next()`:
   * this one does not run on that one's behalf. The fields of a GraphQL operation run side by side, and keep theirs.
   */
  #leaveEarlier(
    context: ExecutionContext,
    transport: Transport | undefined,
    judgement: HttpCall['judgement'],
  ): void {
    if (transport === undefined) return;
    const call = callOf(context, transport);
    if (call !== undefined && (transport === 'http' || judgement === 'refused')) {
      call.judgement = judgement;
    }
    if (transport !== 'http') return;
    const earlier = forgetAdmission(context);
    const { requestProperty: property } = this.#settings.options;
    const request: unknown = context.getArgByIndex(0);
    if (earlier?.by === this.#settings && property !== undefined && isObject(request)) {
      Object.assign(request, { [property]: undefined });
    }
  }

  #refuse(
    context: ExecutionContext,
    transport: Transport | undefined,
    refusal: Refusal,
    error?: unknown,
  ): never {
    this.#leaveEarlier(context, transport, 'refused');
    const handler = nameOf(context.getHandler(), context.getClass());
    const refused = { handler, transport: transport ?? context.getType<string>(), refusal, error };
    reportRefusal(this.#settings, refused);
    if (transport === 'ws' || transport === 'rpc') throw new MessageRefusedException(refusal);
    if (transport === 'graphql') throw new GraphqlCallRefusedException(refusal);
    if (transport === 'http') {
      const { requestProperty: property } = this.#settings.options;
      const request: unknown = context.getArgByIndex(0);
      // Another middleware may have set it: a filter must not take it for the caller.
      if (property !== undefined && isObject(request) && property in request) {
        Object.assign(request, { [property]: undefined });
      }
      const response: unknown = context.getArgByIndex(1);
      const headers = refusalHeaders(refusal, this.#settings.options);
      for (const [name, value] of Object.entries(headers)) setHeader(response, name, value);
    }
    throw new CallRefusedException(refusal);
  }
}

/**
 * Outside of the call context of its own request a handler could not call other services, without an obvious reason.
 *
 * @throws {GuardConfigError} when no interceptor brings the call context either.
 */
function requireInterceptor(transport: Transport, handler: Declared, onClass: Declared): void {
  if (hasCallContext(handler)) return;
  throw new GuardConfigError(
    `${nameOf(handler, onClass)} would run outside the call context of its request. ${
      transport === 'http'
        ? 'A middleware or hook called next() from a callback that is older than the request, such as one of a shared connection: let it call AsyncResource.bind(next) instead (node:async_hooks).'
        : 'Let JwtGuardModule see its class when the application starts: provide it as a class.'
    }`,
  );
}

/** Over HTTP, and for GraphQL over HTTP: messages have no request of their own. */
function setOnRequest(
  context: ExecutionContext,
  transport: Transport,
  name: string,
  principal: Principal,
): void {
  const request: unknown =
    transport === 'http'
      ? context.getArgByIndex(0)
      : transport === 'graphql'
        ? requestOfGraphql(context.getArgByIndex(2))
        : undefined;
  if (isObject(request)) Object.assign(request, { [name]: principal });
}

/** Express, Fastify and Node name it differently. */
function setHeader(response: unknown, name: string, value: string): void {
  if (!isObject(response)) return;
  const set = response['header'] ?? response['setHeader'];
  if (typeof set === 'function') set.call(response, name, value);
}
