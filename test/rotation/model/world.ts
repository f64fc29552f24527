import type { Clock } from '../../../src/tokens/time.js';

/** When every run of the model begins, in milliseconds since the Unix epoch: the start of a slot. */
export const START = Date.parse('2026-11-22T12:00:00.000Z');

/**
 * How a call of a process to the store, the provider or its keys ends. `lost`: it never arrived. `unheard`: it took effect, and
 * its answer was lost. `stale`: a read is answered from an older state of the store. With a crash all that the process knows is gone.
 */
export const FATES = [
  'answered',
  'lost',
  'unheard',
  'stale',
  'crash-before',
  'crash-after',
] as const;
export type Fate = (typeof FATES)[number];

/** What a process waits for outside itself. */
export interface Call {
  readonly what: string;
  /** Makes it take effect. */
  readonly run: () => Promise<unknown>;
  /** Answers it from an older state; only reads have that. */
  readonly recall?: (age: number) => unknown;
  /** The error of a call that is not answered. */
  readonly failure: () => Error;
  /** Ends the call with its failure after so many milliseconds. Default: never. */
  readonly timeout?: number;
  readonly signal?: AbortSignal | undefined;
}

interface Waiting extends Call {
  readonly settle: (outcome: { readonly value: unknown } | { readonly error: unknown }) => void;
}

interface Timer {
  readonly at: number;
  readonly life: Life;
  readonly wake: () => void;
}

/** Something that a process was told to do, and has not ended. */
export interface Task {
  readonly what: string;
  /** {@link World.tick} at its start. */
  readonly startedAt: number;
}

/** Ends neither well nor badly: nobody hears of what a process does that has crashed. */
const NEVER = new Promise<never>(() => undefined);

/**
 * One incarnation of a process: from a start to a stop or a crash. It reaches the world only by calls, which wait until the model
 * decides how they end, and by its clock.
 */
export class Life implements Clock {
  isOver = false;
  readonly waiting: Waiting[] = [];
  readonly tasks = new Set<Task>();
  /** The access tokens that receivers' rules accepted, as this process knows. */
  readonly verified = new Set<string>();
  /** Ids that a version it has read for serving names as withdrawn. */
  readonly withdrawn = new Set<string>();
  /** The version that it last looked for and did not find. */
  missing: string | undefined;
  /** Whether it was ever answered from an older state. */
  wasMisled = false;

  constructor(
    readonly machine: Machine,
    readonly world: World,
  ) {}

  now(): number {
    return this.world.now + this.machine.offset;
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return this.world.sleep(this, milliseconds, signal);
  }

  call<T>(call: Call): Promise<T> {
    if (this.isOver) return NEVER;
    return new Promise<T>((resolve, reject) => {
      const { timeout, signal, failure } = call;
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const ended = timeout === undefined ? undefined : new AbortController();
      const fail = (error: Error): void => {
        const index = this.waiting.indexOf(waiting);
        if (index < 0) return;
        this.waiting.splice(index, 1);
        waiting.settle({ error });
      };
      const onAbort = (): void => fail(signal?.reason as Error);
      const waiting: Waiting = {
        ...call,
        settle: (outcome) => {
          ended?.abort();
          signal?.removeEventListener('abort', onAbort);
          if ('error' in outcome) reject(outcome.error);
          else resolve(outcome.value as T);
        },
      };
      this.waiting.push(waiting);
      signal?.addEventListener('abort', onAbort, { once: true });
      if (timeout !== undefined) {
        void this.sleep(timeout, ended?.signal).then(
          () => fail(failure()),
          () => undefined,
        );
      }
    });
  }

  /** Runs something until it ends, or the process does. @returns false when it does not begin. */
  begin(what: string, run: () => Promise<unknown>): void {
    const task: Task = { what, startedAt: this.world.tick };
    this.tasks.add(task);
    const ended = (): void => {
      this.tasks.delete(task);
    };
    run().then(ended, ended);
  }

  end(): void {
    this.isOver = true;
    this.waiting.length = 0;
    this.tasks.clear();
    this.world.forget(this);
  }
}

/** A machine that runs one process at a time, and has a clock of its own. */
export class Machine {
  #offset = 0;
  #life: Life | undefined;

  constructor(
    readonly name: string,
    private readonly world: World,
  ) {}

  /** The process that runs; started when none does. */
  get life(): Life {
    this.#life ??= new Life(this, this.world);
    return this.#life;
  }

  /** How far its clock is ahead of the right time, in milliseconds. */
  get offset(): number {
    return this.#offset;
  }

