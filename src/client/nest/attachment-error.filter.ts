import {
  Catch,
  HttpException,
  HttpStatus,
  Logger,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError } from 'rxjs';
import { BrokerError } from '../../tokens/errors.js';
import { AttachmentError, type AttachmentErrorCode } from '../attachment/attachment-error.js';
import { isSourceFailure } from '../attachment/send-attached.js';

/** What the caller of the handler is answered. Everything that is not here is a mistake of the application: 500. */
const STATUS: Partial<Record<AttachmentErrorCode, HttpStatus>> = {
  CUSTOMER_NOT_ACCEPTED: HttpStatus.FORBIDDEN,
  CUSTOMER_REQUIRED: HttpStatus.FORBIDDEN,
  TOKEN_NOT_SENDABLE: HttpStatus.SERVICE_UNAVAILABLE,
};

const MESSAGE: Partial<Record<HttpStatus, string>> = {
  [HttpStatus.FORBIDDEN]: 'The caller may not do this.',
  [HttpStatus.SERVICE_UNAVAILABLE]: 'The service is not available at the moment.',
};

/**
 * Answers a call whose handler could not call another service: 403 where a customer's token may not go or a customer is
 * needed, 503 with `Retry-After` where no service token is available, and 500 for a mistake of the application, such as an
 * origin that is not listed. The log has one line with the code and what to do; the caller gets neither.
 *
 * `ServiceClientModule` brings it for the whole application, over HTTP, GraphQL and microservices. Nest runs no such filter
 * for WebSockets: there, name it in `UseFilters`.
 */
@Catch(BrokerError)
export class AttachmentErrorFilter
  extends BaseExceptionFilter
  implements ExceptionFilter<BrokerError>
{
  readonly #log = new Logger('ServiceClientModule');

  override catch(error: BrokerError, host: ArgumentsHost): unknown {
    const status = statusOf(error);
    // oxlint-disable-next-line promise/valid-params -- it is the filter's method, not a promise's.
    if (status === undefined) return super.catch(error, host);
    this.#log.error(`${status}: ${error.code}: ${error.message}`);
    const exception = new HttpException(MESSAGE[status] ?? 'Internal server error', status);
    const body = { status: 'error', statusCode: status, message: exception.message };
    switch (host.getType<string>()) {
      case 'graphql':
        return exception;
      case 'rpc':
        return throwError(() => body);
      default:
        if (status === HttpStatus.SERVICE_UNAVAILABLE) {
          const seconds = Math.max(1, Math.ceil(error.retryAfterSeconds ?? 1));
          const adapter = this.applicationRef ?? this.httpAdapterHost?.httpAdapter;
          adapter?.setHeader(host.getArgByIndex(1), 'Retry-After', String(seconds));
        }
        // oxlint-disable-next-line promise/valid-params -- it is the filter's method, not a promise's.
        return super.catch(exception, host);
    }
  }
}

function statusOf(error: BrokerError): HttpStatus | undefined {
  if (error instanceof AttachmentError) {
    return STATUS[error.code] ?? HttpStatus.INTERNAL_SERVER_ERROR;
  }
  return isSourceFailure(error) ? HttpStatus.SERVICE_UNAVAILABLE : undefined;
}
