import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { CallContext, CallLife } from '../context/call-context.js';
import { notify } from '../tokens/errors.js';
import { isObject } from '../tokens/json.js';
import {
  challengeOf,
  MALFORMED_CREDENTIALS,
  NO_CREDENTIALS,
  NOT_DECLARED,
  refusalOf,
  type PrincipalRequirement,
  type Refusal,
} from '../verification/bearer-access.js';
import type { Principal } from '../verification/principal.js';
import {
  CallRefusedException,
  decideAccess,
  GraphqlCallRefusedException,
  MessageRefusedException,
  UNKNOWN_CONTEXT,
} from './access.js';
import { hasCallContext } from './call-context.interceptor.js';
import { readCredentials, transportOf, unreadToken, type Transport } from './call-credentials.js';
import {
  GuardConfigError,
  nameOf,
  requirementOf,
  type AccessRequirement,
  type Declared,
} from './declarations.js';
import { GUARD_SETTINGS, type GuardSettings } from './guard-options.js';
import { addAdmission, admissionOf, callOf } from './http-call.js';

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
    if (requirement.kind === 'public') {
      const call = transport === 'http' ? callOf(context, transport) : undefined;
      if (call !== undefined) call.judgement = 'nobody';
      return true;
    }
    if (requirement.kind === 'undeclared') return this.#refuse(context, transport, NOT_DECLARED);
    const { options, verifier } = this.#settings;
    // A remembered token is judged without a promise: most calls of a busy service.
    const token = unreadToken(transport, context.getArgs(), options);
    const remembered = token === undefined ? undefined : verifier.peek?.(token);
    return token === undefined || remembered === undefined
      ? this.#verify(context, transport, requirement)
      : this.#admit(context, transport, requirement, token, remembered.principal);
  }

  /** Decorators count on an excluded class, too: they are more specific than the list. */
  #requirementOf(handler: Declared, onClass: Declared): AccessRequirement {
    const requirement = requirementOf(handler, onClass);
    const isExcluded = requirement.kind === 'undeclared' && this.#settings.excluded.has(onClass);
    return isExcluded ? { kind: 'public' } : requirement;
  }

  async #verify(
    context: ExecutionContext,
    transport: Transport,
    requirement: PrincipalRequirement,
  ): Promise<boolean> {
    const { options, verifier } = this.#settings;
    const credentials = readCredentials(transport, context.getArgs(), options);
    if (credentials.kind === 'none') return this.#refuse(context, transport, NO_CREDENTIALS);
    if (credentials.kind === 'malformed') {
      return this.#refuse(context, transport, MALFORMED_CREDENTIALS);
    }
    const { token } = credentials;
    let principal: Principal;
    try {
      ({ principal } = await verifier.verify(token));
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      return this.#refuse(context, transport, refusal, error);
    }
    return this.#admit(context, transport, requirement, token, principal);
  }

  #admit(
    context: ExecutionContext,
    transport: Transport,
    requirement: PrincipalRequirement,
    token: string,
    principal: Principal,
  ): boolean {
    const decision = decideAccess(requirement, principal);
    if (!decision.allowed) {
      return this.#refuse(context, transport, decision.refusal, decision.error);
    }
    const call = callOf(context, transport);
    const [handler, onClass] = [context.getHandler(), context.getClass()];
    if (call?.isRunning() !== true) requireInterceptor(transport, handler, onClass);
    const life = call === undefined ? new CallLife(this.#settings.timing) : undefined;
    const callContext = new CallContext(principal, token, life ?? call);
    const admission = { by: this.#settings, handler, onClass, callContext, life };
    if (transport === 'http' && call !== undefined) call.admission = admission;
    else addAdmission(context, transport, admission);
    return true;
  }

  #refuse(
    context: ExecutionContext,
    transport: Transport | undefined,
    refusal: Refusal,
    error?: unknown,
  ): never {
    const { options, refusalLog } = this.#settings;
    const call = transport === undefined ? undefined : callOf(context, transport);
    if (call !== undefined) call.judgement = 'refused';
    const handler = nameOf(context.getHandler(), context.getClass());
    const refused = { handler, transport: transport ?? context.getType<string>(), refusal, error };
    if (options.onRefused === undefined) refusalLog.refused(refused);
    else notify(() => options.onRefused?.(refused));
    if (transport === 'ws' || transport === 'rpc') throw new MessageRefusedException(refusal);
    if (transport === 'graphql') throw new GraphqlCallRefusedException(refusal);
    if (transport === 'http') {
      const response: unknown = context.getArgByIndex(1);
      setHeader(response, 'WWW-Authenticate', challengeOf(refusal, options));
      setHeader(response, 'Retry-After', refusal.retryAfterSeconds?.toString());
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

/** Express, Fastify and Node name it differently. */
function setHeader(response: unknown, name: string, value: string | undefined): void {
  if (value === undefined || !isObject(response)) return;
  const set = response['header'] ?? response['setHeader'];
  if (typeof set === 'function') set.call(response, name, value);
}
