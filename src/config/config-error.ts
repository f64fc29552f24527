import { BrokerError } from '../tokens/errors.js';
import { oneLine } from '../tokens/one-line.js';

/** One mistake in the configuration. */
export interface ConfigMistake {
  /** The environment variable, or `BROKER_CONFIG` for a mistake of the file itself. */
  readonly name: string;
  /** Where the value came from, when that is not the environment: the file and its key. */
  readonly source?: string;
  /** What was given, as text; `(hidden)` for secret settings, `undefined` when nothing was. */
  readonly given?: string;
  /** What is wrong with it, when that is not plain from `allowed`. */
  readonly problem?: string;
  /** What is allowed. */
  readonly allowed: string;
  /** What is wrong as a whole sentence without its full stop, where `NAME is VALUE` would not say it. */
  readonly sentence?: string;
}

/**
 * The configuration cannot be used. It carries every mistake, not only the first.
 *
 * `code` is `CONFIG_INVALID`, `kind` is `misconfigured`. Secret values are never shown.
 */
export class ConfigError extends BrokerError {
  declare readonly code: 'CONFIG_INVALID';
  /** Every mistake, in the order of the settings. */
  readonly mistakes: readonly ConfigMistake[];
  /** The mistakes for people, one sentence or two each; behind them the hints. */
  readonly lines: readonly string[];

  /** @param hints what is no mistake, and may be why there is one: misspelt variables. One sentence each. */
  constructor(mistakes: readonly ConfigMistake[], hints: readonly string[] = []) {
    const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`;
    const told = mistakes.map((mistake) => oneLine(describe(mistake)));
    const beside = hints.map(oneLine);
    super(
      'CONFIG_INVALID',
      'misconfigured',
      [
        `The configuration has ${count}:`,
        ...told.map((line) => `  - ${line}`),
        // Not in the list, whose lines are counted: what has no effect is no mistake.
        ...beside.map((hint) => `Note: ${hint}`),
        'Correct them and start again; "service-token-broker serve --help" lists every setting.',
      ].join('\n'),
    );
    this.lines = [...told, ...beside];
    this.mistakes = mistakes;
  }
}

function describe({ name, source, given, problem, allowed, sentence }: ConfigMistake): string {
  if (sentence !== undefined) {
    return `${sentence}${sentence.endsWith('?') ? '' : '.'} Allowed: ${allowed}.`;
  }
  const from = source === undefined ? '' : ` (${source})`;
  const what = given === undefined ? '' : ` is ${given}`;
  const why = problem === undefined ? '' : `: ${problem}`;
  return `${name}${from}${what}${why}. Allowed: ${allowed}.`;
}
