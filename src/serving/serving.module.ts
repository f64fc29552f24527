import {
  All,
  Catch,
  ConfigurableModuleBuilder,
  Controller,
  HttpException,
  Inject,
  Module,
  Req,
  Res,
  SetMetadata,
  VERSION_NEUTRAL,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { DECIDES_ACCESS_ITSELF } from '../tokens/http.js';
import { isObject } from '../tokens/json.js';
import {
  bugAnswer,
  errorAnswer,
  notFound,
  respond,
  send,
  type EndpointAnswer,
  type FrameworkReply,
  type FrameworkRequest,
  type ServingObserver,
} from './endpoint.js';
import { WELL_KNOWN } from './oauth-endpoint.js';
import { Serving } from './serving.js';

/** The routes. Each endpoint decides by itself who may have its answer, so a guard of the application lets them pass. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
class ServingController {
  constructor(@Inject(Serving) private readonly serving: Serving) {}

  @All(['v1/token', 'v1/tokens/:name'])
  token(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.token, request, reply);
  }

  @All('oauth2/token')
  oauth(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.oauth, request, reply);
  }

  @All('v1/rotate')
  rotate(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.rotate, request, reply);
  }

  @All('oauth2/introspect')
  introspect(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.introspect, request, reply);
  }

  @All(['v1/authorize', 'v1/authorize/*'])
  authorize(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.authorize, request, reply);
  }

  // Fastify and Express write "the rest of the path" differently, and an issuer's path is short.
  @All(['', '/:one', '/:one/:two', '/:one/:two/:three'].map((path) => WELL_KNOWN + path))
  metadata(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.metadata, request, reply);
  }
}

const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<Serving>({
  optionsInjectionToken: Serving,
}).build();

/** The routes of the broker's peers, for Fastify and Express: `register(serving)`, or `registerAsync` with a factory. */
@Module({
  controllers: [ServingController],
  exports: [Serving],
})
export class ServingModule extends ConfigurableModuleClass {}

/**
 * Answers the framework's own errors (no such route, a body that cannot be parsed, one that is too large) with the JSON
 * of the endpoints. The framework's texts repeat the requested URL, which may hold a token; these do not.
 *
 * For an application that is only a broker: `app.useGlobalFilters(new ServingErrorFilter(observer))`. Inside another
 * application its own filters apply.
 */
@Catch()
export class ServingErrorFilter implements ExceptionFilter {
  constructor(private readonly observer: ServingObserver = {}) {}

  catch(exception: unknown, host: ArgumentsHost): void {
    this.answer(exception, host.switchToHttp().getResponse<FrameworkReply>());
  }

  /** Answers what failed before Nest was called. */
  answer(exception: unknown, reply: FrameworkReply): void {
    const status = statusOf(exception);
    if (status >= 500) this.observer.failed?.(exception);
    send(frameworkFailure(status), reply);
  }
}

/** The status of an exception of Nest, Fastify or Express. */
function statusOf(exception: unknown): number {
  if (exception instanceof HttpException) return exception.getStatus();
  const status = isObject(exception) ? exception['statusCode'] : undefined;
  return typeof status === 'number' && status >= 400 && status < 600 ? status : 500;
}

function frameworkFailure(status: number): EndpointAnswer {
  switch (status) {
    case 404:
      return notFound();
    case 413:
      // Does not wait for the rest of the body.
      return errorAnswer(413, 'invalid_request', 'The body is too large.', ['Connection', 'close']);
    case 415:
      // RFC 6749 §5.2 has only 400 for a request that is not a form.
      return errorAnswer(400, 'invalid_request', 'The body must be a form, or absent.');
    case 503:
      return errorAnswer(503, 'temporarily_unavailable', 'The broker is not ready.', [
        'Retry-After',
        '1',
      ]);
    default:
      return status < 500
        ? errorAnswer(status, 'invalid_request', 'The request is malformed.')
        : bugAnswer();
  }
}
