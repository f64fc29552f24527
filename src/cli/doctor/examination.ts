import { ConfigError } from '../../config/check-settings.js';
import { systemClock, type Clock } from '../../tokens/time.js';
import { BrokerError, oneLine } from '../../tokens/errors.js';
import { redactText } from '../../tokens/redaction.js';

/** What a check found. */
export interface Finding {
  /** `skipped`: it was not made, and the message says why. */
  readonly state: 'ok' | 'warning' | 'failed' | 'skipped';
  /** What was found, in whole sentences, on one line. Never holds a token or a secret. */
  readonly message: string;
  /** What belongs to it, on a line each: every mistake of a configuration, every rule that a token was held to. */
  readonly details?: readonly string[];
  /** What to do, where the message does not say it. */
  readonly action?: string;
  /** The stable code of the error behind a failure. */
  readonly code?: string;
}

/** One check's line in the report. */
export interface CheckReport extends Finding {
  readonly check: string;
}

/** A finding, and what later checks need of it. Without a value, the checks that depend on it are skipped. */
export interface Examined<Value> extends Finding {
  readonly value?: Value;
}

/** A check that was made, for the checks that depend on it. */
export type Outcome<Value> = { readonly value: Value } | { readonly blockedBy: string };

type MaybeLater<T> = T | Promise<T>;

type ValuesOf<Needs extends readonly MaybeLater<Outcome<unknown>>[]> = {
  [Index in keyof Needs]: Awaited<Needs[Index]> extends Outcome<infer Value> ? Value : never;
};

/** How long all checks together may take, in milliseconds. */
const TIME_TO_EXAMINE = 7_000;

/**
 * Makes checks side by side, each as soon as what it needs is there, and keeps their reports. A check names the outcomes
 * it needs, and gets their values; when one of them has none, it is skipped and says which check is to blame. What has
 * not answered when the time is over is said to have failed.
 */
export class Examination {
  readonly #reports: Promise<CheckReport>[] = [];
  readonly #over: Promise<'over'>;
  readonly #ended = new AbortController();

  constructor(clock: Clock = systemClock) {
    this.#over = clock.sleep(TIME_TO_EXAMINE, this.#ended.signal).then(
      () => 'over',
      () => 'over',
    );
  }

  /** The reports, in the order in which the checks were asked for; resolves when each was made, or the time is over. */
  async reports(): Promise<readonly CheckReport[]> {
    const reports = await Promise.all(this.#reports);
    this.#ended.abort();
    return reports;
  }

  /** Makes one check. Never rejects: what it throws is its finding. */
  check<Value, const Needs extends readonly MaybeLater<Outcome<unknown>>[]>(
    name: string,
    needs: Needs,
    examine: (...values: ValuesOf<Needs>) => Promise<Examined<Value>> | Examined<Value>,
  ): Promise<Outcome<Value>> {
    const made = this.#make(needs, examine);
    this.#reports.push(made.then(({ finding }) => ({ check: name, ...finding })));
    return made.then(({ value, blockedBy = name }) =>
      value === undefined ? { blockedBy } : { value },
    );
  }

  async #make<Value, const Needs extends readonly MaybeLater<Outcome<unknown>>[]>(
    needs: Needs,
    examine: (...values: ValuesOf<Needs>) => Promise<Examined<Value>> | Examined<Value>,
  ): Promise<Made<Value>> {
    const outcomes = await Promise.all(needs.map(async (need) => need));
    const missing = outcomes.find((need) => 'blockedBy' in need);
    if (missing !== undefined && 'blockedBy' in missing) {
      const { blockedBy } = missing;
      return { finding: skipped(`It depends on "${blockedBy}".`), value: undefined, blockedBy };
    }
    const values = outcomes.map((need) => ('value' in need ? need.value : undefined));
    try {
      const examined = await Promise.race([
        (async () => examine(...(values as ValuesOf<Needs>)))(),
        this.#over,
      ]);
      const { value, ...finding } = examined === 'over' ? noAnswer<Value>() : examined;
      return { finding, value };
    } catch (error) {
      return { finding: failure(error), value: undefined };
    }
  }
}

interface Made<Value> {
  readonly finding: Finding;
  readonly value: Value | undefined;
  /** The check to blame, where this one was skipped. */
  readonly blockedBy?: string;
}

function noAnswer<Value>(): Examined<Value> {
  return {
    ...failed(
      `No answer within ${TIME_TO_EXAMINE / 1000} s.`,
      'See whether it can be reached from here: DNS, firewalls, proxies, VPC endpoints.',
    ),
    code: 'NO_ANSWER',
  };
}

export function ok(message: string, action?: string): Finding {
  return { state: 'ok', message, ...(action !== undefined && { action }) };
}

/** Works for now, and somebody should look at it. */
export function warning(message: string, action?: string): Finding {
  return { state: 'warning', message, ...(action !== undefined && { action }) };
}

export function failed(message: string, action?: string): Finding {
  return { state: 'failed', message, ...(action !== undefined && { action }) };
}

export function skipped(message: string, action?: string): Finding {
  return { state: 'skipped', message, ...(action !== undefined && { action }) };
}

/** What was thrown, as a finding. The messages of the broker's own errors say what to do. */
export function failure(error: unknown): Finding {
  if (error instanceof BrokerError) {
    const message = oneLine(error.message);
    if (!(error instanceof ConfigError)) return { state: 'failed', message, code: error.code };
    // Its message is a list, which nobody reads when it is one line.
    const { lines: details, code } = error;
    return { state: 'failed', message: 'It cannot be used as it is:', details, code };
  }
  const message = error instanceof Error ? error.message : String(error);
  return {
    state: 'failed',
    message: `An unexpected error: ${redactText(oneLine(message))}`,
    code: 'UNEXPECTED',
  };
}
