import { BrokerError } from '../tokens/errors.js';

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

  constructor(mistakes: readonly ConfigMistake[]) {
    const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`;
    const lines = mistakes.map((mistake) => `  - ${describe(mistake)}`);
    super(
      'CONFIG_INVALID',
      'misconfigured',
      `The configuration has ${count}:\n${lines.join('\n')}\n` +
        'Correct them and start again; "service-token-broker serve --help" lists every setting.',
    );
    this.mistakes = mistakes;
  }
}

function describe({ name, source, given, problem, allowed }: ConfigMistake): string {
  const from = source === undefined ? '' : ` (${source})`;
  const what = given === undefined ? '' : ` is ${given}`;
  const why = problem === undefined ? '' : `: ${problem}`;
  return `${name}${from}${what}${why}. Allowed: ${allowed}.`;
}
