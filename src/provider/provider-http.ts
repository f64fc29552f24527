import { looksSecret } from '../tokens/redaction.js';
import {
  lostBody,
  readBoundedBody,
  isTemporaryStatus,
  retryAfterOf,
  parseUrl,
} from '../tokens/http.js';
import { ProviderError, connectionError, isProviderError } from './provider-errors.js';
import { isJsonObject, type JsonObject } from '../tokens/json.js';
import {
  backoff,
  dateReading,
  withDeadline,
  type Clock,
  type DateReading,
} from '../tokens/time.js';
import { displayUrl } from './client-credentials.js';

/** The longest text of a provider that is repeated in a message, in characters. */
const LIMIT = 300;

/** The shortest part of a secret that counts as the secret. */
const WINDOW = 8;

/**
 * A provider's text if it may be repeated in a message: printable ASCII, bounded, and free of everything that looks
 * like a token or is part of a secret. `undefined` when it may not, or says nothing.
 *
 * @param secrets texts that must not appear, not even in part.
 * @param harmless texts that look like tokens and are none, such as the client id.
 */
export function safeText(
  text: unknown,
  secrets: readonly string[] = [],
  harmless: readonly string[] = [],
): string | undefined {
  if (typeof text !== 'string') return undefined;
  // Line breaks in a message would let the provider write log lines of its own.
  const printable = text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .replace(/ {2,}/g, ' ')
    .trim();
  if (printable === '' || secrets.some((secret) => sharesPart(text, secret))) return undefined;
  const suspicious = harmless.reduce(
    (rest, known) => (known === '' ? rest : rest.replaceAll(known, ' ')),
    printable.replace(PAGE_OF_WORDS, ' '),
  );
  if (looksSecret(suspicious) || looksLikeToken(suspicious)) return undefined;
  return printable.length > LIMIT ? `${printable.slice(0, LIMIT)}...` : printable;
}

/** The address of a page of documentation: long, and made of words alone. */
const PAGE_OF_WORDS = /https:\/\/[a-z0-9.-]+(?:\/[a-z]{1,30}(?:[-_][a-z]{1,30})*)+/g;

// Stricter than the redaction of our own logs, because nothing here has to be found again by its identifier.
// 40 characters leave room for a UUID (36); 32 without punctuation are 128 bits in hexadecimal.
function looksLikeToken(text: string): boolean {
  return /eyJ[\w-]{5,}|[A-Za-z0-9_+/=-]{40,}|[A-Za-z0-9]{32,}/.test(text);
}

function sharesPart(text: string, secret: string): boolean {
  for (let start = 0; start === 0 || start + WINDOW <= secret.length; start += 1) {
    const part = secret.slice(start, start + WINDOW);
    if (part !== '' && text.includes(part)) return true;
  }
  return false;
}

/** The members of a JSON object that a provider sent. None of them has the type that it should have until it is read. */
export type Members = JsonObject;

/** What came instead of a JSON object. */
type NoMembers = 'no-json' | 'no-object' | 'empty' | 'cut short';

/** The JSON object of an answer, whatever its content type says; a byte-order mark is dropped. */
export async function readMembers(response: Response): Promise<Members | NoMembers> {
  const text = await response.text();
  const lost = lostBody(text);
  if (lost !== undefined) return lost;
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF+/, ''));
  } catch {
    // The parser's message quotes the text.
    return 'no-json';
  }
  return isJsonObject(value) ? value : 'no-object';
}

/** The body, or a part of it, was lost on the way: the next answer may be whole. */
export class LostAnswerError extends ProviderError {
  /** @param subject what answered: "The provider's token endpoint". */
  constructor(subject: string, status: number, lost: 'empty' | 'cut short') {
    super(
      'PROVIDER_UNAVAILABLE',
      `${subject} sent an answer that is ${lost} (status ${status}). Something between here and the provider lost it, or the ` +
        'provider fails. If it stays so, compare the URL with the one that the provider documents.',
    );
    this.name = 'ProviderError';
  }
}

/**
 * Passes on what an answer has, unless it was lost on the way. A refusal may be empty, and be meant so.
 *
 * @throws {LostAnswerError}
 */
export function requireWhole<Found extends Members | NoMembers>(
  found: Found,
  subject: string,
  { ok, status }: Response,
): Found {
  if (found === 'cut short' || (ok && found === 'empty')) {
    throw new LostAnswerError(subject, status, found);
  }
  return found;
}

