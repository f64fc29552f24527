import type { BrokerConfig } from '../config/broker-config.js';
import { checkCoverage, type Coverage } from '../rotation/coverage.js';
import { rotationMode } from '../rotation/rotation-mode.js';
import { worstGap, type WorstGap } from '../rotation/worst-gap.js';
import type { Slots } from '../rotation/slots.js';
import type { SecretDescription } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/clock.js';
import type { ServiceToken } from '../tokens/service-token.js';

/** The coverage check for a token, with what the configuration says of caches and clocks. */
export function coverageOf(
  token: Pick<ServiceToken, 'generatedAt' | 'expiresAt'>,
  { period, window }: WorstGap,
  { cache, verification }: BrokerConfig,
): Coverage {
  return checkCoverage({
    tokenLifetime: token.expiresAt - token.generatedAt,
    period,
    window,
    cacheTtl: cache.ttlSeconds * 1000,
    skew: verification.clockSkewSeconds * 1000,
  });
}

/** The worst gap between two rotations, as far as this process knows it. */
export interface GapWatch {
  /** False when somebody else rotates: then the broker's own slots say nothing. */
  ownSlotsCount(): boolean;
  /** `undefined` when Secrets Manager rotates by a schedule that cannot be read. */
  current(): WorstGap | undefined;
  /** The store has described the token secret anew. */
  learn(description: SecretDescription): void;
}

/** Takes the broker's own schedule for what counts until the store says otherwise. */
export function createGapWatch(slots: Slots, clock: Clock): GapWatch {
  // Walking through a year of the schedule takes a moment: better now than while a peer waits, and not every time.
  const own = { period: slots.longestPeriod(clock.now()), window: 0 };
  let gap: WorstGap | undefined = own;
  let learnt = '';
  let isOurs = true;
  return {
    ownSlotsCount: () => isOurs,
    current: () => gap,
    learn: (description) => {
      const { rotationEnabled, readOnlyReplica, storeRotation } = description;
      const { schedule, window } = storeRotation ?? {};
      const news = JSON.stringify([rotationEnabled, readOnlyReplica, schedule, window]);
      if (news !== learnt) gap = worstGap(description, slots, clock.now());
      learnt = news;
      isOurs = rotationMode(description) === 'broker';
    },
  };
}
