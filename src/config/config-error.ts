import { BrokerError, oneLine } from '../tokens/errors.js';
import { redactText } from '../tokens/redaction.js';

/** A mistake in the configuration. */
export interface ConfigMistake {
  /** The environment variable, or `BROKER_CONFIG` for a mistake of the file itself. */
  readonly name: string;
  /** The file and its key, when the value came from there. */
  readonly source?: string;
  /** The given value as text; `(hidden)` for secret settings, `undefined` when there was none. */
  readonly given?: string;
  /** What is wrong with it, when `allowed` does not show it. */
  readonly problem?: string;
  /** What is allowed. */
  readonly allowed: string;
  /** What is wrong as a whole sentence without its full stop, instead of `NAME is VALUE`. */
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
  /** The mistakes for people, a sentence or two each, followed by the hints. */
  readonly lines: readonly string[];

  /** @param hints possible causes that are no mistakes: misspelt variables. One sentence each. */
  constructor(mistakes: readonly ConfigMistake[], hints: readonly string[] = []) {
    const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`;
    const sentences = mistakes.map((mistake) => oneLine(describe(mistake)));
    const notes = hints.map(oneLine);
    super(
      'CONFIG_INVALID',
      'misconfigured',
      [
        `The configuration has ${count}:`,
        ...sentences.map((sentence) => `  - ${sentence}`),
        // Not in the list: the count above it is of mistakes.
        ...notes.map((note) => `Note: ${note}`),
        'Correct them and start again; "service-token-broker serve --help" lists every setting.',
      ].join('\n'),
    );
    this.lines = [...sentences, ...notes];
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

/** The name that was probably meant; `undefined` when none is near. */
export function suggest(given: string, names: readonly string[]): string | undefined {
  const wanted = plain(given);
  let best: { name: string; distance: number } | undefined;
  for (const name of names) {
    const distance = editDistance(wanted, plain(name));
    if (best === undefined || distance < best.distance) best = { name, distance };
  }
  // A third of the letters wrong is a slip; more is another word.
  return best !== undefined && best.distance <= Math.floor(wanted.length / 3)
    ? best.name
    : undefined;
}

/** The same for `secretStore`, `secret-store` and `BROKER_SECRET_STORE`. */
function plain(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '')
    .replace(/^broker(?=.)/, '');
}

/** How many letters must be added, removed, replaced or swapped with their neighbour (optimal string alignment). */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number): number => rows[row]?.[column] ?? Infinity;
  for (let row = 1; row <= from.length; row += 1) {
    rows[row] = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const same = from[row - 1] === to[column - 1];
      const swapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      (rows[row] as number[])[column] = Math.min(
        at(row - 1, column) + 1,
        at(row, column - 1) + 1,
        at(row - 1, column - 1) + (same ? 0 : 1),
        swapped ? at(row - 2, column - 2) + 1 : Infinity,
      );
    }
  }
  return at(from.length, to.length);
}

/** A given value, shortened, and without a secret that was pasted into the wrong setting. */
export function shown(text: string): string {
  const safe = redactText(text);
  return JSON.stringify(safe.length > 80 ? `${safe.slice(0, 80)}…` : safe);
}

/** A list of several bad items is one mistake. */
export function oneEach(mistakes: readonly ConfigMistake[]): readonly ConfigMistake[] {
  const seen = new Map(mistakes.map((mistake) => [JSON.stringify(mistake), mistake]));
  return [...seen.values()];
}
