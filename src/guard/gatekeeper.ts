import { Logger, type ExecutionContext } from '@nestjs/common';
import { CallContext } from '../context/call-context.js';
import { challengeOf } from './challenge.js';
import { readCredentials, transportOf, type Transport } from './credentials.js';
import { decideAccess } from './decide-access.js';
import { nameOf, requirementOf } from './declarations.js';
import {
  CallRefusedException,
  GraphqlCallRefusedException,
  MessageRefusedException,
} from './exceptions.js';
import {
  MALFORMED_CREDENTIALS,
  NO_CREDENTIALS,
  NOT_DECLARED,
  refusalOf,
  UNKNOWN_CONTEXT,
  type Refusal,
} from './refusal.js';
import type { PrincipalRequirement } from './requirement.js';
import { RefusalLog } from './refusal-log.js';
import type { GuardSettings } from './settings.js';
import { isRecord } from './shapes.js';

interface Admission {
  readonly requirement: PrincipalRequirement;
  readonly callContext: CallContext;
}

/** Admits calls, and remembers on whose behalf they run until their handler has it. */
export class Gatekeeper {
  readonly #admissions = new WeakMap<object, Admission>();
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
    const requirement = requirementOf(context.getHandler(), context.getClass());
    if (requirement.kind === 'public') return true;
    if (requirement.kind === 'undeclared') this.#refuse(context, transport, NOT_DECLARED);
    // The guard stands on a class, a method and the application: one call meets it up to three times.
    const key = keyOf(context, transport);
    if (this.#admissions.get(key)?.requirement === requirement) return true;
    return this.#judge(context, transport, requirement, key);
  }

  /** On whose behalf an admitted call runs. */
  callContextOf(context: ExecutionContext): CallContext | undefined {
    const transport = transportOf(context);
    const key = transport === undefined ? undefined : keyOf(context, transport);
    return key === undefined ? undefined : this.#admissions.get(key)?.callContext;
  }

  async #judge(
    context: ExecutionContext,
    transport: Transport,
    requirement: PrincipalRequirement,
    key: object,
  ): Promise<true> {
    const credentials = readCredentials(transport, context.getArgs(), this.#settings.options);
    if (credentials.kind === 'none') this.#refuse(context, transport, NO_CREDENTIALS);
    if (credentials.kind === 'malformed') this.#refuse(context, transport, MALFORMED_CREDENTIALS);
    const { token } = credentials;
    const { principal } = await this.#settings.verifier.verify(token).catch((error: unknown) => {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      return this.#refuse(context, transport, refusal, error);
    });
    const decision = decideAccess(requirement, principal);
    if (!decision.allowed) this.#refuse(context, transport, decision.refusal);
    this.#admissions.set(key, { requirement, callContext: new CallContext(principal, token) });
    return true;
  }

  #refuse(
    context: ExecutionContext,
    transport: Transport | undefined,
    refusal: Refusal,
    error?: unknown,
  ): never {
    const { options } = this.#settings;
    const handler = nameOf(context.getHandler(), context.getClass());
    const call = { handler, transport: transport ?? context.getType<string>(), refusal, error };
    if (options.onRefused === undefined) this.#log.refused(call);
    else options.onRefused(call);
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

/** What the guard and the interceptor of one call both get: over HTTP the request, elsewhere Nest's list of arguments. */
function keyOf(context: ExecutionContext, transport: Transport): object {
  const args = context.getArgs();
  const request: unknown = transport === 'http' ? args[0] : undefined;
  return isRecord(request) ? request : args;
}

/** Express, Fastify and Node name it differently. */
function setHeader(response: unknown, name: string, value: string | undefined): void {
  if (value === undefined || !isRecord(response)) return;
  const set = response['header'] ?? response['setHeader'];
  if (typeof set === 'function') set.call(response, name, value);
}
