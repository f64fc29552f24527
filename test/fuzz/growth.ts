import { Violation, type Parser } from './fuzzing.js';
import { dictionary } from './mutations.js';

/** One way in which an input grows: a beginning, a piece that is repeated, an end. */
export interface Growth {
  readonly before: Buffer;
  readonly piece: Buffer;
  readonly after: Buffer;
}

/** What the time of a quadratic parser would be far above, and that of a linear one far below, in milliseconds. */
const SUSPICIOUS = 60;

/** Four times the input may take so many times as long: 4 were linear, 16 quadratic. */
const MOST = 9;

/** The beginnings are those of a valid input, so that the parser comes to the piece. */
export function growthsOf(parser: Parser): readonly Growth[] {
  const seeds = parser.seeds.map((seed) => Buffer.from(seed));
  const beginnings = [Buffer.alloc(0), ...seeds.map((seed) => seed.subarray(0, seed.length / 2))];
  const pieces = new Map(
    dictionary(parser.words ?? []).map((word) => [word.toString('hex'), word]),
  );
  return beginnings.flatMap((before) =>
    [...pieces.values()].flatMap((piece) =>
      ['', '!'].map((end) => ({ before, piece, after: Buffer.from(end) })),
    ),
  );
}

function grown({ before, piece, after }: Growth, size: number): Buffer {
  const times = Math.ceil(size / piece.length);
  return Buffer.concat([before, Buffer.alloc(times * piece.length, piece), after]);
}

/** Processor time, which other processes of the machine do not lengthen; the least of several, in milliseconds. */
async function timeOf(parser: Parser, input: Buffer, tries: number): Promise<number> {
  let least = Infinity;
  for (let left = tries; left > 0; left -= 1) {
    const before = process.cpuUsage();
    try {
      await parser.run(input);
    } catch (error) {
      // Refused, or what only inputs of this kind bring out: both are found by the inputs that were changed.
      if (error instanceof RangeError) throw new Violation(`${parser.name}: ${String(error)}`);
    }
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1_000);
  }
  return least;
}

/**
 * That the time of a parser grows no faster than its input. Two measurements have to agree before it fails: one that takes
 * long, and that four times the input takes far more than four times as long, the least of five each.
 *
 * @throws {Violation}
 */
export async function requireLinear(parser: Parser, growth: Growth, size: number): Promise<void> {
  if ((await timeOf(parser, grown(growth, size), 1)) < SUSPICIOUS) return;
  const short = await timeOf(parser, grown(growth, size / 4), 5);
  const long = await timeOf(parser, grown(growth, size), 5);
  if (long < SUSPICIOUS || long / short < MOST) return;
  throw new Violation(
    `${parser.name}: ${JSON.stringify(growth.piece.toString())} repeated to ${size} bytes takes ${long} ms, and ${short} ms for a quarter`,
  );
}
