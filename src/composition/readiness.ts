import type { ClockWatch } from '../operations/clock-watch.js';
import type {
  CertificateReadiness,
  CoverageReadiness,
  PeersReadiness,
  ReadinessSource,
  RotationReadiness,
  TokenReadiness,
  TokenReadinessSource,
} from '../operations/health.js';
import type { PeerDirectory } from '../peers/peer-directory.js';
import { MOST_MISSED } from '../rotation/coverage.js';
import type { RotationSchedule, ScheduleStanding } from '../rotation/rotation-schedule.js';
import type { Refusal, TokenWatch } from '../rotation/token-watch.js';
import type { ServedToken, TokenCache } from '../serving/token-cache.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import type { CacheStatus } from '../tokens/refreshing-cache.js';
import { coverageOf, type Core, type GapWatch, type TokenCore } from './core.js';

/**
 * How long health waits for a newer token while one can be served, in milliseconds: less than a probe waits, so that a
 * slow store does not make a broker unready that serves.
 */
const LONGEST_WAIT = 500;

/** How long after its start a slot's rotation counts as late, in milliseconds. */
const LATE = 60_000;

/** What else {@link createTokenReadiness} may know. */
interface TokenParts {
  /** Left out where nobody verifies the current token again. */
  readonly watch?: TokenWatch;
  readonly schedule?: RotationSchedule;
}

/** What health says of one token, from its cache and from what this process remembers of its rotations. */
export function createTokenReadiness(
  core: TokenCore,
  cache: TokenCache,
  gap: GapWatch,
  { watch, schedule }: TokenParts = {},
): TokenReadinessSource {
  const { config, clock, rotator, slots } = core;
  return {
    tokenState: async () => {
      try {
        const { value, state } = await cache.get({ waitMs: LONGEST_WAIT });
        const seconds = Math.floor((value.token.expiresAt - clock.now()) / 1000);
        const served: TokenReadiness =
          state === 'STALE'
            ? stale(seconds, cache.status())
            : { ok: true, remainingSeconds: seconds };
        const refusal = watch?.refusal();
        return refusal?.versionId === value.versionId ? refused(served, refusal) : served;
      } catch (error) {
        return { ok: false, code: errorCode(error), reason: wordsOf(error, core) };
      }
    },
    rotation: (): RotationReadiness | undefined => {
      if (!config.rotation.enabled) return undefined;
      const latest = rotator.outcomes.latest();
      const success = rotator.outcomes.latestSuccess();
      // A token younger than the failure: another replica, or Secrets Manager, has rotated since.
      const servedMintedAt = cache.status().value?.token.generatedAt;
      const standing = schedule?.standing(servedMintedAt);
      const mintedAt = standing?.mintedAt ?? servedMintedAt ?? 0;
      const hasFailed = latest?.result === 'failed' && mintedAt < latest.at;
      const late = standing && lateness(standing, clock.now());
      return {
        ok: !hasFailed && late === undefined,
        ...(gap.ownSlotsCount() && {
          next: new Date(standing?.nextAt ?? slots.nextAfter(clock.now())).toISOString(),
        }),
        ...(success && { lastSuccess: new Date(success.at).toISOString() }),
        ...(hasFailed && {
          ...(latest.code !== undefined && { code: latest.code }),
          ...(latest.message !== undefined && { reason: latest.message }),
        }),
        ...late,
      };
    },
    coverage: (): CoverageReadiness | undefined => {
      const current: ServedToken | undefined = cache.status().value;
      const worst = gap.current();
      if (current === undefined || worst === undefined) return undefined;
      const { covered, explanation } = coverageOf(current.token, worst, core);
      return covered ? { ok: true } : { ok: false, reason: explanation };
    },
  };
}

/** What else {@link createReadiness} may know. */
interface ReadinessParts {
  /** Left out where the peers are not read from the peers secret. */
  readonly directory?: PeerDirectory;
  readonly clockWatch?: ClockWatch;
  /** Whether the process was told to stop. Default: never. */
  readonly isStopping?: () => boolean;
  /** When the certificate of the broker's own listener ends, in milliseconds since the Unix epoch. Default: it has none. */
  readonly certificateEndsAt?: () => number | undefined;
}

/** What health says of the process, and of each token by its name. */
export function createReadiness(
  { config, clock }: Pick<Core, 'config' | 'clock'>,
  tokens: ReadonlyMap<string, TokenReadinessSource>,
  { directory, clockWatch, isStopping = () => false, certificateEndsAt }: ReadinessParts = {},
): ReadinessSource {
  return {
    tokens,
    isStopping,
    clock: () => clockWatch?.readiness(),
    certificate: () => certificateReadiness(certificateEndsAt?.(), clock.now()),
    peers: () =>
      directory && peersReadiness(directory, clock.now(), config.cache.ttlSeconds * 1000),
  };
}

