import type { RotationOutcome } from '../../rotation/rotation.js';
import type { DecidedRequest, PeerDecision, ServingObserver } from '../../serving/endpoint.js';
import type { Clock } from '../../tokens/time.js';
import type { AuditEvent } from '../audit-chain.js';
import type { RequestPlace } from '../audit-events.js';

/** Counts how often something has happened lately, in steps of equal length. Constant in size and in cost. */
export class RecentCount {
  readonly #counts: Uint8Array;
  /** The number of the newest step since the Unix epoch. */
  #newest = Number.NEGATIVE_INFINITY;

  /**
   * @param stepMs length of a step, in milliseconds.
   * @param steps how many steps count. A step counts up to 255.
   */
  constructor(
    private readonly stepMs: number,
    steps: number,
  ) {
    this.#counts = new Uint8Array(steps);
  }

  /** Counts one. @param now milliseconds since the Unix epoch. */
  add(now: number): void {
    this.#moveTo(now);
    const index = this.#newest % this.#counts.length;
    this.#counts[index] = Math.min(255, (this.#counts[index] ?? 0) + 1);
  }

  /** How often it has happened within the steps until now. */
  total(now: number): number {
    this.#moveTo(now);
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** Empties the steps that have begun since. A clock that was set back counts as standing still. */
  #moveTo(now: number): void {
    const step = Math.floor(now / this.stepMs);
    const passed = Math.min(step - this.#newest, this.#counts.length);
    if (passed <= 0) return;
    for (let back = 0; back < passed; back += 1)
      this.#counts[(step - back) % this.#counts.length] = 0;
    this.#newest = step;
  }
}

/** What a peer has asked of this process. Instants in milliseconds since the Unix epoch. */
export interface PeerActivity {
  /** How many decisions there were about it. */
  readonly asked: number;
  readonly lastAt: number;
  /** How it last proved who it is. */
  readonly lastMethod: string | undefined;
  readonly lastToken: string | undefined;
  readonly refused: number;
  readonly refusedAt: number | undefined;
  /** Why: a stable code. */
  readonly refusedReason: string | undefined;
}

/** One event. Equal events in a row are one. */
export interface RecentEvent extends Omit<AuditEvent, 'jti' | 'dropped'> {
  /** When it happened last, in milliseconds since the Unix epoch. */
  readonly at: number;
  readonly times: number;
}

/** A version of a token that was read as the current one. */
export interface SeenVersion {
  readonly versionId: string;
  /** When it was minted, in milliseconds since the Unix epoch. */
  readonly mintedAt: number;
}

type Writable<Value> = { -readonly [Member in keyof Value]: Value[Member] };

const MOST_PEERS = 20_000;
const MOST_EVENTS = 50;
const MOST_VERSIONS = 12;
const MINUTE = 60_000;
const HOUR = 3_600_000;

/** What the peers secret is counted under: no token has such a name. */
export const PEERS_LIST = 'peers list';

/**
 * What this process has done lately, for the status page: bounded by number, and constant in cost. Nothing is written or
 * formatted until somebody looks. Holds neither tokens nor secrets.
 *
 * @example
 * ```ts
 * const activity = new RecentActivity(clock);
 * const observer = withActivity(servingObserver(log, metrics), activity, placeOf);
 * activity.peers().get('orders')?.lastAt;
 * ```
 */
export class RecentActivity {
  readonly #clock: Clock;
  readonly #peers = new Map<string, Writable<PeerActivity>>();
  /** The oldest first. */
  readonly #events: Writable<RecentEvent>[] = [];
  readonly #reads = new Map<string, RecentCount>();
  readonly #mints = new Map<string, RecentCount>();
  readonly #lastMints = new Map<string, { readonly at: number; readonly code: string }>();
  readonly #versions = new Map<string, SeenVersion[]>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A decision about a peer that proved who it is. */
  decided(decision: PeerDecision, request: DecidedRequest, placeOf: RequestPlace): void {
    const { outcome, peer, method, token, reason } = decision;
    const now = this.#clock.now();
    const known = this.#peerOf(peer);
    known.asked += 1;
    known.lastAt = now;
    if (method !== undefined) known.lastMethod = method;
    if (token !== undefined) known.lastToken = token;
    // Thousands a second: they are counted, and are no events.
    if (outcome === 'served' || outcome === 'not_modified') return;
    if (outcome === 'denied' || outcome === 'invalid') this.#refused(known, reason, now);
    const { versionId, subject } = decision;
    const what = { outcome, peer, method, token, subject, reason, versionId };
    this.#event({ ...what, ...placeOf(request) }, now);
  }

  /** A login that failed. @param peer the peer that was named, if it is on the list. */
  loginRefused(
    reason: string,
    peer: string | undefined,
    attempt: DecidedRequest & { readonly loginMethod?: string },
    placeOf: RequestPlace,
  ): void {
    const now = this.#clock.now();
    if (peer !== undefined) this.#refused(this.#peerOf(peer), reason, now);
    const outcome = reason === 'throttled' ? 'throttled' : 'login_failed';
    const method = attempt.loginMethod;
    this.#event({ outcome, reason, peer, method, ...placeOf(attempt) }, now);
  }

