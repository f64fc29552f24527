/**
 * Freezes a value made of plain objects and lists, and everything in it. What is frozen already is taken to be frozen
 * throughout.
 */
export function freezeDeeply<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const inner of Object.values(value)) freezeDeeply(inner);
  return value;
}
