import { DEFAULT_NAME, type BrokerConfig } from '../config/broker-config.js';
import type { LoadedFile } from '../config/load-config.js';
import { ClockWatch } from '../operations/clock-watch.js';
import type { ReadinessSource, TokenReadinessSource } from '../operations/health.js';
import { openAudit, RotationEvents, withAudit } from '../operations/audit-events.js';
import type { AuditTrail } from '../operations/audit.js';
import { createLogger, droppedLines, type BrokerLogger } from '../operations/log.js';
import { BrokerMetrics } from '../operations/metrics.js';
import { placeOf } from '../operations/request-log.js';
import {
  PEERS_LIST,
  RecentActivity,
  withActivity,
} from '../operations/status-page/recent-activity.js';
import type { PageDevelopment, StatusPageOptions } from '../operations/status-page/status-page.js';
import { traceServing } from '../operations/traces.js';
import { rotationMode, type RotationMode } from '../rotation/rotation.js';
import { createRotationGate, type RotationGate } from '../rotation/rotation-gate.js';
import { RotationSchedule } from '../rotation/rotation-schedule.js';
import { TokenWatch } from '../rotation/token-watch.js';
import type { ServingObserver } from '../serving/endpoint.js';
import { createServing, type Serving } from '../serving/serving.js';
import type { TokenCache } from '../serving/token-cache.js';
import { BrokerError } from '../tokens/errors.js';
import { expiredReadAt, type CacheObserver } from '../tokens/refreshing-cache.js';
import { systemClock } from '../tokens/time.js';
import {
  createSuppliedToken,
  readDemand,
  type ServiceTokenSource,
} from '../tokens/token-supply.js';
import {
  byName,
  coreOf,
  createCore,
  createGapWatch,
  servingOptionsOf,
  type Core,
  type CoreOptions,
  type TokenCore,
} from './core.js';
import {
  cacheObserver,
  clockObserver,
  configObserver,
  fallbackObserver,
  rotationObserver,
  scheduleObserver,
  servingObserver,
  tokenLog,
  watchObserver,
} from './observers.js';
import { ConfigWatch } from './config-watch.js';
import { certificateLoginOf, createFilePeers } from './issuer-keys.js';
import { createReceiverSource } from './receiver-source.js';
import { decideConnectionLimit, descriptorLimit } from './listener.js';
import { createPageActions, createPageSource, isForThisMachine } from './page-source.js';
import { createReadiness, createTokenReadiness } from './readiness.js';
import type { ServerCertificate } from './server-certificate.js';

/** A configuration file that is followed while the broker runs. */
export interface FollowedFile extends LoadedFile {
  /** The environment that the broker was started with. */
  readonly env: NodeJS.ProcessEnv;
}

/** What can be replaced in a {@link BrokerRuntime}. */
export interface RuntimeOptions extends Pick<CoreOptions, 'store' | 'clock' | 'provider'> {
  /** The file that the configuration was made of, to be read again when it changes. Default: it is not. */
  readonly configFile?: FollowedFile;
  /** Default: as the configuration says, on standard output. */
  readonly log?: BrokerLogger;
  /** What the status page has in dev mode alone. Default: nothing. */
  readonly development?: (parts: Pick<BrokerRuntime, 'core' | 'each'>) => PageDevelopment;
}

/** The whole broker, before Nest: everything its routes and its schedule need. */
export interface BrokerRuntime {
  readonly core: Core;
  readonly log: BrokerLogger;
  readonly metrics: BrokerMetrics;
  readonly serving: Serving;
  /** Everything that runs for one token, by its name. */
  readonly each: ReadonlyMap<string, TokenRuntime>;
  /**
   * The service token `default` for callers in this process, as `tokens` of the client. Another token's: `each.get(name)`.
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
  /** What decisions are written to; `undefined` without `BROKER_AUDIT`. */
  readonly audit: AuditTrail | undefined;
  /** Follows the configuration file; `undefined` when there is none to follow. */
  readonly configWatch: ConfigWatch | undefined;
  /** What the status page works with; `undefined` where nobody can reach one. */
  readonly page: StatusPageOptions | undefined;
  /** Makes `/health/ready` answer 503 from now on, because the process stops. */
  readonly failReadiness: () => void;
  /** Notes the certificate that the broker's own listener uses: metrics and health show its end. */
  readonly noteCertificate: (certificate: ServerCertificate) => void;
}

