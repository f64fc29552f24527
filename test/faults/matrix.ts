import { setTimeout as sleep } from 'node:timers/promises';
import { runCommand, type BrokerProcess } from '../support/broker-process.js';
import type { Fault } from './fault-proxy.js';
import { oneAtATime, Scene, type Asker, type Place, type Sample, type World } from './scene.js';

/** What peers were answered in a phase. */
export interface Seen {
  /** How often each status, or each error code of the client. */
  readonly counts: Readonly<Record<string, number>>;
  /** The longest wait for an answer, in milliseconds. */
  readonly longestWait: number;
}

/** How one kind of fault at one place went. Spans in milliseconds; `never` is longer than anybody waited. */
export interface CellResult {
  readonly place: Place;
  readonly fault: Fault;
  /** By phase: `warm`, `slot`, `dead`, `recovery`; or `cold start`, `recovery`. */
  readonly phases: Readonly<Record<string, Seen>>;
  /** How long the first answer took after nobody had asked for longer than the time to live, with a live token. */
  readonly firstAsk?: number;
  /** From the end of the fault until a token was served again; 0 if one was served all along. */
  readonly recovery: Span;
  /** From the end of the fault until a token minted after it was served. */
  readonly rotationRecovery: Span;
  /** Whether there was no token to serve when the fault ended. */
  readonly wasDead: boolean;
  /** From SIGTERM to the end of the process. */
  readonly exit: Span;
  /** Where health, metrics or `status` did not tell the truth, or nothing of the fault. */
  readonly untold: readonly string[];
  /** Tokens that must not have been served, and why. */
  readonly wrongTokens: readonly string[];
}

/** Milliseconds, or longer than was waited for. */
export type Span = number | 'never';

/** How long a cell waits for what should take 20 seconds at most. */
const PATIENCE = 75_000;
const EXIT_PATIENCE = 45_000;
/** Seconds from the start of a slot after which a rotation that did not happen is to be told: two checks of the schedule, and an attempt. */
const MISSED_AFTER = 30_000;

/** Milliseconds within which an answer comes at once, and within which two questions are at the same time. */
const NEAR = 1_500;

/** The places whose faults hold up rotations. */
const HOLDS_UP_ROTATION: ReadonlySet<Place> = new Set(['store', 'token endpoint', 'keys']);

/**
 * A fault that begins when everything is warm, lasts over a slot and until no token is left, and ends: the phases `warm`,
 * `slot`, `dead` and `recovery`.
 */
export async function outage(
  world: World,
  place: Place,
  fault: Fault,
  attempt = 1,
): Promise<CellResult> {
  const name = cellName('outage', place, fault, attempt);
  const scene = await Scene.open(world, name, place, fault);
  const { ttl, skew, slot, token } = world.lives;
  // How long nothing is served before the fault ends, in milliseconds.
  const deadFor = Math.min(10_000, token * 250);
  const run = await Run.start(scene);
  try {
    await run.until((sample) => sample.status === 200, PATIENCE);
    run.asker.rest();
    // Nobody asks until the cache is past its time to live: the first to ask meets the fault.
    await delay(1_000);
    const before = await run.metrics();
    const brokenAt = Date.now();
    await scene.proxy.fail(fault);
    await delay((ttl + 1) * 1_000);
    const firstAskedAt = Date.now();
    run.asker.ask();
    const first = await run.until((sample) => sample.at >= firstAskedAt - 5, PATIENCE);
    const slotAt = Math.ceil((firstAskedAt + 2_000) / (slot * 1_000)) * slot * 1_000;

    // The end of what can be served moves where the fault lets some rotations through.
    const deadAt = (): number =>
      Math.max(0, ...run.asker.samples.map(({ expiresAt = 0 }) => expiresAt)) - skew * 1_000;
    const latest = brokenAt + token * 1_000 + deadFor;
    const askStatusAt = deadAt() - 8_000;
    await delay(askStatusAt - Date.now());
    const lateStatus = await run.status();
    while (Date.now() < Math.min(deadAt() + deadFor / 2, latest)) await delay(200);
    const deadStatus = await run.status();
    while (Date.now() < Math.min(deadAt() + deadFor, latest)) await delay(200);
    const during = await run.metrics();
    const wasDead = deadAt() < Date.now();
    const endedDeadAt = deadAt();

    await scene.proxy.heal();
    const healedAt = Date.now();
    const recovery = wasDead ? await run.recovered(healedAt) : 0;
    const rotationRecovery = HOLDS_UP_ROTATION.has(place)
      ? await run.rotated(healedAt, slot * 1_000)
      : recovery;
    await delay(1_000);
    const all = run.asker.samples;
    const couldBeServed = all.filter(({ at, ms }) =>
      isAlive(all, at + Math.min(ms, world.slack), skew),
    );
    const endAt = Date.now();
    const untold = [
      ...run.healthLies(brokenAt, endAt),
      ...(place === 'client'
        ? clientLies(all)
        : [
            ...run.statusLies(lateStatus, 'while a token was served'),
            ...run.statusLies(deadStatus, 'at the end of the fault'),
            ...run.untoldByMetrics(
              place === 'store' ? 'reads' : 'rotations',
              before,
              during,
              brokenAt,
              healedAt,
            ),
            ...run.untoldMissedSlot(slotAt, Math.min(endedDeadAt, healedAt)),
          ]),
    ];
    return {
      place,
      fault,
      phases: {
        warm: seen(couldBeServed, brokenAt, Math.min(slotAt, endedDeadAt)),
        slot: seen(couldBeServed, slotAt, Math.min(endedDeadAt, healedAt)),
        ...(wasDead && { dead: seen(all, endedDeadAt, healedAt) }),
        recovery: seen(
          all,
          healedAt,
          healedAt + (recovery === 'never' ? PATIENCE : Math.max(recovery, 5_000)),
        ),
      },
      firstAsk: first === undefined ? PATIENCE : first.ms,
      recovery,
      rotationRecovery,
      wasDead,
      exit: await run.exit(),
      untold,
      wrongTokens: wrongTokens(all),
    };
  } finally {
    await run.end();
  }
}

