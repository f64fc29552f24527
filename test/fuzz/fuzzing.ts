import { createHash } from 'node:crypto';
import { BrokerError } from '../../src/tokens/errors.js';
import { fc } from '../support/properties.js';
import { CANARY, cook, dictionary, recipes, type Recipe } from './mutations.js';

/** A parser, and what it must hold to. */
export interface Parser {
  readonly name: string;
  /** Inputs that it accepts. */
  readonly seeds: readonly (string | Uint8Array)[];
  /** What means something in its grammar. */
  readonly words?: readonly string[];
  /**
   * Parses, and compares with a second implementation where there is one: throws a {@link Violation} when it differs.
   *
   * @returns a word for how it ended: an input with a new one becomes a seed.
   */
  readonly run: (input: Buffer) => string | Promise<string>;
  /** The only errors it may throw. Default: none. */
  readonly refusesWith?: readonly (abstract new (...args: never[]) => Error)[];
  /** One run costs more than a millisecond. */
  readonly isSlow?: true;
}

/** A parser did what it must not do. */
export class Violation extends Error {}

export function require(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Violation(what);
}

/** What one parser has been given. */
export interface Tally {
  readonly parser: Parser;
  executions: number;
  /** Spent on it. */
  milliseconds: number;
  /** Its seeds, and the inputs that ended in a new way. */
  readonly inputs: Buffer[];
  readonly endings: Set<string>;
}

export function tallyOf(parser: Parser): Tally {
  return {
    parser,
    executions: 0,
    milliseconds: 0,
    inputs: parser.seeds.map((seed) => Buffer.from(seed)),
    endings: new Set(),
  };
}

const MOST_INPUTS = 1_000;

/** Runs the parser once. @throws {Violation} */
export async function execute({ parser, endings }: Tally, input: Buffer): Promise<boolean> {
  let ending: string;
  try {
    ending = await parser.run(input);
  } catch (error) {
    if (error instanceof Violation) throw error;
    const isRefusal = (parser.refusesWith ?? []).some((type) => error instanceof type);
    if (!isRefusal) {
      throw new Violation(`it threw what it must not throw: ${String(error)}`, { cause: error });
    }
    ending =
      error instanceof BrokerError ? `${error.code} ${wordsOf(error.message)}` : String(error);
    // The stack costs more than the parser, and repeats the message.
    requireClean(error, !endings.has(ending));
  }
  for (const name in Object.prototype) throw new Violation(`Object.prototype got "${name}"`);
  const isNew = !endings.has(ending);
  if (isNew) endings.add(ending);
  return isNew;
}

/** An ending without what differs from one input to the next. */
function wordsOf(message: string): string {
  return message.replaceAll(/\d+/g, '0').slice(0, 200);
}

/** No message, stack, cause or field of an error may show a part of a secret. @throws {Violation} */
function requireClean(error: unknown, withStack: boolean): void {
  for (let current = error, depth = 0; current instanceof Error && depth < 8; depth += 1) {
    const stack = withStack ? (current.stack ?? '') : '';
    const shown = `${current.message}\n${JSON.stringify(current)}\n${stack}`;
    for (let at = 0; at + 10 <= CANARY.length; at += 3) {
      require(!shown.includes(
        CANARY.slice(at, at + 10),
      ), `an error shows a part of a secret: ${current.name}`);
    }
    current = current.cause;
  }
}

/**
 * Gives a parser so many inputs, drawn from a seed: the same ones each time. A failure names the input, made as small as it
 * can be, and how to run it again.
 */
export async function fuzz(tally: Tally, executions: number, seed: number): Promise<void> {
  const { parser, inputs } = tally;
  const words = dictionary(parser.words ?? []);
  // Not changed while the batch runs: a recipe must mean the same input when a failure is made smaller.
  const seeds = [...inputs];
  const property = fc.asyncProperty(recipes, async (recipe: Recipe) => {
    const input = cook(recipe, seeds, words);
    const isNew = await execute(tally, input);
    tally.executions += 1;
    if (isNew && inputs.length < MOST_INPUTS) inputs.push(input);
  });
  const startedAt = performance.now();
  const result = await fc.check(property, { seed, numRuns: executions, endOnFailure: false });
  tally.milliseconds += performance.now() - startedAt;
  if (!result.failed) return;
  const [recipe] = result.counterexample ?? [];
  const input = recipe === undefined ? Buffer.alloc(0) : cook(recipe, seeds, words);
  throw new Violation(
    `${parser.name}: ${String(result.errorInstance)}\n` +
      `the input in base64, to be kept in test/fuzz/fuzz.test.ts: ${input.toString('base64')}\n` +
      `as text: ${JSON.stringify(input.toString('latin1')).slice(0, 2_000)}`,
    { cause: result.errorInstance },
  );
}

/** The seed of one batch of one parser. */
export function seedOf(seed: number, name: string, batch: number): number {
  return createHash('sha256').update(`${seed} ${name} ${batch}`).digest().readInt32BE();
}
