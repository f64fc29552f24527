import { isLoopbackHost, parseUrl } from '../tokens/http.js';
import {
  ALLOWED,
  challengeOf,
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

/** The headers of a refusal over HTTP, by name. */
export function refusalHeaders(
  refusal: Refusal,
  options: ChallengeOptions,
): Readonly<Record<string, string>> {
  const challenge = challengeOf(refusal, options);
  const { retryAfterSeconds } = refusal;
  return {
    ...(challenge !== undefined && { 'WWW-Authenticate': challenge }),
    ...(retryAfterSeconds !== undefined && { 'Retry-After': String(retryAfterSeconds) }),
  };
}

/** The JSON body of a refusal. */
export interface RefusalBody {
  readonly statusCode: number;
  readonly error?: string;
  readonly message: string;
}

/** What a caller over HTTP is told, besides the headers. */
export function refusalBody({ status, error, description }: Refusal): RefusalBody {
  return { statusCode: status, ...(error === undefined ? {} : { error }), message: description };
}
