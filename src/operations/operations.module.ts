import {
  All,
  ConfigurableModuleBuilder,
  Controller,
  Inject,
  Module,
  Req,
  Res,
  SetMetadata,
  VERSION_NEUTRAL,
} from '@nestjs/common';
import { HealthCheckService, HealthIndicatorService, TerminusModule } from '@nestjs/terminus';
import { Registry } from 'prom-client';
import {
  COMMON_HEADERS,
  guarded,
  jsonAnswer,
  jsonBytesAnswer,
  methodNotAllowed,
  notFound,
  respond,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type FrameworkReply,
  type FrameworkRequest,
  type ServingObserver,
} from '../serving/endpoint.js';
import type { LivenessBody, ReadinessBody } from '../serving/answers.js';
import { refuseAccess, type PeerAuthentication } from '../serving/peer-login.js';
import { DECIDES_ACCESS_ITSELF } from '../tokens/http.js';
import { systemClock, type Clock } from '../tokens/time.js';
import { HealthReport, isReady, type ReadinessSource } from './health.js';
import type { BrokerMetrics } from './metrics.js';
import type { StatusPageOptions } from './status-page/status-page.js';
import { PAGE_PATHS } from './status-page/page-facts.js';

/** What health and metrics are about. */
interface OperationsOptions {
  readonly readiness: ReadinessSource;
  readonly metrics: BrokerMetrics;
  /** Default: the machine's. */
  readonly clock?: Clock;
  /**
   * Who asks on the application's own port: without credentials `/health/ready` shows its status alone, and only a peer
   * with the role `admin` gets the details and the metrics. Without this they are open to everybody.
   */
  readonly login?: Pick<PeerAuthentication, 'withHeader'>;
  /** Where peers reach the broker, for its description. Default: this machine. */
  readonly publicUrl?: string | undefined;
  /** Default: there is no status page. */
  readonly page?: StatusPageOptions | undefined;
  /** Notified of peers that lack the role. */
  readonly observer?: ServingObserver;
}

/** `GET /health/live`, `/health/ready` and `/metrics`, and `/openapi.json` where the details are open. */
export interface OperationsEndpoints {
  /** 200 while the process answers at all. A restart fixes nothing else. */
  readonly live: Endpoint;
  /** 200 when a token with remaining life can be served; else 503. */
  readonly ready: Endpoint;
  /** Everything in the Prometheus text format 0.0.4. */
  readonly metrics: Endpoint;
}

/** What is open to everybody who reaches it. */
export interface OpenOperationsEndpoints extends OperationsEndpoints {
  /** The HTTP interface of the broker as OpenAPI 3.1. */
  readonly openapi: Endpoint;
  /** The status page, at {@link PAGE_PATHS}. */
  readonly page: Endpoint;
}

/** Nest's injection token for the {@link OpenOperationsEndpoints}: with every detail, for a listener of their own. */
export const OpenEndpoints = Symbol('OpenEndpoints');

/** Nest's injection token for the endpoints on the application's own port. */
const OwnPort = Symbol('OwnPort');

/** Health and metrics on the application's own port. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
class HealthController {
  constructor(@Inject(OwnPort) private readonly endpoints: OperationsEndpoints) {}

  @All('health/live')
  live(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.endpoints.live, request, reply);
  }

  @All('health/ready')
  ready(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.endpoints.ready, request, reply);
  }

  @All('metrics')
  metrics(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.endpoints.metrics, request, reply);
  }
}

/** For a port where the details are open. Apart from the others, since an application may have such a path of its own. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
export class OpenApiController {
  constructor(@Inject(OpenEndpoints) private readonly endpoints: OpenOperationsEndpoints) {}

  @All('openapi.json')
  openapi(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.endpoints.openapi, request, reply);
  }
}

/** The same for people. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
export class StatusPageController {
  constructor(@Inject(OpenEndpoints) private readonly endpoints: OpenOperationsEndpoints) {}

  @All([...PAGE_PATHS])
  page(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.endpoints.page, request, reply);
  }
}

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } =
  new ConfigurableModuleBuilder<OperationsOptions>().setClassMethodName('forRoot').build();

/**
 * `GET /health/live`, `/health/ready` and `/metrics`, for Fastify and Express. Exports {@link OpenEndpoints}.
 *
 * @example
 * ```ts
 * OperationsModule.forRoot({ readiness, metrics: new BrokerMetrics() });
 * ```
 */
