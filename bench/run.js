import { openBuild } from './build.js';
import { clientCallRows } from './client-calls.js';
import { clientTokenRows } from './client-token.js';
import { readBenchFlags } from './flags.js';
import { measureHours } from './hour.js';
import { lambdaRows } from './lambda.js';
import { measureLoad } from './load.js';
import { guardRows } from './guard.js';
import { measureManyTokens } from './many-tokens.js';
import { measurePeers } from './peers.js';
import { measureProduction } from './production.js';
import { measureStarts } from './start.js';
import { measureStatusPage } from './status-page.js';
import { machine, table } from './table.js';
import { traceRows } from './traces.js';
import { verificationRows } from './verification.js';

const tell = (text) => process.stderr.write(`${text}\n`);

const parts = {
  load: () => measureLoad(build, flags, tell),
  hour: () => measureHours(build, tell),
  start: () => measureStarts(build, flags, tell),
  production: () => measureProduction(build, flags, tell),
  peers: () => measurePeers(build, flags, tell),
  'status-page': () => measureStatusPage(build, flags, tell),
  'many-tokens': () => measureManyTokens(build, flags, tell),
  verification: () => verificationRows({ build, rounds: flags.rounds, tell }),
  guard: () => guardRows(build, flags, tell),
  traces: () => traceRows(build, flags, tell),
  'client-token': () => clientTokenRows({ build, rounds: flags.rounds, tell }),
  'client-calls': () => clientCallRows({ build, rounds: flags.rounds, tell }),
  lambda: () => lambdaRows(build, flags, tell),
};
const flags = readBenchFlags(Object.keys(parts));
const build = openBuild(flags.dist);

const rows = [];
for (const name of flags.only) rows.push(...(await parts[name]()));

const missed = rows.filter(({ met }) => met === false);
console.log(`
${machine()}
load: ${flags.connections} connections, ${flags.rounds} rounds of ${flags.seconds} s each; starts: ${flags.starts}
Medians, in parentheses the least and the greatest; a ratio is the median of the ratios round by round.

${table(rows)}

${missed.length === 0 ? 'Every target is met.' : `${missed.length} missed: ${missed.map(({ name }) => name).join('; ')}.`}`);
process.exitCode = missed.length === 0 ? 0 : 1;
