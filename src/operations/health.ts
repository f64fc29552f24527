import {
  HealthIndicatorService,
  type HealthIndicatorResult,
  type HealthCheckResult,
  HealthCheckService,
} from '@nestjs/terminus';
import type { Clock } from '../tokens/time.js';
import type { ClockReadiness } from './clock-watch.js';
import { redactText } from '../tokens/redaction.js';
import { withSnakeNames } from '../tokens/json.js';
import {
  Injectable,
  Logger,
  ConfigurableModuleBuilder,
  Inject,
  ServiceUnavailableException,
} from '@nestjs/common';
import type { PeerAuthentication } from '../serving/peer-login.js';
import type { BrokerMetrics } from './metrics.js';

/** Whether the service token can be served, as the cache knows it. */
export interface TokenReadiness {
  /** True when a token with remaining life can be served now. */
  readonly ok: boolean;
  /** What is wrong and what to do, in words. Given when `ok` is false, or when something is wrong nevertheless. */
  readonly reason?: string;
  /** The stable code of what is wrong. */
  readonly code?: string;
  /** Whole seconds of the token's remaining life. */
  readonly remainingSeconds?: number;
  /** True when the cached token is served because a newer read failed. */
  readonly stale?: boolean;
  /** True when receivers refuse the token that is served. */
  readonly refused?: boolean;
}

/** How rotation is doing. It never makes the broker unready: a token that is there is served. */
export interface RotationReadiness {
  readonly ok: boolean;
  /** What is wrong and what to do, in words. */
  readonly reason?: string;
  readonly code?: string;
  /** How many slots have ended without a rotation since the service token was minted; 100 stands for more, too. */
  readonly missedSlots?: number;
  /** Since when a rotation is due, as an ISO 8601 instant. */
  readonly dueSince?: string;
  /** When a rotation last ended well, as an ISO 8601 instant. */
  readonly lastSuccess?: string;
  /** When the next one starts, or is tried again, as an ISO 8601 instant. */
  readonly next?: string;
}

/** Whether a token outlives the worst gap between two rotations. */
export interface CoverageReadiness {
  readonly ok: boolean;
  readonly reason?: string;
}

/** Whether peers can log in. It never makes the broker unready: a stranger's login must not take it out of service. */
export interface PeersReadiness {
  readonly ok: boolean;
  /** What is wrong and what to do, in words. */
  readonly reason?: string;
  readonly code?: string;
  /** True when the cached list is served because a newer read failed. */
  readonly stale?: boolean;
  /** Until when it is, as an ISO 8601 instant; then nobody can log in. */
  readonly servedUntil?: string;
}

/** Where the health endpoints learn how the broker is doing. None of it may cost a read beyond the cache's own. */
export interface ReadinessSource {
  /** Asks the cache, exactly as a peer's request would. */
  tokenState(): Promise<TokenReadiness>;
  /** What is known in memory; `undefined` when this process does not rotate. */
  rotation(): RotationReadiness | undefined;
  /** What is known in memory; `undefined` while no token was seen. */
  coverage(): CoverageReadiness | undefined;
  /** What is known in memory; `undefined` while nobody has tried to log in, or not since a failure of long ago. */
  peers(): PeersReadiness | undefined;
  /** True as soon as the process was told to stop: it is not ready then, whatever else is. Default: never. */
  isStopping?(): boolean;
  /** What is known in memory; `undefined` while no other clock was seen. */
  clock?(): ClockReadiness | undefined;
}

/** Nest's injection token for the {@link ReadinessSource} in use. */
export const ReadinessSource = Symbol('ReadinessSource');

/** How long readiness waits for the cache, in milliseconds: less than the second that probes usually wait. */
export const READINESS_TIMEOUT = 900;

/** Whether the token can be served: `down` if not, `degraded` when it is served stale or receivers refuse it. */
function tokenHealth(
  indicators: HealthIndicatorService,
  { ok, stale, refused, ...state }: TokenReadiness,
): HealthIndicatorResult {
  const details = safeDetails({
    ...state,
    ...(stale === true ? { stale } : undefined),
    ...(refused === true ? { refused } : undefined),
  });
  const indicator = indicators.check('token');
  if (!ok) return indicator.down(details);
  return stale === true || refused === true ? indicator.degraded(details) : indicator.up(details);
}

/** How what the token does not depend on at once is doing: at worst `degraded`. */
function otherHealth(
  indicators: HealthIndicatorService,
  name: 'rotation' | 'coverage' | 'peers' | 'clock',
  state: RotationReadiness | CoverageReadiness | PeersReadiness | ClockReadiness | undefined,
): HealthIndicatorResult {
  if (state === undefined) return {};
  const { ok, ...details } = state;
  const indicator = indicators.check(name);
  return ok ? indicator.up(safeDetails(details)) : indicator.degraded(safeDetails(details));
}

