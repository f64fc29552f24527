// Where jest runs a test file: in the realm of its worker, and not in a context of its own, so that the packages that
// `native-package.mjs`, beside this file, loads once for a worker meet the same Error, Array and Promise as the tests do.
// What a file changes of the realm is set right when it ends.
import { AsyncLocalStorage } from 'node:async_hooks';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import vm from 'node:vm';
import { ModernFakeTimers } from '@jest/fake-timers';
import { ModuleMocker } from 'jest-mock';
import { pointAtTest, quickExpect } from './quick-expect.mjs';

// Most of what tests run does not run often enough to be worth V8's best compiler, which takes a sixth of the time of
// Node.js 20. Later ones do not know the flag, and compile less by themselves.
if (process.version.startsWith('v20.')) setFlagsFromString('--interrupt-budget=675840');

/** To jest the context that the tests run in; to Node.js no context, which means this realm. */
const THIS_REALM = {};

const withoutContext = (options, name) => {
  if (options?.[name] !== THIS_REALM) return options;
  const { [name]: _, ...others } = options;
  return others;
};

const { compileFunction, SourceTextModule, SyntheticModule } = vm;
/** What jest itself consists of, which it loads again for every test file: compiled once for a worker. */
const compiled = new Map();
vm.compileFunction = (code, parameters, options) => {
  const { filename } = options ?? {};
  const known = compiled.get(filename);
  if (known?.code === code && known.parameters === parameters.join()) return known.compiled;
  const result = compileFunction(code, parameters, withoutContext(options, 'parsingContext'));
  // A module that imports others when it runs is bound to the test file that it was loaded for.
  if (options?.parsingContext === THIS_REALM && !code.includes('import('))
    compiled.set(filename, { code, parameters: parameters.join(), compiled: result });
  return result;
};
vm.SourceTextModule = class extends SourceTextModule {
  constructor(code, options) {
    super(code, withoutContext(options, 'context'));
  }
};
vm.SyntheticModule = class extends SyntheticModule {
  constructor(names, evaluate, options) {
    super(names, evaluate, withoutContext(options, 'context'));
  }
};

/** What jest and `native-package.mjs` look for in the global object. */
const FOR_JEST = {
  'native require': createRequire(import.meta.url),
  'jest-native-promise': Promise,
  'jest-native-now': Date.now.bind(Date),
  'jest-native-read-file': readFileSync,
  'jest-native-write-file': writeFileSync,
  'jest-native-exists-file': existsSync,
};
for (const [name, value] of Object.entries(FOR_JEST)) {
  Object.defineProperty(globalThis, Symbol.for(name), { value });
}
Object.defineProperty(globalThis, 'jest-symbol-do-not-touch', { value: Symbol });

/** Storages that a file has used: until it is disabled, each costs every promise of the worker some time on Node.js 20. */
const storages = new Set();
for (const name of ['run', 'enterWith']) {
  const method = AsyncLocalStorage.prototype[name];
  AsyncLocalStorage.prototype[name] = function (...values) {
    storages.add(this);
    return method.apply(this, values);
  };
}

/** Objects of the realm whose properties a test may change. */
const KEPT = [globalThis, process, Error, Date, Math];

/** @returns what sets an object's properties as they are now. */
function keepProperties(object) {
  const before = Object.getOwnPropertyDescriptors(object);
  return () => {
    // The list of listeners is no value of its own: see keepListeners.
    const isKept = (key) => typeof key === 'symbol' || !key.startsWith('_events');
    for (const key of Reflect.ownKeys(object).filter(isKept)) {
      if (!Object.hasOwn(before, key)) Reflect.deleteProperty(object, key);
    }
    for (const key of Reflect.ownKeys(before).filter(isKept)) {
      const now = Object.getOwnPropertyDescriptor(object, key);
      if (Object.entries(before[key]).some(([part, value]) => now?.[part] !== value)) {
        Reflect.defineProperty(object, key, before[key]);
      }
    }
  };
}

/** @returns what sets the environment's variables as they are now. */
function keepVariables() {
  const before = { ...process.env };
  return () => {
    for (const name of Object.keys(process.env)) {
      if (!Object.hasOwn(before, name)) delete process.env[name];
    }
    Object.assign(process.env, before);
  };
}

/** @returns what removes the listeners that the process has been given since. */
function keepListeners() {
  const before = new Map(process.eventNames().map((name) => [name, process.rawListeners(name)]));
  return () => {
    for (const name of process.eventNames()) {
      for (const listener of process.rawListeners(name)) {
        if (before.get(name)?.includes(listener) !== true) process.removeListener(name, listener);
      }
    }
  };
}

export default class RealmEnvironment {
  global = globalThis;
  moduleMocker = new ModuleMocker(globalThis);
  fakeTimers = null;
  #context = THIS_REALM;
  #restores = [...KEPT.map(keepProperties), keepVariables(), keepListeners()];

  constructor({ projectConfig }) {
    this.fakeTimersModern = new ModernFakeTimers({ config: projectConfig, global: globalThis });
  }

  async setup() {
    // jest asks for 100: every error of every test would be made with as many.
    Error.stackTraceLimit = 20;
    // The logger of an application is that of all NestJS. Not imported above, where jest would transform what it imports.
    const { Logger } = await import('@nestjs/common');
    this.#restores.push(keepProperties(Logger));
  }

  handleTestEvent({ name, runtimeGlobals, error }) {
    if (name === 'setup') runtimeGlobals.expect = quickExpect(runtimeGlobals.expect);
    if (name === 'test_fn_failure') pointAtTest(error);
  }

  async teardown() {
    this.fakeTimersModern.dispose();
    for (const restore of this.#restores) restore();
    for (const storage of storages) storage.disable();
    storages.clear();
    this.#context = null;
  }

  exportConditions() {
    return ['node', 'node-addons'];
  }

  getVmContext() {
    return this.#context;
  }
}
