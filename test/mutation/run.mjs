// npm run mutation [-- ROOM...] [--only=FILE] [--fresh]: what the tests of a room would not notice. Changes the code of the
// room in each way that Stryker's mutators know, and reports the changes that no test fails for. See docs/reliability.md.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { isQuick } from './pace.mjs';
import { ROOMS } from './rooms.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const cache = join(root, 'node_modules/.cache/mutation');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, fresh: { type: 'boolean', default: false } },
});
const only = values.only && relative(root, join(process.cwd(), values.only));
const rooms = Object.keys(ROOMS).filter((room) =>
  only === undefined
    ? positionals.length === 0 || positionals.includes(room)
    : only.startsWith(`src/${room}/`),
);
if (rooms.length === 0)
  throw new Error(`No such room; there are ${Object.keys(ROOMS).join(', ')}.`);

/** Installs Stryker's instrumenter as locked, outside the project's own packages. */
async function installInstrumenter() {
  const lock = 'package-lock.json';
  const here = fileURLToPath(new URL('.', import.meta.url));
  const known = join(cache, lock);
  if (!existsSync(known) || read(known) !== read(join(here, lock))) {
    for (const name of ['package.json', lock]) cpSync(join(here, name), join(cache, name));
    const options = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'];
    execFileSync('npm', options, {
      cwd: cache,
      stdio: 'inherit',
      shell: process.platform === 'win32',
    });
  }
  const entry = join(cache, 'node_modules/@stryker-mutator/instrumenter/dist/src/index.js');
  const { Instrumenter } = await import(pathToFileURL(entry).href);
  const log = { isDebugEnabled: () => false, debug() {}, info() {}, warn: console.warn };
  return new Instrumenter(log);
}

async function mutateRoom(room) {
  const started = Date.now();
  const sources = filesUnder(`src/${room}`, '.ts').filter((file) => !only || file === only);
  const left = new Set(ROOMS[room].filter((place) => place.startsWith('!')));
  const tests = ROOMS[room]
    .filter((place) => !left.has(place))
    .flatMap((place) => (place.endsWith('.ts') ? [place] : filesUnder(place, '.test.ts')))
    .filter((test) => !left.has(`!${test}`));
  const hashes = Object.fromEntries([...sources, ...tests].map((file) => [file, hashOf(file)]));
  const mutants = await instrument(sources);
  const kept = join(cache, `${room}.json`);
  const before = !values.fresh && existsSync(kept) ? JSON.parse(read(kept)) : {};
  const save = () => {
    const results = Object.fromEntries(
      mutants.filter(({ status }) => status).map((one) => [one.key, resultOf(one, hashes)]),
    );
    writeFileSync(kept, JSON.stringify({ ...before, ...results }));
  };
  for (const mutant of mutants) Object.assign(mutant, reusable(before[mutant.key], hashes));

  const reached = {};
  for (const test of tests) reached[test] = await reachedBy(test, hashes);
  noteReached(mutants, Object.values(reached));
  // The quick ones first, which leave little to the others.
  tests.sort((one, other) => meanOf(reached[one]) - meanOf(reached[other]));
  // What tests reach as they load comes last: it costs a loading for each mutant.
  for (const pace of ['quick', 'slow', 'loading']) {
    for (const test of tests) {
      await judgeBy(test, { pace, mutants, reached: reached[test], save });
      progress(room, `${test}, ${pace}`, mutants);
    }
  }
  for (const mutant of mutants) mutant.status ??= mutant.isReached ? 'Survived' : 'NoCoverage';
  save();
  print(room, sources, mutants, Math.round((Date.now() - started) / 1000));
}

/** Writes the code with all mutants in it, each behind a switch. */
async function instrument(sources) {
  const files = sources.map((file) => ({
    name: join(root, file),
    mutate: true,
    content: read(join(root, file)),
  }));
  const options = { plugins: null, ignorers: [], excludedMutations: [] };
  const { files: mutated, mutants } = await instrumenter.instrument(files, options);
  const code = Object.fromEntries(mutated.map(({ name, content }) => [name, content]));
  writeFileSync(scratch('code'), JSON.stringify({ code }));
  const text = Object.fromEntries(files.map(({ name, content }) => [name, content.split('\n')]));
  return mutants
    .filter(({ status }) => status !== 'Ignored')
    .map(({ id, fileName, location: { start, end }, mutatorName, replacement }) => {
      const file = relative(root, fileName);
      const lines = text[fileName].slice(start.line, end.line + 1);
      lines[lines.length - 1] = lines.at(-1).slice(0, end.column);
      lines[0] = lines[0].slice(start.column);
      const place = `${file}:${start.line + 1}:${start.column + 1}-${end.line + 1}:${end.column + 1}`;
      const key = `${place} ${mutatorName} ${replacement}`;
      return {
        id,
        file,
        key,
        line: start.line + 1,
        mutatorName,
        original: lines.join('\n'),
        replacement,
      };
    });
}

