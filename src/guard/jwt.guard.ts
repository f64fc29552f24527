import {
  Logger,
  type ExecutionContext,
  Inject,
  Injectable,
  type CanActivate,
} from '@nestjs/common';
import { CallContext, CallLife } from '../context/call-context.js';
import { tell } from '../tokens/errors.js';
import type { Principal } from '../verification/principal.js';
import { addAdmission, admissionOf, callOf } from './http-call.js';
import {
  challengeOf,
  decideAccess,
  CallRefusedException,
  GraphqlCallRefusedException,
  MessageRefusedException,
  MALFORMED_CREDENTIALS,
  NO_CREDENTIALS,
  NOT_DECLARED,
  refusalOf,
  UNKNOWN_CONTEXT,
  type Refusal,
} from './access.js';
import { readCredentials, transportOf, unreadToken, type Transport } from './call-credentials.js';
import {
  nameOf,
  requirementOf,
  type Declared,
  GuardConfigError,
  type AccessRequirement,
  type PrincipalRequirement,
} from './declarations.js';
import { RefusalLog, type GuardSettings } from './guard-options.js';
import { hasCallContext } from './review.js';
import { isObject } from '../tokens/json.js';

/** Admits calls, and remembers on whose behalf they run. */
export class Gatekeeper {
  readonly #settings: GuardSettings;
  readonly #log: RefusalLog;

  constructor(settings: GuardSettings) {
    this.#settings = settings;
    this.#log = new RefusalLog(new Logger('JwtGuard'), settings.clock);
  }

  /**
   * Admits a call, or throws what the framework turns into the refusal.
   *
   * @throws {CallRefusedException} for HTTP and GraphQL.
   * @throws {MessageRefusedException} for WebSockets and microservices.
   * @throws {GuardConfigError} when the handler's decorators contradict one another.
   */
  admit(context: ExecutionContext): true | Promise<true> {
    const transport = transportOf(context);
    if (transport === undefined) this.#refuse(context, transport, UNKNOWN_CONTEXT);
    const [handler, onClass] = [context.getHandler(), context.getClass()];
    // The guard stands on a class, a method and the application: one call meets it up to three times.
    const known = admissionOf(context, transport);
    if (known?.by === this && known.handler === handler && known.onClass === onClass) return true;
    const requirement = this.#requirementOf(handler, onClass);
    if (requirement.kind === 'public') {
      const call = transport === 'http' ? callOf(context, transport) : undefined;
      if (call !== undefined) call.judgement = 'nobody';
      return true;
    }
    if (requirement.kind === 'undeclared') this.#refuse(context, transport, NOT_DECLARED);
    const { options, verifier } = this.#settings;
    // A token that is remembered is judged at once, without a promise: most calls of a busy service.
    const unread = unreadToken(transport, context.getArgs(), options);
    const remembered = unread === undefined ? undefined : verifier.peek?.(unread);
    if (unread !== undefined && remembered !== undefined) {
      return this.#decide(context, transport, requirement, unread, remembered.principal);
    }
    return this.#judge(context, transport, requirement);
  }

  /** Says once which handlers nobody may call, because no decorator says who. */
  announce(undeclared: readonly string[]): void {
    this.#log.undeclared(undeclared);
  }

