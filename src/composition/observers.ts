import { IncomingMessage } from 'node:http';
import { annotate } from '../operations/request-log.js';
import type { BrokerLogger } from '../operations/log.js';
import type { BrokerMetrics, SecretRole } from '../operations/metrics.js';
import type { RotationObserver } from '../rotation/rotation-observer.js';
import type { RotationScheduleObserver } from '../rotation/rotation-schedule.js';
import type { TokenWatchObserver } from '../rotation/token-watch.js';
import type { FallbackObserver } from '../secrets/aws/fallback-store.js';
import type { ServingObserver } from '../serving/serving-observer.js';
import { errorCode } from '../tokens/errors.js';
import type { CacheObserver } from '../tokens/refreshing-cache.js';

/** Tells logs and metrics what rotations do. */
export function rotationObserver(log: BrokerLogger, metrics: BrokerMetrics): RotationObserver {
  return {
    stepEnded: (step, versionId, ended, detail) => {
      metrics.recordRotationStep(step, ended);
      log.debug({ step, versionId, ended, detail }, 'rotation step');
    },
    claimKept: (error) =>
      log.warn(
        { code: errorCode(error) },
        'the claim of a mint that failed could not be released; other replicas wait until it lapses',
      ),
    mintEnded: (code) => metrics.recordProviderMint(code),
    rotationEnded: (outcome, error) => {
      metrics.recordRotation(outcome);
      const { trigger, key, result, versionId, code, durationMilliseconds } = outcome;
      const fields = { trigger, key, result, versionId, code, durationMilliseconds };
      if (result === 'failed') log.error({ ...fields, err: error }, 'rotation failed');
      else if (result === 'requested') log.info(fields, 'Secrets Manager was asked to rotate');
      else if (result === 'recent') log.info(fields, 'the service token is of a moment ago');
      else log.info(fields, 'rotation ended');
    },
  };
}

const MODE_WORDS = {
  broker: 'the broker rotates the service token',
  'secrets-manager':
    'Secrets Manager rotates the service token; this schedule only asks it to when the life runs out',
  'primary-region': 'the token secret is a replica; it is rotated in its primary Region',
} as const;

/** Tells log and metrics what the schedule finds out. */
export function scheduleObserver(
  log: BrokerLogger,
  metrics: BrokerMetrics,
): RotationScheduleObserver {
  return {
    slotMissed: (slotStart, code) => {
      metrics.recordRotation({ trigger: 'schedule', result: 'missed', code, at: slotStart });
      log.error(
        { slot: new Date(slotStart).toISOString(), code },
        'a slot has passed without a rotation',
      );
    },
    modeChanged: (mode) => log.info({ mode }, MODE_WORDS[mode]),
    checkFailed: (error, nextCheckAt) =>
      log.warn(
        { code: errorCode(error), nextCheckAt: new Date(nextCheckAt).toISOString() },
        'a rotation was due and could not be done; it is tried again',
      ),
    resting: (reason, until) =>
      log.warn(
        { reason, until: new Date(until).toISOString() },
        "a rotation is due and waits, because the provider's last tokens were rejected",
      ),
  };
}

/** Tells the log what the watch finds out about the current token. */
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

/** Tells logs and metrics that another Region had to answer. */
export function fallbackObserver(log: BrokerLogger, metrics: BrokerMetrics): FallbackObserver {
  return {
    answeredElsewhere: (region, secretId, code) => {
      metrics.recordFallbackRead(region);
      log.warn({ region, secretId, code }, 'a replica in another Region was read instead');
    },
  };
}

/** Tells logs and metrics about the reads of one secret. */
export function cacheObserver(
  secret: SecretRole,
  log: BrokerLogger,
  metrics: BrokerMetrics,
): CacheObserver {
  return {
    readSucceeded: (durationMs) => metrics.recordStoreRead(secret, durationMs),
    readFailed: (error, consecutiveFailures) => {
      metrics.recordStoreReadFailure(secret, errorCode(error));
      log.warn(
        { err: error, secretRole: secret, consecutiveFailures },
        'a secret could not be read',
      );
    },
  };
}

/** Tells logs and metrics what peers ask for. What belongs to one request goes into that request's line. */
export function servingObserver(log: BrokerLogger, metrics: BrokerMetrics): ServingObserver {
  return {
    loggedIn: (peer, source) => {
      if (source instanceof IncomingMessage) annotate(source, { peer });
    },
    tokenServed: (_peerId, state) => metrics.recordTokenServed(state),
    tokenUnavailable: (peer, error) => {
      metrics.recordTokenUnavailable(errorCode(error));
      log.warn({ peer, code: errorCode(error) }, 'the service token could not be served');
    },
    loginFailed: (reason, peer, remoteAddress) => {
      metrics.recordPeerLoginFailure(reason);
      log.warn({ reason, peer, remoteAddress }, 'a peer could not log in');
    },
    loginThrottled: (peer, remoteAddress) => {
      metrics.recordPeerLoginFailure('throttled');
      log.debug({ peer, remoteAddress }, 'a failing peer is asked to slow down');
    },
    roleMissing: (peer, role) => {
      metrics.recordPeerLoginFailure('role_missing');
      log.warn({ peer, role }, 'a peer asked for what it has no role for');
    },
    peersUnavailable: (error) =>
      log.error({ err: error }, 'nobody can log in: the peers cannot be read'),
    peersMalformed: (malformed) => {
      for (const { id: peer, reason } of malformed) {
        log.error({ peer, reason }, 'an entry of the peers secret is malformed: it is refused');
      }
    },
    rotated: (peer, versionId, outcome) =>
      log.info({ peer, versionId, outcome }, 'a peer rotated the service token'),
    rotationFailed: (peer, error) =>
      log.warn({ peer, code: errorCode(error) }, 'a rotation that a peer asked for failed'),
    failed: (error) => log.error({ err: error }, 'an unexpected error while answering'),
  };
}
