import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { PeerAuthentication } from '../serving/peer-authentication.js';
import type { Clock } from '../tokens/clock.js';
import type { BrokerMetrics } from './metrics.js';
import type { ReadinessSource } from './readiness.js';

/** What health and metrics are about. */
export interface OperationsOptions {
  readonly readiness: ReadinessSource;
  readonly metrics: BrokerMetrics;
  /** Default: the machine's. */
  readonly clock?: Clock;
  /**
   * Who asks on the application's own port: without credentials `/health/ready` says its status alone, and only a peer
   * with the role `admin` gets the details and the metrics. Without this they are open to everybody.
   */
  readonly login?: Pick<PeerAuthentication, 'withHeader'>;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } =
  new ConfigurableModuleBuilder<OperationsOptions>().setClassMethodName('forRoot').build();

/** Nest's injection token for the clock of the health endpoints. */
export const OperationsClock = Symbol('OperationsClock');

/** Nest's injection token for the endpoints with every detail, for a listener of their own. */
export const OpenEndpoints = Symbol('OpenEndpoints');

/** Nest's injection token for the endpoints on the application's own port. */
export const OwnPort = Symbol('OwnPort');
