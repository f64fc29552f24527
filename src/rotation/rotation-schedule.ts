import {
  Inject,
  Injectable,
  Module,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type FactoryProvider,
  type ModuleMetadata,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { isStoreError, type SecretDescription } from '../secrets/secret-store.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import type { Clock } from '../tokens/time.js';
import { missedSlots, MOST_MISSED, type MissedSlots, type Slots } from './coverage.js';
import {
  askWait,
  decideDue,
  decideWatch,
  LONGEST_REST,
  ofSlot,
  restUntil,
  slotToRotate,
  type Asked,
  type CurrentToken,
  type Due,
} from './due.js';
import { LONGEST_RETRY, retryWait } from './retry-wait.js';
import { rotationMode, type RotationMode } from './rotation.js';
import type { Turn } from './rotation-gate.js';
import { Rotator } from './rotator.js';
import { TokenWatch, type Refusal } from './token-watch.js';

/** What the schedule works with. */
interface RotationScheduleOptions {
  readonly rotator: Pick<Rotator, 'attempt' | 'current' | 'describe' | 'rotate'>;
  readonly slots: Slots;
  /** Remaining life in milliseconds under which the token is rotated early, see `earlyMargin`. */
  readonly minimumRemaining: number;
  readonly clock: Clock;
  /** Why receivers refuse a version, when they do: it is rotated early then. Default: they accept every one. */
  readonly refusal?: () => Refusal | undefined;
  /**
   * The version that is served, if that is known without reading. When it changes to another than the schedule knows, the store is
   * read: AWSCURRENT may have been moved back. Default: what the schedule knows is taken to be served.
   */
  readonly servedVersionId?: () => string | undefined;
  /** When a read last found an expired version, which the valid one before hides: the store is read again. Default: never. */
  readonly expiredReadAt?: () => number | undefined;
  /**
   * Resolves when a rotation that is due may begin, with what to call when it has ended. Default: at once. Rotations of
   * many tokens take turns.
   */
  readonly enter?: () => Promise<Turn>;
  /** From 0 up to 1; spreads the retries of replicas. Default: `Math.random`. */
  readonly random?: () => number;
  /** Notified when the schedule learns who rotates the secret, and when a check fails before it could rotate. */
  readonly observer?: RotationScheduleObserver;
}

/** What the schedule reports, apart from the rotations. A method that throws is a bug. */
export interface RotationScheduleObserver {
  /** Who rotates the secret, as soon as it is known, and whenever it changes. */
  modeChanged?(mode: RotationMode): void;
  /** What the store said of the token secret, each time it was asked. */
  described?(description: SecretDescription): void;
  checkFailed?(error: unknown, nextCheckAt: number): void;
  /** A slot has ended, and this process knows of no rotation since its start. The code is that of the last failure. */
  slotMissed?(slotStart: number, code: string): void;
  /** A rotation is due and waits until that instant, because the provider's last tokens for it were rejected. */
  resting?(reason: string, until: number): void;
}

/** How the schedule keeps up, as far as this process knows. Instants in milliseconds since the Unix epoch. */
export interface ScheduleStanding {
  /** When the newest token was minted that is known. */
  readonly mintedAt?: number;
  /** Start of the current slot, while no rotation since then is known. */
  readonly dueSince?: number;
  readonly missed?: MissedSlots;
  /** When it is tried next, or the next slot starts. */
  readonly nextAt: number;
  /** What the last try failed with. */
  readonly error?: unknown;
}

/** A rotation by Secrets Manager takes seconds; its outcome is read after this many milliseconds. */
const LOOK_AFTER_REQUEST = 60_000;
/**
 * The pause before the replacement of a refused token may itself be replaced; twice as long each time, up to
 * {@link LONGEST_REST}. Otherwise brokers with different settings would refuse each other's tokens without end.
 */
const FIRST_REPLACE_WAIT = 300_000;

/**
 * Runs the rotations that are due: at a slot, for a slot that was missed, and early when the token runs out of life or
 * receivers refuse it. It reads the store only when, by what it knows, something is due.
 *
 * Where Secrets Manager rotates the secret, it writes nothing: it is a watchdog, which asks Secrets Manager to rotate when
 * the token runs out of life nevertheless. For a replica it does nothing.
 */
export class RotationSchedule {
  #known: CurrentToken | undefined;
  /** The version that was minted for a slot, and that slot's start: it satisfies the slot, whatever its date. */
  #own: { readonly versionId: string; readonly slotStart: number } | undefined;
  #mode: RotationMode | undefined;
  #asked: Asked | undefined;
  /** The refused version for which the store was read last: another process may have replaced it. */
  #refusedSeen: string | undefined;
  /** The version that was served at the last check. */
  #served: string | undefined;
  /** The read of an expired version that the last check knew of. */
  #expiredRead: number | undefined;
  #isSurprised = false;
  /** When a check read last what is current. */
  #readAt = Number.NEGATIVE_INFINITY;
  #replaced: { readonly at: number; readonly wait: number } | undefined;
  #failures = 0;
  /** Whether the token that is served had life left at the last failure. */
  #hadLife = false;
  #hasTried = false;
  #notBefore = Number.NEGATIVE_INFINITY;
  #checkedAt = Number.NEGATIVE_INFINITY;
  #checking: Promise<void> | undefined;
  #startedAt: number | undefined;
  /** Start of the slot at the last check. */
  #slot: number | undefined;
  #lastError: unknown;
  #isStopped = false;

  constructor(private readonly options: RotationScheduleOptions) {}

  /** Ends the schedule: a rotation that waits for its turn does not begin. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Checks once. Never rejects: failures go to the observers, and are retried with backoff. */
  async check(): Promise<void> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    await this.#checking;
  }

  /** When the next slot starts, in milliseconds since the Unix epoch. */
  nextSlot(): number {
    return this.options.slots.nextAfter(this.options.clock.now());
  }

  /**
   * How the schedule keeps up; `undefined` before the first check, and where the broker does not rotate. Reads nothing.
   *
   * @param servedMintedAt when the token was minted that is served, in milliseconds since the Unix epoch; it may be newer
   *   than what the schedule has seen.
   */
  standing(servedMintedAt = Number.NEGATIVE_INFINITY): ScheduleStanding | undefined {
    const { slots, clock } = this.options;
    if (this.#startedAt === undefined || !this.#mayBeOurs()) return undefined;
    const now = clock.now();
    const start = slots.startOf(now);
    const mintedAt = Math.max(this.#mintedAt(start), servedMintedAt);
    if (mintedAt >= start) return { mintedAt, nextAt: slots.nextAfter(now) };
    // Without a token it is due since this process runs.
    const isThere = Number.isFinite(mintedAt);
    const missed = missedSlots(slots, isThere ? mintedAt : this.#startedAt, now);
    return {
      nextAt: Math.max(this.#notBefore, now),
      dueSince: isThere ? start : Math.max(start, this.#startedAt),
      ...(missed && { missed }),
      ...(this.#lastError !== undefined && { error: this.#lastError }),
    };
  }

  #mayBeOurs(): boolean {
    return this.#mode === undefined || this.#mode === 'broker';
  }

  async #check(): Promise<void> {
    const now = this.options.clock.now();
    this.#startedAt ??= now;
    const ended = this.#endedSlots(now);
    // The store is read first: another replica may have rotated in a new slot.
    await this.#checkWhenDue(now, () => this.#countMissed(ended));
    this.#countMissed(ended);
  }

  /** The slots that ended since the last check, oldest first; each is given once. */
  #endedSlots(now: number): number[] {
    const { slots } = this.options;
    const start = slots.startOf(now);
    const ended: number[] = [];
    let slot = this.#slot ?? start;
    for (; slot < start && ended.length < MOST_MISSED; slot = slots.nextAfter(slot))
      ended.push(slot);
    this.#slot = start;
    return ended;
  }

  /** Reports the slots without a rotation, and empties the list. */
  #countMissed(ended: number[]): void {
    const code = this.#lastError === undefined ? 'ROTATION_MISSED' : errorCode(this.#lastError);
    for (const slot of ended.splice(0)) {
      if (this.#mayBeOurs() && this.#mintedAt(slot) < slot) {
        this.options.observer?.slotMissed?.(slot, code);
      }
    }
  }

  #mintedAt(slotStart: number): number {
    return this.#knownIn(slotStart)?.generatedAt ?? Number.NEGATIVE_INFINITY;
  }

  /** What is known, as a slot has to see it. */
  #knownIn(slotStart: number): CurrentToken | undefined {
    const known = this.#known;
    if (known === undefined || known.versionId !== this.#own?.versionId) return known;
    return this.#own.slotStart <= slotStart ? ofSlot(known, this.#own.slotStart) : known;
  }

  async #checkWhenDue(now: number, informed: () => void): Promise<void> {
    const { rotator } = this.options;
    // A clock that was set back must not stop the schedule until it catches up: the wait is void.
    if (now < this.#checkedAt) this.#notBefore = Number.NEGATIVE_INFINITY;
    this.#checkedAt = now;
    if (now < this.#notBefore) return;
    const refused = this.options.refusal?.()?.versionId;
    this.#noteServed(now);
    const isInformed =
      this.#known !== undefined &&
      this.#mode !== undefined &&
      !this.#isSurprised &&
      (refused === undefined || refused === this.#refusedSeen);
    if (isInformed && this.#due().kind === 'none') return;
    try {
      this.#readAt = now;
      this.#known = await rotator.current();
      this.#refusedSeen = refused;
      this.#isSurprised = false;
      const description = await this.#describe();
      informed();
      if (this.#due().kind !== 'none') await this.#takeTurn(description);
      this.#failures = 0;
      if (this.#due().kind === 'none') this.#lastError = undefined;
    } catch (error) {
      this.#backOff(error);
    }
  }

  /**
   * The version before stays served for a while after a rotation: a change to another than is known counts, and after five minutes
   * that it is another still. It may have been moved back before the known one was ever served. An expired version counts, too.
   */
  #noteServed(now: number): void {
    const served = this.options.servedVersionId?.();
    const isOther = served !== undefined && served !== this.#known?.versionId;
    if (served !== this.#served) this.#isSurprised = isOther;
    else if (isOther && Math.abs(now - this.#readAt) >= LONGEST_RETRY) this.#isSurprised = true;
    this.#served = served;
    const expired = this.options.expiredReadAt?.();
    if (expired !== undefined && expired !== this.#expiredRead) this.#isSurprised = true;
    this.#expiredRead = expired;
  }

  /** No check reads anything before that instant. The clock may have been set, ahead or back, since the check began. */
  #waitUntil(instant: number): void {
    this.#notBefore = instant;
    this.#checkedAt = this.options.clock.now();
  }

  /** Acts when it is this token's turn, unless nothing is due any more by then. */
  async #takeTurn(seen: SecretDescription): Promise<void> {
    const { rotator, enter } = this.options;
    const turn = await enter?.();
    try {
      if (this.#isStopped) return;
      let description = seen;
      if (turn?.hasWaited === true) {
        this.#known = await rotator.current();
        description = await this.#describe();
      }
      const due = this.#due();
      if (due.kind !== 'none') await this.#act(description, due);
    } finally {
      turn?.end();
    }
  }

  #due(): Due {
    const { slots, clock, minimumRemaining } = this.options;
    const now = clock.now();
    return decideDue({
      now,
      slots,
      current: this.#knownIn(slots.startOf(now)),
      minimumRemaining,
      isRefused: this.#isRefused(),
    });
  }

  /** Whether receivers refuse the version that is known, and a new one is likely to help now. */
  #isRefused(): boolean {
    const refusal = this.options.refusal?.();
    if (refusal?.isCurable !== true || refusal.versionId !== this.#known?.versionId) return false;
    const now = this.options.clock.now();
    const { at, wait } = this.#replaced ?? { at: now, wait: 0 };
    return now < at || now >= at + wait;
  }

  #noteReplaced(): void {
    const now = this.options.clock.now();
    const { at, wait } = this.#replaced ?? { at: 0, wait: 0 };
    const isLongAgo = wait === 0 || now < at || now > at + 2 * LONGEST_REST;
    const next = isLongAgo ? FIRST_REPLACE_WAIT : Math.min(wait * 2, LONGEST_REST);
    this.#replaced = { at: now, wait: next };
  }

  async #act(description: SecretDescription, due: Exclude<Due, { kind: 'none' }>): Promise<void> {
    const { rotator, clock, slots, observer } = this.options;
    const mode = rotationMode(description);
    if (mode !== 'broker') {
      // Checked again after a while: the rotation may be switched off, or the replica promoted.
      this.#waitUntil(clock.now() + LONGEST_RETRY);
      if (mode === 'secrets-manager') await this.#watch();
      return;
    }
    const slotStart = slots.startOf(clock.now());
    const ownSlot = slotToRotate(slots, this.#knownIn(slotStart), slotStart);
    const attempt = await rotator.attempt(due.key);
    // A process that has just started may have new settings.
    const rest = this.#hasTried ? restUntil(attempt, clock.now()) : undefined;
    this.#hasTried = true;
    if (rest !== undefined) {
      this.#waitUntil(Math.min(rest, clock.now() + LONGEST_RETRY));
      observer?.resting?.(due.reason, rest);
      return;
    }
    const seen = { description, current: this.#known, attempt };
    await rotator.rotate(
      due.kind === 'slot'
        ? { trigger: 'schedule', key: due.key, slotStart, seen }
        : { trigger: 'early', key: due.key, seen },
    );
    if (due.kind === 'refused') this.#noteReplaced();
    this.#known = await rotator.current();
    const { versionId } = attempt;
    if (due.kind === 'slot' && this.#known?.versionId === versionId) {
      this.#own = { versionId, slotStart: ownSlot };
    }
  }

  async #watch(): Promise<void> {
    const { rotator, clock, minimumRemaining, observer } = this.options;
    const isRefused = this.#isRefused();
    const watch = decideWatch({
      now: clock.now(),
      current: this.#known,
      minimumRemaining,
      isRefused,
      asked: this.#asked,
    });
    if (watch.kind === 'wait') this.#waitUntil(Math.min(this.#notBefore, watch.until));
    if (watch.kind !== 'ask') return;
    try {
      await rotator.rotate({ trigger: 'watchdog', key: watch.key });
      this.#waitUntil(clock.now() + LOOK_AFTER_REQUEST);
    } catch (error) {
      // Anything else did not reach Secrets Manager, or was refused: the usual backoff.
      if (!isStoreError(error, 'STORE_ROTATION_PENDING')) throw error;
      observer?.checkFailed?.(error, clock.now() + askWait(watch.asked.count));
    }
    this.#asked = watch.asked;
    if (isRefused) this.#noteReplaced();
  }

  async #describe(): Promise<SecretDescription> {
    const { rotator, observer } = this.options;
    const description = await rotator.describe();
    observer?.described?.(description);
    const mode = rotationMode(description);
    if (mode !== this.#mode) observer?.modeChanged?.(mode);
    this.#mode = mode;
    return description;
  }

  #backOff(error: unknown): void {
    const { clock, observer, random = Math.random } = this.options;
    this.#lastError = error;
    const left = (this.#known?.expiresAt ?? Number.NEGATIVE_INFINITY) - clock.now();
    // A provider that gave the same token while it lived may give another now.
    if (this.#hadLife && left <= 0) this.#failures = 0;
    this.#hadLife = left > 0;
    const wait = retryWait(error, this.#failures, random(), left);
    const asked = error instanceof BrokerError ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
    this.#failures += 1;
    this.#waitUntil(clock.now() + Math.max(wait, Math.min(asked, LONGEST_RETRY)));
    observer?.checkFailed?.(error, this.#notBefore);
  }
}

/** What runs for one token. */
interface RotatedToken {
  /** Left out where this process runs no schedule; a running rotation still ends before the application closes. */
  readonly schedule?: RotationSchedule | undefined;
  readonly rotator: Rotator;
  /** Verifies the current token again and again, also where this process runs no schedule. */
  readonly watch?: TokenWatch;
}

/** How the schedules run in a Nest application. */
interface RotationModuleOptions {
  readonly tokens: readonly RotatedToken[];
  /**
   * Milliseconds between two checks; a slot is rotated, and a failed rotation retried, at most this long after its time.
   * Default: 1,000. A check reads nothing while nothing is due.
   */
  readonly checkInterval?: number;
}

/** How the {@link RotationModuleOptions} are made from other providers. */
interface RotationModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  readonly useFactory: FactoryProvider<RotationModuleOptions>['useFactory'];
  readonly inject?: FactoryProvider['inject'];
}

const OPTIONS = Symbol('RotationModuleOptions');
const CHECK = 'rotation check';

/** Starts the schedules with the application, and lets a running rotation end before the application closes. */
@Injectable()
class RotationScheduleService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    @Inject(OPTIONS) private readonly options: RotationModuleOptions,
    @Inject(SchedulerRegistry) private readonly registry: SchedulerRegistry,
  ) {}

  /** Checks once at start, so that a slot missed while the broker was down is caught up. */
  onApplicationBootstrap(): void {
    const { tokens, checkInterval = 1_000 } = this.options;
    const check = (): void => tokens.forEach(checkToken);
    this.registry.addInterval(CHECK, setInterval(check, checkInterval));
    check();
  }

  async beforeApplicationShutdown(): Promise<void> {
    if (this.registry.doesExist('interval', CHECK)) this.registry.deleteInterval(CHECK);
    for (const { schedule, watch } of this.options.tokens) {
      schedule?.stop();
      watch?.stop();
    }
    await Promise.all(this.options.tokens.map(({ rotator }) => rotator.stop()));
  }
}

/** Neither check rejects. The schedule does not wait for the watch. */
function checkToken({ schedule, watch }: RotatedToken): void {
  void schedule?.check();
  void watch?.check().then(() => schedule?.check());
}

/** Wires the rotation schedules into Nest. */
@Module({})
export class RotationModule {
  static registerAsync(options: RotationModuleAsyncOptions): DynamicModule {
    const { useFactory, inject = [], imports = [] } = options;
    return {
      module: RotationModule,
      imports: [ScheduleModule.forRoot(), ...imports],
      providers: [{ provide: OPTIONS, useFactory, inject }, RotationScheduleService],
    };
  }
}
