import { SecretStoreError } from '../secrets/secret-store.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import { backoff } from '../tokens/time.js';
import { LONGEST_REST, QUICK_MINTS } from './due.js';

/** The provider minted an unusable token, which may cost money, and will do so again until it is fixed. */
const WRONG_TOKEN: ReadonlySet<string> = new Set([
  'ROTATION_TOKEN_REJECTED',
  'ROTATION_TOKEN_TOO_SHORT',
  'MINTED_TOKEN_INVALID',
  'PROVIDER_TOKEN_NOT_JWT',
]);
/** Failures that a proxy in front of the provider causes for a while. */
const GARBLED: ReadonlySet<string> = new Set([
  'PROVIDER_NOT_JSON',
  'PROVIDER_RESPONSE_INVALID',
  'PROVIDER_REDIRECTED',
  'PROVIDER_TLS_FAILED',
  'PROVIDER_PROXY_REFUSED',
  'PROVIDER_DISCOVERY_FAILED',
  'PROVIDER_ISSUER_MISMATCH',
  'PROVIDER_UNEXPECTED',
]);
/** After the longest pause a mint may take five seconds to notice that its connection hangs: 20 s in all. */
const RETRY = 10_000;
/** Retrying the store costs no mint, and nothing can be served once the token has expired. */
const STORE_RETRY = 5_000;
/** Retries without doubling after failures that may pass: 10 minutes of them at least, and 20 at most. */
const QUICK_RETRIES = 120;
/** The longest wait after a failure that costs no mint, in milliseconds. */
export const LONGEST_RETRY = 300_000;

/**
 * Milliseconds until a failed rotation is tried again: 5 to 10 seconds at random, and at first half of that where the store failed.
 * What has to be fixed at the provider is tried less often after a while, down to every five minutes; and to every half
 * hour where each try mints a token, which may cost money.
 *
 * Some providers give the same token again while it lives. So no wait goes past the middle of what is left of the token that is
 * served, down to the first pause: a new token is served within seconds once there is one. Pure.
 *
 * @param failures how many failures in a row came before this one.
 * @param random from 0 up to 1; spreads the retries of replicas.
 * @param left remaining life of the token that is served, in milliseconds. Default: there is none.
 */
export function retryWait(error: unknown, failures: number, random: number, left = 0): number {
  const { quick, longest } = patience(error);
  const first = firstRetry(error);
  const bound = left > 0 ? Math.max(left / 2, first) : longest;
  const whole = Math.min(backoff(failures + 2 - quick, first, longest), bound);
  return whole / 2 + (whole / 2) * random;
}

function firstRetry(error: unknown): number {
  return error instanceof SecretStoreError ? STORE_RETRY : RETRY;
}

function patience(error: unknown): { readonly quick: number; readonly longest: number } {
  const code = errorCode(error);
  if (WRONG_TOKEN.has(code)) return { quick: QUICK_MINTS, longest: LONGEST_REST };
  if (error instanceof BrokerError && error.kind === 'retry') {
    return { quick: 0, longest: firstRetry(error) };
  }
  if (error instanceof SecretStoreError) return { quick: QUICK_MINTS, longest: RETRY };
  return { quick: GARBLED.has(code) ? QUICK_RETRIES : QUICK_MINTS, longest: LONGEST_RETRY };
}
