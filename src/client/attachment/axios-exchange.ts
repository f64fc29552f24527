import type { AxiosDestination } from './axios-destination.js';
import type { AxiosDispatch } from './axios-dispatch.js';
import { putAuthorization, removeAuthorization } from './axios-headers.js';
import { RedirectWatch } from './axios-redirects.js';
import type { AxiosAnswer, AxiosRequest } from './axios-shapes.js';
import { isRepeatableBody } from './repeatable-body.js';
import type { Exchange } from './send-attached.js';

/** What came of sending a request: by the request's `validateStatus` a 401 is an answer or an error. */
export interface AxiosOutcome {
  readonly answer: AxiosAnswer | undefined;
  /** What axios rejected with; `undefined` when it did not. */
  readonly error: { readonly reason: unknown } | undefined;
  /** It comes from another origin than the one that the request was for. */
  readonly isFromElsewhere: boolean;
}

/** What axios promised: the answer, or the error. */
export function answerOf({ answer, error }: AxiosOutcome): AxiosAnswer {
  if (error !== undefined) throw error.reason;
  return answer as AxiosAnswer;
}

/** A request of axios to a listed origin. */
export class AxiosExchange implements Exchange<AxiosOutcome> {
  /**
   * @param destination what leads to the origin, as it was decided on.
   * @param correlation headers that the request gets besides.
   * @param adapter what the request names as its adapter.
   */
  constructor(
    readonly origin: string,
    private readonly config: AxiosRequest,
    private readonly destination: Pick<AxiosDestination, 'url' | 'baseURL'>,
    private readonly correlation: readonly (readonly [name: string, value: string])[],
    private readonly adapter: unknown,
    private readonly dispatch: AxiosDispatch,
  ) {}

  get cancellation(): AxiosRequest {
    return this.config;
  }

  get isRepeatable(): boolean {
    return isRepeatableBody(this.config.data);
  }

  /**
   * The configuration is axios' own for this one request, and carries what is sent only as long as the request is under way: a
   * copy of it would cost more than all else here.
   */
  async send(authorization: string | undefined): Promise<AxiosOutcome> {
    const { config, correlation, destination } = this;
    const { headers, url, baseURL, beforeRedirect } = config;
    const watch = new RedirectWatch(this.origin, authorization, beforeRedirect);
    config.beforeRedirect = watch.beforeRedirect;
    config.url = destination.url;
    config.baseURL = destination.baseURL;
    for (const [name, value] of correlation) headers.set(name, value);
    if (authorization !== undefined) putAuthorization(headers, authorization);
    let answer: AxiosAnswer | undefined;
    let error: AxiosOutcome['error'];
    try {
      answer = await this.dispatch.send(config, this.adapter);
    } catch (reason) {
      error = { reason };
      answer = (reason as { response?: AxiosAnswer } | undefined)?.response;
    }
    config.beforeRedirect = beforeRedirect;
    config.url = url;
    config.baseURL = baseURL;
    for (const [name] of correlation) headers.delete(name);
    if (authorization !== undefined) removeAuthorization(headers);
    conceal(answer, config);
    if (error !== undefined) conceal(error.reason, config);
    return { answer, error, isFromElsewhere: watch.hasLeft };
  }

  async endCancelled(): Promise<AxiosOutcome> {
    const answer = await this.dispatch.endCancelled(this.config);
    return { answer, error: undefined, isFromElsewhere: false };
  }

  isRefused({ answer, isFromElsewhere }: AxiosOutcome): boolean {
    return answer?.status === 401 && !isFromElsewhere;
  }

  discard({ answer }: AxiosOutcome): Promise<void> {
    return discardStream(answer?.data);
  }
}

const HIDDEN: PropertyDescriptor = { enumerable: false };

/** By which Node's incoming message, the data of an answer that came as a stream, leads to the request that was sent. */
const TO_THE_REQUEST = ['req', 'socket', 'client', 'connection'] as const;

/**
 * Takes what holds the header as it went out from the sight of `console.log` and loggers. It can be read as before. And
 * puts the caller's own configuration where there is a copy of what was sent.
 */
function conceal(shown: unknown, config: AxiosRequest): void {
  if (!isObject(shown)) return;
  if (shown['config'] !== undefined) shown['config'] = config;
  if (shown['request'] !== undefined) Object.defineProperty(shown, 'request', HIDDEN);
  // Only a stream: an adapter of the caller's own may answer with data, whose members are not ours to hide.
  const { data } = shown;
  if (isObject(data) && typeof data['pipe'] === 'function') hide(data, TO_THE_REQUEST);
}

function hide(target: object, keys: readonly string[]): void {
  for (const key of keys) {
    const { configurable } = Object.getOwnPropertyDescriptor(target, key) ?? {};
    if (configurable === true) Object.defineProperty(target, key, HIDDEN);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Lets go of the connection of an answer that came as a stream, of Node or of the web; others were read to their end. */
async function discardStream(data: unknown): Promise<void> {
  if (!isObject(data)) return;
  if (data instanceof ReadableStream) {
    // A connection that broke while the refusal was on its way is as good as one that is closed.
    await data.cancel().catch(() => undefined);
  } else if (typeof data['destroy'] === 'function') {
    data['destroy']();
  }
}