/** What an answer says of a failure, raw: to be compared, and shown only through {@link safeText}. */
export interface Complaint {
  readonly code?: string;
  readonly description?: string;
}

/**
 * What the provider complains about; `undefined` when the answer has no word on it. Known are OAuth (RFC 6749 §5.2), problem
 * details (RFC 9457), Okta's `errorCode` and `errorSummary`, Entra's `error_codes`, Hydra's `error_hint`, AWS's
 * `__type` and `message`, Google's `error` object, and lists of `errors`.
 */
export function complaintOf(members: Members): Complaint | undefined {
  const nested = [members['error'], first(members['errors'])].find(isJsonObject);
  const { error } = members;
  const code = firstText(
    isJsonObject(error) ? undefined : error,
    members['errorCode'],
    members['__type'],
    nested?.['status'],
    nested?.['code'],
    members['code'],
    entraCode(members['error_codes']),
    members['title'],
  );
  const said = firstText(
    join(members['error_description'], members['error_hint']),
    join(members['errorSummary'], fieldsOf(first(members['errorCauses']))['errorSummary']),
    members['detail'],
    members['message'],
    members['Message'],
    nested?.['message'],
    nested?.['detail'],
    nested?.['title'],
    first(members['errors']),
    members['title'],
    entraCode(members['error_codes']),
  );
  // What is particular to this failure must not be cut off behind what is not.
  const description = said === undefined ? undefined : withoutCommonplaces(said) || said;
  if (code === undefined && description === undefined) return undefined;
  return {
    ...(code !== undefined && { code }),
    ...(description !== undefined && description !== code && { description }),
  };
}

/**
 * A complaint in words that may be shown: redacted, on one line, bounded. `undefined` when none of it may be.
 *
 * @param secrets texts that must not appear, not even in part.
 * @param harmless texts that look like secrets and are none, such as the client id.
 */
export function shownComplaint(
  { code, description }: Complaint,
  secrets: readonly string[] = [],
  harmless: readonly string[] = [],
): string | undefined {
  const shown = [code, description].map((text) => safeText(text, secrets, harmless));
  const said = shown.filter((text) => text !== undefined).join(': ');
  return said === '' ? undefined : said;
}

/**
 * The sentences of RFC 6749 §5.2 that some providers (Hydra) put before what they have to say; they name everything that might be
 * wrong.
 */
const COMMONPLACES =
  /Client authentication failed \(e\.g\.,[^)]*\)\.|The request is missing a required parameter, includes an [^.]*\.|The provided authorization grant \(e\.g\.,[^)]*\)[^.]*\.|The requested scope is invalid, unknown, or malformed\./g;

/** What a description says of this failure in particular; empty when it says nothing but the standard's own words. */
export function withoutCommonplaces(description: string): string {
  return description.replace(COMMONPLACES, ' ').trim();
}

function fieldsOf(value: unknown): Members {
  return isJsonObject(value) ? value : {};
}

function first(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : undefined;
}

/** More than is ever shown, and little enough to compare with many patterns, in characters. */
const MAX_TEXT = 2_000;

function firstText(...candidates: readonly unknown[]): string | undefined {
  const found = candidates.find(
    (value) => (typeof value === 'string' && value.trim() !== '') || typeof value === 'number',
  );
  const text = typeof found === 'number' ? String(found) : found;
  return typeof text === 'string' ? text.slice(0, MAX_TEXT) : undefined;
}

function entraCode(codes: unknown): string | undefined {
  const code = first(codes);
  return typeof code === 'number' ? `AADSTS${code}` : undefined;
}

function join(...parts: readonly unknown[]): string | undefined {
  const texts = parts.filter((part) => typeof part === 'string' && part !== '');
  return texts.length === 0 ? undefined : texts.join(' ');
}

/** The largest answer that is read, in bytes. Real token and metadata answers have a few thousand. */
const MAX_BODY_BYTES = 256 * 1024;

/** One HTTP exchange with the provider. */
interface ProviderCall {
  readonly clock: Clock;
  /** Milliseconds for the whole exchange, the body included. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** What is asked, for messages: `token endpoint`, `discovery document`. */
  readonly what: string;
  /** What must not appear in a message, not even in part. */
  readonly secrets?: readonly string[];
  /** Notified of the `Date` of a successful answer. */
  readonly onDate?: ((reading: DateReading) => void) | undefined;
}