  /** A peer asked what a token is. */
  introspected(peer: string, method: string | undefined): void {
    const known = this.#peerOf(peer);
    known.asked += 1;
    known.lastAt = this.#clock.now();
    known.lastMethod = method;
  }

  /** A rotation of this process has ended. The endpoint reports those that a peer asked for. */
  rotationEnded(token: string, { trigger, result, versionId, code }: RotationOutcome): void {
    if (trigger === 'http') return;
    const outcome = result === 'failed' ? 'rotation_failed' : 'rotated';
    const reason = result === 'failed' ? code : result;
    this.#event({ outcome, reason, method: trigger, token, versionId }, this.#clock.now());
  }

  /** A provider was asked for a token. @param code `OK`, or the stable code of the error. */
  minted(token: string, code: string): void {
    const at = this.#clock.now();
    countOf(this.#mints, token, HOUR, 24).add(at);
    this.#lastMints.set(token, { at, code });
  }

  /** A secret was read, or could not be. @param secret a token's name, or {@link PEERS_LIST}. */
  storeRead(secret: string): void {
    countOf(this.#reads, secret, MINUTE, 60).add(this.#clock.now());
  }

  /** A version was read as the current one. */
  versionRead(token: string, version: SeenVersion): void {
    const seen = this.#versions.get(token) ?? [];
    if (seen.at(-1)?.versionId === version.versionId) return;
    seen.push(version);
    if (seen.length > MOST_VERSIONS) seen.shift();
    this.#versions.set(token, seen);
  }

  /** By the peers' ids. */
  peers(): ReadonlyMap<string, PeerActivity> {
    return this.#peers;
  }

  /** The newest first. */
  events(): readonly RecentEvent[] {
    return this.#events.toReversed();
  }

  /** How often the provider was asked for this token in the last 24 hours. */
  mints(token: string): number {
    return this.#mints.get(token)?.total(this.#clock.now()) ?? 0;
  }

  /** When the provider was last asked for this token, and how that ended. */
  lastMint(token: string): { readonly at: number; readonly code: string } | undefined {
    return this.#lastMints.get(token);
  }

  /** How often this secret was read in the last hour. */
  reads(secret: string): number {
    return this.#reads.get(secret)?.total(this.#clock.now()) ?? 0;
  }

  /** The versions of a token that were current since the process started, the newest last. */
  versions(token: string): readonly SeenVersion[] {
    return this.#versions.get(token) ?? [];
  }

  #peerOf(id: string): Writable<PeerActivity> {
    const known = this.#peers.get(id);
    if (known !== undefined) return known;
    // Ids are those of peers on the list, so that only a list that changes all the time comes here.
    const [oldest] = this.#peers.keys();
    if (this.#peers.size >= MOST_PEERS && oldest !== undefined) this.#peers.delete(oldest);
    const made = {
      asked: 0,
      lastAt: 0,
      lastMethod: undefined,
      lastToken: undefined,
      refused: 0,
      refusedAt: undefined,
      refusedReason: undefined,
    };
    this.#peers.set(id, made);
    return made;
  }

  #refused(peer: Writable<PeerActivity>, reason: string | undefined, now: number): void {
    peer.refused += 1;
    peer.refusedAt = now;
    peer.refusedReason = reason;
  }

  #event(event: Omit<RecentEvent, 'at' | 'times'>, at: number): void {
    const last = this.#events.at(-1);
    if (last !== undefined && isAlike(last, event)) {
      last.at = at;
      last.times += 1;
      last.requestId = event.requestId;
      return;
    }
    this.#events.push({ ...event, at, times: 1 });
    if (this.#events.length > MOST_EVENTS) this.#events.shift();
  }
}

function countOf(
  counts: Map<string, RecentCount>,
  key: string,
  stepMs: number,
  steps: number,
): RecentCount {
  let count = counts.get(key);
  if (count === undefined) {
    count = new RecentCount(stepMs, steps);
    counts.set(key, count);
  }
  return count;
}

function isAlike(
  one: Omit<RecentEvent, 'at' | 'times'>,
  other: Omit<RecentEvent, 'at' | 'times'>,
): boolean {
  return (
    one.outcome === other.outcome &&
    one.peer === other.peer &&
    one.token === other.token &&
    one.subject === other.subject &&
    one.reason === other.reason &&
    one.versionId === other.versionId &&
    one.remoteAddress === other.remoteAddress
  );
}

/** An observer that also keeps what the status page shows. */
export function withActivity(
  observer: ServingObserver,
  activity: RecentActivity,
  placeOf: RequestPlace,
): ServingObserver {
  return {
    ...observer,
    decided: (decision, request) => {
      observer.decided?.(decision, request);
      activity.decided(decision, request, placeOf);
    },
    loginRefused: (reason, peer, attempt) => {
      observer.loginRefused?.(reason, peer, attempt);
      activity.loginRefused(reason, peer, attempt, placeOf);
    },
    introspected: (peer, decision, request) => {
      observer.introspected?.(peer, decision, request);
      activity.introspected(peer, request.loginMethod);
    },
  };
}
