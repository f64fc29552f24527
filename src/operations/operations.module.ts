import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { systemClock } from '../tokens/clock.js';
import { HealthController } from './health.controller.js';
import { HealthReport } from './health-report.js';
import { BrokerMetrics } from './metrics.js';
import {
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  OpenEndpoints,
  OperationsClock,
  OwnPort,
  type OperationsOptions,
} from './operations.module-definition.js';
import {
  openEndpoints,
  publicEndpoints,
  type OperationsEndpoints,
} from './operations-endpoints.js';
import { ReadinessWatch } from './readiness-watch.js';
import { ReadinessSource } from './readiness.js';

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
