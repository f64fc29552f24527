/** What is added to a line about something that lasts. */
export interface Repetition {
  /** How often it has happened since it began. Not given the first time. */
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
 * Keeps what happens with every request or attempt while a state lasts from being logged each time: it is logged when the
 * state begins, when its detail changes, as a reminder each five minutes, and once when it ends.
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

  /** True while something lasts. For what asks with every request whether it has ended. */
  get areLasting(): boolean {
    return this.#lasting.size > 0;
  }

  /** Notes that something happened. @returns what to add to its line, or `undefined` when none is due. */
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

  /** Notes that a state has ended. @returns what to add to the line that says so; `undefined` if it did not last. */
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
