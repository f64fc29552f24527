/** Any object: what other packages hand over is read by its shape, so that none of them has to be installed. */
export function isRecord(value: unknown): value is Readonly<Record<PropertyKey, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** What a method of an object returns; `undefined` when it has no such method. */
export function callMethod(value: unknown, name: string, ...args: readonly unknown[]): unknown {
  const method = isRecord(value) ? value[name] : undefined;
  return typeof method === 'function' ? method.apply(value, args) : undefined;
}
