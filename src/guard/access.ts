import { HttpException, IntrinsicException } from '@nestjs/common';
import { isLoopbackHost, parseUrl } from '../tokens/http.js';
import {
  ALLOWED,
  decideForPrincipal,
  NO_CREDENTIALS,
  NOT_DECLARED,
  refuse,
  type AccessDecision,
  type ChallengeOptions,
  type Refusal,
} from '../verification/bearer-access.js';
import type { Principal } from '../verification/principal.js';
import { GuardConfigError, type AccessRequirement } from './declarations.js';

/** A kind of context that the guard does not know. */
export const UNKNOWN_CONTEXT: Refusal = { ...NOT_DECLARED, reason: 'UNKNOWN_CONTEXT' };

/**
 * Decides whether a principal meets a handler's requirement.
 *
 * @param principal `undefined` when no token was presented.
 */
export function decideAccess(
  requirement: AccessRequirement,
  principal: Principal | undefined,
): AccessDecision {
  if (requirement.kind === 'public') return ALLOWED;
  if (requirement.kind === 'undeclared') return refuse(NOT_DECLARED);
  if (principal === undefined) return refuse(NO_CREDENTIALS);
  return decideForPrincipal(requirement, principal);
}

/** @throws {GuardConfigError} when an option cannot be written into a header. */
export function checkChallengeOptions({ realm, resourceMetadata }: ChallengeOptions): void {
  if (realm !== undefined && !(typeof realm === 'string' && QUOTABLE.test(realm))) {
    throw new GuardConfigError(
      '"realm" must be printable ASCII without quotation marks and backslashes.',
    );
  }
  if (resourceMetadata !== undefined && !isMetadataUrl(resourceMetadata)) {
    throw new GuardConfigError(
      '"resourceMetadata" must be an absolute https URL (or http on loopback) without a fragment or a password.',
    );
  }
}

const QUOTABLE = /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/;

function isMetadataUrl(text: string): boolean {
  const url = typeof text === 'string' && QUOTABLE.test(text) ? parseUrl(text) : undefined;
  if (url === undefined) return false;
  const { protocol, hostname, hash, username, password } = url;
  const isSafe = protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(hostname));
  return isSafe && `${hash}${username}${password}` === '';
}

/** The JSON body of a refusal. */
interface RefusalBody {
  readonly statusCode: number;
  readonly error?: string;
  readonly message: string;
}

function bodyOf({ status, error, description }: Refusal): RefusalBody {
  return { statusCode: status, ...(error === undefined ? {} : { error }), message: description };
}

/** A refused call over HTTP. The guard sets the headers of the answer before it throws this. */
export class CallRefusedException extends HttpException {
  /** Why. */
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(bodyOf(refusal), refusal.status);
    this.refusal = refusal;
  }
}

const GRAPHQL_CODES = {
  400: 'BAD_REQUEST',
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  503: 'SERVICE_UNAVAILABLE',
} as const satisfies Record<Refusal['status'], string>;

/** A refused GraphQL field. Other fields of the operation are not affected. */
export class GraphqlCallRefusedException extends CallRefusedException {
  /** What GraphQL servers copy into the error's `extensions`. */
  readonly extensions: Readonly<Record<string, unknown>>;

  constructor(refusal: Refusal) {
    super(refusal);
    const { status, error, scopes, retryAfterSeconds } = refusal;
    this.extensions = {
      code: GRAPHQL_CODES[status],
      ...(error === undefined ? {} : { error }),
      ...(scopes === undefined ? {} : { scopes }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    };
  }
}

/**
 * A refused message of a WebSocket or a microservice. It is neither `WsException` nor `RpcException`, whose packages may not be
 * installed; the decorators bring a filter that answers as Nest does for those two. Without that filter, Nest answers
 * "Internal server error".
 */
export class MessageRefusedException extends IntrinsicException {
  /** Why. */
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.description);
    this.name = 'MessageRefusedException';
    this.refusal = refusal;
  }

  /** What the other side gets. */
  get answer(): Readonly<Record<string, unknown>> {
    const { scopes, retryAfterSeconds } = this.refusal;
    return {
      status: 'error',
      ...bodyOf(this.refusal),
      ...(scopes === undefined ? {} : { scopes }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    };
  }
}
