import {
  All,
  Controller,
  Inject,
  Req,
  Res,
  SetMetadata,
  VERSION_NEUTRAL,
  Module,
} from '@nestjs/common';
import {
  respond,
  type FrameworkReply,
  type FrameworkRequest,
  guarded,
  COMMON_HEADERS,
  jsonAnswer,
  methodNotAllowed,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
} from '../serving/endpoint.js';
import { DECIDES_ACCESS_ITSELF } from '../tokens/http.js';
import {
  OwnPort,
  HealthReport,
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  OpenEndpoints,
  OperationsClock,
  type OperationsOptions,
  ReadinessWatch,
  ReadinessSource,
} from './health.js';
import { Registry } from 'prom-client';
import type { PeerAuthentication } from '../serving/peer-login.js';
import { BrokerMetrics } from './metrics.js';
import { TerminusModule } from '@nestjs/terminus';
import { systemClock } from '../tokens/time.js';

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

/** `GET /health/live`, `/health/ready` and `/metrics`. */
export interface OperationsEndpoints {
  /** 200 for as long as the process answers at all. A restart fixes nothing else. */
  readonly live: Endpoint;
  /** 200 when a token with remaining life can be served; else 503. */
  readonly ready: Endpoint;
  /** Everything in the Prometheus text format 0.0.4. */
  readonly metrics: Endpoint;
}

/** What {@link openEndpoints} works with. */
interface OpenEndpointsOptions {
  readonly report: Pick<HealthReport, 'make'>;
  readonly metrics: Pick<BrokerMetrics, 'registry'>;
  /** Told of an error that nobody foresaw; the caller got 500. */
  readonly onFailed?: (error: unknown) => void;
}

/** With every detail, for a listener that only insiders reach. */
function openEndpoints(options: OpenEndpointsOptions): OperationsEndpoints {
  const { report, metrics, onFailed } = options;
  const observer = onFailed === undefined ? {} : { failed: onFailed };
  const got = (answer: () => EndpointAnswer | Promise<EndpointAnswer>): Endpoint =>
    guarded(onlyGet(answer), observer);
  return {
    live: got(() => jsonAnswer(200, { status: 'ok' })),
    ready: got(async () => {
      const result = await report.make();
      return jsonAnswer(isReady(result.status) ? 200 : 503, { ...result });
    }),
    metrics: got(async () => {
      const body = Buffer.from(await metrics.registry.metrics());
      const headers = [
        'Content-Type',
        Registry.PROMETHEUS_CONTENT_TYPE,
        'Content-Length',
        String(body.length),
        ...COMMON_HEADERS,
      ];
      return { status: 200, headers, body };
    }),
  };
}

/**
 * For a listener that everybody reaches: `/health/ready` says `{ "status": "ok" | "degraded" | "error" }` and nothing
 * else, since the reasons name secrets, codes, and what the provider says. A peer with the role `admin` gets everything,
 * and nobody else gets metrics.
 */
function publicEndpoints(
  open: OperationsEndpoints,
  report: Pick<HealthReport, 'make'>,
  login: Pick<PeerAuthentication, 'withHeader'>,
): OperationsEndpoints {
  const forAdmins = async (
    endpoint: Endpoint,
    request: EndpointRequest,
  ): Promise<EndpointAnswer> => {
    const result = await login.withHeader(request, 'admin');
    return 'refusal' in result ? result.refusal : endpoint.answer(request);
  };
  return {
    live: open.live,
    ready: onlyGet(async (request) => {
      if (request.headers['authorization'] !== undefined) return forAdmins(open.ready, request);
      const { status } = await report.make();
      return isReady(status)
        ? jsonAnswer(200, { status })
        : jsonAnswer(503, { status: 'error' }, ['Retry-After', '5']);
    }),
    metrics: onlyGet((request) => forAdmins(open.metrics, request)),
  };
}

function isReady(status: string): boolean {
  return status === 'ok' || status === 'degraded';
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
    ReadinessWatch,
    HealthReport,
    {
      provide: ReadinessSource,
      useFactory: ({ readiness }: OperationsOptions) => readiness,
      inject: [MODULE_OPTIONS_TOKEN],
    },
    {
      provide: BrokerMetrics,
      useFactory: ({ metrics }: OperationsOptions) => metrics,
      inject: [MODULE_OPTIONS_TOKEN],
    },
    {
      provide: OperationsClock,
      useFactory: ({ clock }: OperationsOptions) => clock ?? systemClock,
      inject: [MODULE_OPTIONS_TOKEN],
    },
    {
      provide: OpenEndpoints,
      useFactory: (report: HealthReport, metrics: BrokerMetrics, watch: ReadinessWatch) =>
        openEndpoints({ report, metrics, onFailed: (error) => watch.fault(error) }),
      inject: [HealthReport, BrokerMetrics, ReadinessWatch],
    },
    {
      provide: OwnPort,
      useFactory: (
        open: OperationsEndpoints,
        report: HealthReport,
        { login }: OperationsOptions,
      ) => (login === undefined ? open : publicEndpoints(open, report, login)),
      inject: [OpenEndpoints, HealthReport, MODULE_OPTIONS_TOKEN],
    },
  ],
  exports: [OpenEndpoints],
})
export class OperationsModule extends ConfigurableModuleClass {}
