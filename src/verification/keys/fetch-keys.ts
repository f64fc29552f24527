import { isUtf8 } from 'node:buffer';
import {
  lostBody,
  readBoundedBody,
  connectionFailure,
  isLoopbackHost,
  parseUrl,
  retryAfterOf,
} from '../../tokens/http.js';
import { backoff, type Clock } from '../../tokens/time.js';
import { BrokerError } from '../../tokens/errors.js';
import { proxyErrorOf } from '../../tokens/proxy-error.js';
import { KeyFetchError, type KeyFetchCode } from '../verification-errors.js';
import { readKeyDocument, type KeyDocument } from './usable-keys.js';

/** The platform's `fetch`, or a function that behaves like it, such as one that uses a proxy. */
export type Fetch = typeof globalThis.fetch;

/** How to fetch a JWKS. */
interface FetchKeysOptions {
  readonly uri: URL;
  readonly fetch: Fetch;
  /** The largest answer, in bytes. */
  readonly maxBytes: number;
  /** For a `Retry-After` that names a date. */
  readonly clock: Pick<Clock, 'now'>;
  readonly signal: AbortSignal;
}

/** A JWKS, and how many seconds the provider lets it be kept (`Cache-Control`, RFC 9111 §5.2). */
export interface FetchedKeys {
  readonly document: KeyDocument;
  readonly maxAgeSeconds: number | undefined;
}

/**
 * Fetches a JWKS once. Follows no redirect: another address is the operator's decision.
 *
 * @throws {KeyFetchError} for every failure, or the signal's reason.
 */
export async function fetchKeys(options: FetchKeysOptions): Promise<FetchedKeys> {
  const { signal } = options;
  try {
    const response = await options.fetch(options.uri, {
      headers: { accept: 'application/json, application/jwk-set+json' },
      redirect: 'manual',
      signal,
    });
    if (response.status !== 200) throw await refuseStatus(response, options);
    const text = await readBounded(response, options.maxBytes);
    return { document: readDocument(text), maxAgeSeconds: readMaxAge(response.headers) };
  } catch (error) {
    const refusal = proxyErrorOf(error);
    if (error instanceof BrokerError && refusal === undefined) throw error;
    signal.throwIfAborted();
    const retryAfterSeconds = refusal?.retryAfterSeconds;
    throw new KeyFetchError(
      'KEYS_UNREACHABLE',
      `The issuer's keys cannot be reached: ${asked(options.uri)}: ${whyUnreachable(error)}.`,
      { cause: error, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) },
    );
  }
}

/** Why a fetch failed, as half a sentence that quotes nothing of a response. */
export function whyUnreachable(error: unknown): string {
  const failure = proxyErrorOf(error) ?? connectionFailure(error);
  if (failure === undefined) return 'it failed in an unforeseen way';
  return 'advice' in failure ? `${failure.why}. ${failure.advice.replace(/\.$/, '')}` : failure.why;
}

/** The request, for messages: without its query, which may hold a secret, and cut to a line. */
function asked({ origin, pathname }: URL): string {
  return `GET ${origin}${pathname}`.slice(0, 200);
}

async function refuseStatus(
  response: Response,
  { uri, clock }: FetchKeysOptions,
): Promise<KeyFetchError> {
  await response.body?.cancel();
  const status = response.status;
  const hint =
    status >= 300 && status < 400
      ? ' Redirects are not followed: configure the final address.'
      : '';
  const retryAfterSeconds = retryAfterOf(response.headers, clock.now());
  return new KeyFetchError(
    'KEYS_HTTP_STATUS',
    `The issuer's keys were answered with HTTP status ${status} instead of 200 (${asked(uri)}).${hint}`,
    retryAfterSeconds === undefined ? {} : { retryAfterSeconds },
  );
}

async function readBounded(response: Response, maxBytes: number): Promise<string> {
  const bytes = await readBoundedBody(
    response,
    maxBytes,
    () =>
      new KeyFetchError(
        'KEYS_TOO_LARGE',
        `The answer with the issuer's keys is larger than ${maxBytes} bytes.`,
      ),
  );
  const text = bytes.toString('utf8');
  const lost = lostBody(text);
  if (lost !== undefined) throw invalid(`it is ${lost}. Something on the way may have lost it`);
  if (!isUtf8(bytes)) throw invalid('it is not UTF-8');
  return text;
}

const BYTE_ORDER_MARK = '\u{feff}';

/**
 * Reads the response as RFC 7517 allows: what is wrong inside one key concerns that key alone. Only the outermost object
 * must not have a member twice, as it would be open which list of keys is meant.
 */
