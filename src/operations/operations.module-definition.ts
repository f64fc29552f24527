import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { Clock } from '../tokens/clock.js';
import type { BrokerMetrics } from './metrics.js';
import type { ReadinessSource } from './readiness.js';

/** What health and metrics are about. */
export interface OperationsOptions {
  readonly readiness: ReadinessSource;
  readonly metrics: BrokerMetrics;
  /** Default: the machine's. */
  readonly clock?: Clock;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } =
  new ConfigurableModuleBuilder<OperationsOptions>().setClassMethodName('forRoot').build();

/** Nest's injection token for the clock of the health endpoints. */
export const OperationsClock = Symbol('OperationsClock');
