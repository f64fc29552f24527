import { BrokerError, type BrokerErrorOptions } from '../../tokens/errors.js';

/**
 * Why a request was not sent.
 *
 * | code | meaning |
 * | --- | --- |
 * | `ORIGIN_NOT_LISTED` | it goes to an origin that is not among `origins` |
 * | `CUSTOMER_NOT_ACCEPTED` | it is made on a customer's behalf, and the origin does not accept customers |
 * | `CUSTOMER_REQUIRED` | it says `as: 'customer'`, and no customer is in the call context |
 * | `CALL_CONTEXT_UNKNOWN` | on whose behalf it is made is unknown: outside of a call that was admitted, and nobody said "as the service" |
 * | `CALL_CONTEXT_ENDED` | the call on whose behalf it is made is over |
 * | `CALLER_UNKNOWN` | its `as` is neither `'service'` nor `'customer'` |
 * | `TOKEN_NOT_SENDABLE` | what should be the token cannot stand in a header (RFC 6750 §2.1) |
 */
export type AttachmentErrorCode =
  | 'ORIGIN_NOT_LISTED'
  | 'CUSTOMER_NOT_ACCEPTED'
  | 'CUSTOMER_REQUIRED'
  | 'CALL_CONTEXT_UNKNOWN'
  | 'CALL_CONTEXT_ENDED'
  | 'CALLER_UNKNOWN'
  | 'TOKEN_NOT_SENDABLE';

/**
 * A request was stopped before it was sent, because no token may be attached to it. Nothing was
 * sent. The message names the origin and what to change; never a path, a query or a token.
 */
export class AttachmentError extends BrokerError {
  declare readonly code: AttachmentErrorCode;

  constructor(code: AttachmentErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, 'misconfigured', message, options);
  }
}
