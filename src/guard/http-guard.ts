import type { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CallContext } from '../context/call-context.js';
import { BrokerError } from '../tokens/errors.js';
import { isObject } from '../tokens/json.js';
import type { Refusal } from '../verification/bearer-access.js';
import { refusalBody, refusalHeaders, type RefusalBody } from './access.js';
import { judgeCall, type CallVerdict } from './call-judgement.js';
import type { AccessRequirement } from './declarations.js';
import {
  readCallSettings,
  type CallOptions,
  type CallSettings,
  type VerifierChoice,
} from './call-options.js';
import { callOfRequest, frameServer, type HttpCall } from './http-call.js';
import { reportRefusal, type DeclarationWords, type RefusalLogger } from './refusal-log.js';

/** How the guard of Express or Fastify answers. */
export interface HttpCallOptions extends CallOptions {
  /**
   * Gives refused calls to the application's error handler, as a {@link CallRefusedError}, in place of answering them. Default
   * `false`: they are answered as in NestJS, with the challenge of RFC 6750 §3 and a JSON body.
   *
   * In Express, an error handler that stands before the routes and calls `next()` without the error would let the call pass.
   */
  readonly passRefusals?: boolean;
  /** Where refused calls are logged, where there is no `onRefused`. */
  readonly logger?: RefusalLogger;
}

/** Options of the guard of Express or Fastify: how tokens are judged, and how refused calls are answered. */
export type HttpGuardOptions = HttpCallOptions & VerifierChoice;

/**
 * A refused call, for the application's error handler. Express and Fastify answer it with its status and headers.
 */
export class CallRefusedError extends BrokerError {
  declare readonly code: 'CALL_REFUSED';
  /** Why. */
  readonly refusal: Refusal;
  readonly statusCode: Refusal['status'];
  /** The same as `statusCode`, for Express. */
  readonly status: Refusal['status'];
  /** `WWW-Authenticate` and `Retry-After`, as far as the answer has them. */
  readonly headers: Readonly<Record<string, string>>;
  /** The JSON body of the answer that the guard would have given. */
  readonly body: RefusalBody;

  constructor(refusal: Refusal, headers: Readonly<Record<string, string>>) {
    const { status, description, retryAfterSeconds } = refusal;
    super('CALL_REFUSED', status === 503 ? 'retry' : 'rejected', description, {
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    });
    this.refusal = refusal;
    this.statusCode = status;
    this.status = status;
    this.headers = headers;
    this.body = refusalBody(refusal);
  }
}

/** Judges requests over HTTP outside of NestJS: what the guards of Express and Fastify have in common. */
export class HttpGuard {
  readonly property: string;
  readonly passesRefusals: boolean;
  readonly #settings: CallSettings;

  /** @throws {GuardConfigError | VerifierConfigError} when an option is wrong. */
  constructor(options: HttpGuardOptions, logger: RefusalLogger, words?: DeclarationWords) {
    this.#settings = readCallSettings(options, options.logger ?? logger, words);
    this.property = options.requestProperty ?? 'principal';
    this.passesRefusals = options.passRefusals ?? false;
  }

  /** The call that a request is, opened if it is new. */
  callOf(request: IncomingMessage, response: ServerResponse): HttpCall {
    return callOfRequest(request, response, this.#settings.timing);
  }

  /** Opens calls where the server takes requests, before all hooks and middleware. */
  openCallsOf(server: EventEmitter): void {
    frameServer(server, this.#settings.timing);
  }

  /** Warns of routes that nobody may call. */
  warnOfUndeclared(routes: readonly string[]): void {
    this.#settings.refusalLog.undeclared(routes);
  }

  /**
   * Judges a request, and notes in its call for whom it goes on.
   *
   * @param request the framework's, on which the principal is set.
   * @param nameOf the route's name for people.
   * @returns the refusal, at once if it can; `undefined` for a request that may go on.
   */
  judge(
    request: object,
    call: HttpCall,
    requirement: AccessRequirement,
    nameOf: () => string,
  ): CallRefusedError | undefined | Promise<CallRefusedError | undefined> {
    try {
      const verdict = judgeCall(this.#settings, requirement, 'http', [request]);
      return verdict instanceof Promise
        ? verdict.then((one) => this.#conclude(request, call, one, nameOf)).catch(fail)
        : this.#conclude(request, call, verdict, nameOf);
    } catch (error) {
      return fail(error);
    }
  }

  #conclude(
    request: object,
    call: HttpCall,
    verdict: CallVerdict,
    nameOf: () => string,
  ): CallRefusedError | undefined {
    if (verdict.kind === 'admitted') {
      const { principal, token } = verdict;
      call.admission = {
        by: this.#settings,
        handler: HttpGuard,
        onClass: HttpGuard,
        callContext: new CallContext(principal, token, call),
        life: undefined,
      };
      Object.assign(request, { [this.property]: principal });
      return undefined;
    }
    // An earlier middleware may have admitted it, or set the property: the error handler must not take it for the caller.
    const isTaken = this.property in request && verdict.kind === 'refused';
    const wasAdmitted = call.admission?.by === this.#settings;
    call.admission = undefined;
    if (wasAdmitted || isTaken) Object.assign(request, { [this.property]: undefined });
    if (verdict.kind === 'open') {
      call.judgement = 'nobody';
      return undefined;
    }
    const { refusal, error } = verdict;
    call.judgement = 'refused';
    reportRefusal(this.#settings, { handler: nameOf(), transport: 'http', refusal, error });
    return new CallRefusedError(refusal, refusalHeaders(refusal, this.#settings.options));
  }
}

/** Express and Fastify take `undefined`, and Express `'route'` and other texts, for leave to go on. @throws always. */
function fail(error: unknown): never {
  throw isObject(error)
    ? error
    : new TypeError('The verifier failed with something that is not an Error.', { cause: error });
}