function readDocument(text: string): KeyDocument {
  const json = text.startsWith(BYTE_ORDER_MARK) ? text.slice(BYTE_ORDER_MARK.length) : text;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    // The parser's own message quotes the answer, which may hold anything.
    throw invalid('it is not JSON');
  }
  const document = readKeyDocument(value);
  if (document === undefined) throw invalid('it must be an object with a list "keys"');
  if (countMembersWritten(json) !== Object.keys(Object(value)).length) {
    throw invalid('it has a member twice');
  }
  return document;
}

/** How many members the outermost object of a valid JSON text has, duplicates included. */
function countMembersWritten(json: string): number {
  let depth = 0;
  let members = 0;
  for (const [token] of json.matchAll(/"(?:[^"\\]+|\\.)*"|[[\]{}:]/g)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (token === ':' && depth === 1) members += 1;
  }
  return members;
}

function readMaxAge(headers: Headers): number | undefined {
  const value = headers.get('cache-control');
  if (value === null) return undefined;
  if (/(^|[\s,])no-(store|cache)\b/i.test(value)) return 0;
  const seconds = /(?:^|[\s,])max-age\s*=\s*"?(\d{1,9})/i.exec(value)?.[1];
  return seconds === undefined ? undefined : Number(seconds);
}

function invalid(what: string): KeyFetchError {
  return new KeyFetchError(
    'KEYS_INVALID',
    `What the issuer answered is not a JWKS: ${what}. Check that the address is its jwks_uri.`,
  );
}

/**
 * The address of a JWKS: an absolute `https` URL without user and password. Plain `http` only to this machine, or when
 * allowed: whoever can change the answer can sign tokens.
 *
 * @throws {KeyFetchError} `KEYS_URI_REFUSED`.
 */
export function readKeysUri(text: string, allowInsecureHttp: boolean): URL {
  const uri = parseUrl(text);
  if (uri === undefined) throw refusedUri('it is not an absolute URL');
  if (uri.username !== '' || uri.password !== '') throw refusedUri('it carries a user or password');
  if (uri.protocol === 'https:') return uri;
  if (uri.protocol === 'http:' && (allowInsecureHttp || isLoopbackHost(uri.hostname))) return uri;
  throw refusedUri(
    'it must use https (plain http only to this machine, or with allowInsecureHttp)',
  );
}

function refusedUri(what: string): KeyFetchError {
  return new KeyFetchError(
    'KEYS_URI_REFUSED',
    `The address of the issuer's keys is refused: ${what}.`,
  );
}

/** The last failed fetch, while none has succeeded since. Instants and spans in milliseconds. */
export interface FetchFailure {
  readonly error: BrokerError;
  readonly code: KeyFetchCode;
  readonly at: number;
  /** Before this instant no fetch is tried because of the failure. */
  readonly retryAt: number;
  /** 1 for the first failure after a success. */
  readonly inARow: number;
}

const FIRST_RETRY = 1000;
/** The longest pause while there are no keys to verify with, however long the cooldown is. */
export const LONGEST_WITHOUT_KEYS = 15_000;
const MAX_RETRY_AFTER_SECONDS = 300;

/**
 * Remembers a failure: the next attempt is due after 1, 2, 4 … seconds, or later when the provider asks for it, up to
 * five minutes.
 *
 * @param longest the longest pause without a `Retry-After`, in milliseconds.
 */
export function failedFetch(
  thrown: unknown,
  last: FetchFailure | undefined,
  at: number,
  longest: number,
): FetchFailure {
  const error =
    thrown instanceof KeyFetchError
      ? thrown
      : new KeyFetchError('KEYS_UNREACHABLE', "The issuer's keys cannot be reached.", {
          cause: thrown,
        });
  const inARow = (last?.inARow ?? 0) + 1;
  const asked = Math.min(error.retryAfterSeconds ?? 0, MAX_RETRY_AFTER_SECONDS) * 1000;
  return {
    error,
    code: error.code,
    at,
    inARow,
    retryAt: at + Math.max(backoff(inARow, FIRST_RETRY, longest), asked),
  };
}

/** Whether a fetch may be tried. A clock that was set back must not lock the keys out until it catches up. */
export function mayRetry(failure: FetchFailure | undefined, now: number): boolean {
  return failure === undefined || now >= failure.retryAt || now < failure.at;
}

/**
 * Whether a fetch failed so recently that the provider counts as down. An older failure says nothing about now: a key
 * may have been withdrawn since, at a provider that has long been up.
 *
 * Counted from when the next attempt was due, so that under steady traffic no request waits for a background refresh.
 *
 * @param maxAge how long keys count as fresh.
 */
export function countsAsDown(
  failure: FetchFailure | undefined,
  now: number,
  maxAge: number,
): boolean {
  return failure !== undefined && now >= failure.at && now < failure.retryAt + maxAge;
}
