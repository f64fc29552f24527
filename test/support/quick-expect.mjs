// jest's `expect(value)` makes every matcher that there is, in six forms each, for the one that is called: in properties of
// a thousand runs that takes longer than what they look at. This one has jest make the one alone.

/** Where jest keeps its matchers. */
const MATCHERS = Symbol.for('$$jest-matchers-object');
/** What stands between the value and the matcher. */
const FORMS = new Set(['not', 'resolves', 'rejects']);

/** @param expect jest's. @returns the same, with the same matchers and messages. */
export function quickExpect(expect) {
  /** @param path the forms asked for so far, as `['resolves', 'not']`. */
  const expectation = (value, path) =>
    new Proxy(
      {},
      {
        get: (_, name) =>
          FORMS.has(name) ? expectation(value, [...path, name]) : matcher(value, path, name),
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
