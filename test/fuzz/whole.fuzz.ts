import { afterAll, expect, test } from '@jest/globals';
import { writeSync } from 'node:fs';
import { temporaryFolders } from '../support/temporary-folder.js';
import { backupParser, FILE_PARSERS } from './file-parsers.js';
import { fuzz, seedOf, tallyOf, Violation, type Tally } from './fuzzing.js';
import { growthsOf, requireLinear } from './growth.js';
import { REQUEST_PARSERS } from './request-parsers.js';
import { TOKEN_PARSERS } from './token-parsers.js';

/**
 * The long form: `npm run fuzz`. `FUZZ_SECONDS` is how long (default 60), `FUZZ_SEED` a whole number (default: of the clock),
 * which draws the same inputs in the same order. Every failure is printed with its input when it is found.
 */
const seconds = Number(process.env['FUZZ_SECONDS'] ?? '60');
const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000_000);
if (!(seconds > 0) || !Number.isInteger(seed)) {
  throw new Error('FUZZ_SECONDS must be a number of seconds, and FUZZ_SEED a whole number.');
}

const newFolder = temporaryFolders('fuzz');
const tallies: Tally[] = [];

/** To standard output itself: jest would put where it was written under each line. */
const say = (line: string): void => void writeSync(1, `${line}\n`);

/** How many inputs a parser gets in its turn: a second's worth at most. */
const BATCH = 4_000;
const SLOW_BATCH = 250;
const SLOWEST_BATCH = 25;

/** After so many failures a parser gets no more turns. */
const MOST_FAILURES = 3;

/** Measures how the parser's time grows, by some of the pieces at each turn. */
async function measure({ parser }: Tally, turn: number): Promise<void> {
  const growths = growthsOf(parser);
  const each = 10;
  for (let at = 0; at < each; at += 1) {
    const growth = growths[(turn * each + at) % growths.length];
    if (growth !== undefined) await requireLinear(parser, growth, 16_384);
  }
}

afterAll(() => {
  const widest = Math.max(...tallies.map(({ parser }) => parser.name.length));
  say(`\n${'parser'.padEnd(widest)}  executions  a second  endings`);
  for (const { parser, executions, milliseconds, endings } of tallies) {
    const columns = [executions, Math.round((executions * 1_000) / milliseconds), endings.size];
    const [count, rate, kinds] = columns.map(String);
    say(
      `${parser.name.padEnd(widest)}  ${count?.padStart(10)}  ${rate?.padStart(8)}  ${kinds?.padStart(7)}`,
    );
  }
  const total = tallies.reduce((sum, { executions }) => sum + executions, 0);
  say(
    `${'all'.padEnd(widest)}  ${String(total).padStart(10)}\nFUZZ_SEED=${seed} FUZZ_SECONDS=${seconds}`,
  );
});

test(
  'no parser does what it must not do',
  async () => {
    say(`FUZZ_SEED=${seed} FUZZ_SECONDS=${seconds}`);
    const backups = await backupParser(await newFolder());
    tallies.push(...[...TOKEN_PARSERS, ...REQUEST_PARSERS, ...FILE_PARSERS, backups].map(tallyOf));
    const failures = new Map<string, number>();
    const report = (name: string) => (error: unknown) => {
      if (!(error instanceof Violation)) throw error;
      failures.set(name, (failures.get(name) ?? 0) + 1);
      say(`\n${error.message}\n`);
    };
    const until = performance.now() + seconds * 1_000;
    for (let batch = 0; performance.now() < until; batch += 1) {
      for (const tally of tallies) {
        const { name, isSlow } = tally.parser;
        if ((failures.get(name) ?? 0) >= MOST_FAILURES) continue;
        if (tally.parser !== backups) await measure(tally, batch).catch(report(name));
        const size =
          tally.parser === backups ? SLOWEST_BATCH : isSlow === true ? SLOW_BATCH : BATCH;
        await fuzz(tally, size, seedOf(seed, name, batch)).catch(report(name));
        if (performance.now() >= until) break;
      }
    }
    expect([...failures]).toEqual([]);
    expect(tallies.filter(({ executions }) => executions === 0)).toEqual([]);
  },
  seconds * 1_000 + 120_000,
);
