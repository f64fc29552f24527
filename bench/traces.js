import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { STARTS, measureStart } from './guard.js';
import { median, pairedRatio, spread } from './statistics.js';
import { microseconds, number, ratio, withSpread } from './table.js';
import { AUDIENCE, createIssuer, ISSUER } from './verification-tokens.js';

/** Of the processor time without any: what two equal applications differ by, and no more. */
const MOST_TIME = 1.03;
/** A build finds the packages from here. */
const UNTRACED = fileURLToPath(new URL('../node_modules/.cache/untraced', import.meta.url));
const REQUESTS = 1000;
const TURNS = 16;

/** What tracing.js exports, with nothing in it. */
const NOTHING = {
  isTraced: '() => false',
  traced: '(operation, run) => run(SILENT)',
  annotateSpan: '() => undefined',
  hasSpan: '() => false',
  traceHeaders: '() => ({})',
  withoutSpans: '(run) => run()',
  flushTelemetry: '() => Promise.resolve()',
};

/** The build without tracing: its one file that knows of OpenTelemetry does nothing. @returns the guard's module in it. */
function compileOut(dist) {
  rmSync(UNTRACED, { recursive: true, force: true });
  cpSync(dist, UNTRACED, { recursive: true });
  const file = join(UNTRACED, 'tokens/tracing.js');
  const known = [...readFileSync(file, 'utf8').matchAll(/^export (?:async )?function (\w+)/gm)];
  const missing = known.map(([, name]) => name).filter((name) => !(name in NOTHING));
  if (missing.length > 0) throw new Error(`What is ${missing.join(', ')} without tracing?`);
  const lines = Object.entries(NOTHING).map(([name, code]) => `export const ${name} = ${code};`);
  writeFileSync(
    file,
    ['const SILENT = { set: () => undefined, fail: () => undefined };', ...lines].join('\n'),
  );
  return join(UNTRACED, 'guard/index.js');
}

/** The guarded route without an OpenTelemetry SDK, and with tracing compiled out, in turn under the same load. */
export async function traceRows(build, flags, tell) {
  const issuer = createIssuer('RS256');
  const dist = resolve(build.cli, '..');
  const guards = [join(dist, 'guard/index.js'), compileOut(dist)];
  const kinds = guards.map((file) => ({ guard: pathToFileURL(file).href }));
  const shared = {
    issuer: { issuer: ISSUER, audiences: AUDIENCE, profile: 'rfc9068' },
    jwks: issuer.jwks,
  };
  const load = {
    authorizations: [`Bearer ${issuer.tokens(1)[0].latin1Slice()}`],
    connections: flags.connections,
    requests: REQUESTS,
    turns: TURNS,
  };
  const measured = kinds.map(() => []);
  const starts = flags.rounds * STARTS;
  for (let start = 0; start < starts; start += 1) {
    // The order changes: the first of two has it a little easier.
    const order = start % 2 === 0 ? [0, 1] : [1, 0];
    const turns = await measureStart(
      order.map((index) => kinds[index]),
      shared,
      load,
    );
    order.forEach((index, at) => measured[index].push(...turns[at]));
    const [own, without] = measured.map((all) =>
      number(median(all.slice(-TURNS).map(({ perSecond }) => perSecond))),
    );
    tell(`traces: start ${start + 1} of ${starts}: ${own}, ${without} with tracing compiled out`);
  }
  const row = (figure, format) => {
    const [own, without] = measured.map((all) => all.map((turn) => turn[figure]));
    return {
      measured: withSpread(spread(own), format),
      reference: withSpread(spread(without), format),
      quotient: pairedRatio(own, without),
    };
  };
  const name = 'guarded route without an OpenTelemetry SDK, and with tracing compiled out';
  const { quotient: share, ...perSecond } = row('perSecond', number);
  const rows = [{ name: `${name}: requests per second`, ...perSecond, ratio: ratio(share) }];
  if (measured.flat().some(({ processor }) => processor === undefined)) return rows;
  // A busy machine takes time from one and the other, and no processor time.
  const { quotient, ...processor } = row('processor', microseconds);
  rows.push({
    name: `${name}: processor time per request`,
    ...processor,
    ratio: ratio(quotient),
    target: `at most ${MOST_TIME} times`,
    met: quotient <= MOST_TIME,
  });
  return rows;
}