  set offset(milliseconds: number) {
    this.#offset = milliseconds;
    this.world.noteOffset(milliseconds);
  }

  get isRunning(): boolean {
    return this.#life !== undefined;
  }

  /** Kills the process: its calls are not answered any more, and nothing of its memory is left. */
  crash(): void {
    this.#life?.end();
    this.#life = undefined;
  }
}

/** Time, the processes' calls, and what has been seen to go wrong. All that happens follows from the model's choices alone. */
export class World {
  /** The right time, in milliseconds since the Unix epoch. */
  now = START;
  /** Counts what happens. */
  tick = 0;
  /** What has happened that may cost a mint: faults, and acts of others than the schedules. */
  disturbances = 0;
  /** The invariants that do not hold, in the order they were broken. */
  readonly violations: string[] = [];
  #timers: Timer[] = [];
  #offsets = { least: 0, most: 0 };

  noteOffset(milliseconds: number): void {
    const { least, most } = this.#offsets;
    this.#offsets = { least: Math.min(least, milliseconds), most: Math.max(most, milliseconds) };
  }

  /** What the clock that was ever furthest ahead would say now. */
  latestClock(): number {
    return this.now + this.#offsets.most;
  }

  /** The greatest difference that there ever was between two clocks, in milliseconds. */
  clockSpread(): number {
    return this.#offsets.most - this.#offsets.least;
  }

  violate(what: string): void {
    this.violations.push(what);
  }

  sleep(life: Life, milliseconds: number, signal?: AbortSignal): Promise<void> {
    if (life.isOver) return NEVER;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        this.#timers = this.#timers.filter((other) => other !== timer);
        reject(signal?.reason as Error);
      };
      const timer: Timer = {
        at: this.now + milliseconds,
        life,
        wake: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      this.#timers.push(timer);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  forget(life: Life): void {
    this.#timers = this.#timers.filter((timer) => timer.life !== life);
  }

  /** Lets time pass until an instant; who sleeps less wakes on the way. */
  async passUntil(instant: number): Promise<void> {
    for (;;) {
      const next = this.#earliest();
      if (next === undefined || next.at > instant) break;
      await this.#wake(next);
    }
    this.now = Math.max(this.now, instant);
  }

  /**
   * Lets one thing happen to a process: the fate of one of its calls, or, when it waits for none, the end of its shortest sleep.
   *
   * @param which of the calls that wait at the same time.
   * @returns false when it waits for nothing.
   */
  async proceed(machine: Machine, fate: Fate = 'answered', which = 0, age = 1): Promise<boolean> {
    if (!machine.isRunning) return false;
    const { life } = machine;
    const { waiting } = life;
    const [call] = waiting.splice(which % Math.max(1, waiting.length), 1);
    if (call === undefined) {
      const sleep = this.#earliest(life);
      if (sleep === undefined) return false;
      await this.passUntil(sleep.at);
      return true;
    }
    this.tick += 1;
    await this.#decide(machine, life, call, fate, age);
    await settled();
    return true;
  }

  async #decide(machine: Machine, life: Life, call: Waiting, fate: Fate, age: number) {
    if (fate !== 'answered') this.disturbances += 1;
    switch (fate) {
      case 'answered':
        call.settle(await outcomeOf(call.run));
        return;
      case 'stale':
        if (call.recall === undefined) call.settle(await outcomeOf(call.run));
        else {
          life.wasMisled = true;
          const { recall } = call;
          call.settle(await outcomeOf(async () => recall(age)));
        }
        return;
      case 'lost':
        call.settle({ error: call.failure() });
        return;
      case 'unheard':
        await outcomeOf(call.run);
        call.settle({ error: call.failure() });
        return;
      case 'crash-after':
        await outcomeOf(call.run);
        machine.crash();
        return;
      case 'crash-before':
        machine.crash();
    }
  }

  #earliest(life?: Life): Timer | undefined {
    let earliest: Timer | undefined;
    for (const timer of this.#timers) {
      if (life !== undefined && timer.life !== life) continue;
      if (earliest === undefined || timer.at < earliest.at) earliest = timer;
    }
    return earliest;
  }

  async #wake(timer: Timer): Promise<void> {
    this.now = Math.max(this.now, timer.at);
    this.#timers = this.#timers.filter((other) => other !== timer);
    timer.wake();
    await settled();
  }
}

/** Until every process waits for a call or sleeps: nothing else takes a turn of the event loop. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function outcomeOf(
  run: () => Promise<unknown>,
): Promise<{ readonly value: unknown } | { readonly error: unknown }> {
  try {
    return { value: await run() };
  } catch (error) {
    return { error };
  }
}