/**
 * A broker, or a client, that starts while the fault lasts; it ends, and comes back to find the broker told to stop: the
 * phases `cold start`, `recovery` and `shutdown`.
 */
export async function coldStart(
  world: World,
  place: Place,
  fault: Fault,
  attempt = 1,
): Promise<CellResult> {
  const name = cellName('cold', place, fault, attempt);
  const scene = await Scene.open(world, name, place, fault);
  await scene.proxy.fail(fault);
  const run = await Run.start(scene);
  try {
    const before = await run.metrics();
    run.asker.ask();
    const startedAt = Date.now();
    await delay(12_000);
    const during = await run.metrics();
    await scene.proxy.heal();
    const healedAt = Date.now();
    const wasDead = !run.asker.samples.some(({ status }) => status === 200);
    const recovery = wasDead ? await run.recovered(healedAt) : 0;
    const untold = [
      ...run.healthLies(startedAt, Date.now()),
      ...(place === 'client'
        ? clientLies(run.asker.samples)
        : run.untoldByMetrics(
            place === 'store' ? 'reads' : undefined,
            before,
            during,
            startedAt,
            healedAt,
          )),
    ];
    await delay(1_000);
    await scene.proxy.fail(fault);
    await delay((world.lives.ttl + 2) * 1_000);
    const exit = await run.exit();
    const all = run.asker.samples;
    return {
      place,
      fault,
      phases: {
        'cold start': seen(all, startedAt, healedAt),
        recovery: seen(all, healedAt, healedAt + (recovery === 'never' ? PATIENCE : recovery)),
      },
      recovery,
      rotationRecovery: recovery,
      wasDead,
      exit,
      untold,
      wrongTokens: wrongTokens(all),
    };
  } finally {
    await run.end();
  }
}

/** Keeps no process alive. */
const delay = <T = void>(milliseconds: number, value?: T): Promise<T> =>
  sleep(milliseconds, value as T, { ref: false });

const cellName = (kind: string, place: Place, fault: Fault, attempt: number): string =>
  `${kind}-${place}-${fault}-${attempt}`.replaceAll(' ', '-');

interface HealthSample {
  readonly at: number;
  /** How long the answer took. */
  readonly ms: number;
  readonly status: number | 'no answer';
  readonly body: Record<string, unknown>;
}

/** A broker that runs, is asked, and whose health is looked at every second. */
class Run {
  readonly #health: HealthSample[] = [];
  readonly #looking: NodeJS.Timeout;
  #hasEnded = false;

  private constructor(
    readonly scene: Scene,
    readonly broker: BrokerProcess,
    readonly asker: Asker,
  ) {
    this.#looking = setInterval(() => void this.#look(), 1_000);
  }

  get slack(): number {
    return this.scene.world.slack;
  }

  static async start(scene: Scene): Promise<Run> {
    const { broker, asker } = await oneAtATime(() => scene.start());
    const run = new Run(scene, broker, asker);
    if (scene.proxy.fault === undefined) asker.ask();
    return run;
  }

  /** Waits for an answer that fits; `undefined` when none came in time. */
  async until(fits: (sample: Sample) => boolean, patience: number): Promise<Sample | undefined> {
    const deadline = Date.now() + patience;
    while (Date.now() < deadline) {
      const found = this.asker.samples.find(fits);
      if (found !== undefined) return found;
      await delay(50);
    }
    return undefined;
  }

