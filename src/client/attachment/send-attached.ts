import { hasSubscribers } from 'node:diagnostics_channel';
import { isAnyArrayBuffer } from 'node:util/types';
import type { Correlation } from '../../context/call-context.js';
import { notify } from '../../tokens/errors.js';
import { isTraced, traced, traceHeaders } from '../../tokens/tracing.js';
import type { ServiceTokenSource, SuppliedToken } from '../../tokens/token-supply.js';
import {
  AttachmentError,
  type Attachment,
  type AttachmentSettings,
  type RefusedAttachment,
  type RefusedServiceToken,
  originOf,
} from './attachment-rules.js';

/** One request of axios or fetch. */
export interface Exchange<Answer> {
  /** The callee. */
  readonly origin: string;
  readonly cancellation: Cancellation;
  /**
   * Sends it. Resolves with whatever comes back, a refusal too.
   *
   * @param authorization the value of the `Authorization` header; `undefined` to leave it as it is.
   */
  send(authorization: string | undefined): Promise<Answer>;
  /** Ends a request that was cancelled, in the way that the sender's users know. Sends nothing. */
  endCancelled(): Promise<Answer>;
  /** Whether the callee itself refused the token: 401, and not from another origin that redirects led to. */
  isRefused(answer: Answer): boolean;
  /**
   * Whether a request with this answer may be sent a second time: with the same body, and only when it is known that no
   * redirect led it to another origin, nor to what it may have changed already.
   */
  mayRepeat(answer: Answer): boolean;
  /** Releases the connection of an answer that nobody will read. */
  discard(answer: Answer): Promise<void>;
}

/** Sends a request with what was decided for it. */
export function sendAttached<Answer>(
  settings: AttachmentSettings,
  attachment: Exclude<Attachment, RefusedAttachment>,
  exchange: Exchange<Answer>,
): Promise<Answer> {
  if (attachment.kind === 'service-token') return sendWithServiceToken(settings, exchange);
  return exchange.send(
    attachment.kind === 'customer-token' ? bearerHeader(attachment.token) : undefined,
  );
}

/**
 * Sends a request with the service token. When the callee refuses the token, and another one is available, it is sent once
 * more with that; in every other case the refusal is returned.
 */
async function sendWithServiceToken<Answer>(
  { tokens, onRefused }: AttachmentSettings,
  exchange: Exchange<Answer>,
): Promise<Answer> {
  const { cancellation, origin } = exchange;
  let supplied: SuppliedToken | undefined;
  try {
    supplied = await traced(ATTACH, () => untilCancelled(cancellation, tokens.getToken()));
  } catch (error) {
    if (typeof error === 'object' && error !== null) sourceFailures.add(error);
    throw error;
  }
  if (supplied === undefined) return exchange.endCancelled();
  const answer = await exchange.send(headerOf(supplied));
  if (!exchange.isRefused(answer)) return answer;

  const { accessToken: refused } = supplied;
  const renewal = await traced(RENEW, () => untilCancelled(cancellation, renew(tokens, refused)));
  if (renewal === undefined) {
    await exchange.discard(answer);
    return exchange.endCancelled();
  }
  const outcome = decideOutcome(renewal, exchange.mayRepeat(answer));
  if (onRefused !== undefined) {
    notify(() => onRefused({ origin, outcome, error: renewal.error }));
  }
  if (outcome !== 'retried') return answer;
  const authorization = bearerHeader(renewal.token);
  await exchange.discard(answer);
  return exchange.send(authorization);
}

/** The request itself is not within: its span is that of the application's instrumentation of HTTP. */
const ATTACH = { span: 'service_token.attach', metric: 'service_token.attach.duration' };
/** Another token, after the callee has refused the first one. */
const RENEW = { span: 'service_token.renew', metric: 'service_token.renew.duration' };

const sourceFailures = new WeakSet();

/** Whether an error is what the source of the service token threw for a request. */
export function isSourceFailure(error: object): boolean {
  return sourceFailures.has(error);
}

/** What came of looking for another token: one, none, or an error. */
interface Renewal {
  readonly token?: string;
  readonly error?: unknown;
}

/**
 * Looks for a token other than the one that was refused. The source reads anew at most once a second, however many
 * requests are refused: of those that were refused together, one may find what another has got. A token that is refused
 * within its first second may have been replaced: the rest of that second is waited for.
 */
