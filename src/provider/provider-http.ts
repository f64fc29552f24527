import { readBoundedBody, isTemporaryStatus, retryAfterOf, parseUrl } from '../tokens/http.js';
import {
  complaintOf,
  connectionError,
  isProviderError,
  ProviderError,
  readMembers,
  shownComplaint,
} from './provider-errors.js';
import {
  backoff,
  dateReading,
  withDeadline,
  type Clock,
  type DateReading,
} from '../tokens/time.js';
import { displayUrl } from './client-credentials.js';
import type { Exchange } from '../tokens/node-exchange.js';

/** The largest answer that is read, in bytes. Real token and metadata answers have a few thousand. */
const MAX_BODY_BYTES = 256 * 1024;

/** How one request to the provider is made. */
interface ProviderCall {
  readonly clock: Clock;
  /** Milliseconds for all of it, the body included. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** What is asked, for messages: `token endpoint`, `discovery document`. */
  readonly what: string;
  /** Sends the request over mutual TLS. Default: `fetch`, without a client certificate. */
  readonly exchange?: Exchange | undefined;
  /** Default: the platform's. */
  readonly fetch?: typeof globalThis.fetch | undefined;
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
 * A fetch function for the client library that is bounded in time and size, never follows a redirect, and turns what is
 * not a response of the protocol (no connection, redirects, 429, 5xx) into a {@link ProviderError}. Its responses are
 * complete: their bodies are in memory.
 */
export function boundedFetch(
  call: ProviderCall,
): (url: string, init: FetchInit) => Promise<Response> {
  const { clock, timeoutMs, signal } = call;
  return async (url, init) => {
    const subject = `The provider's ${call.what} (${displayUrl(new URL(url))})`;
    try {
      return await withDeadline(
        clock,
        timeoutMs,
        (ending) => send(call, subject, url, { ...init, signal: ending }),
        () => tooSlow(subject, timeoutMs),
        signal,
      );
    } catch (error) {
      if (error instanceof ProviderError || signal?.aborted) throw error;
      throw connectionError(error, subject, call.exchange !== undefined);
    }
  };
}

async function send(
  { clock, onDate, secrets, exchange, fetch = globalThis.fetch }: ProviderCall,
  subject: string,
  url: string,
  { method, headers, body, signal }: FetchInit & { readonly signal: AbortSignal },
): Promise<Response> {
  const sentAt = clock.now();
  const response =
    exchange === undefined
      ? await fetch(url, { method, headers, body: body ?? null, redirect: 'manual', signal })
      : await exchange(url, { method, headers, body, signal });
  if (response.ok) {
    onDate?.(dateReading(response.headers, sentAt, clock.now(), method === 'GET'));
  }
  const said = isTemporaryStatus(response.status) ? await readComplaint(response, secrets) : '';
  const failure = refusalByStatus(response, subject, said, clock.now());
  if (failure !== undefined) {
    // The rest is not read; a failure to cancel it changes nothing about the answer.
    response.body?.cancel().catch(() => undefined);
    throw failure;
  }
  const { status, headers: received } = response;
  return new Response(await readBody(response, subject), { status, headers: received });
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

/** What a failing provider says, in brackets and fit for a message; empty when it says nothing readable. */
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
    // The status says enough, and Retry-After must be kept.
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
  // Only a response of `fetch` knows its address.
  const target = parseUrl(location, response.url === '' ? undefined : response.url);
  if (target?.protocol !== 'https:' && target?.protocol !== 'http:') return '';
  return ` to ${target.origin}`;
}

/** How long and how often one call may try. */
export interface Budget {
  readonly clock: Clock;
  /** When it ends, in milliseconds since the Unix epoch. */
  readonly deadline: number;
  /** Attempts for each request. */
  readonly attempts: number;
  /** Milliseconds for one attempt. */
  readonly timeoutMs: number;
  readonly random: () => number;
  readonly signal: AbortSignal | undefined;
  /** Notified of the `Date` of each successful answer. */
  readonly onDate?: ((reading: DateReading) => void) | undefined;
  /** Default: the platform's. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/**
 * Repeats an attempt until it succeeds, fails for good, or the budget is used up; then throws the last error.
 *
 * @param attempt receives the milliseconds it may take.
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

/** The longest first pause, in milliseconds; each further one may be twice as long. */
export const BASE_PAUSE = 500;

/** The longest pause without a `Retry-After`, in milliseconds. */
export const MAX_PAUSE = 5_000;

/** What the pause before a further attempt depends on. */
interface PauseInput {
  /** How many attempts have failed so far, from 1. */
  readonly failures: number;
  /** How many attempts there are at all. */
  readonly attempts: number;
  /** Milliseconds until the deadline. */
  readonly remaining: number;
  /** The provider's `Retry-After`, if any. */
  readonly retryAfterSeconds: number | undefined;
  /** From 0 up to, but not including, 1. */
  readonly random: number;
}

/**
 * Milliseconds to wait before the next attempt, or `undefined` to give up.
 *
 * The provider's `Retry-After` is a lower bound: when it ends after the deadline, there is no further attempt. Otherwise
 * the pause doubles, with jitter over its upper half, so that replicas that failed together do not return together.
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

/** True when discovering the provider's metadata again may fix the error. */
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
