import { IncomingMessage } from 'node:http';
import { DEFAULT_NAME } from '../config/broker-config.js';
import type { ClockObserver } from '../operations/clock-watch.js';
import type { BrokerLogger } from '../operations/log.js';
import type { BrokerMetrics, SecretRole } from '../operations/metrics.js';
import { annotate } from '../operations/request-log.js';
import type { RotationScheduleObserver } from '../rotation/rotation-schedule.js';
import type { RotationObserver } from '../rotation/rotation.js';
import type { TokenWatchObserver } from '../rotation/token-watch.js';
import type { FallbackObserver } from '../secrets/aws/fallback-store.js';
import type { ServingObserver } from '../serving/endpoint.js';
import { errorCode } from '../tokens/errors.js';
import type { CacheObserver } from '../tokens/refreshing-cache.js';
import type { ConfigWatchObserver } from './config-watch.js';
import { tokenField } from './core.js';

/** What is added to a line about a state that lasts. */
interface Repetition {
  /** How often it has happened since it began. Left out the first time. */
  readonly times?: number;
  /** Whole seconds since it began. */
  readonly lastedSeconds?: number;
}

interface Episode {
  detail: string;
  readonly beganAt: number;
  loggedAt: number;
  times: number;
}

/** Milliseconds between two lines about the same state. */
const REMINDER = 300_000;
const MOST_EPISODES = 1_000;

/**
 * Limits the log lines about a state that every request or attempt meets: one when it begins, when its detail changes, as
 * a reminder each five minutes, and when it ends.
 *
 * @example
 * ```ts
 * const again = episodes.happened('token', errorCode(error));
 * if (again) log.warn({ code, ...again }, 'the service token could not be served');
 * ```
 */
export class Episodes {
  readonly #lasting = new Map<string, Episode>();

  /** @param now milliseconds that only go forward. Default: `performance.now`. */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Whether any state lasts: a cheap check for every request. */
  get areLasting(): boolean {
    return this.#lasting.size > 0;
  }

