import { SecretStoreError } from '../secrets/secret-store-error.js';
import { BrokerError } from '../tokens/errors.js';
import { errorAnswer, type Endpoint, type EndpointAnswer } from './http.js';
import type { ServingObserver } from './serving-observer.js';

/** When to come back, in seconds, if the error does not say: what passes by itself, and what a person must mend. */
const RETRY_SOON = 5;
const RETRY_LATER = 60;
/** The broker itself reads the store again after so long at most, whatever the store asks for. */
const RETRY_LATEST = 15;

/**
 * The answer to a failure that is not the caller's: 503 `temporarily_unavailable` with `Retry-After`, or 500
 * `server_error` for what should not happen.
 *
 * @param description what the caller may know. An error's own message is for operators.
 */
export function failureAnswer(error: unknown, description: string): EndpointAnswer {
  if (!(error instanceof BrokerError) || error.kind === 'bug' || error.kind === 'rejected') {
    return errorAnswer(500, 'server_error', 'The broker failed. Its log says more.');
  }
  const fallback = error.kind === 'retry' ? RETRY_SOON : RETRY_LATER;
  const latest = error instanceof SecretStoreError ? RETRY_LATEST : Number.POSITIVE_INFINITY;
  const asked = error.retryAfterSeconds;
  return unavailableAnswer(description, asked === undefined ? fallback : Math.min(asked, latest));
}

/** 503 `temporarily_unavailable`. @param seconds for `Retry-After`. */
export function unavailableAnswer(description: string, seconds: number): EndpointAnswer {
  return errorAnswer(503, 'temporarily_unavailable', description, [
    'Retry-After',
    String(Math.max(1, Math.ceil(seconds))),
  ]);
}

/** An endpoint that answers 500 instead of throwing, and tells the observer why. */
export function guarded(endpoint: Endpoint, observer: ServingObserver): Endpoint {
  return {
    async answer(request) {
      try {
        return await endpoint.answer(request);
      } catch (error) {
        observer.failed?.(error);
        return errorAnswer(500, 'server_error', 'The broker failed. Its log says more.');
      }
    },
  };
}
