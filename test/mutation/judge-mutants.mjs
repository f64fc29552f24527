// Runs the tests of one file again and again, each time with another mutant switched on, in one process: a mutant costs the
// tests that reach it, some milliseconds. jest loads the file and declares its tests; this runner calls them.
import { AsyncLocalStorage } from 'node:async_hooks';
import { appendFileSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import { isQuick } from './pace.mjs';

const require = createRequire(import.meta.url);
const circusFile = require.resolve('jest-circus/runner').replace('runner.js', 'jestAdapterInit.js');
// Before a test changes them.
const { setInterval, clearInterval, setImmediate } = globalThis;

/** What Stryker's instrumented code and this runner share: the mutant that is on, and what was reached. */
const shared = (globalThis.__stryker__ ??= {});
/** What a test, or a hook for several, may take whose time is not known. */
const LONG = { waited: 30_000, worked: 30_000 };
/** How much more often than without it a mutant may be passed, before it counts as an endless loop: as Stryker has it. */
const HIT_FACTOR = 100;

class TimedOut extends Error {}

/**
 * Ends this process when one call of a test takes more processor time than it may: a mutant that loops lets no timer of this
 * thread run. Processor time, since a busy machine says nothing about a mutant.
 */
class Watchdog {
  /** How many calls there were, and the milliseconds that the present one may take. */
  #state = new Int32Array(new SharedArrayBuffer(8));

  constructor() {
    const thread = `
      const { workerData: state } = require('node:worker_threads');
      let [calls, started] = [0, 0];
      setInterval(() => {
        const { user, system } = process.cpuUsage();
        const used = (user + system) / 1000;
        if (Atomics.load(state, 0) !== calls) [calls, started] = [Atomics.load(state, 0), used];
        else if (used - started > Atomics.load(state, 1)) process.kill(process.pid, 'SIGKILL');
      }, 200);`;
    new Worker(thread, { eval: true, workerData: this.#state }).unref();
  }

  begin(limit) {
    Atomics.store(this.#state, 1, limit);
    Atomics.add(this.#state, 0, 1);
  }
}

/** @returns what tells how many milliseconds this thread has waited, and this process worked, since. */
function stopwatch() {
  const idle = () => performance.eventLoopUtilization().idle;
  const [idleBefore, cpuBefore] = [idle(), process.cpuUsage()];
  return () => {
    const { user, system } = process.cpuUsage(cpuBefore);
    return { waited: idle() - idleBefore, worked: (user + system) / 1000 };
  };
}

/** @returns a promise that fails when a test takes longer than it may; and what ends that. */
function limitOf({ waited, worked }) {
  const spent = stopwatch();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setInterval(() => {
      const now = spent();
      if (now.worked > worked) reject(new TimedOut('It works too long.'));
      else if (now.waited > waited) reject(new TimedOut('It waits too long.', { cause: 'idle' }));
    }, 100);
  });
  return { late, end: () => clearInterval(timer) };
}

/** @returns what the driver wants: see run.mjs. */
const readTask = () => JSON.parse(readFileSync(process.env['MUTATION_TASK'], 'utf8'));
const report = (line) =>
  appendFileSync(process.env['MUTATION_REPORT'], `${JSON.stringify(line)}\n`);

export default async function judgeMutants(globalConfig, config, environment, runtime, testPath) {
  const circus = runtime.requireInternalModule(circusFile);
  await circus.initialize({
    config,
    environment,
    globalConfig,
    localRequire: runtime.requireModule.bind(runtime),
    parentProcess: process,
    runtime,
    setGlobalsForRuntime: runtime.setGlobalsForRuntime.bind(runtime),
    testPath,
  });
  // A property that fails says so: nobody reads the smallest example.
  const fc = require('fast-check');
  fc.configureGlobal({ ...fc.readConfigureGlobal(), endOnFailure: true });
  const file = new TestFile(environment.circus, runtime, testPath);
  environment.onError = (event) => file.noteError(event);
  const task = readTask();
  await file.load();
  const known = task.reached ?? (await reachedBy(file));
  if (known.failed === undefined) {
    if (task.pace === 'loading') await judgeReloading(file, task.mutants, known);
    else await judge(file, task.mutants, known, task.pace === 'quick');
  }
  report({ done: true });
  for (const one of file.everything()) one.mode = 'skip';
  return await circus.runAndTransformResultsToJestFormat({
    config,
    globalConfig,
    setupAfterEnvPerfStats: {},
    testPath,
  });
}

/** Runs every test without a mutant. Reports what each has reached, and how long it took. */
async function reachedBy(file) {
  shared.mutantCoverage ??= { static: {}, perTest: {} };
  const run = await file.run(file.tests(), () => LONG, true);
  if (run.failure !== undefined) {
    const failed = `${run.failure.test}: ${run.failure.error?.stack ?? run.failure.error}`;
    report({ failed });
    return { failed };
  }
  const { perTest, static: atLoad } = shared.mutantCoverage;
  const tests = file.tests().map((test, index) => {
    const hits = { ...perTest[`test ${index}`] };
    for (const block of file.blocksOf(test)) {
      for (const [id, count] of Object.entries(perTest[`block ${file.numberOf(block)}`] ?? {})) {
        hits[id] = (hits[id] ?? 0) + count;
      }
    }
    const { waited, worked } = run.spent.get(test);
    return { waited, worked, hits };
  });
  const reached = { tests, atLoad: Object.keys(atLoad) };
  report({ reached });
  return reached;
}

/** Judges mutants by the tests of one pace that reach them, one after the other in the modules as loaded. */
async function judge(file, mutants, reached, quick) {
  for (const id of mutants) {
    const indices = reached.tests.flatMap((test, index) =>
      test.hits[id] > 0 && isQuick(test) === quick ? [index] : [],
    );
    if (indices.length === 0) continue;
    report({ begun: id });
    const hits = indices.reduce((sum, index) => sum + reached.tests[index].hits[id], 0);
    let failure = await runFor(file, id, indices, reached, hits);
    // What a mutant leaves behind must not be what fails.
    if (failure !== undefined && !(await file.passes([failure.index], reached))) {
      await file.load();
      failure = await runFor(file, id, indices, reached, hits);
      await file.load();
      if (failure !== undefined && !(await file.passes([failure.index], reached))) {
        // Let a new process repeat it.
        report({ unclean: id });
        process.reallyExit(0);
      }
    }
    report({ ended: id, ...verdictOn(failure) });
    // What waits is left alone; what works would go on.
    if (failure?.error instanceof TimedOut) {
      if (failure.error.cause !== 'idle') process.reallyExit(0);
      await file.load();
    }
  }
}

/** Judges mutants of code that runs as its module loads, or that the test file calls as it declares its tests. */
async function judgeReloading(file, mutants, reached) {
  const atLoad = new Set(reached.atLoad);
  const all = reached.tests.map((_, index) => index);
  for (const id of mutants) {
    if (!atLoad.has(id)) continue;
    report({ begun: id });
    shared.activeMutant = id;
    shared.hitCount = undefined;
    let failure;
    try {
      await file.load();
      const same = file.tests().length === all.length;
      failure = same ? await runFor(file, id, all, reached) : { error: new Error('other tests') };
    } catch (error) {
      failure = { error, index: 0 };
    }
    shared.activeMutant = undefined;
    report({ ended: id, ...verdictOn(failure) });
    if (failure?.error instanceof TimedOut && failure.error.cause !== 'idle') process.reallyExit(0);
  }
  await file.load();
  if (!(await file.passes(all, reached))) report({ failed: 'after its mutants, without any' });
}

const verdictOn = (failure) => {
  if (failure === undefined) return { status: 'Survived' };
  const { error, test } = failure;
  const endless = error instanceof TimedOut || String(error?.message).startsWith('Stryker: Hit');
  return { status: endless ? 'Timeout' : 'Killed', test };
};

/** @returns the first failure with the mutant on; `undefined` when it survives. */
async function runFor(file, id, indices, reached, hits) {
  shared.activeMutant = id;
  shared.hitCount = hits === undefined ? undefined : 0;
  shared.hitLimit = hits === undefined ? undefined : hits * HIT_FACTOR;
  try {
    const quick = indices.filter((index) => isQuick(reached.tests[index]));
    const slow = indices.filter((index) => !isQuick(reached.tests[index]));
    return (await file.failureOf(quick, reached)) ?? (await file.failureOf(slow, reached));
  } finally {
    shared.activeMutant = undefined;
    shared.hitCount = undefined;
  }
}

/** The blocks and tests that a test file has declared. */
class TestFile {
  #circus;
  #runtime;
  #path;
  #watchdog = new Watchdog();
  /** Which run a promise belongs to. */
  #within = new AsyncLocalStorage();
  #run;

  constructor(circus, runtime, path) {
    this.#circus = circus;
    this.#runtime = runtime;
    this.#path = path;
  }

  /** Loads the file and all that it imports anew. */
  async load() {
    const root = {
      type: 'describeBlock',
      name: 'ROOT_DESCRIBE_BLOCK',
      children: [],
      hooks: [],
      tests: [],
    };
    Object.assign(this.#circus, {
      rootDescribeBlock: root,
      currentDescribeBlock: root,
      hasStarted: false,
    });
    this.#watchdog.begin(60_000);
    this.#runtime.resetModules();
    await this.#runtime.unstable_importModule(this.#path);
  }

  /** Notes what nobody has caught; what an earlier run left behind says nothing about this one. */
  noteError({ name, error, promise }) {
    const run = this.#within.getStore() ?? this.#run;
    if (name === 'error') run?.errors.set(promise ?? error, error);
    else run?.errors.delete(promise);
  }

  /** Every block and test, in order. */
  everything(from = this.#circus.rootDescribeBlock) {
    return [from, ...(from.children ?? []).flatMap((child) => this.everything(child))];
  }

  tests() {
    return this.everything().filter(
      (one) => one.type === 'test' && [one, ...this.blocksOf(one)].every((it) => !isLeftOut(it)),
    );
  }

  numberOf(block) {
    return this.everything().indexOf(block);
  }

  /** The blocks around a test, from the innermost. */
  blocksOf(test) {
    const blocks = [];
    for (let block = test.parent; block !== undefined; block = block.parent) blocks.push(block);
    return blocks;
  }

  /** Whether these tests pass without a mutant. */
  async passes(indices, reached) {
    return (await this.failureOf(indices, reached)) === undefined;
  }

  async failureOf(indices, reached) {
    if (indices.length === 0) return undefined;
    const tests = this.tests();
    const limits = new Map(
      indices.map((index) => {
        const { waited, worked } = reached.tests[index];
        return [tests[index], { waited: 1_500 + 3 * waited, worked: 1_000 + 3 * worked }];
      }),
    );
    const { failure } = await this.run([...limits.keys()], (test) => limits.get(test), false);
    return failure && { ...failure, index: failure.index ?? indices[0] };
  }

  /**
   * Runs some of the tests, until one fails.
   *
   * @param allowed what a test may take.
   * @param tracing whether to note which test reaches what.
   */
  async run(tests, allowed, tracing) {
    const all = this.tests();
    const chosen = new Set(tests.flatMap((test) => [test, ...this.blocksOf(test)]));
    const run = { failure: undefined, spent: new Map() };
    const own = { errors: new Map() };
    this.#run = own;
    const call = async (name, fn, test, limit, context) => {
      if (tracing) shared.currentTestId = name;
      this.#watchdog.begin(limit.worked + 500);
      const { late, end } = limitOf(limit);
      try {
        await Promise.race([this.#within.run(own, () => fn.call(context)), late]);
        await new Promise((resolve) => setImmediate(resolve));
        if (own.errors.size > 0) throw [...own.errors.values()][0];
      } catch (error) {
        const index = test && all.indexOf(test);
        run.failure ??= { error, index, test: test?.name ?? name };
      } finally {
        end();
        own.errors.clear();
        shared.currentTestId = undefined;
      }
    };
    const hooksOf = (block, type) => block.hooks.filter((hook) => hook.type === type);
    const runTest = async (test) => {
      const spent = stopwatch();
      const name = `test ${all.indexOf(test)}`;
      const limit = allowed(test);
      const context = Object.create(null);
      const around = this.blocksOf(test);
      for (const block of around.toReversed()) {
        for (const hook of hooksOf(block, 'beforeEach')) {
          if (run.failure === undefined) await call(name, hook.fn, test, limit, context);
        }
      }
      if (run.failure === undefined) await call(name, test.fn, test, limit, context);
      for (const block of around) {
        for (const hook of hooksOf(block, 'afterEach'))
          await call(name, hook.fn, test, limit, context);
      }
      run.spent.set(test, spent());
    };
    const runBlock = async (block) => {
      const name = `block ${this.numberOf(block)}`;
      for (const hook of hooksOf(block, 'beforeAll')) {
        if (run.failure === undefined) await call(name, hook.fn, undefined, LONG, {});
      }
      for (const child of block.children) {
        if (run.failure !== undefined) break;
        if (chosen.has(child)) await (child.type === 'test' ? runTest(child) : runBlock(child));
      }
      for (const hook of hooksOf(block, 'afterAll')) {
        await call(name, hook.fn, undefined, LONG, {});
      }
    };
    await runBlock(this.#circus.rootDescribeBlock);
    return run;
  }
}

const isLeftOut = ({ mode }) => mode === 'skip' || mode === 'todo';
