import { AttachmentError } from './attachment-error.js';

/** RFC 6750 §2.1: what a bearer token may consist of. */
const B64TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

/**
 * The value of the `Authorization` header for a token.
 *
 * @throws {AttachmentError} `TOKEN_NOT_SENDABLE`. Runtimes refuse such a header too, but quote it.
 */
export function bearerHeader(token: unknown): string {
  if (typeof token === 'string' && B64TOKEN.test(token)) return `Bearer ${token}`;
  throw new AttachmentError(
    'TOKEN_NOT_SENDABLE',
    'What should be sent as the token is no bearer token (RFC 6750 §2.1). Look at what the token source or the call context was given.',
  );
}