/** What runs for one token. */
export interface TokenRuntime {
  readonly core: TokenCore;
  /** What peers are served from. */
  readonly cache: TokenCache;
  /** The token for callers in this process, as `tokens` of the client. */
  readonly tokens: ServiceTokenSource;
  readonly readiness: TokenReadinessSource;
  readonly schedule: RotationSchedule;
  /** Verifies the current version from time to time. */
  readonly watch: TokenWatch;
  /** Who rotates the token secret; `undefined` until the schedule has asked the store. */
  readonly mode: () => RotationMode | undefined;
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
    tokens: config.tokens.map(({ name }) => name),
    tokenRemainingSeconds: (name) => {
      const expiresAt = each.get(name)?.cache.status().expiresAt;
      return expiresAt === undefined ? undefined : (expiresAt - core.clock.now()) / 1000;
    },
    tokenGeneratedAt: (name) => each.get(name)?.cache.status().value?.token.generatedAt,
    jwksStatus: (name) => each.get(name)?.core.keysState()?.status,
    droppedLogLines: () => droppedLines(log),
    droppedAuditEvents: () => trail?.dropped ?? 0,
    waitingRequests: () => serving.waiting(),
    configFile: () => configWatch?.status(),
    tlsCertificateEndsAt: () => certificate?.endsAt,
    clockOffsetSeconds: (source) => clockWatch.offsetSeconds(source),
    tokenAccepted: (name) => {
      const { watch, cache } = each.get(name) ?? {};
      return watch?.accepts(cache?.status().value?.versionId);
    },
  });
  const skews = config.tokens.map(({ verification }) => verification.clockSkewSeconds);
  const clockWatch = new ClockWatch(Math.min(...skews) * 1000, clockObserver(log, metrics));
  const audited = new Map<string, RotationEvents>();
  // Nothing is kept where nobody can look at it.
  const hasPage = config.http.management !== undefined || isForThisMachine(config.http);
  const { clock = systemClock, configFile } = options;
  const activity = hasPage ? new RecentActivity(clock) : undefined;
  const core = await createCore(config, {
    ...options,
    observer: ({ name }) => {
      const rotations = rotationObserver(tokenLog(log, name), metrics, name);
      return {
        ...rotations,
        mintEnded: (code) => {
          rotations.mintEnded?.(code);
          activity?.minted(name, code);
        },
        stepEnded: (step, versionId, ended, detail) => {
          rotations.stepEnded?.(step, versionId, ended, detail);
          audited.get(name)?.made(versionId);
        },
        rotationEnded: (outcome, error) => {
          rotations.rotationEnded?.(outcome, error);
          audited.get(name)?.ended(outcome);
          activity?.rotationEnded(name, outcome);
          const { watch, cache } = each.get(name) ?? {};
          if (outcome.result === 'failed') return;
          watch?.expire();
          // Its endpoint does so itself.
          if (outcome.trigger === 'http') return;
          cache?.invalidate();
          cache?.refresh();
        },
      };
    },
    storeObserver: fallbackObserver(log, metrics),
    onDate: (source, reading) => clockWatch.read(source, reading),
    onNewStore: (dataDir) => log.info({ dataDir }, 'made a new secret store'),
    onKeyDelay: (error) => log.warn({ err: error }, "the store's master key is not available yet"),
  });
  const trail = await openAudit(config.audit, core.clock, log);
  if (trail !== undefined) {
    for (const { name } of config.tokens) audited.set(name, new RotationEvents(trail, name));
  }
  const plainObserver = traceServing(servingObserver(log, metrics));
  const auditing = trail === undefined ? plainObserver : withAudit(plainObserver, trail, placeOf);
  const observer = activity === undefined ? auditing : withActivity(auditing, activity, placeOf);
  const filePeers = createFilePeers(config, core.clock);
  const serving = createServing({
    ...servingOptionsOf(core),
    receivers: createReceiverSource(core),
    authorizes: config.http.authorizes,
    observer,
    filePeers,
    certificates: certificateLoginOf(config.http, filePeers, core.clock),
    tokenReads: (name) => {
      const reads = cacheObserver('token', tokenLog(log, name), metrics, name);
      return {
        ...reads,
        readSucceeded: (durationMs) => {
          reads.readSucceeded?.(durationMs);
          activity?.storeRead(name);
          const current = serving.tokenCaches.get(name)?.status().value;
          if (current === undefined) return;
          const { versionId, token } = current;
          audited.get(name)?.read(versionId);
          activity?.versionRead(name, { versionId, mintedAt: token.generatedAt });
        },
        readFailed: (error, count) => {
          reads.readFailed?.(error, count);
          activity?.storeRead(name);
        },
      };
    },
    peerReads: countReads(cacheObserver('peers', log, metrics), () =>
      activity?.storeRead(PEERS_LIST),
    ),
    maxWaiting: maxWaiting(config.http.maxConnections),
  });
  let { identities } = config;
  const configWatch =
    configFile &&
    new ConfigWatch({
      file: configFile,
      env: configFile.env,
      identities: config.identities,
      apply: (changed) => {
        identities = changed;
        filePeers.replace(changed);
        serving.recheckWaiting();
      },
      clock: core.clock,
      observer: configObserver(log, configFile.path),
    });
  const gate = createRotationGate(core.clock);
  const each = new Map(
    [...serving.tokenCaches].map(([name, cache]): [string, TokenRuntime] => [
      name,
      createTokenRuntime(coreOf(core, name), cache, gate, tokenLog(log, name), metrics),
    ]),
  );
  let isStopping = false;
  let certificate: ServerCertificate | undefined;
  const readiness = createReadiness(
    core,
    new Map([...each].map(([name, token]) => [name, token.readiness])),
    {
      directory: serving.peerDirectory,
      clockWatch,
      isStopping: () => isStopping,
      certificateEndsAt: () => certificate?.endsAt,
    },
  );
  const development = options.development?.({ core, each });
  const page: StatusPageOptions | undefined = activity && {
    source: createPageSource({
      core,
      log,
      serving,
      each,
      readiness,
      audit: trail,
      configWatch,
      configFile: configFile?.path,
      activity,
      startedAt: core.clock.now(),
      isDevelopment: development !== undefined,
      identities: () => identities,
    }),
    hosts: config.http.pageHosts,
    login: serving.login,
    actions: createPageActions({ core, serving, identities: () => identities }),
    observer,
    clock: core.clock,
    development,
  };
  return {
    core,
    log,
    metrics,
    serving,
    each,
    tokens: { getToken: async (demand) => runtimeOf({ each }).tokens.getToken(demand) },
    servingObserver: observer,
    readiness,
    page,
    noteCertificate: (used) => {
      certificate = used;
    },
    failReadiness: () => {
      isStopping = true;
    },
    audit: trail,
    configWatch,
  };
}