  /** How long after an instant a token was served, by a question or an answer of later. */
  async recovered(healedAt: number): Promise<Span> {
    const found = await this.until(
      ({ at, ms, status }) => status === 200 && at + ms >= healedAt,
      PATIENCE,
    );
    return found === undefined ? 'never' : found.at + found.ms - healedAt;
  }

  /**
   * How long after an instant a token was served that had been minted since; 0 if the fault has held no rotation up, so that
   * the next is not due before the next slot.
   */
  async rotated(healedAt: number, slotMs: number): Promise<Span> {
    const lastSlotAt = Math.floor(healedAt / slotMs) * slotMs;
    if (this.asker.samples.some(({ mintedAt = 0 }) => mintedAt >= lastSlotAt)) return 0;
    const found = await this.until(
      ({ mintedAt = 0 }) => mintedAt >= Math.floor(healedAt / 1_000) * 1_000,
      PATIENCE,
    );
    return found === undefined ? 'never' : Math.max(0, found.at + found.ms - healedAt);
  }

  async exit(): Promise<Span> {
    this.asker.rest();
    clearInterval(this.#looking);
    return exitOf(this.broker);
  }

  async end(): Promise<void> {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearInterval(this.#looking);
    await this.asker.stop();
    await this.broker.stop('SIGKILL');
    await this.scene.proxy.close();
  }

  async metrics(): Promise<Metrics> {
    return readMetrics(this.broker.url);
  }

  /** What `status` says, and when it ran. */
  async status(): Promise<StatusSaid | undefined> {
    if (this.scene.place === 'client') return undefined;
    const args = ['--json', 'status', '--url', this.broker.url];
    let from = 0;
    const { stdout } = await oneAtATime(() => {
      from = Date.now();
      return runCommand(args, this.scene.env);
    });
    return { said: stdout, from, to: Date.now() };
  }

  /** Where `status` said otherwise of the running broker than peers were answered who asked while it ran. */
  statusLies(status: StatusSaid | undefined, when: string): readonly string[] {
    if (status === undefined) return [];
    const served = this.#served(
      this.asker.samples.filter(({ at }) => at >= status.from && at <= status.to),
    );
    if (served === undefined) return [];
    let state: unknown;
    try {
      const said = JSON.parse(status.said) as { broker?: { state?: unknown } };
      state = said.broker?.state;
    } catch {
      state = 'no JSON';
    }
    const isServing = state === 'ready' || state === 'degraded';
    if (state === undefined) return [`"status" says nothing of the running broker ${when}`];
    return isServing === served ? [] : [`"status" says ${JSON.stringify(state)} ${when}`];
  }

  /** Where readiness said otherwise than peers were answered who had asked just before or just after. */
  healthLies(from: number, to: number): readonly string[] {
    if (this.scene.place === 'client') return [];
    const lies = this.#health.filter(({ at, ms, status }) => {
      if (at < from || at > to) return false;
      const near = this.asker.samples.filter(
        (one) => one.at > at - NEAR && one.at < at + Math.min(ms, this.slack) + NEAR,
      );
      return near.length >= 4 && this.#served(near) === (status !== 200);
    });
    const said = new Set(lies.map(({ status, body }) => `${status}${codeOf(body)}`));
    return lies.length === 0
      ? []
      : [
          `readiness was ${[...said].join(', ')} against what peers were answered, ${lies.length} times`,
        ];
  }

  /** Whether a slot that was missed for long is told by readiness before the token ends. */
  untoldMissedSlot(slotAt: number, to: number): readonly string[] {
    const isMissed = !this.asker.samples.some(
      ({ at, mintedAt = 0 }) => mintedAt >= slotAt && at < to,
    );
    if (!isMissed || to - slotAt < MISSED_AFTER) return [];
    const last = this.#health.findLast(({ at }) => at < to);
    if (last === undefined) return ['readiness gave no answer'];
    return rotationStatus(last.body) === 'up'
      ? ['readiness said "rotation: up" after a slot was missed']
      : [];
  }

  /**
   * What the metrics did not tell of what happened between two instants.
   *
   * @param failing what must have failed where peers were not served.
   */
  untoldByMetrics(
    failing: 'reads' | 'rotations' | undefined,
    before: Metrics,
    after: Metrics,
    from: number,
    to: number,
  ): readonly string[] {
    const grew = (name: string, fits: (labels: string) => boolean): boolean =>
      sum(after, name, fits) > sum(before, name, fits);
    const has =
      (text: string) =>
      (labels: string): boolean =>
        labels.includes(text);
    const isFailure = (labels: string): boolean => !labels.includes('code="OK"');
    const during = this.asker.samples.filter(({ at }) => at >= from && at < to);
    const wasRefused = during.some(({ status }) => status === 503);
    const wasStale = grew('tokens_served_total', has('STALE'));
    const untold: string[] = [];
    if (wasRefused && !grew('http_requests_total', has('status="5xx"'))) {
      untold.push('no metric counts the peers that were not served');
    }
    // Reads that are only slow do not fail.
    const readsFail = failing === 'reads' && this.scene.fault !== 'latency';
    if (readsFail && (wasRefused || wasStale) && !grew('store_reads_total', isFailure)) {
      untold.push('store_reads_total counts no failure');
    }
    if (
      failing === 'rotations' &&
      wasRefused &&
      !grew('rotations_total', has('result="failed"')) &&
      !grew('provider_mints_total', isFailure)
    ) {
      untold.push('no metric counts the rotations that failed');
    }
    return untold;
  }

  async #look(): Promise<void> {
    const at = Date.now();
    try {
      const response = await fetch(`${this.broker.url}/health/ready`, {
        signal: AbortSignal.timeout(5_000 + this.slack),
      });
      const body = (await response.json()) as Record<string, unknown>;
      this.#health.push({ at, ms: Date.now() - at, status: response.status, body });
    } catch {
      this.#health.push({ at, ms: Date.now() - at, status: 'no answer', body: {} });
    }
  }

  /** Whether all were served at once (true) or none (false). Who was served late on a busy machine leaves it open. */
  #served(samples: readonly Sample[]): boolean | undefined {
    // Who waited for longer may have been served when the fault had ended.
    const outcomes = samples.map(({ status, ms }) => {
      if (status !== 200 || ms > NEAR + this.slack) return false;
      return ms <= NEAR ? true : undefined;
    });
    return outcomes.every((one) => one === outcomes[0]) ? outcomes[0] : undefined;
  }
}