/** What to keep of a mutant: the files that the judgement depends on. */
const resultOf = ({ status, by, test, file, isReached }, hashes) => ({
  status,
  by,
  test,
  isReached,
  source: hashes[file],
  tests: by === undefined ? hashOfAll(hashes) : hashes[by],
});

/** @returns a judgement of an earlier run, when neither the file nor the test has changed since. */
function reusable(known, hashes) {
  if (known === undefined) return {};
  const { status, by, test, isReached, source, tests } = known;
  if (!Object.values(hashes).includes(source)) return {};
  const same = by === undefined ? hashOfAll(hashes) === tests : hashes[by] === tests;
  return same ? { status, by, test, isReached } : {};
}

/** @returns what each test of a file reaches without a mutant, and what it takes. */
async function reachedBy(test, hashes) {
  const file = join(cache, `reached-${reachedName(test, hashes)}.json`);
  if (existsSync(file)) return JSON.parse(read(file));
  const { lines } = await runJest(test, { mutants: [] });
  const { reached } = lines.find((line) => line.reached) ?? {};
  if (reached === undefined) throw new Error(`${test} fails without a mutant: ${lines[0]?.failed}`);
  writeFileSync(file, JSON.stringify(reached));
  return reached;
}

/** Milliseconds that a test of the file takes. */
function meanOf({ tests }) {
  return tests.reduce((sum, { waited, worked }) => sum + waited + worked, 0) / tests.length;
}

function noteReached(mutants, reached) {
  const ids = new Set();
  for (const { tests, atLoad } of reached) {
    for (const id of atLoad) ids.add(id);
    for (const { hits } of tests) for (const id of Object.keys(hits)) ids.add(id);
  }
  for (const mutant of mutants) mutant.isReached = ids.has(mutant.id);
}

/** Judges what is left by one test file, in as many processes as it takes: one ends when a mutant does not. */
async function judgeBy(test, { pace, mutants, reached, save }) {
  const reachable = new Set(
    pace === 'loading'
      ? reached.atLoad
      : reached.tests
          .filter((one) => isQuick(one) === (pace === 'quick'))
          .flatMap(({ hits }) => Object.keys(hits)),
  );
  const asked = new Set();
  const before = new Set(mutants.filter(({ status }) => status !== undefined));
  for (;;) {
    const left = mutants
      .filter(({ id, status }) => status === undefined && reachable.has(id) && !asked.has(id))
      .map(({ id }) => id);
    if (left.length === 0) return;
    const { lines, isEnded } = await runJest(test, { pace, mutants: left, reached });
    let begun;
    for (const line of lines) {
      if (line.failed && pace === 'loading') return forget(mutants, before, test);
      if (line.failed) throw new Error(`${test} fails without a mutant: ${line.failed}`);
      if (line.begun) begun = line.begun;
      if (line.ended ?? line.unclean) begun = undefined;
      // Once more in a new process, and then it is left.
      if (line.unclean && asked.has(`unclean ${line.unclean}`)) asked.add(line.unclean);
      if (line.unclean) asked.add(`unclean ${line.unclean}`);
      if (line.ended) settle(mutants, line, test, asked);
    }
    if (begun !== undefined) {
      settle(mutants, { ended: begun, status: isEnded ? 'Timeout' : 'Killed' }, test, asked);
    }
    save();
    if (lines.at(-1)?.done) return;
  }
}

/** A mutant has left something behind that no new load undoes: what this file found may be due to that. */
function forget(mutants, before, test) {
  console.log(`${test} fails without a mutant after its mutants: what it found does not count.`);
  for (const mutant of mutants) {
    if (!before.has(mutant)) for (const name of ['status', 'by', 'test']) delete mutant[name];
  }
}

