import { isRecord } from './shapes.js';

const NAME = 'authorization';

/**
 * Every value of a request's `Authorization` header: a request of Node, Express, Fastify (over HTTP/1.1 and 2), or
 * of the Fetch API. Nothing but the header is read, never the query or the body (RFC 6750 §2.2 and §2.3 are not
 * supported).
 */
export function authorizationOfRequest(request: unknown): readonly unknown[] {
  if (!isRecord(request)) return [];
  const source = isRecord(request['raw']) ? request['raw'] : request;
  // Node's `headers` keeps the first of two Authorization headers, silently; `rawHeaders` has both.
  const raw = rawValues(source['rawHeaders']);
  if (raw.length > 1) return raw;
  const { headers } = request;
  // With one raw header there is no second spelling to look for; an application may have replaced its value.
  const isPlain = raw.length === 1 && isRecord(headers) && typeof headers[NAME] === 'string';
  return isPlain ? [headers[NAME]] : headerValues(headers, NAME);
}

/**
 * The `Authorization` of a request of Node, Express or Fastify that certainly has just one, at the least cost. `undefined`
 * for every other: {@link authorizationOfRequest} tells what is with it.
 */
export function onlyAuthorization(request: unknown): unknown {
  if (!isRecord(request)) return undefined;
  const { raw, headers } = request;
  const { rawHeaders } = isRecord(raw) ? raw : request;
  if (!Array.isArray(rawHeaders) || !isRecord(headers)) return undefined;
  let count = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (isAuthorization(rawHeaders[index])) count += 1;
  }
  return count === 1 ? headers[NAME] : undefined;
}

/**
 * Every value of a header in a set of headers or metadata: a plain object with names in any case, the Fetch API's
 * `Headers`, gRPC's `Metadata`, NATS's `MsgHdrs`.
 *
 * @param name in lower case.
 */
export function headerValues(headers: unknown, name: string): readonly unknown[] {
  if (!isRecord(headers)) return [];
  const { get, values } = headers;
  if (typeof get === 'function') {
    for (const spelling of [name, name.replaceAll(/\b[a-z]/g, (letter) => letter.toUpperCase())]) {
      // NATS's `get` gives the first of several; its `values` gives all.
      const all = typeof values === 'function' ? listOf(values.call(headers, spelling)) : [];
      const found = all.length > 0 ? all : listOf(get.call(headers, spelling));
      if (found.length > 0) return found;
    }
    return [];
  }
  return Object.entries(headers)
    .filter(([key]) => key.length === name.length && key.toLowerCase() === name)
    .flatMap(([, value]) => listOf(value));
}

function rawValues(rawHeaders: unknown): readonly unknown[] {
  if (!Array.isArray(rawHeaders)) return [];
  const found: unknown[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (isAuthorization(rawHeaders[index])) found.push(rawHeaders[index + 1]);
  }
  return found;
}

function isAuthorization(name: unknown): boolean {
  return typeof name === 'string' && name.length === NAME.length && name.toLowerCase() === NAME;
}

/** Kafka and gRPC may give bytes; a header that is not there may be empty text (NATS), null or undefined. */
function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value.flatMap(listOf);
  if (value === undefined || value === null || value === '') return [];
  if (value instanceof Uint8Array) return [Buffer.from(value).toString('latin1')];
  // An iterator of all values (the Fetch API, a Map) does not tell which of them are ours.
  return typeof value === 'string' ? [value] : isRecord(value) && 'next' in value ? [] : [value];
}
