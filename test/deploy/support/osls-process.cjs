// Runs osls several times in one process: it loads a thousand files, and has its configuration's schema compiled, which
// takes most of a run. Each message is a run, and its answer is what the run ended with.
const path = require('node:path');

const OSLS = path.dirname(require.resolve('osls/package.json'));
/** What is the same in each run: packages that osls uses, and its compiled schema. Everything else of osls starts anew. */
const KEPT = /\/osls\/node_modules\/|\/resolve-ajv-validate\.js$/;

/** Text of both outputs, of the present run. */
let output = '';
for (const stream of [process.stdout, process.stderr]) {
  stream.write = (text, ...rest) => {
    output += text;
    const done = rest.at(-1);
    if (typeof done === 'function') process.nextTick(done);
    return true;
  };
}

process.on('message', ({ folder, args }) => {
  for (const file of Object.keys(require.cache)) {
    const name = file.replaceAll('\\', '/');
    if (name.includes('/osls/') && !KEPT.test(name)) delete require.cache[file];
  }
  output = '';
  process.exitCode = undefined;
  process.env.HOME = folder;
  process.chdir(folder);
  process.argv.splice(1, process.argv.length, `${OSLS}/bin/serverless.js`, ...args);
  // As a process of its own would, the run ends when nothing is left to do.
  process.channel.unref();
  process.once('beforeExit', () => {
    process.channel.ref();
    for (const name of process.eventNames())
      if (!before.has(name)) process.removeAllListeners(name);
    process.send({ code: process.exitCode ?? 0, output });
  });
  require(`${OSLS}/scripts/serverless.js`);
});
/** What the process itself listens to. */
const before = new Set(process.eventNames());
