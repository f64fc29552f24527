import { ServiceUnavailableException, Logger } from '@nestjs/common';
import type {
  HealthCheckResult,
  HealthCheckService,
  HealthIndicatorResult,
  HealthIndicatorService,
} from '@nestjs/terminus';
import { withSnakeNames } from '../tokens/json.js';
import { redactText } from '../tokens/redaction.js';
import type { Clock } from '../tokens/time.js';
import type { ClockReadiness } from './clock-watch.js';

/** Whether the service token can be served, according to the cache. */
export interface TokenReadiness {
  /** True when a token with remaining life can be served now. */
  readonly ok: boolean;
  /** What is wrong and what to do. Given when `ok` is false, and for a token that is served but `stale` or `refused`. */
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

/** How rotation is doing. It never makes the broker unready: the current token is still served. */
export interface RotationReadiness {
  readonly ok: boolean;
  /** What is wrong and what to do. */
  readonly reason?: string;
  readonly code?: string;
  /** How many slots have ended without a rotation since the service token was minted; 100 means 100 or more. */
  readonly missedSlots?: number;
  /** Since when a rotation is due, as an ISO 8601 instant. */
  readonly dueSince?: string;
  /** When a rotation last succeeded, as an ISO 8601 instant. */
  readonly lastSuccess?: string;
  /** When the next one starts or is retried, as an ISO 8601 instant. */
  readonly next?: string;
}

/** Whether a token outlives the worst gap between two rotations. */
export interface CoverageReadiness {
  readonly ok: boolean;
  readonly reason?: string;
}

/** Whether peers can log in. It never makes the broker unready: a failed login must not take it out of service. */
export interface PeersReadiness {
  readonly ok: boolean;
  /** What is wrong and what to do. */
  readonly reason?: string;
  readonly code?: string;
  /** True when the cached list is served because a newer read failed. */
  readonly stale?: boolean;
  /** Until when the list is served, as an ISO 8601 instant; then nobody can log in. */
  readonly servedUntil?: string;
}

/** Whether the certificate of the broker's own listener is valid. It never makes the broker unready. */
export interface CertificateReadiness {
  readonly ok: boolean;
  /** What is wrong and what to do. */
  readonly reason?: string;
  readonly code?: string;
  /** When it ends, as an ISO 8601 instant. */
  readonly expiresAt: string;
}

/** Where health learns how one token is doing. Only `tokenState` may read the store, through the cache. */
export interface TokenReadinessSource {
  /** Asks the cache, exactly as a peer's request would. */
  tokenState(): Promise<TokenReadiness>;
  /** From memory; `undefined` when this process does not rotate. */
  rotation(): RotationReadiness | undefined;
  /** From memory; `undefined` while no token was read. */
  coverage(): CoverageReadiness | undefined;
}

/** Where the health endpoints learn how the broker is doing. */
export interface ReadinessSource {
  /** Each token by its name; never empty. The broker is ready while any of them can be served. */
  readonly tokens: ReadonlyMap<string, TokenReadinessSource>;
  /** From memory; `undefined` while nobody has tried to log in, or not since a failure long ago. */
  peers(): PeersReadiness | undefined;
  /** True from the signal to stop: then the broker is not ready. Default: never. */
  isStopping?(): boolean;
  /** From memory; `undefined` while no other clock was read. */
  clock?(): ClockReadiness | undefined;
  /** From memory; `undefined` when another server, or nobody, speaks TLS. */
  certificate?(): CertificateReadiness | undefined;
}

/** How long readiness waits for the cache, in milliseconds: less than the second that probes usually wait. */
export const READINESS_TIMEOUT = 900;

const TOO_LATE: TokenReadiness = {
  ok: false,
  code: 'READINESS_TIMEOUT',
  reason:
    'The secret store has not answered yet. If this lasts, check the store and the network between.',
};

const FAILED: TokenReadiness = {
  ok: false,
  code: 'UNEXPECTED',
  reason: 'The state of the token could not be determined. The log says more.',
};

const STOPPING = {
  code: 'BROKER_STOPPING',
  reason: 'The broker is stopping. It answers for a while, and takes no new work.',
};

/** How the broker is doing, for every door that reports it. Logs when readiness changes. */
export class HealthReport {
  readonly #changes = new ReadinessLog();

  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly source: ReadinessSource,
    private readonly clock: Clock,
  ) {}

