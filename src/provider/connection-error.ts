import { connectionFailure } from '../tokens/connection-failure.js';
import { ProviderError, unexpected } from './provider-errors.js';

/** A failed fetch as a {@link ProviderError}. */
export function connectionError(error: unknown, subject: string): ProviderError {
  const failure = connectionFailure(error);
  if (failure === undefined) return unexpected(error);
  if (failure.kind === 'tls') {
    return new ProviderError(
      'PROVIDER_TLS_FAILED',
      `${subject} offers no trusted TLS connection: ${failure.why}. ${failure.advice}`,
    );
  }
  return new ProviderError('PROVIDER_UNAVAILABLE', `${subject} cannot be reached: ${failure.why}.`);
}
