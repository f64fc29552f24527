import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { errorAnswer, notFound, type EndpointAnswer } from './http.js';
import { send, type FrameworkReply } from './respond.js';
import type { ServingObserver } from './serving-observer.js';

/**
 * Puts the framework's own errors (no such route, a body that cannot be parsed, one that is too large) into the JSON
 * of the endpoints. The framework's texts repeat the URL that was asked for, which may hold a token; these do not.
 *
 * For an application that is nothing but a broker: `app.useGlobalFilters(new ServingErrorFilter(observer))`. Inside
 * another application the errors of the framework are that application's business.
 */
@Catch()
export class ServingErrorFilter implements ExceptionFilter {
  constructor(private readonly observer: ServingObserver = {}) {}

  catch(exception: unknown, host: ArgumentsHost): void {
    this.answer(exception, host.switchToHttp().getResponse<FrameworkReply>());
  }

  /** Answers what failed before Nest was asked. */
  answer(exception: unknown, reply: FrameworkReply): void {
    const status = statusOf(exception);
    if (status >= 500) this.observer.failed?.(exception);
    send(frameworkFailure(status), reply);
  }
}

/** The status of Nest's exceptions, and of those that Fastify and Express raise themselves. */
function statusOf(exception: unknown): number {
  if (exception instanceof HttpException) return exception.getStatus();
  if (typeof exception !== 'object' || exception === null) return 500;
  const status: unknown = 'statusCode' in exception ? exception.statusCode : undefined;
  return typeof status === 'number' && status >= 400 && status < 600 ? status : 500;
}

function frameworkFailure(status: number): EndpointAnswer {
  switch (status) {
    case 404:
      return notFound();
    case 413:
      // The rest of the body may still be on its way; it is not waited for.
      return errorAnswer(413, 'invalid_request', 'The body is too large.', ['Connection', 'close']);
    case 415:
      // RFC 6749 §5.2 knows 400 alone for a request that is not a form.
      return errorAnswer(400, 'invalid_request', 'The body must be a form, or absent.');
    case 503:
      return errorAnswer(503, 'temporarily_unavailable', 'The broker is not ready.', [
        'Retry-After',
        '1',
      ]);
    default:
      return status < 500
        ? errorAnswer(status, 'invalid_request', 'The request is malformed.')
        : errorAnswer(500, 'server_error', 'The broker failed. Its log says more.');
  }
}
