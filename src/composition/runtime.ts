import type { TokenCache } from '../serving/token-endpoint.js';
import { createSuppliedToken, type ServiceTokenSource } from '../tokens/token-supply.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { ClockWatch } from '../operations/clock-watch.js';
import { createLogger, droppedLines, type BrokerLogger } from '../operations/log.js';
import { BrokerMetrics } from '../operations/metrics.js';
import type { ReadinessSource } from '../operations/health.js';
import { RotationSchedule } from '../rotation/rotation-schedule.js';
import { TokenWatch } from '../rotation/token-watch.js';
import { createServing, type Serving } from '../serving/serving.js';
import type { ServingObserver } from '../serving/endpoint.js';
import { createCore, type Core, type CoreOptions, createGapWatch } from './core.js';
import {
  cacheObserver,
  clockObserver,
  fallbackObserver,
  rotationObserver,
  scheduleObserver,
  servingObserver,
  watchObserver,
} from './observers.js';
import { createReadiness } from './broker-readiness.js';

/** The service token for callers in the broker's own process: from the cache that peers are served from. */
export function createServiceTokenSource(cache: TokenCache): ServiceTokenSource {
  return {
    getToken: async (demand) => {
      const { accessToken, expiresAt } = (await cache.get(demand)).value.token;
      return createSuppliedToken(accessToken, expiresAt);
    },
  };
}

/** What can be replaced when the broker is put together. */
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
   * import { ServiceClientModule } from 'service-token-broker/client/nest';
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
  /** Verifies the current token again and again. */
  readonly watch: TokenWatch;
  /** Makes `/health/ready` answer 503 from now on: the process was told to stop. */
  readonly failReadiness: () => void;
}

/** Nest's injection token for the {@link BrokerRuntime}. */
export const BrokerRuntime = Symbol('BrokerRuntime');

/** Puts the broker together. Nothing runs yet. @throws {BrokerError} when the store cannot be opened. */
export async function createRuntime(
  config: BrokerConfig,
  options: RuntimeOptions = {},
): Promise<BrokerRuntime> {
  const log = options.log ?? createLogger(config.log);
  // The gauges are read when metrics are scraped, by when everything below exists.
  const metrics: BrokerMetrics = new BrokerMetrics({
    tokenRemainingSeconds: () => {
      const expiresAt = serving.tokenCache.status().expiresAt;
      return expiresAt === undefined ? undefined : (expiresAt - core.clock.now()) / 1000;
    },
    tokenGeneratedAt: () => serving.tokenCache.status().value?.token.generatedAt,
    jwksStatus: () => core.keysState()?.status,
    droppedLogLines: () => droppedLines(log),
    clockOffsetSeconds: (source) => clockWatch.offsetSeconds(source),
    tokenAccepted: () => watch.accepts(serving.tokenCache.status().value?.versionId),
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
        if (outcome.result !== 'failed') watch.expire();
      },
    },
    storeObserver: fallbackObserver(log, metrics),
    onDate: (source, reading) => clockWatch.read(source, reading),
    onNewStore: (dataDir) => log.info({ dataDir }, 'made a new secret store'),
  });
  const observer = servingObserver(log, metrics);
  const { tokenSecretId, peersSecretId } = config.secrets;
  const { scope } = config.provider;
  const { publicUrl } = config.http;
  const serving = createServing({
    store: core.store,
    tokenSecretId,
    peersSecretId,
    clock: core.clock,
    ttlMs: config.cache.ttlSeconds * 1000,
    skewMs: config.verification.clockSkewSeconds * 1000,
    ...(scope !== undefined && { scope }),
    ...(publicUrl !== undefined && { publicUrl }),
    rotateNow: {
      rotate: async () => {
        const { versionId, result } = await core.rotator.rotate({ trigger: 'http' });
        return { versionId, outcome: result };
      },
    },
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
    rotator: {
      current: () => core.rotator.current(),
      describe: () => core.rotator.describe(),
      attempt: (key) => core.rotator.attempt(key),
      rotate: async (request) => {
        const rotated = await core.rotator.rotate(request);
        // Whoever asks this replica next gets the new token, and not the cached one for another few minutes.
        tokenCache.invalidate();
        tokenCache.refresh();
        return rotated;
      },
    },
    slots: core.slots,
    minimumRemaining: config.rotation.minRemainingSeconds * 1000,
    clock: core.clock,
    refusal: () => watch.refusal(),
    observer: {
      ...scheduleObserver(log, metrics),
      described: (description) => gap.learn(description),
    },
  });
  let isStopping = false;
  const { peerDirectory: directory } = serving;
  const readiness = Object.assign(
    createReadiness(core, tokenCache, gap, {
      directory,
      watch,
      clockWatch,
      ...(config.rotation.enabled && { schedule }),
    }),
    { isStopping: () => isStopping },
  );
  return {
    core,
    log,
    metrics,
    serving,
    tokens: createServiceTokenSource(tokenCache),
    servingObserver: observer,
    readiness,
    schedule,
    watch,
    failReadiness: () => {
      isStopping = true;
    },
  };
}