/** An expired certificate does not make the broker unready: some callers may not verify it, and no other broker would be better. */
function certificateReadiness(
  endsAt: number | undefined,
  now: number,
): CertificateReadiness | undefined {
  if (endsAt === undefined) return undefined;
  const expiresAt = new Date(endsAt).toISOString();
  if (now < endsAt) return { ok: true, expiresAt };
  return {
    ok: false,
    expiresAt,
    code: 'TLS_CERTIFICATE_EXPIRED',
    reason: `The broker's TLS certificate has expired at ${expiresAt}: clients refuse it. Renew the files of BROKER_TLS_CERT_FILE and BROKER_TLS_KEY_FILE; they are read without a restart. What to do: docs/runbook.md#tls_certificate_expires_timestamp_seconds`,
  };
}

/** What health says of a schedule that falls behind; `undefined` when it does not. */
function lateness(
  { dueSince, missed, error }: ScheduleStanding,
  now: number,
): Pick<RotationReadiness, 'missedSlots' | 'dueSince' | 'code' | 'reason'> | undefined {
  if (dueSince === undefined) return undefined;
  if (missed === undefined && now - dueSince < LATE) return undefined;
  const since = new Date(missed?.since ?? dueSince).toISOString();
  const what =
    missed === undefined
      ? `The rotation of the slot ${since} is late`
      : `${missed.count}${missed.count === MOST_MISSED ? ' or more' : ''} ${missed.count === 1 ? 'slot has' : 'slots have'} passed without a rotation, the first at ${since}`;
  const why =
    error === undefined
      ? 'A rotation still runs, or waits for another replica.'
      : error instanceof BrokerError
        ? error.message
        : 'An unexpected error; see the log.';
  return {
    ...(missed && { missedSlots: missed.count }),
    dueSince: since,
    code: error === undefined ? 'ROTATION_MISSED' : errorCode(error),
    reason: `${what}. ${why} What to do: docs/runbook.md#rotations_total`,
  };
}

/**
 * A failed read is reported for one time to live: nobody may have read the list since, and then nobody knows whether it
 * can be read by now. Before or after now, since the clock may have been set back.
 */
function peersReadiness(
  directory: PeerDirectory,
  now: number,
  ttl: number,
): PeersReadiness | undefined {
  const { failedAt, expiresAt, lastError } = directory.status();
  if (failedAt === undefined) return expiresAt === undefined ? undefined : { ok: true };
  if (Math.abs(now - failedAt) > ttl) return undefined;
  const code = errorCode(lastError);
  if (expiresAt === undefined || expiresAt <= now) {
    return {
      ok: false,
      code,
      reason: `Nobody can log in, because the list of peers cannot be read: ${messageOf(lastError)}`,
    };
  }
  return {
    ok: false,
    stale: true,
    servedUntil: new Date(expiresAt).toISOString(),
    code,
    reason: `The cached list of peers is served although it cannot be read, so that changes have no effect: ${messageOf(lastError)}`,
  };
}

/** The token is still served: a receiver with other rules may accept it. */
function refused(served: TokenReadiness, { code, reason }: Refusal): TokenReadiness {
  const also = served.reason === undefined ? '' : ` ${served.reason}`;
  return {
    ...served,
    refused: true,
    code,
    reason: `Receivers refuse the service token that is served: ${reason}${also}`,
  };
}

function stale(
  remainingSeconds: number,
  { consecutiveFailures, lastError }: CacheStatus<ServedToken>,
): TokenReadiness {
  const served = { ok: true, stale: true, remainingSeconds };
  if (consecutiveFailures === 0) {
    return {
      ...served,
      code: 'READINESS_TIMEOUT',
      reason: 'The cached service token is served, because the store has not answered yet.',
    };
  }
  return {
    ...served,
    code: errorCode(lastError),
    reason: `The cached service token is served although the store cannot be read: ${messageOf(lastError)}`,
  };
}

/** Without a token the cause is usually a failed rotation: that is what needs fixing. */
function wordsOf(error: unknown, { rotator }: Pick<TokenCore, 'rotator'>): string {
  const latest = rotator.outcomes.latest();
  const rotation =
    latest?.result === 'failed'
      ? ` The last rotation failed (${latest.code}): ${latest.message}`
      : '';
  return `${messageOf(error)}${rotation}`;
}

function messageOf(error: unknown): string {
  return error instanceof BrokerError ? error.message : 'An unexpected error; see the log.';
}
