import { notify } from '../tokens/errors.js';
import { nextOffset, offsetBounds, type DateReading } from '../tokens/time.js';

/** The clocks that this machine's is compared with. */
export const CLOCK_SOURCES = ['provider', 'store'] as const;
export type ClockSource = (typeof CLOCK_SOURCES)[number];

/** `behind` and `ahead` are about this machine's clock. */
type ClockState = 'ok' | 'behind' | 'ahead';

/** Notified of this machine's clock. */
export interface ClockObserver {
  /** With each answer that has a `Date`. @param offsetSeconds positive while this machine's clock is behind. */
  read?(source: ClockSource, state: ClockState, offsetSeconds: number): void;
  /** When the state has changed. */
  changed?(source: ClockSource, state: ClockState, offsetSeconds: number): void;
}

/** Whether this machine's clock agrees with the others. It never makes the broker unready. */
export interface ClockReadiness {
  readonly ok: boolean;
  /** What is wrong and what to do. */
  readonly reason?: string;
  readonly code?: string;
}

/** The most that is tolerated, in milliseconds: no clock that NTP sets is off by more. `doctor` uses it, too. */
const MOST_TOLERATED = 30_000;
/** The least that is tolerated: the header has whole seconds, and the servers' own clocks differ. */
const LEAST_TOLERATED = 2_000;

const NAMES = { provider: "the provider's", store: "the secret store's" } as const;

interface Known {
  readonly offset: number;
  readonly state: ClockState;
}

/**
 * Compares this machine's clock with the `Date` header of the answers that the broker gets anyway. It corrects nothing:
 * either clock may be wrong.
 *
 * A clock that is behind makes `expires_in` too long; one that is ahead makes tokens expire too early.
 */
export class ClockWatch {
  readonly #tolerated: number;
  readonly #observer: ClockObserver;
  readonly #known = new Map<ClockSource, Known>();

  /** @param skewMs what verification tolerates (`BROKER_CLOCK_SKEW_SECONDS`), in milliseconds. */
  constructor(skewMs: number, observer: ClockObserver = {}) {
    this.#tolerated = Math.min(Math.max(skewMs, LEAST_TOLERATED), MOST_TOLERATED);
    this.#observer = observer;
  }

  /** Adds a reading. */
  read(source: ClockSource, reading: DateReading): void {
    const bounds = offsetBounds(reading);
    if (bounds === undefined) return;
    const before = this.#known.get(source) ?? { offset: 0, state: 'ok' };
    const offset = nextOffset(before.offset, bounds);
    const state = stateOf(offset, this.#tolerated);
    this.#known.set(source, { offset, state });
    notify(() => this.#observer.read?.(source, state, offset / 1_000));
    if (state !== before.state)
      notify(() => this.#observer.changed?.(source, state, offset / 1_000));
  }

  /** Seconds; positive while this machine's clock is behind; `undefined` before the first reading. */
  offsetSeconds(source: ClockSource): number | undefined {
    const known = this.#known.get(source);
    return known === undefined ? undefined : known.offset / 1_000;
  }

  /** What health shows; `undefined` before the first reading. */
  readiness(): ClockReadiness | undefined {
    if (this.#known.size === 0) return undefined;
    const known = [...this.#known];
    const off = known.filter(([, { state }]) => state !== 'ok');
    if (off.length === 0) return { ok: true };
    const right = known.filter(([, { state }]) => state === 'ok').map(([source]) => source);
    const doubts = right.map(
      (source) => ` It agrees with ${NAMES[source]}: the other one may be wrong.`,
    );
    const found = off.map(([source, { offset, state }]) => wordsOf(source, state, offset));
    return { ok: false, code: 'CLOCK_OFF', reason: `${found.join(' ')}${doubts.join('')}` };
  }
}

function stateOf(offset: number, tolerated: number): ClockState {
  if (Math.abs(offset) <= tolerated) return 'ok';
  return offset > 0 ? 'behind' : 'ahead';
}

function wordsOf(source: ClockSource, state: ClockState, offset: number): string {
  const seconds = Math.round(Math.abs(offset) / 1_000);
  const [where, harm] =
    state === 'behind'
      ? ['behind', 'Clients are told that tokens live that much longer than they do.']
      : ['ahead of', 'Tokens count as expired that much too early.'];
  return `This machine's clock is ${seconds} s ${where} ${NAMES[source]} (the Date of its answers). ${harm} Synchronize it (NTP).`;
}