  /** Records that something happened. @returns what to add to its line, or `undefined` when no line is due. */
  happened(state: string, detail = ''): Repetition | undefined {
    const now = this.now();
    const episode = this.#lasting.get(state);
    if (episode === undefined) {
      const [oldest] = this.#lasting.keys();
      if (this.#lasting.size >= MOST_EPISODES && oldest !== undefined) this.#lasting.delete(oldest);
      this.#lasting.set(state, { detail, beganAt: now, loggedAt: now, times: 1 });
      return {};
    }
    episode.times += 1;
    if (episode.detail === detail && now - episode.loggedAt < REMINDER) return undefined;
    episode.detail = detail;
    episode.loggedAt = now;
    return repetition(episode, now);
  }

  /** Records that a state has ended. @returns what to add to its last line; `undefined` if the state did not last. */
  ended(state: string): Required<Repetition> | undefined {
    const episode = this.#lasting.get(state);
    if (episode === undefined) return undefined;
    this.#lasting.delete(state);
    return repetition(episode, this.now());
  }
}

function repetition({ times, beganAt }: Episode, now: number): Required<Repetition> {
  return { times, lastedSeconds: Math.floor((now - beganAt) / 1_000) };
}

/** The log of what is about one token: its lines name it, except those about `default`. */
export function tokenLog(log: BrokerLogger, token: string): BrokerLogger {
  return token === DEFAULT_NAME ? log : log.child(tokenField(token));
}

/** Logs and counts rotations of one token. */
export function rotationObserver(
  log: BrokerLogger,
  metrics: BrokerMetrics,
  token: string = DEFAULT_NAME,
): RotationObserver {
  const episodes = new Episodes();
  return {
    stepEnded: (step, versionId, ended, detail) => {
      metrics.recordRotationStep(step, ended, token);
      log.debug({ step, versionId, ended, detail }, 'rotation step');
    },
    claimKept: (error) =>
      log.warn(
        { code: errorCode(error) },
        'the claim of a mint that failed could not be released; other replicas wait until it lapses',
      ),
    mintEnded: (code) => metrics.recordProviderMint(code, token),
    rotationEnded: (outcome, error) => {
      metrics.recordRotation(outcome, token);
      const { trigger, key, result, versionId, code, durationMilliseconds } = outcome;
      const fields = { trigger, key, result, versionId, code, durationMilliseconds };
      if (result === 'failed') {
        // Attempts follow each other every few seconds while the provider or the store is down.
        const again = episodes.happened('failing', code);
        if (again) log.error({ ...fields, ...again, err: error }, 'rotation failed');
        else log.debug(fields, 'rotation failed again');
      } else if (result === 'requested') log.info(fields, 'Secrets Manager was asked to rotate');
      else if (result === 'recent') log.info(fields, 'the service token is of a moment ago');
      else {
        const failed = episodes.ended('failing');
        log.info({ ...fields, ...(failed && { failedBefore: failed.times }) }, 'rotation ended');
      }
    },
  };
}

const MODE_WORDS = {
  broker: 'the broker rotates the service token',
  'secrets-manager':
    'Secrets Manager rotates the service token; this schedule only asks it to when the life runs out',
  'primary-region': 'the token secret is a replica; it is rotated in its primary Region',
} as const;

/** Logs and counts what the schedule finds. */
export function scheduleObserver(
  log: BrokerLogger,
  metrics: BrokerMetrics,
  token: string = DEFAULT_NAME,
): RotationScheduleObserver {
  const episodes = new Episodes();
  return {
    slotMissed: (slotStart, code) => {
      metrics.recordRotation({ trigger: 'schedule', result: 'missed', code, at: slotStart }, token);
      log.error(
        { slot: new Date(slotStart).toISOString(), code },
        'a slot has passed without a rotation',
      );
    },
    modeChanged: (mode) => log.info({ mode }, MODE_WORDS[mode]),
    checkFailed: (error, nextCheckAt) => {
      const code = errorCode(error);
      const again = episodes.happened('failing', code);
      if (again === undefined) return;
      log.warn(
        { code, nextCheckAt: new Date(nextCheckAt).toISOString(), ...again },
        'a rotation was due and could not be done; it is tried again',
      );
    },
    resting: (reason, until) => {
      const again = episodes.happened('resting', reason);
      if (again === undefined) return;
      log.warn(
        { reason, until: new Date(until).toISOString(), ...again },
        "a rotation is due and waits, because the provider's last tokens were rejected",
      );
    },
  };
}

/** Logs what verifying the current token again shows. */
export function watchObserver(log: BrokerLogger): TokenWatchObserver {
  return {
    refused: ({ versionId, code, isCurable }, error) =>
      log.error(
        { versionId, code, err: error },
        isCurable
          ? 'receivers refuse the service token; a new one is due'
          : 'receivers refuse the service token, and would refuse a new one',
      ),
    acceptedAgain: (versionId) =>
      log.info({ versionId }, 'receivers accept the service token again'),
    notVerified: (error) =>
      log.warn({ err: error }, 'the service token could not be verified again'),
  };
}

/** Logs and counts how far this machine's clock is off. */
export function clockObserver(log: BrokerLogger, metrics: BrokerMetrics): ClockObserver {
  return {
    read: (source, state) => metrics.recordClockReading(source, state),
    changed: (source, state, offsetSeconds) => {
      if (state === 'ok')
        log.info({ source, offsetSeconds }, "this machine's clock is right again");
      else log.warn({ source, state, offsetSeconds }, "this machine's clock is off");
    },
  };
}

/** The most mistakes of a file in one line of the log. */
const MOST_MISTAKES = 10;

/** Logs what a changed configuration file means. @param file its path. */
export function configObserver(log: BrokerLogger, file: string): ConfigWatchObserver {
  return {
    applied: ({ peers, issuers }) =>
      log.info(
        { file, peers: peers.length, trustedIssuers: issuers.length },
        'the configuration file has changed: its peers and trusted issuers apply from now on',
      ),
    waiting: (keys) => {
      if (keys.length === 0) log.info({ file }, 'nothing of the configuration file waits any more');
      else {
        log.warn(
          { file, keys },
          'the configuration file has changes that take effect at the next start',
        );
      }
    },
    mistaken: (mistakes) =>
      log.error(
        { file, mistakes: mistakes.slice(0, MOST_MISTAKES), count: mistakes.length },
        'the configuration file has mistakes: what it said before stays in effect',
      ),
    corrected: () => log.info({ file }, 'the configuration file has no mistakes any more'),
  };
}

/** Logs and counts reads that another Region had to answer. */
export function fallbackObserver(log: BrokerLogger, metrics: BrokerMetrics): FallbackObserver {
  const episodes = new Episodes();
  return {
    answeredElsewhere: (region, secretId, code) => {
      metrics.recordFallbackRead(region);
      const again = episodes.happened(secretId, `${region} ${code}`);
      if (again === undefined) return;
      log.warn(
        { region, secretId, code, ...again },
        'a replica in another Region was read instead',
      );
    },
    answeredAtHome: (secretId) => {
      const before = episodes.ended(secretId);
      if (before) log.info({ secretId, ...before }, 'the home Region answers again');
    },
  };
}

/** Logs and counts the reads of one secret. @param token the token's name, of a token secret. */
export function cacheObserver(
  secret: SecretRole,
  log: BrokerLogger,
  metrics: BrokerMetrics,
  token?: string,
): CacheObserver {
  const episodes = new Episodes();
  return {
    readSucceeded: (durationMs) => {
      metrics.recordStoreRead(secret, durationMs, token);
      const before = episodes.ended('unread');
      if (before) log.info({ secretRole: secret, ...before }, 'a secret can be read again');
    },
    readFailed: (error, consecutiveFailures) => {
      metrics.recordStoreReadFailure(secret, errorCode(error), token);
      const again = episodes.happened('unread', errorCode(error));
      if (again === undefined) return;
      log.warn(
        { err: error, secretRole: secret, consecutiveFailures, ...again },
        'a secret could not be read',
      );
    },
  };
}

/** Logs and counts what peers ask for. What belongs to one request goes into that request's line. */
export function servingObserver(log: BrokerLogger, metrics: BrokerMetrics): ServingObserver {
  const episodes = new Episodes();
  /** States whose end nobody reports. Separate, because each request checks whether one of the others has ended. */
  const endless = new Episodes();
  const over = (state: string, message: string, fields: object = {}): void => {
    const before = episodes.ended(state);
    if (before) log.info({ ...fields, ...before }, message);
  };
  return {
    loggedIn: (peer, source) => {
      if (source instanceof IncomingMessage) annotate(source, { peer });
      if (episodes.areLasting) over('peers', 'peers can log in again');
    },
    held: (source) => {
      if (source instanceof IncomingMessage) annotate(source, { held: true });
    },
    tokenServed: (peer, state, _status, token) => {
      metrics.recordTokenServed(state, token);
      if (!episodes.areLasting) return;
      over(`token ${token}`, 'the service token is served again', tokenField(token));
      over(`life ${token} ${peer}`, 'a peer gets a token with enough life again', {
        peer,
        ...tokenField(token),
      });
    },
    tokenUnavailable: (peer, error, token) => {
      const code = errorCode(error);
      metrics.recordTokenUnavailable(code, token);
      // How much life is enough is the peer's choice; everything else is the same for all.
      const state = code === 'TOKEN_LIFE_TOO_SHORT' ? `life ${token} ${peer}` : `token ${token}`;
      const again = episodes.happened(state, code);
      if (again) {
        log.warn(
          { peer, code, ...tokenField(token), ...again },
          'the service token could not be served',
        );
      }
    },
    loginFailed: (reason, peer, remoteAddress) => {
      metrics.recordPeerLoginFailure(reason);
      // Never throttled, so its lines are limited here.
      const again = reason === 'missing' ? endless.happened(`missing ${remoteAddress}`) : {};
      if (again) log.warn({ reason, peer, remoteAddress, ...again }, 'a peer could not log in');
    },
    loginThrottled: (peer, remoteAddress) => {
      metrics.recordPeerLoginFailure('throttled');
      log.debug({ peer, remoteAddress }, 'a failing peer is asked to slow down');
    },
    roleMissing: (peer, role) => {
      metrics.recordPeerLoginFailure('role_missing');
      const again = endless.happened(`role ${peer} ${role}`);
      if (again) log.warn({ peer, role, ...again }, 'a peer asked for what it has no role for');
    },
    tokenNotGranted: (peer) => {
      metrics.recordPeerLoginFailure('token_not_granted');
      const again = endless.happened(`token ${peer}`);
      if (again) log.warn({ peer, ...again }, 'a peer asked for a token that it may not have');
    },
    peersUnavailable: (error) => {
      const again = episodes.happened('peers', errorCode(error));
      if (again) log.error({ err: error, ...again }, 'nobody can log in: the peers cannot be read');
    },
    issuerUnavailable: (error) => {
      metrics.recordPeerLoginFailure('issuer_unavailable');
      const again = endless.happened('issuer', errorCode(error));
      if (again) log.error({ err: error, ...again }, 'a workload token could not be judged');
    },
    peersMalformed: (malformed) => {
      for (const { id: peer, reason } of malformed) {
        log.error({ peer, reason }, 'an entry of the peers secret is malformed: it is refused');
      }
    },
    peersNearlyFull: (room) =>
      log.warn(
        { ...room },
        'the peers secrets are nearly full: name another one in BROKER_PEERS_SECRET_ID',
      ),
    rotated: (peer, versionId, outcome, token) =>
      log.info(
        { peer, versionId, outcome, ...tokenField(token) },
        'a peer rotated the service token',
      ),
    rotationFailed: (peer, error, token) =>
      log.warn(
        { peer, code: errorCode(error), ...tokenField(token) },
        'a rotation that a peer asked for failed',
      ),
    authorized: ({ outcome, reason }) =>
      metrics.recordTokenDecision('authorize', reason ?? outcome),
    introspected: (peer, { outcome, reason }) => {
      metrics.recordTokenDecision('introspect', reason ?? outcome);
      if (reason !== undefined) log.debug({ peer, outcome, reason }, 'a token is not active');
    },
    failed: (error) => {
      const again = endless.happened(`fault ${originOf(error)}`);
      if (again) log.error({ err: error, ...again }, 'an unexpected error while answering');
    },
  };
}

/** What tells one bug from another: its name, and where it was thrown. */
function originOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return `${error.name} ${errorCode(error)} ${frames.slice(0, 2).join(' ')}`;
}
