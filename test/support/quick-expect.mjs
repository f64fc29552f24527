// jest's `expect(value)` makes every matcher that there is, in six forms each, for the one that is called: in properties of
// a thousand runs that takes longer than what they look at. This one has jest make the one alone; and asks the usual ones
// first for their answer alone, which is all that a value needs that is as expected.

/** Where jest keeps its matchers. */
const MATCHERS = Symbol.for('$$jest-matchers-object');
/** What stands between the value and the matcher. */
const FORMS = new Set(['not', 'resolves', 'rejects']);

/** Matchers that only look at a value, and take no more of jest than this. */
const LOOKING = new Set([
  'toBe',
  'toEqual',
  'toMatchObject',
  'toContain',
  'toHaveLength',
  'toMatch',
]);
const contextOf = (isNot) => ({ isNot, promise: '', customTesters: [] });

/** @param expect jest's. @returns the same, with the same matchers and messages. */
export function quickExpect(expect) {
  /** @param path the forms asked for so far, as `['resolves', 'not']`. */
  const expectation = (value, path) =>
    new Proxy(
      {},
      {
        get: (_, name) => {
          if (FORMS.has(name)) return expectation(value, [...path, name]);
          const looks = LOOKING.has(name) && (path.length === 0 || path.join() === 'not');
          return looks ? lookingMatcher(value, path, name) : matcher(value, path, name);
        },
      },
    );

  function matcher(value, path, name) {
    const store = globalThis[MATCHERS];
    const { matchers } = store;
    const { stackTraceLimit } = Error;
    if (!Object.hasOwn(matchers, name)) return undefined;
    store.matchers = { [name]: matchers[name] };
    // The error that jest makes beforehand is for promises.
    if (path.length === 0 || path[0] === 'not') Error.stackTraceLimit = 0;
    try {
      return path.reduce((form, next) => form[next], expect(value))[name];
    } finally {
      store.matchers = matchers;
      Error.stackTraceLimit = stackTraceLimit;
    }
  }

  function lookingMatcher(value, path, name) {
    const { matchers, state } = globalThis[MATCHERS];
    const isNot = path.length > 0;
    return (...expected) => {
      let answer;
      try {
        answer = matchers[name].call(contextOf(isNot), value, ...expected);
      } catch {
        // What is wrong with its arguments the matcher of jest says below, where the test sees it.
      }
      if (answer === undefined || answer.pass === isNot) {
        matcher(value, path, name)(...expected);
        // Such as a generator, which is empty by now.
        throw new Error(`${name}: the value is another one when it is looked at again`);
      }
      state.assertionCalls += 1;
      state.numPassingAsserts += 1;
    };
  }

  const quick = (...values) =>
    values.length === 1 ? expectation(values[0], []) : expect(...values);
  return Object.assign(quick, expect);
}

/** Has a failure point at the test, and not at this file. */
export function pointAtTest(error) {
  if (typeof error?.stack !== 'string') return;
  const lines = error.stack.split('\n');
  error.stack = lines.filter((line) => !line.includes(import.meta.url)).join('\n');
}
