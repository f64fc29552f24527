import { readBoundedBody } from '../tokens/bounded-body.js';
import type { Clock } from '../tokens/clock.js';
import { dateReading, type DateReading } from '../tokens/clock-offset.js';
import { isTemporaryStatus, retryAfterOf } from '../tokens/retry-after.js';
import { complaintOf, readMembers, shownComplaint } from './provider-answer.js';
import { ProviderError } from './provider-errors.js';
import { displayUrl } from './provider-settings.js';
import { connectionError } from './connection-error.js';
import { parseUrl } from '../tokens/parse-url.js';

/** The largest answer that is read, in bytes. Real token and metadata answers have a few thousand. */
export const MAX_BODY_BYTES = 256 * 1024;

/** One HTTP exchange with the provider. */
export interface Exchange {
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
export interface FetchInit {
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
  exchange: Exchange,
): (url: string, init: FetchInit) => Promise<Response> {
  return async (url, init) => {
    const subject = `The provider's ${exchange.what} (${displayUrl(new URL(url))})`;
    try {
      return await withinTime(exchange, subject, async (signal) => {
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
      });
    } catch (error) {
      if (error instanceof ProviderError || exchange.signal?.aborted) throw error;
      throw connectionError(error, subject);
    }
  };
}

async function withinTime<T>(
  exchange: Exchange,
  subject: string,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { clock, timeoutMs, signal } = exchange;
  const timeUp = new AbortController();
  const finished = new AbortController();
  clock.sleep(timeoutMs, finished.signal).then(
    () => timeUp.abort(tooSlow(subject, timeoutMs)),
    // Rejected only because the exchange finished first.
    () => undefined,
  );
  try {
    return await run(signal ? AbortSignal.any([signal, timeUp.signal]) : timeUp.signal);
  } catch (error) {
    // Which error an aborted fetch or body rejects with differs between runtimes; the reason does not.
    signal?.throwIfAborted();
    timeUp.signal.throwIfAborted();
    throw error;
  } finally {
    finished.abort();
  }
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
