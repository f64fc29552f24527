import type { BrokerConfig } from '../config/broker-config.js';
import { ClockWatch } from '../operations/clock-watch.js';
import type { ReadinessSource } from '../operations/health.js';
import { createLogger, droppedLines, type BrokerLogger } from '../operations/log.js';
import { BrokerMetrics } from '../operations/metrics.js';
import { RotationSchedule } from '../rotation/rotation-schedule.js';
import { TokenWatch } from '../rotation/token-watch.js';
import type { ServingObserver } from '../serving/endpoint.js';
import { createServing, type Serving } from '../serving/serving.js';
import type { TokenCache } from '../serving/token-cache.js';
import { BrokerError } from '../tokens/errors.js';
import {
  createSuppliedToken,
  readDemand,
  type ServiceTokenSource,
} from '../tokens/token-supply.js';
import {
  createCore,
  createGapWatch,
  servingOptionsOf,
  type Core,
  type CoreOptions,
} from './core.js';
import {
  cacheObserver,
  clockObserver,
  fallbackObserver,
  rotationObserver,
  scheduleObserver,
  servingObserver,
  watchObserver,
} from './observers.js';
import { createReadiness } from './readiness.js';

/** What can be replaced in a {@link BrokerRuntime}. */
export interface RuntimeOptions extends Pick<CoreOptions, 'store' | 'clock' | 'provider'> {
  /** Default: as the configuration says, on standard output. */
  readonly log?: BrokerLogger;
}

/** The whole broker, before Nest: everything its routes and its schedule need. */
export interface BrokerRuntime {
  readonly core: Core;
  readonly log: BrokerLogger;
  readonly metrics: BrokerMetrics;
  readonly serving: Serving;
  /**
   * The service token for callers in this process, as `tokens` of the client.
   *
   * @example
   * ```ts
   * import { ServiceClientModule } from 'service-token-kit/client/nest';
   * import { BrokerRuntime } from 'service-token-broker/server';
   *
   * ServiceClientModule.forRootAsync({
   *   imports: [brokerModule], // what BrokerModule.forRoot returned
   *   inject: [BrokerRuntime],
   *   useFactory: ({ tokens }: BrokerRuntime) => ({ tokens, origins }),
   * });
   * ```
   */
  readonly tokens: ServiceTokenSource;
  readonly servingObserver: ServingObserver;
  readonly readiness: ReadinessSource;
  readonly schedule: RotationSchedule;
  /** Verifies the current token from time to time. */
  readonly watch: TokenWatch;
  /** Makes `/health/ready` answer 503 from now on, because the process stops. */
  readonly failReadiness: () => void;
}

/** Nest's injection token for the {@link BrokerRuntime}. */
export const BrokerRuntime = Symbol('BrokerRuntime');

/**
 * Makes the whole broker. Nothing runs yet.
 *
 * @throws {BrokerError} when the store cannot be opened.
 */
export async function createRuntime(
  config: BrokerConfig,
  options: RuntimeOptions = {},
): Promise<BrokerRuntime> {
  const log = options.log ?? createLogger(config.log);
  // The gauges are read when metrics are scraped, when everything below exists.
  const metrics: BrokerMetrics = new BrokerMetrics({
    tokenRemainingSeconds: () => {
      const { expiresAt } = tokenCache.status();
      return expiresAt === undefined ? undefined : (expiresAt - core.clock.now()) / 1000;
    },
    tokenGeneratedAt: () => tokenCache.status().value?.token.generatedAt,
    jwksStatus: () => core.keysState()?.status,
    droppedLogLines: () => droppedLines(log),
    clockOffsetSeconds: (source) => clockWatch.offsetSeconds(source),
    tokenAccepted: () => watch.accepts(tokenCache.status().value?.versionId),
  });
  const clockWatch = new ClockWatch(
    config.verification.clockSkewSeconds * 1000,
    clockObserver(log, metrics),
  );
  const rotations = rotationObserver(log, metrics);
  const core = await createCore(config, {
    ...options,
    observer: {
      ...rotations,
      rotationEnded: (outcome, error) => {
        rotations.rotationEnded?.(outcome, error);
        if (outcome.result === 'failed') return;
        watch.expire();
        // Its endpoint does so itself.
        if (outcome.trigger === 'http') return;
        tokenCache.invalidate();
        tokenCache.refresh();
      },
    },
    storeObserver: fallbackObserver(log, metrics),
    onDate: (source, reading) => clockWatch.read(source, reading),
    onNewStore: (dataDir) => log.info({ dataDir }, 'made a new secret store'),
  });
  const observer = servingObserver(log, metrics);
  const serving = createServing({
    ...servingOptionsOf(core),
    observer,
    tokenReads: cacheObserver('token', log, metrics),
    peerReads: cacheObserver('peers', log, metrics),
  });
  const { tokenCache } = serving;
  const watch = new TokenWatch({
    current: async () => (await tokenCache.get()).value,
    knownVersionId: () => tokenCache.status().value?.versionId,
    verify: core.verify,
    freshKeys: core.freshKeys,
    clock: core.clock,
    observer: watchObserver(log),
  });
  const gap = createGapWatch(core.slots, core.clock);
  const schedule = new RotationSchedule({
    rotator: core.rotator,
    slots: core.slots,
    minimumRemaining: config.rotation.minRemainingSeconds * 1000,
    clock: core.clock,
    refusal: () => watch.refusal(),
    observer: { ...scheduleObserver(log, metrics), described: gap.learn },
  });
  let isStopping = false;
  return {
    core,
    log,
    metrics,
    serving,
    tokens: createServiceTokenSource(tokenCache),
    servingObserver: observer,
    readiness: createReadiness(core, tokenCache, gap, {
      directory: serving.peerDirectory,
      watch,
      clockWatch,
      ...(config.rotation.enabled && { schedule }),
      isStopping: () => isStopping,
    }),
    schedule,
    watch,
    failReadiness: () => {
      isStopping = true;
    },
  };
}

/** The service token for callers in the broker's own process: from the cache that peers are served from. */
export function createServiceTokenSource(cache: TokenCache): ServiceTokenSource {
  return {
    getToken: async (demand = {}) => {
      const request = readDemand(
        demand,
        (mistake) => new BrokerError('CLIENT_MISCONFIGURED', 'misconfigured', mistake),
      );
      const { accessToken, expiresAt } = (await cache.get(request)).value.token;
      return createSuppliedToken(accessToken, expiresAt);
    },
  };
}