/** What the client library hands to its fetch function. */
interface FetchInit {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body?: URLSearchParams | string | Uint8Array<ArrayBuffer> | ReadableStream | null;
}

/**
 * A fetch function for the client library that is bounded in time and size, never follows a redirect, and turns what
 * is not an answer of the protocol (no connection, redirects, 429, 5xx) into a {@link ProviderError}. The response it
 * gives is complete: its body is in memory.
 */
export function boundedFetch(
  exchange: ProviderCall,
): (url: string, init: FetchInit) => Promise<Response> {
  return async (url, init) => {
    const subject = `The provider's ${exchange.what} (${displayUrl(new URL(url))})`;
    try {
      const { clock, timeoutMs, signal: ending } = exchange;
      const work = async (signal: AbortSignal): Promise<Response> => {
        const sentAt = exchange.clock.now();
        const response = await fetch(url, {
          method: init.method,
          headers: init.headers,
          body: init.body ?? null,
          redirect: 'manual',
          signal,
        });
        if (response.ok) {
          const answeredAt = exchange.clock.now();
          const mayBeCached = init.method === 'GET';
          exchange.onDate?.(dateReading(response.headers, sentAt, answeredAt, mayBeCached));
        }
        const said = isTemporaryStatus(response.status)
          ? await readComplaint(response, exchange.secrets)
          : '';
        const failure = refusalByStatus(response, subject, said, exchange.clock.now());
        if (failure !== undefined) {
          // Nobody reads the rest of it; a failure to cancel it changes nothing about the answer.
          response.body?.cancel().catch(() => undefined);
          throw failure;
        }
        return new Response(await readBody(response, subject), {
          status: response.status,
          headers: response.headers,
        });
      };
      return await withDeadline(clock, timeoutMs, work, () => tooSlow(subject, timeoutMs), ending);
    } catch (error) {
      if (error instanceof ProviderError || exchange.signal?.aborted) throw error;
      throw connectionError(error, subject);
    }
  };
}

function tooSlow(subject: string, timeoutMs: number): ProviderError {
  return new ProviderError(
    'PROVIDER_TIMEOUT',
    `${subject} gave no complete answer within ${Math.ceil(timeoutMs / 100) / 10} s.`,
  );
}

async function readBody(
  response: Response,
  subject: string,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const body = await readBoundedBody(
    response,
    MAX_BODY_BYTES,
    () =>
      new ProviderError(
        'PROVIDER_RESPONSE_INVALID',
        `${subject} sent more than ${MAX_BODY_BYTES} bytes (status ${response.status}); this is not what was asked for.`,
      ),
  );
  return body.length === 0 ? null : body;
}

/** What a failing provider says, in brackets and fit for a message; empty when it says nothing that can be read. */
async function readComplaint(
  response: Response,
  secrets: readonly string[] | undefined,
): Promise<string> {
  if (!/json/i.test(response.headers.get('content-type') ?? '')) return '';
  try {
    const body = await readBoundedBody(response, MAX_BODY_BYTES, () => new Error('too large'));
    const members = await readMembers(new Response(body));
    const complaint = typeof members === 'string' ? undefined : complaintOf(members);
    const said = complaint && shownComplaint(complaint, secrets);
    return said === undefined ? '' : ` (${said})`;
  } catch {
    // The status says enough, and its Retry-After must not be lost.
    return '';
  }
}

function refusalByStatus(
  response: Response,
  subject: string,
  said: string,
  now: number,
): ProviderError | undefined {
  const { status } = response;
  const retryAfterSeconds = retryAfterOf(response.headers, now);
  const options = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  if (status === 429) {
    const when = retryAfterSeconds === undefined ? '' : ` It asks to wait ${retryAfterSeconds} s.`;
    return new ProviderError(
      'PROVIDER_THROTTLED',
      `${subject} says that there were too many requests (429)${said}.${when}`,
      options,
    );
  }
  if (isTemporaryStatus(status)) {
    return new ProviderError(
      'PROVIDER_UNAVAILABLE',
      `${subject} fails: status ${status}${said}.`,
      options,
    );
  }
  if (status >= 300 && status < 400) {
    return new ProviderError(
      'PROVIDER_REDIRECTED',
      `${subject} redirects${redirectTarget(response)} (status ${status}). Redirects are never followed, because ` +
        'they would carry the client credentials along: configure the final URL.',
    );
  }
  return undefined;
}

