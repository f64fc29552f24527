import { ConfigError } from '../../config/config-error.js';
import { BrokerError } from '../../tokens/errors.js';
import { oneLine } from '../../tokens/one-line.js';
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

type ValuesOf<Needs extends readonly Outcome<unknown>[]> = {
  [Index in keyof Needs]: Needs[Index] extends Outcome<infer Value> ? Value : never;
};

/**
 * Makes checks one after the other and keeps their reports. A check names the outcomes it needs, and gets their values;
 * when one of them has none, it is skipped and says which check is to blame.
 */
export class Examination {
  readonly #reports: CheckReport[] = [];

  /** The reports so far, in the order of the checks. */
  get reports(): readonly CheckReport[] {
    return [...this.#reports];
  }

  /** Makes one check. Never rejects: what it throws is its finding. */
  async check<Value, const Needs extends readonly Outcome<unknown>[]>(
    name: string,
    needs: Needs,
    examine: (...values: ValuesOf<Needs>) => Promise<Examined<Value>> | Examined<Value>,
  ): Promise<Outcome<Value>> {
    const missing = needs.find((need) => 'blockedBy' in need);
    if (missing !== undefined && 'blockedBy' in missing) {
      const { blockedBy } = missing;
      this.#reports.push({ check: name, ...skipped(`It depends on "${blockedBy}".`) });
      return { blockedBy };
    }
    const values = needs.map((need) => ('value' in need ? need.value : undefined));
    let examined: Examined<Value>;
    try {
      examined = await examine(...(values as ValuesOf<Needs>));
    } catch (error) {
      examined = failure(error);
    }
    const { value, ...finding } = examined;
    this.#reports.push({ check: name, ...finding });
    return value === undefined ? { blockedBy: name } : { value };
  }
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
