import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { systemClock } from '../tokens/clock.js';
import { HealthController } from './health.controller.js';
import { MetricsController } from './metrics.controller.js';
import { BrokerMetrics } from './metrics.js';
import {
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  OperationsClock,
  type OperationsOptions,
} from './operations.module-definition.js';
import { ReadinessWatch } from './readiness-watch.js';
import { ReadinessSource } from './readiness.js';

/**
 * `GET /health/live`, `/health/ready` and `/metrics`, for Fastify and Express.
 *
 * @example
 * ```ts
 * OperationsModule.forRoot({ readiness, metrics: new BrokerMetrics() });
 * ```
 */
@Module({
  // Terminus would log an error for every probe; what changes is logged here instead.
  imports: [TerminusModule.forRoot({ logger: false })],
  controllers: [HealthController, MetricsController],
  providers: [
    ReadinessWatch,
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
  ],
})
export class OperationsModule extends ConfigurableModuleClass {}
