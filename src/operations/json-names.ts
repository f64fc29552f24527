/** A name of ours in code, such as `remainingSeconds`. */
const CAMEL_CASE = /^[a-z][A-Za-z0-9]*$/;

/**
 * A value as programs read it: the names of its members in snake_case, at any depth. Values are not changed: instants
 * have to be ISO 8601 texts already, and spans seconds. Pure.
 *
 * @example
 * ```ts
 * withSnakeNames({ remainingSeconds: 60 }); // { remaining_seconds: 60 }
 * ```
 */
export function withSnakeNames(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withSnakeNames);
  // A date, a URL or a hidden value says itself what it is in JSON.
  if (typeof value !== 'object' || value === null || 'toJSON' in value) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [snakeCase(name), withSnakeNames(member)]),
  );
}

function snakeCase(name: string): string {
  return CAMEL_CASE.test(name)
    ? name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    : name;
}
