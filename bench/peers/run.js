import { openBuild } from '../build.js';
import { readPageFlags } from '../flags.js';
import { measuredOn, writeIntoPage } from '../page.js';
import { setScene } from '../scene.js';
import { aligned, machine, markdown, table } from '../table.js';
import { installAgent } from './agent.js';
import { measureRoutes, measureVerifiers } from './guards.js';
import { measureOutgoingCalls } from './outgoing-calls.js';
import { installPackages } from './packages.js';
import { measureTokenServers, startUpstream, tokenServers } from './token-servers.js';

const PARTS = {
  tokens: {
    asksServers: true,
    title: 'The token over HTTP',
    measure: (parts, ...rest) => measureTokenServers(parts.servers, ...rest),
  },
  calls: {
    asksServers: true,
    title: 'One outgoing call with its token',
    measure: measureOutgoingCalls,
  },
  verifiers: { title: 'Verify a token', measure: measureVerifiers },
  routes: { title: 'A guarded route of NestJS', measure: measureRoutes },
};

const RATIOS =
  'Medians; in parentheses how many times the first line, the median of the ratios round by round.';
// The AWS SDK's, about this Node.js; the servers that are forked have it from here.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
const tell = (text) => process.stderr.write(`${text}\n`);
const flags = readPageFlags('bench:peers', Object.keys(PARTS));
const build = openBuild(flags.dist);
const packagesSkipped = await installPackages(tell);
const needsAgent = flags.only.some((name) => PARTS[name].asksServers);
const agentSkipped = needsAgent ? await installAgent(tell) : 'nobody asks it';

const results = [];
const scene = await setScene(build);
const upstream = await startUpstream({ dist: flags.dist, folder: scene.folder });
try {
  const servers = tokenServers({ scene, upstream, agentSkipped });
  const parts = { build, scene, upstream, servers, packagesSkipped };
  for (const name of flags.only) {
    const { title, measure } = PARTS[name];
    results.push({ name, title, ...(await measure(parts, flags, tell)) });
  }
} finally {
  await upstream.stop();
  await scene.close();
}

const promises = results.flatMap((result) => result.promises);
const missed = promises.filter(({ met }) => met === false);
console.log(
  `\n${machine()}; ${flags.connections} connections, ${flags.rounds} rounds of ${flags.seconds} s each, ${flags.starts} starts.\n${RATIOS}\n`,
);
for (const { title, tables, notes = [] } of results) {
  console.log([title, ...tables.map(aligned), ...notes, ''].join('\n\n'));
}
console.log(`${table(promises)}

${missed.length === 0 ? 'Every promise is kept.' : `${missed.length} missed: ${missed.map(({ name }) => name).join('; ')}.`}`);

if (flags.write) {
  for (const { name, tables, notes = [] } of results) {
    const said = [`${measuredOn(flags)} ${RATIOS}`, ...tables.map(markdown), ...notes];
    await writeIntoPage('performance.md', `peers-${name}`, said.join('\n\n'));
  }
}
process.exitCode = missed.length === 0 ? 0 : 1;
