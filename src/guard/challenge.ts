import { isLoopbackHost } from '../tokens/loopback.js';
import { GuardConfigError } from './errors.js';
import type { Refusal } from './refusal.js';
import { parseUrl } from '../tokens/parse-url.js';

/** What the guard says about the resource it protects. */
export interface ChallengeOptions {
  /** The `realm` of the challenge (RFC 9110 §11.5), for people. Default: none. */
  readonly realm?: string;
  /**
   * Where the resource's metadata is, sent as `resource_metadata` (RFC 9728 §5.1), so that a client finds out which
   * authorization server to ask. An `https` URL, or `http` on loopback. Default: none.
   */
  readonly resourceMetadata?: string;
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

/** The scopes of RFC 6749 §3.3. */
export const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

const QUOTABLE = /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/;

/**
 * The `WWW-Authenticate` header of a refusal (RFC 6750 §3); `undefined` where the answer has none: a handler that
 * nobody may call, and keys that cannot be had.
 */
export function challengeOf(refusal: Refusal, options: ChallengeOptions): string | undefined {
  const { status, error, description, scopes } = refusal;
  if (status === 503 || (status === 403 && error === undefined)) return undefined;
  const parameters: (readonly [string, string | undefined])[] = [
    ['realm', options.realm],
    ['error', error],
    ['error_description', error === undefined ? undefined : description],
    ['scope', scopes?.join(' ')],
    ['resource_metadata', options.resourceMetadata],
  ];
  const written = parameters
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}="${value}"`);
  return written.length === 0 ? 'Bearer' : `Bearer ${written.join(', ')}`;
}

function isMetadataUrl(text: string): boolean {
  const url = typeof text === 'string' && QUOTABLE.test(text) ? parseUrl(text) : undefined;
  if (url === undefined) return false;
  const { protocol, hostname, hash, username, password } = url;
  const isSafe = protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(hostname));
  return isSafe && `${hash}${username}${password}` === '';
}