function redirectTarget(response: Response): string {
  const location = response.headers.get('location') ?? '';
  const target = parseUrl(location, response.url);
  if (target?.protocol !== 'https:' && target?.protocol !== 'http:') return '';
  return ` to ${target.origin}`;
}

/** The first pause is at most this long, in milliseconds; each further one at most twice the one before. */
export const BASE_PAUSE = 500;

/** No pause that we choose ourselves is longer, in milliseconds. */
export const MAX_PAUSE = 5_000;

/** What the pause before a further attempt depends on. */
interface PauseInput {
  /** How many attempts have failed so far, from 1. */
  readonly failures: number;
  /** How many attempts there are at all. */
  readonly attempts: number;
  /** Milliseconds until the deadline. */
  readonly remaining: number;
  /** What the provider asked for, if it did. */
  readonly retryAfterSeconds: number | undefined;
  /** From 0 up to, but not including, 1. */
  readonly random: number;
}

/**
 * Milliseconds to wait before the next attempt, or `undefined` to give up.
 *
 * The provider's own `Retry-After` is a lower bound that is always kept: when it reaches past the deadline, there is
 * no further attempt. Otherwise the pause grows twofold, with jitter over its upper half, so that replicas that
 * failed together do not come back together.
 */
export function decidePause(input: PauseInput): number | undefined {
  const { failures, attempts, remaining, retryAfterSeconds, random } = input;
  if (failures >= attempts) return undefined;
  const ceiling = backoff(failures, BASE_PAUSE, MAX_PAUSE);
  const pause =
    retryAfterSeconds === undefined
      ? ceiling / 2 + (random * ceiling) / 2
      : retryAfterSeconds * 1000 + random * BASE_PAUSE;
  return pause < remaining ? pause : undefined;
}

/** How long and how often one call may try. */
export interface Budget {
  readonly clock: Clock;
  /** When it is over, in milliseconds since the Unix epoch. */
  readonly deadline: number;
  /** Attempts for each request. */
  readonly attempts: number;
  /** Milliseconds for one attempt. */
  readonly timeoutMs: number;
  readonly random: () => number;
  readonly signal: AbortSignal | undefined;
  /** Notified of the `Date` of each successful answer. */
  readonly onDate?: ((reading: DateReading) => void) | undefined;
}

/**
 * Runs an attempt until it succeeds, fails for good, or the budget is used up; then the last error is thrown.
 *
 * @param attempt gets the milliseconds it may take.
 */
export async function retrying<T>(
  budget: Budget,
  attempt: (timeoutMs: number) => Promise<T>,
): Promise<T> {
  const { clock, deadline, attempts, signal } = budget;
  for (let failures = 0; ;) {
    signal?.throwIfAborted();
    const remaining = deadline - clock.now();
    if (remaining <= 0) throw outOfTime();
    try {
      return await attempt(Math.min(budget.timeoutMs, remaining));
    } catch (error) {
      failures += 1;
      const pause = pauseAfter(error, failures, attempts, deadline - clock.now(), budget.random());
      if (pause === undefined) throw error;
      await clock.sleep(pause, signal);
    }
  }
}

function pauseAfter(
  error: unknown,
  failures: number,
  attempts: number,
  remaining: number,
  random: number,
): number | undefined {
  if (!(error instanceof ProviderError) || error.kind !== 'retry') return undefined;
  const { retryAfterSeconds } = error;
  return decidePause({ failures, attempts, remaining, retryAfterSeconds, random });
}

function outOfTime(): ProviderError {
  return new ProviderError(
    'PROVIDER_TIMEOUT',
    'The provider took so long that no time is left for another request.',
  );
}

/** True when a fresh look at the provider's metadata may cure the error. */
export function mayBeStaleMetadata(error: unknown): boolean {
  return isProviderError(
    error,
    'PROVIDER_REDIRECTED',
    'PROVIDER_NOT_JSON',
    'PROVIDER_RESPONSE_INVALID',
    'PROVIDER_UNAVAILABLE',
    'PROVIDER_TLS_FAILED',
  );
}