@Module({
  // Terminus would log an error for every probe; what changes is logged here instead.
  imports: [TerminusModule.forRoot({ logger: false })],
  controllers: [HealthController],
  providers: [
    {
      provide: HealthReport,
      inject: [HealthCheckService, HealthIndicatorService, MODULE_OPTIONS_TOKEN],
      useFactory: (
        health: HealthCheckService,
        indicators: HealthIndicatorService,
        { readiness, clock = systemClock }: OperationsOptions,
      ) => new HealthReport(health, indicators, readiness, clock),
    },
    {
      provide: OpenEndpoints,
      inject: [HealthReport, MODULE_OPTIONS_TOKEN],
      useFactory: (report: HealthReport, options: OperationsOptions) =>
        openEndpoints(report, options),
    },
    {
      provide: OwnPort,
      inject: [HealthReport, OpenEndpoints, MODULE_OPTIONS_TOKEN],
      useFactory: (
        report: HealthReport,
        open: OperationsEndpoints,
        { login, observer }: OperationsOptions,
      ) => (login === undefined ? open : publicEndpoints(open, report, login, observer)),
    },
  ],
  exports: [OpenEndpoints],
})
export class OperationsModule extends ConfigurableModuleClass {}

/** With every detail, for a listener that only insiders reach. */
function openEndpoints(
  report: HealthReport,
  { metrics: { registry }, publicUrl, page }: OperationsOptions,
): OpenOperationsEndpoints {
  let statusPage: Promise<Endpoint> | undefined;
  let document: Promise<Buffer> | undefined;
  const got = (answer: () => EndpointAnswer | Promise<EndpointAnswer>): Endpoint =>
    guarded(onlyGet(answer), { failed: (error) => report.failed(error) });
  return {
    live: got(() => jsonAnswer<LivenessBody>(200, { status: 'ok' })),
    ready: got(async () => {
      const result = await report.make();
      return jsonAnswer<ReadinessBody>(isReady(result.status) ? 200 : 503, result);
    }),
    metrics: got(async () => {
      const body = Buffer.from(await registry.metrics());
      const headers = [
        'Content-Type',
        Registry.PROMETHEUS_CONTENT_TYPE,
        'Content-Length',
        String(body.length),
        ...COMMON_HEADERS,
      ];
      return { status: 200, headers, body };
    }),
    openapi: got(async () => {
      // Made when somebody asks, so that the start does not load it.
      document ??= import('./openapi.js').then(({ openApiDocument }) =>
        Buffer.from(JSON.stringify(openApiDocument(publicUrl))),
      );
      return jsonBytesAnswer(200, await document, []);
    }),
    page: guarded(
      {
        answer: async (request) => {
          if (page === undefined) return notFound();
          // Likewise.
          statusPage ??= import('./status-page/status-page.js').then(
            ({ StatusPage }) => new StatusPage(page),
          );
          return (await statusPage).answer(request);
        },
      },
      { failed: (error) => report.failed(error) },
    ),
  };
}

/**
 * For a listener that anybody may reach: `/health/ready` shows `{ "status": "ok" | "degraded" | "error" }` and nothing
 * else, since the reasons name secrets, codes and the provider's words. A peer with the role `admin` gets everything,
 * and nobody else gets metrics.
 */
function publicEndpoints(
  open: OperationsEndpoints,
  report: HealthReport,
  login: Pick<PeerAuthentication, 'withHeader'>,
  observer: ServingObserver = {},
): OperationsEndpoints {
  const forAdmins = async (
    endpoint: Endpoint,
    request: EndpointRequest,
  ): Promise<EndpointAnswer> => {
    const result = await login.withHeader(request);
    if ('refusal' in result) return result.refusal;
    return refuseAccess(result.peer, { role: 'admin' }, observer) ?? endpoint.answer(request);
  };
  return {
    live: open.live,
    ready: onlyGet(async (request) => {
      if (request.headers['authorization'] !== undefined) return forAdmins(open.ready, request);
      const { status } = await report.make();
      return isReady(status)
        ? jsonAnswer<ReadinessBody>(200, { status })
        : jsonAnswer<ReadinessBody>(503, { status: 'error' }, ['Retry-After', '5']);
    }),
    metrics: onlyGet((request) => forAdmins(open.metrics, request)),
  };
}

function onlyGet(
  answer: (request: EndpointRequest) => EndpointAnswer | Promise<EndpointAnswer>,
): Endpoint {
  return {
    answer: async (request) =>
      request.method === 'GET' || request.method === 'HEAD'
        ? answer(request)
        : methodNotAllowed(['GET', 'HEAD']),
  };
}
