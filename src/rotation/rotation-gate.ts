import type { Clock } from '../tokens/time.js';

/** The right to rotate now. */
export interface Turn {
  /** Whether it came later than it was asked for: what was read before may be outdated. */
  readonly hasWaited: boolean;
  /** Gives the turn to the next one. */
  end(): void;
}

/** Lets the rotations of many tokens take turns. */
export interface RotationGate {
  /** Waits for a turn. @param provider rotations of other providers do not wait for this one's. */
  enter(provider: string): Promise<Turn>;
}

/** Rotations at a time, of one provider: its rate limits are tight, and while it is down each takes half a minute. */
const MOST_AT_A_TIME = 4;
/**
 * Milliseconds between the starts of two rotations in this process. A rotation writes about five times, and Secrets Manager
 * takes 50 writes a second in an account and Region: five starts a second leave half of that to others.
 */
const PACE = 200;

/**
 * Makes the gate of a process: the first rotations begin at once, and further ones when few enough run at their provider,
 * one each 200 ms. A provider that is down holds up its own tokens alone.
 */
export function createRotationGate(clock: Clock): RotationGate {
  const running = new Map<string, number>();
  const waiting = new Map<string, (() => void)[]>();
  let nextStart = Number.NEGATIVE_INFINITY;

  /** Waits until the pace allows another start. */
  const pace = async (): Promise<boolean> => {
    const now = clock.now();
    // After a clock was set back, nobody waits until it catches up.
    const start = nextStart - now > LONGEST_QUEUE ? now : Math.max(now, nextStart);
    nextStart = start + PACE;
    if (start <= now) return false;
    await clock.sleep(start - now);
    return true;
  };

  const end = (provider: string): void => {
    const next = waiting.get(provider)?.shift();
    // The turn goes on to the next one, whose place is taken already.
    if (next !== undefined) return next();
    const left = (running.get(provider) ?? 1) - 1;
    if (left > 0) running.set(provider, left);
    else {
      running.delete(provider);
      waiting.delete(provider);
    }
  };

  return {
    enter: async (provider) => {
      const count = running.get(provider) ?? 0;
      const isFull = count >= MOST_AT_A_TIME;
      if (isFull) {
        const queue = waiting.get(provider) ?? [];
        waiting.set(provider, queue);
        await new Promise<void>((resolve) => queue.push(resolve));
      } else running.set(provider, count + 1);
      const hasPaced = await pace();
      let hasEnded = false;
      return {
        hasWaited: isFull || hasPaced,
        end: () => {
          if (hasEnded) return;
          hasEnded = true;
          end(provider);
        },
      };
    },
  };
}

/** No queue is longer: at most four of each of some hundred providers wait for the pace. */
const LONGEST_QUEUE = 120_000;