/** An observer that also counts every read, whether or not it succeeds. */
function countReads(observer: CacheObserver, count: () => void): CacheObserver {
  return {
    readSucceeded: (durationMs) => {
      observer.readSucceeded?.(durationMs);
      count();
    },
    readFailed: (error, failures) => {
      observer.readFailed?.(error, failures);
      count();
    },
  };
}

/** Peers that wait hold a connection each: a fifth of all stay for everybody else. */
function maxWaiting(maxConnections: number | undefined): number {
  return Math.floor(0.8 * decideConnectionLimit(maxConnections, descriptorLimit()).max);
}

/** What runs for one token. With several tokens, the gate keeps their rotations apart. */
function createTokenRuntime(
  core: TokenCore,
  cache: TokenCache,
  gate: RotationGate,
  log: BrokerLogger,
  metrics: BrokerMetrics,
): TokenRuntime {
  const { config, token, clock, slots } = core;
  const watch = new TokenWatch({
    current: async () => (await cache.get()).value,
    knownVersionId: () => cache.status().value?.versionId,
    verify: core.verify,
    freshKeys: core.freshKeys,
    clock,
    observer: watchObserver(log),
  });
  const gap = createGapWatch(slots, clock);
  let mode: RotationMode | undefined;
  const schedule = new RotationSchedule({
    rotator: core.rotator,
    slots,
    minimumRemaining: token.rotation.minRemainingSeconds * 1000,
    clock,
    refusal: () => watch.refusal(),
    servedVersionId: () => cache.status().value?.versionId,
    expiredReadAt: () => expiredReadAt(cache.status()),
    enter: () => gate.enter(token.providerName),
    observer: {
      ...scheduleObserver(log, metrics, token.name),
      described: (description) => {
        gap.learn(description);
        mode = rotationMode(description);
      },
    },
  });
  return {
    core,
    cache,
    tokens: createServiceTokenSource(cache),
    readiness: createTokenReadiness(core, cache, gap, {
      watch,
      ...(config.rotation.enabled && { schedule }),
    }),
    schedule,
    watch,
    mode: () => mode,
  };
}

/** What runs for a token. @throws {BrokerError} `TOKEN_NAME_UNKNOWN` when none is configured by that name. */
export function runtimeOf(
  { each }: Pick<BrokerRuntime, 'each'>,
  name: string = DEFAULT_NAME,
): TokenRuntime {
  return byName(each, name);
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