  /** Everything that is known, with the reasons. A token can be served unless `status` is `error`. */
  async make(): Promise<HealthCheckResult> {
    const { source, indicators } = this;
    if (source.isStopping?.() === true) {
      // Not logged as a failure: the log says already that the process stops.
      return resultOf(this.health.check([() => indicators.check('process').down(STOPPING)]));
    }
    const tokens = [...source.tokens].map(([name, one]) => ({
      // One token alone needs no name.
      suffix: source.tokens.size === 1 ? '' : `:${name}`,
      state: this.#tokenState(one),
      one,
    }));
    const isServing = Promise.all(tokens.map(({ state }) => state)).then((all) =>
      all.some(({ ok }) => ok),
    );
    const result = await resultOf(
      this.health.check([
        ...tokens.flatMap(({ suffix, state, one }) => [
          async () => tokenHealth(indicators, `token${suffix}`, await state, await isServing),
          () => otherHealth(indicators, `rotation${suffix}`, one.rotation()),
          () => otherHealth(indicators, `coverage${suffix}`, one.coverage()),
        ]),
        () => otherHealth(indicators, 'peers', source.peers()),
        () => otherHealth(indicators, 'clock', source.clock?.()),
        () => otherHealth(indicators, 'certificate', source.certificate?.()),
      ]),
    );
    this.#changes.checked(result);
    return result;
  }

  /** Logs a bug: once, until a check succeeds or another one appears. */
  failed(error: unknown): void {
    this.#changes.failed(error);
  }

  /** Asks a token's source, and waits for {@link READINESS_TIMEOUT} at most. */
  async #tokenState(source: TokenReadinessSource): Promise<TokenReadiness> {
    const answered = new AbortController();
    const answer = source.tokenState().catch((error: unknown) => {
      // A bug. Its text is for the log, not for everybody who asks.
      this.failed(error);
      return FAILED;
    });
    const late = this.clock.sleep(READINESS_TIMEOUT, answered.signal).then(
      () => TOO_LATE,
      // Only the answer ends the wait early.
      () => answer,
    );
    try {
      return await Promise.race([answer, late]);
    } finally {
      answered.abort();
    }
  }
}

/** Logs when readiness changes, and only then: probes come every few seconds. */
class ReadinessLog {
  readonly #log = new Logger('Readiness');
  #last: string | undefined;
  #lastError: string | undefined;

  checked({ status, details }: HealthCheckResult): void {
    if (isReady(status)) this.#lastError = undefined;
    const parts = Object.values(details);
    const state = [status, ...parts.map((part) => part.status)].join(' ');
    if (state === this.#last) return;
    const isFirst = this.#last === undefined;
    this.#last = state;
    const reasons = parts
      .filter((part) => part.status !== 'up')
      .map(({ reason }): unknown => reason)
      .filter((reason) => typeof reason === 'string')
      .join(' ');
    if (status === 'error') this.#log.error(`Not ready. ${reasons}`);
    else if (status === 'degraded') this.#log.warn(`Ready, degraded. ${reasons}`);
    else if (status === 'ok' && !isFirst) this.#log.log('Ready again.');
  }

  failed(error: unknown): void {
    const key = String(error);
    if (key === this.#lastError) return;
    this.#lastError = key;
    this.#log.error(error);
  }
}

/** Whether a token with remaining life can be served: `degraded` counts. */
export function isReady(status: string): boolean {
  return status === 'ok' || status === 'degraded';
}

/**
 * Whether a token can be served: `down` if not, `degraded` when it is served stale or receivers refuse it, or when it
 * cannot be served and another can.
 */
function tokenHealth(
  indicators: HealthIndicatorService,
  name: string,
  { ok, stale, refused, ...state }: TokenReadiness,
  isServing: boolean,
): HealthIndicatorResult {
  const details = safeDetails({
    ...state,
    ...(stale === true ? { stale } : undefined),
    ...(refused === true ? { refused } : undefined),
  });
  const indicator = indicators.check(name);
  if (!ok) return isServing ? indicator.degraded(details) : indicator.down(details);
  return stale === true || refused === true ? indicator.degraded(details) : indicator.up(details);
}

/** What the token does not immediately depend on: `degraded` at worst. */
function otherHealth(
  indicators: HealthIndicatorService,
  name: string,
  state:
    | RotationReadiness
    | CoverageReadiness
    | PeersReadiness
    | ClockReadiness
    | CertificateReadiness
    | undefined,
): HealthIndicatorResult {
  if (state === undefined) return {};
  const { ok, ...details } = state;
  const indicator = indicators.check(name);
  return ok ? indicator.up(safeDetails(details)) : indicator.degraded(safeDetails(details));
}

/** Details with redacted texts and snake-case names, without what is not known: anybody may ask for health. */
function safeDetails(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const safe = Object.entries(details)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, typeof value === 'string' ? redactText(value) : value]);
  return withSnakeNames(Object.fromEntries(safe)) as Record<string, unknown>;
}

/** Terminus throws the results that are not good. */
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