/** Tells a broker to stop, and how long it took; one that does not is killed. */
export async function exitOf(broker: Pick<BrokerProcess, 'stop'>): Promise<Span> {
  const at = Date.now();
  const stopped = broker.stop('SIGTERM').then(() => Date.now() - at);
  const exit = await Promise.race([stopped, delay(EXIT_PATIENCE, 'never' as const)]);
  if (exit === 'never') await broker.stop('SIGKILL');
  return exit;
}

interface StatusSaid {
  readonly said: string;
  readonly from: number;
  readonly to: number;
}

/** Where the client's own status said otherwise than it answered. */
function clientLies(samples: readonly Sample[]): readonly string[] {
  const lies = samples.filter(({ status, usable }) => (status === 200) !== usable);
  return lies.length === 0 ? [] : [`the client's status was wrong ${lies.length} times`];
}

/** Why readiness says no, in brackets. */
function codeOf(body: Record<string, unknown>): string {
  const details = body['details'] as Record<string, { code?: unknown }> | undefined;
  const code = details?.['token']?.code;
  return typeof code === 'string' ? ` (${code})` : '';
}

function rotationStatus(body: Record<string, unknown>): unknown {
  const details = body['details'] as Record<string, { status?: unknown }> | undefined;
  return details?.['rotation']?.status;
}

/** What peers were answered between two instants, by when they asked. */
export function seen(samples: readonly Sample[], from: number, to: number): Seen {
  const within = samples.filter(({ at }) => at >= from && at < to);
  const counts: Record<string, number> = {};
  for (const { status } of within) counts[status] = (counts[status] ?? 0) + 1;
  return { counts, longestWait: Math.max(0, ...within.map(({ ms }) => ms)) };
}

/** Whether a token that had been served before could be served still. Who asks in its last second may be answered when it has passed. */
function isAlive(samples: readonly Sample[], now: number, skew: number): boolean {
  return samples.some(
    ({ at, ms, expiresAt = 0 }) => at + ms <= now && now < expiresAt - (skew + 1) * 1_000,
  );
}

/** What is wrong with tokens that were served, each once. */
export function wrongTokens(samples: readonly Sample[]): readonly string[] {
  return [...new Set(samples.flatMap(({ wrong }) => (wrong === undefined ? [] : [wrong])))];
}

/** Counters and gauges by name and labels. */
export type Metrics = ReadonlyMap<string, number>;

export async function readMetrics(url: string): Promise<Metrics> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.matchAll(/^service_token_broker_([a-z_]+(?:\{[^}]*\})?) (\S+)$/gm);
  return new Map([...lines].map(([, name = '', value]) => [name, Number(value)]));
}

/** The sum of a metric over the labels that fit. */
export function sum(metrics: Metrics, name: string, fits: (labels: string) => boolean): number {
  let total = 0;
  for (const [key, value] of metrics) {
    const [own = '', labels = ''] = key.split('{');
    if (own === name && fits(labels)) total += value;
  }
  return total;
}