function settle(mutants, { ended, status, test: name }, test, asked) {
  asked.add(ended);
  if (status === 'Survived') return;
  Object.assign(
    mutants.find(({ id }) => id === ended),
    { status, by: test, test: name },
  );
}

/** @returns what the runner reports; `isEnded` when the mutant did not end. */
async function runJest(test, task) {
  const files = { task: scratch('task'), report: scratch('report') };
  writeFileSync(files.task, JSON.stringify(task));
  writeFileSync(files.report, '');
  const config = [
    '--config',
    'test/mutation/jest.config.js',
    '--runInBand',
    '--runTestsByPath',
    test,
  ];
  const jest = ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js', ...config];
  child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...jest], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      MUTATION_CODE: scratch('code'),
      MUTATION_TASK: files.task,
      MUTATION_REPORT: files.report,
    },
  });
  let said = '';
  child.stderr.on('data', (data) => (said = `${said}${data}`.slice(-4000)));
  const signal = await new Promise((resolve) => child.on('close', (_code, by) => resolve(by)));
  const lines = read(files.report)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  if (lines.length === 0) throw new Error(`${test}: jest has not begun: ${said}`);
  return { lines, isEnded: signal === 'SIGKILL' };
}

function progress(room, test, mutants) {
  const left = mutants.filter(({ status }) => status === undefined).length;
  console.log(
    `${new Date().toTimeString().slice(0, 8)} ${room} ${test}: ${left} of ${mutants.length} left`,
  );
}

/** Prints the score by file, and writes what survived beside the results. */
function print(room, sources, mutants, seconds) {
  const row = (name, of) => {
    const count = (...wanted) => of.filter(({ status }) => wanted.includes(status)).length;
    const found = count('Killed', 'Timeout');
    const score = of.length === 0 ? '' : ((100 * found) / of.length).toFixed(1);
    return [
      name,
      score,
      of.length,
      count('Killed'),
      count('Timeout'),
      count('Survived'),
      count('NoCoverage'),
    ];
  };
  const rows = sources.map((file) =>
    row(
      file,
      mutants.filter((one) => one.file === file),
    ),
  );
  const titles = ['file', 'score %', 'mutants', 'killed', 'timed out', 'survived', 'no coverage'];
  for (const one of [titles, ...rows, row(`all of ${room}`, mutants)]) {
    console.log(`| ${one.join(' | ')} |`);
  }
  const left = mutants.filter(({ status }) => ['Survived', 'NoCoverage'].includes(status));
  const text = left.map(
    ({ file, line, status, mutatorName, original, replacement }) =>
      `${file}:${line} ${status} ${mutatorName}\n- ${short(original)}\n+ ${short(replacement)}\n`,
  );
  const survivors = join(cache, `${only ? only.replaceAll('/', '-') : room}-survivors.txt`);
  writeFileSync(survivors, text.join('\n'));
  console.log(`${seconds} s; what survived: ${relative(root, survivors)}`);
}

const short = (code) => {
  const line = code.replaceAll(/\s+/g, ' ');
  return line.length > 160 ? `${line.slice(0, 120)} … ${line.slice(-35)}` : line;
};

/** A file between this program and the runner. */
function scratch(name) {
  return join(cache, `${name}-${process.pid}.json`);
}

function read(file) {
  return readFileSync(file, 'utf8');
}

function filesUnder(folder, end) {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(end))
    .map((name) => join(folder, name).replaceAll('\\', '/'))
    .toSorted();
}

function hashOf(file) {
  return createHash('sha256')
    .update(read(join(root, file)))
    .digest('hex');
}

/** What a test file reaches depends on it and on the code of the room. */
function reachedName(test, hashes) {
  const sources = Object.entries(hashes).filter(([file]) => file.startsWith('src/'));
  return hashOfAll(Object.fromEntries(sources), test, hashes[test]).slice(0, 16);
}

function hashOfAll(hashes, ...more) {
  return createHash('sha256')
    .update([...Object.values(hashes), ...more].join())
    .digest('hex');
}

mkdirSync(cache, { recursive: true });
const instrumenter = await installInstrumenter();
let child;
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
process.on('exit', () => {
  child?.kill('SIGKILL');
  for (const name of ['code', 'task', 'report'].map(scratch)) rmSync(name, { force: true });
});
for (const room of rooms) await mutateRoom(room);
