import { isWithin } from './company.js';
import { nextTick } from './virtual-time.js';

const SECOND = 1_000;
/** As `RemoteKeySet` has it: keys are used for so long. */
export const KEYS_AGE = 600 * SECOND;
/** And looked for again at most so often. */
const COOLDOWN = 30 * SECOND;

/** The provider's keys as a process has them: fetched again from 80 % of their age, as `RemoteKeySet` does. */
export function watchKeys({ company, code, cloud, clock, region, random }) {
  let held;
  let attemptedAt = Number.NEGATIVE_INFINITY;
  const refresh = (at = clock.now()) => {
    attemptedAt = at;
    if (isWithin(company.providerDown[region], attemptedAt)) return false;
    held = { keyId: cloud.keyId(), readAt: attemptedAt, jitter: random() };
    return true;
  };
  const dueAt = () =>
    held === undefined ? 0 : held.readAt + code.refreshAge(KEYS_AGE, held.jitter);
  return {
    refresh,
    dueAt: () => Math.max(dueAt(), attemptedAt + COOLDOWN),
    /** Fetches the keys as every tick until an instant would have. */
    coast: (startedAt, until) => {
      for (;;) {
        const at = nextTick(startedAt, Math.max(dueAt(), attemptedAt + COOLDOWN));
        if (at >= until) return;
        refresh(at);
      }
    },
    refreshWhenDue: () => {
      const now = clock.now();
      if (now >= Math.max(dueAt(), attemptedAt + COOLDOWN)) refresh();
      return held?.keyId ?? 'none';
    },
    require: (keyId) => {
      // An unknown key makes a process look again, before it says that it was withdrawn.
      const isKnown = held?.keyId === keyId;
      if (!isKnown && !refresh()) {
        throw new code.BrokerError('KEYS_UNAVAILABLE', 'retry', 'The keys are not available.');
      }
      if (held.keyId === keyId) return;
      throw new code.BrokerError('TOKEN_KEY_UNKNOWN', 'rejected', 'The key was withdrawn.');
    },
  };
}
