import type { Clock } from '../tokens/time.js';
import type { EndpointRequest } from './endpoint.js';
import type { LoggedInPeer } from './peer-login.js';

/** The most that a request is held, in seconds, and what the metadata (RFC 8414) offers. */
export const MAX_WAIT_SECONDS = 300;

/** While anybody waits for a token, its secret is read this often: other processes rotate too. Milliseconds. */
export const WAITING_INTERVAL = 15_000;

/** Of more tokens than these that peers wait for, each is read less often: stores count reads, and AWS bills them. */
const MOST_FOLLOWED = 16;

/**
 * Milliseconds between two reads of each token that peers wait for: {@link WAITING_INTERVAL} for up to 16 tokens, and
 * longer in proportion for more, so that all of them together cost a process little more than one read a second. Pure.
 *
 * @param followed how many tokens peers wait for.
 */
export function followInterval(followed: number): number {
  return WAITING_INTERVAL * Math.max(1, followed / MOST_FOLLOWED);
}

/**
 * How a wait ended.
 *
 * - `changed`: there is another version. `over`: the time is over.
 * - `refused`: the peer was removed or disabled, or lost the token, by the list as it was last read.
 * - `closing`: the process stops. `disconnected`: nobody is there to be answered.
 */
export type WaitEnd = 'changed' | 'over' | 'refused' | 'closing' | 'disconnected';

/** What a peer waits for. */
export interface Wait {
  /** The token's name. */
  readonly token: string;
  /** The version that the peer has. */
  readonly versionId: string;
  readonly peer: LoggedInPeer;
  readonly seconds: number;
}

interface Waiter extends Wait {
  readonly until: number;
  readonly end: (how: WaitEnd) => void;
}

/**
 * The requests that are held until a token changes (`Prefer: wait`, RFC 7240 §4.3). One costs an entry and a promise: there
 * is no timer for each, `sweep` is called every second.
 */
export class WaitingPeers {
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #mayHave: (peer: LoggedInPeer, token: string) => boolean;
  readonly #waiters = new Map<string, Set<Waiter>>();
  /** Those of each peer, the oldest first. */
  readonly #byPeer = new Map<string, Set<Waiter>>();
  #count = 0;
  #isClosed = false;

  /**
   * @param limit how many requests are held at the same time; 0 for none.
   * @param mayHave whether a peer that was let in may still have a token. Default: it may.
   */
  constructor(
    clock: Clock,
    limit: number,
    mayHave: (peer: LoggedInPeer, token: string) => boolean = () => true,
  ) {
    this.#clock = clock;
    this.#limit = limit;
    this.#mayHave = mayHave;
  }

  /** Whether waiting is offered at all. */
  get isOffered(): boolean {
    return this.#limit > 0;
  }

  /** How many requests are held. */
  get count(): number {
    return this.#count;
  }

  /** Whether anybody waits for a token. */
  has(token: string): boolean {
    return this.#waiters.has(token);
  }

  /**
   * Holds a request; `undefined` when it has to be answered now: too many are held, or the process stops. Where too many are
   * held, a peer with fewer of them takes the place of the oldest of the peer that has the most.
   */
  hold(wait: Wait, request: Pick<EndpointRequest, 'onDisconnect'>): Promise<WaitEnd> | undefined {
    const { onDisconnect } = request;
    if (this.#isClosed || onDisconnect === undefined) return undefined;
    const { token, seconds, peer } = wait;
    if (this.#count >= this.#limit && !this.#makeRoom(peer.id)) return undefined;
    return new Promise((resolve) => {
      const ofToken = memberOf(this.#waiters, token);
      const ofPeer = memberOf(this.#byPeer, peer.id);
      const waiter: Waiter = {
        ...wait,
        until: this.#clock.now() + seconds * 1_000,
        end: (how) => {
          if (!ofToken.delete(waiter)) return;
          this.#count -= 1;
          ofPeer.delete(waiter);
          if (ofToken.size === 0) this.#waiters.delete(token);
          if (ofPeer.size === 0) this.#byPeer.delete(peer.id);
          forget();
          resolve(how);
        },
      };
      ofToken.add(waiter);
      ofPeer.add(waiter);
      this.#count += 1;
      const forget = onDisconnect(() => waiter.end('disconnected'));
    });
  }

  /** Ends one wait of the peer that has the most. @returns false when that would be no fairer. */
  #makeRoom(peerId: string): boolean {
    let most: ReadonlySet<Waiter> = new Set();
    for (const waiters of this.#byPeer.values()) if (waiters.size > most.size) most = waiters;
    if (most.size <= (this.#byPeer.get(peerId)?.size ?? 0) + 1) return false;
    const [oldest] = most;
    oldest?.end('over');
    return oldest !== undefined;
  }

  /** Releases those that have another version; refuses those of them that may not have the token any more. */
  changed(token: string, versionId: string): void {
    for (const waiter of this.#of(token)) {
      if (waiter.versionId === versionId) continue;
      waiter.end(this.#mayHave(waiter.peer, token) ? 'changed' : 'refused');
    }
  }

  /** Releases those whose time is over. After a clock was set back, none waits longer than it asked for. */
  sweep(): void {
    const now = this.#clock.now();
    for (const waiter of this.#all()) {
      if (now >= waiter.until || waiter.until - now > waiter.seconds * 1_000) waiter.end('over');
    }
  }

  /** Releases those that may not have their token any more. */
  recheck(): void {
    for (const waiter of this.#all()) {
      if (!this.#mayHave(waiter.peer, waiter.token)) waiter.end('refused');
    }
  }

  /** Releases all, and holds none from now on. */
  close(): void {
    this.#isClosed = true;
    for (const waiter of this.#all()) waiter.end('closing');
  }

  #of(token: string): readonly Waiter[] {
    return [...(this.#waiters.get(token) ?? [])];
  }

  #all(): readonly Waiter[] {
    return [...this.#waiters.keys()].flatMap((token) => this.#of(token));
  }
}

/** The set of a key, which is made when there is none. */
function memberOf(sets: Map<string, Set<Waiter>>, key: string): Set<Waiter> {
  const known = sets.get(key);
  if (known !== undefined) return known;
  const made = new Set<Waiter>();
  sets.set(key, made);
  return made;
}

/**
 * The `wait` of a request's `Prefer` headers in seconds, {@link MAX_WAIT_SECONDS} at most; 0 for none. The first one counts, and
 * a preference that is not understood is ignored (RFC 7240 §2). Pure.
 */
export function waitPreference(headers: readonly string[] | undefined): number {
  for (const preference of headers?.join(',').split(/[,;]/) ?? []) {
    const [, value] = /^\s*wait\s*=\s*"?(\d{1,9})"?\s*$/i.exec(preference) ?? [];
    if (value !== undefined) return Math.min(Number(value), MAX_WAIT_SECONDS);
  }
  return 0;
}