async function renew(tokens: ServiceTokenSource, refusedToken: string): Promise<Renewal> {
  try {
    const current = await tokens.getToken();
    if (current.accessToken !== refusedToken) return { token: current.accessToken };
    const renewed = await tokens.getToken({ force: true, patient: true });
    return renewed.accessToken === refusedToken ? {} : { token: renewed.accessToken };
  } catch (error) {
    // The callee's refusal tells the caller more than the broker's troubles, which the source reports itself.
    return { error };
  }
}

function decideOutcome(renewal: Renewal, isRepeatable: boolean): RefusedServiceToken['outcome'] {
  if (renewal.error !== undefined) return 'refresh-failed';
  if (renewal.token === undefined) return 'no-newer-token';
  return isRepeatable ? 'retried' : 'not-repeatable';
}

/** The header of a token is made and checked once, for as long as its source gives the same object. */
const headers = new WeakMap<SuppliedToken, string>();

function headerOf(supplied: SuppliedToken): string {
  let header = headers.get(supplied);
  if (header === undefined) headers.set(supplied, (header = bearerHeader(supplied.accessToken)));
  return header;
}

/** RFC 6750 §2.1: what a bearer token may consist of. */
const B64TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

/**
 * The value of the `Authorization` header for a token.
 *
 * @throws {AttachmentError} `TOKEN_NOT_SENDABLE`. Runtimes refuse such a header too, but quote it.
 */
export function bearerHeader(token: unknown): string {
  if (typeof token === 'string' && B64TOKEN.test(token)) return `Bearer ${token}`;
  throw new AttachmentError(
    'TOKEN_NOT_SENDABLE',
    'What should be sent as the token is not a bearer token (RFC 6750 §2.1). Check what the token source or the call context was given.',
  );
}

/** What can end a request early: an `AbortSignal`, axios' own `CancelToken`, both, or nothing. */
export interface Cancellation {
  readonly signal?: CancelSignal | null | undefined;
  readonly cancelToken?: CancelToken | null | undefined;
}

interface CancelSignal {
  readonly aborted: boolean;
  addEventListener?(type: 'abort', listener: () => void): void;
  removeEventListener?(type: 'abort', listener: () => void): void;
}

interface CancelToken {
  readonly reason?: unknown;
  subscribe(listener: () => void): void;
  unsubscribe(listener: () => void): void;
}

/** True when the request was cancelled. */
export function isCancelled({ signal, cancelToken }: Cancellation): boolean {
  return signal?.aborted === true || (cancelToken?.reason ?? undefined) !== undefined;
}

/** Waits for a promise that others share. @returns `undefined` when the request is cancelled first. */
function untilCancelled<T>(
  cancellation: Cancellation,
  promise: Promise<T>,
): Promise<T | undefined> {
  const canBe = Boolean(cancellation.signal) || Boolean(cancellation.cancelToken);
  return canBe ? race(cancellation, promise) : promise;
}

async function race<T>(cancellation: Cancellation, promise: Promise<T>): Promise<T | undefined> {
  const { signal, cancelToken } = cancellation;
  let stop = (): void => undefined;
  const cancelled = new Promise<undefined>((resolve) => {
    stop = () => resolve(undefined);
  });
  if (isCancelled(cancellation)) stop();
  signal?.addEventListener?.('abort', stop);
  cancelToken?.subscribe(stop);
  try {
    return await Promise.race([cancelled, promise]);
  } finally {
    signal?.removeEventListener?.('abort', stop);
    cancelToken?.unsubscribe(stop);
  }
}

type Header = readonly [name: string, value: string];

/**
 * The headers that pass a correlation on: those that the request does not have already. A `tracestate` belongs to its
 * `traceparent` (W3C Trace Context §3.3), so that it never goes with another one.
 *
 * With an OpenTelemetry SDK, the trace is that of the running span.
 *
 * @param correlation as `readCorrelation` made it: nothing malformed is in it.
 * @param isFetch whether `fetch` sends the request. Default: it does not.
 */
export function correlationHeaders(
  { traceparent, tracestate, requestId }: Correlation = {},
  has: (name: string) => boolean,
  isFetch: () => boolean = () => false,
): readonly Header[] {
  const found: Header[] = [];
  if (!has('traceparent') && !has('tracestate')) {
    const running = isTraced() ? runningTrace(isFetch) : undefined;
    if (running !== undefined) found.push(...running.filter(([name]) => !has(name)));
    else if (traceparent !== undefined) {
      found.push(['traceparent', traceparent]);
      if (tracestate !== undefined) found.push(['tracestate', tracestate]);
    }
  }
  if (requestId !== undefined && !has('x-request-id')) found.push(['x-request-id', requestId]);
  return found;
}