/**
 * Asks the source, and waits no longer than {@link READINESS_TIMEOUT}.
 *
 * @param onFault told when the source failed instead of answering. That is a fault of ours, and its text is not for
 *   everybody who asks.
 */
async function tokenState(
  source: ReadinessSource,
  clock: Clock,
  onFault: (error: unknown) => void,
): Promise<TokenReadiness> {
  const answered = new AbortController();
  const answer = source.tokenState().catch((error: unknown) => {
    onFault(error);
    return FAULTY;
  });
  const late = clock.sleep(READINESS_TIMEOUT, answered.signal).then(
    () => TOO_LATE,
    // Only the answer ends the wait.
    () => answer,
  );
  try {
    return await Promise.race([answer, late]);
  } finally {
    answered.abort();
  }
}

const TOO_LATE: TokenReadiness = {
  ok: false,
  code: 'READINESS_TIMEOUT',
  reason:
    'The secret store has not answered yet. If this lasts, look at the store, and at the way to it.',
};

const FAULTY: TokenReadiness = {
  ok: false,
  code: 'UNEXPECTED',
  reason: 'The state of the token cannot be told. The log says more.',
};

/** Health is answered to everybody who asks: texts pass redaction, and what is not known is left out. Names as in all JSON. */
function safeDetails(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const known = Object.entries(details).filter(([, value]) => value !== undefined);
  const safe = known.map(([name, value]): [string, unknown] => [
    name,
    typeof value === 'string' ? redactText(value) : value,
  ]);
  return withSnakeNames(Object.fromEntries(safe)) as Record<string, unknown>;
}

/** Logs when readiness changes, and only then: probes come every few seconds. */
@Injectable()
export class ReadinessWatch {
  readonly #log = new Logger('Readiness');
  #last: string | undefined;
  #fault: string | undefined;

  /** What a check came to. */
  note(result: HealthCheckResult): void {
    if (isReady(result)) this.#fault = undefined;
    const state = [result.status, ...Object.values(result.details).map(({ status }) => status)];
    const key = state.join(' ');
    if (key === this.#last) return;
    const first = this.#last === undefined;
    this.#last = key;
    const reasons = reasonsOf(result);
    if (result.status === 'error') this.#log.error(`Not ready. ${reasons}`);
    else if (result.status === 'degraded') this.#log.warn(`Ready, but not well. ${reasons}`);
    else if (result.status === 'ok' && !first) this.#log.log('Ready again.');
  }

  /** A source that failed instead of answering: logged once, until it answers or fails in another way. */
  fault(error: unknown): void {
    const key = String(error);
    if (key === this.#fault) return;
    this.#fault = key;
    this.#log.error(error);
  }
}

function isReady({ status }: HealthCheckResult): boolean {
  return status === 'ok' || status === 'degraded';
}

function reasonsOf({ details }: HealthCheckResult): string {
  return Object.values(details)
    .filter(({ status }) => status !== 'up')
    .map(({ reason }): unknown => reason)
    .filter((reason) => typeof reason === 'string')
    .join(' ');
}

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

const STOPPING = {
  code: 'BROKER_STOPPING',
  reason: 'The broker was told to stop. It answers for a while, and takes no new work.',
};

/** How the broker is doing, whichever door asks. */
@Injectable()
export class HealthReport {
  constructor(
    @Inject(HealthCheckService) private readonly health: HealthCheckService,
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(ReadinessSource) private readonly source: ReadinessSource,
    @Inject(ReadinessWatch) private readonly watch: ReadinessWatch,
    @Inject(OperationsClock) private readonly clock: Clock,
  ) {}

  /** Everything that is known, with the reasons. A token with remaining life can be served unless `status` is `error`. */
  async make(): Promise<HealthCheckResult> {
    const { source, indicators, watch } = this;
    if (source.isStopping?.() === true) {
      // Not told to the watch, which would log a fault: the log has said that the process stops.
      return resultOf(this.health.check([() => indicators.check('process').down(STOPPING)]));
    }
    const token = tokenState(source, this.clock, (error) => watch.fault(error));
    const result = await resultOf(
      this.health.check([
        async () => tokenHealth(indicators, await token),
        () => otherHealth(indicators, 'rotation', source.rotation()),
        () => otherHealth(indicators, 'coverage', source.coverage()),
        () => otherHealth(indicators, 'peers', source.peers()),
        () => otherHealth(indicators, 'clock', source.clock?.()),
      ]),
    );
    watch.note(result);
    return result;
  }
}

/** Terminus throws a result that is not good. */
async function resultOf(check: Promise<HealthCheckResult>): Promise<HealthCheckResult> {
  try {
    return await check;
  } catch (error) {
    const body = error instanceof ServiceUnavailableException ? error.getResponse() : undefined;
    if (isResult(body)) return body;
    throw error;
  }
}

function isResult(body: unknown): body is HealthCheckResult {
  return typeof body === 'object' && body !== null && 'status' in body && 'details' in body;
}
