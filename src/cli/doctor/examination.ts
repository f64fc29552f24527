import { ConfigError } from '../../config/config-error.js';
import { BrokerError, oneLine } from '../../tokens/errors.js';
import { redactText } from '../../tokens/redaction.js';
import { systemClock, type Clock } from '../../tokens/time.js';

/** What a check found. */
export interface Finding {
  /** `skipped`: the check was not made, and the message says why. */
  readonly state: 'ok' | 'warning' | 'failed' | 'skipped';
  /** What was found, in whole sentences, on one line. Never holds a token or a secret. */
  readonly message: string;
  /** One line each: every mistake of a configuration, every rule that a token was held to. */
  readonly details?: readonly string[];
  /** What to do, where the message does not say it. */
  readonly action?: string;
  /** The stable code of the error behind a failure. */
  readonly code?: string;
}

/** A check and what it found. */
export interface CheckReport extends Finding {
  readonly check: string;
  /** The check to blame, where this one was skipped because it depends on it. */
  readonly blockedBy?: string;
}

/** A finding, and its value for the checks that depend on it. Without a value they are skipped. */
export interface Examined<Value> extends Finding {
  readonly value?: Value;
}

/** What a check passes on to those that depend on it: its value, or the check to blame. */
export type Outcome<Value> = { readonly value: Value } | { readonly blockedBy: string };

type MaybeLater<T> = T | Promise<T>;

type ValuesOf<Needs extends readonly MaybeLater<Outcome<unknown>>[]> = {
  [Index in keyof Needs]: Awaited<Needs[Index]> extends Outcome<infer Value> ? Value : never;
};

/** How long all checks together may take, in milliseconds. */
const TIME_TO_EXAMINE = 7_000;

/**
 * Makes checks side by side, each as soon as what it needs is there, and keeps their reports. A check names the outcomes
 * it needs, and gets their values; when one of them has none, it is skipped and names the check to blame. A check that
 * has not ended when the time is over has failed.
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
    this.#reports.push(made.then(({ value: _value, ...found }) => ({ check: name, ...found })));
    return made.then(({ value, blockedBy = name }) =>
      value === undefined ? { blockedBy } : { value },
    );
  }

  async #make<Value, const Needs extends readonly MaybeLater<Outcome<unknown>>[]>(
    needs: Needs,
    examine: (...values: ValuesOf<Needs>) => Promise<Examined<Value>> | Examined<Value>,
  ): Promise<Examined<Value> & Pick<CheckReport, 'blockedBy'>> {
    const values: unknown[] = [];
    for (const outcome of await Promise.all(needs.map(async (need) => need))) {
      if ('blockedBy' in outcome) {
        const { blockedBy } = outcome;
        return { ...skipped(`It depends on "${blockedBy}".`), blockedBy };
      }
      values.push(outcome.value);
    }
    try {
      const examined = (async () => examine(...(values as ValuesOf<Needs>)))();
      const first = await Promise.race([examined, this.#over]);
      return first === 'over' ? NO_ANSWER : first;
    } catch (error) {
      return failure(error);
    }
  }
}

const NO_ANSWER: Finding = {
  state: 'failed',
  message: `No answer within ${TIME_TO_EXAMINE / 1000} s.`,
  action: 'See whether it can be reached from here: DNS, firewalls, proxies, VPC endpoints.',
  code: 'NO_ANSWER',
};

const findingOf =
  (state: Finding['state']) =>
  (message: string, action?: string): Finding => ({
    state,
    message,
    ...(action !== undefined && { action }),
  });

export const ok = findingOf('ok');
/** It works for now, and somebody should look at it. */
export const warning = findingOf('warning');
export const failed = findingOf('failed');
export const skipped = findingOf('skipped');

/** An error as a finding. The messages of the broker's own errors say what to do. */
export function failure(error: unknown): Finding {
  if (error instanceof BrokerError) {
    const message = oneLine(error.message);
    if (!(error instanceof ConfigError)) return { state: 'failed', message, code: error.code };
    // Its message is a list, which is unreadable on one line.
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