  /** A decorator counts on an excluded class, too: it says more than the list. */
  #requirementOf(handler: Declared, onClass: Declared): AccessRequirement {
    const requirement = requirementOf(handler, onClass);
    const isLeftAlone = requirement.kind === 'undeclared' && this.#settings.excluded.has(onClass);
    return isLeftAlone ? { kind: 'public' } : requirement;
  }

  async #judge(
    context: ExecutionContext,
    transport: Transport,
    requirement: PrincipalRequirement,
  ): Promise<true> {
    const token = this.#readToken(context, transport);
    const principal = await this.#verify(context, transport, token);
    return this.#decide(context, transport, requirement, token, principal);
  }

  #readToken(context: ExecutionContext, transport: Transport): string {
    const credentials = readCredentials(transport, context.getArgs(), this.#settings.options);
    if (credentials.kind === 'none') this.#refuse(context, transport, NO_CREDENTIALS);
    if (credentials.kind === 'malformed') this.#refuse(context, transport, MALFORMED_CREDENTIALS);
    return credentials.token;
  }

  #decide(
    context: ExecutionContext,
    transport: Transport,
    requirement: PrincipalRequirement,
    token: string,
    principal: Principal,
  ): true {
    const decision = decideAccess(requirement, principal);
    if (!decision.allowed) this.#refuse(context, transport, decision.refusal);
    const call = callOf(context, transport);
    const [handler, onClass] = [context.getHandler(), context.getClass()];
    if (call?.isRunning() !== true) requireInterceptor(transport, handler, onClass);
    const life = call === undefined ? new CallLife(this.#settings.timing) : undefined;
    const callContext = new CallContext(principal, token, life ?? call);
    const admission = { by: this, handler, onClass, callContext, life };
    if (transport === 'http' && call !== undefined) call.admission = admission;
    else addAdmission(context, transport, admission);
    return true;
  }

  async #verify(
    context: ExecutionContext,
    transport: Transport,
    token: string,
  ): Promise<Principal> {
    try {
      return (await this.#settings.verifier.verify(token)).principal;
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      return this.#refuse(context, transport, refusal, error);
    }
  }

  #refuse(
    context: ExecutionContext,
    transport: Transport | undefined,
    refusal: Refusal,
    error?: unknown,
  ): never {
    const { options } = this.#settings;
    const call = transport === undefined ? undefined : callOf(context, transport);
    if (call !== undefined) call.judgement = 'refused';
    const handler = nameOf(context.getHandler(), context.getClass());
    const refused = { handler, transport: transport ?? context.getType<string>(), refusal, error };
    if (options.onRefused === undefined) this.#log.refused(refused);
    else tell(() => options.onRefused?.(refused));
    switch (transport) {
      case 'ws':
      case 'rpc':
        throw new MessageRefusedException(refusal);
      case 'graphql':
        throw new GraphqlCallRefusedException(refusal);
      case 'http':
        setHeader(context.getArgByIndex(1), 'WWW-Authenticate', challengeOf(refusal, options));
        setHeader(context.getArgByIndex(1), 'Retry-After', refusal.retryAfterSeconds?.toString());
        throw new CallRefusedException(refusal);
      case undefined:
        throw new CallRefusedException(refusal);
    }
  }
}

/**
 * A handler that ran outside the call context of whom it was admitted for could not call other services: better say here
 * why.
 *
 * @throws {GuardConfigError} when no interceptor brings it either.
 */
function requireInterceptor(transport: Transport, handler: Declared, onClass: Declared): void {
  if (hasCallContext(handler)) return;
  throw new GuardConfigError(
    `${nameOf(handler, onClass)} would run outside the call context of its request. ${
      transport === 'http'
        ? 'A middleware or hook has called next() from a callback that is older than the request, such as one of a shared connection: let it call AsyncResource.bind(next) instead (node:async_hooks).'
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

/**
 * Lets a call through when its token is genuine and speaks for somebody whom the handler's decorators allow. A handler
 * without decorators is closed.
 *
 * `JwtGuardModule.forRoot` makes it the guard of the whole application, and `AllowCustomer()` and `AllowService()` bring it
 * along; name it yourself only where `global` is off and a handler without decorators has to be closed.
 *
 * @example
 * ```ts
 * import { Controller, UseGuards } from '@nestjs/common';
 * import { JwtGuard } from 'service-token-broker/guard';
 *
 * @Controller('orders')
 * @UseGuards(JwtGuard)
 * export class OrdersController {}
 * ```
 */
@Injectable()
export class JwtGuard implements CanActivate {
  constructor(@Inject(Gatekeeper) private readonly gatekeeper: Gatekeeper) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    return this.gatekeeper.admit(context);
  }
}