/** The headers of the running span's trace; `undefined` when there is none. */
function runningTrace(isFetch: () => boolean): readonly Header[] | undefined {
  // The instrumentation of fetch would add its own to ours, and two are invalid.
  if (hasSubscribers('undici:request:create') && isFetch()) return [];
  const headers = Object.entries(traceHeaders());
  return headers.length === 0 ? undefined : headers;
}

/**
 * True for a body that can be sent a second time with the same bytes. Everything else counts as used up by the first time:
 * streams, iterators, form data made of streams.
 */
export function isRepeatableBody(body: unknown): boolean {
  return (
    body === undefined ||
    body === null ||
    typeof body === 'string' ||
    body instanceof URLSearchParams ||
    body instanceof Blob ||
    body instanceof FormData ||
    ArrayBuffer.isView(body) ||
    isAnyArrayBuffer(body)
  );
}

/**
 * How a request came to its answer.
 *
 * - `direct`: the callee answered, without a redirect.
 * - `within`: by redirects within the origin.
 * - `elsewhere`: by a redirect to another origin.
 * - `unknown`: it cannot be seen. It may have been anywhere.
 */
export type Trail = 'direct' | 'within' | 'elsewhere' | 'unknown';

/** How a request of `fetch` came to its answer. A response that was made by hand has no URL, and says nothing. */
export function fetchTrail(
  origin: string,
  asked: string,
  { redirected, url }: { readonly redirected?: unknown; readonly url?: unknown },
): Trail {
  if (typeof url !== 'string' || url === '') return 'unknown';
  if (originOf(url) !== origin) return 'elsewhere';
  return redirected === false && withoutFragment(url) === withoutFragment(asked)
    ? 'direct'
    : 'unknown';
}

function withoutFragment(url: string): string {
  const parsed = new URL(url);
  parsed.hash = '';
  return parsed.href;
}

/** What adapters of axios show of the request of an answer. */
interface ShownRequest {
  /** `XMLHttpRequest`; by another name the adapters that stand for a server in tests. */
  readonly responseURL?: unknown;
  readonly responseUrl?: unknown;
  /** Node's request: the answer has the URL that follow-redirects came to. */
  readonly res?: { readonly responseUrl?: unknown } | null;
  readonly _redirectable?: { readonly _redirectCount?: unknown };
}

/**
 * How a request of axios came to its answer, for an adapter that is not known, or does not call `beforeRedirect`.
 *
 * A final URL at another origin shows a redirect. The first URL does not show that there was none: the request may have
 * been elsewhere and back.
 */
export function shownTrail(origin: string, request: unknown): Trail {
  if (typeof request !== 'object' || request === null) return 'unknown';
  const { responseURL, responseUrl, res, _redirectable: followed } = request as ShownRequest;
  const url = res?.responseUrl ?? responseURL ?? responseUrl;
  if (typeof url !== 'string' || url === '') return 'unknown';
  if (originOf(url) !== origin) return 'elsewhere';
  return followed?._redirectCount === 0 ? 'direct' : 'unknown';
}

/** axios' `beforeRedirect`, as its http adapter calls it before each redirect. */
type BeforeRedirect = (
  options: { readonly href?: unknown; readonly headers?: Record<string, unknown> },
  response: object,
  request: object,
) => void;

/**
 * Takes our `Authorization` header off before a redirect to another origin. Not every version of axios does, and
 * follow-redirects, which it uses, keeps the header for subdomains.
 *
 * The user's own `beforeRedirect` comes first, since it could put the header back. One that it sets anew is not ours, and
 * stays.
 */
export class RedirectWatch {
  /** How many redirects were followed, as far as the adapter said so. */
  hops = 0;
  /** A redirect led to another origin, from where the answer comes. */
  hasLeft = false;

  constructor(
    private readonly origin: string,
    private readonly authorization: string | undefined,
    private readonly usersOwn: unknown,
  ) {}

  readonly beforeRedirect: BeforeRedirect = (options, response, request) => {
    const { authorization, origin, usersOwn } = this;
    this.hops += 1;
    if (originOf(String(options.href)) !== origin) this.hasLeft = true;
    // It may change the URL: a request that was to leave once counts as one that left.
    if (typeof usersOwn === 'function') (usersOwn as BeforeRedirect)(options, response, request);
    if (originOf(String(options.href)) !== origin) this.hasLeft = true;
    if (!this.hasLeft) return;
    const { headers = {} } = options;
    for (const [name, value] of Object.entries(headers)) {
      if (value === authorization && name.toLowerCase() === 'authorization') {
        Reflect.deleteProperty(headers, name);
      }
    }
  };
}
