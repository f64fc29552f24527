import { watchRedirects } from './axios-redirects.js';
import type { AxiosDispatch } from './axios-dispatch.js';
import type { AxiosAnswer, AxiosRequest } from './axios-shapes.js';
import type { Exchange } from './send-attached.js';
import { isRepeatableBody } from './repeatable-body.js';

/** What came of sending a request: by the request's `validateStatus` a 401 is an answer or an error. */
export interface AxiosOutcome {
  readonly answer: AxiosAnswer | undefined;
  /** What axios rejected with; `undefined` when it did not. */
  readonly error: { readonly reason: unknown } | undefined;
  /** It comes from another origin than the one that the request was for. */
  readonly isFromElsewhere: boolean;
}

/** A request of axios to a listed origin. */
export interface AxiosCall {
  readonly config: AxiosRequest;
  readonly url: string;
  readonly origin: string;
  readonly correlation: readonly (readonly [name: string, value: string])[];
  readonly adapter: unknown;
  readonly dispatch: AxiosDispatch;
}

/** What axios promised: the answer, or the error. */
export function answerOf({ answer, error }: AxiosOutcome): AxiosAnswer {
  if (error !== undefined) throw error.reason;
  return answer as AxiosAnswer;
}

export function axiosExchange(call: AxiosCall): Exchange<AxiosOutcome> {
  const { config, origin, dispatch } = call;
  return {
    origin,
    cancellation: config,
    isRepeatable: isRepeatableBody(config.data),
    send: (authorization) => sendOnce(call, authorization),
    endCancelled: async () => ({
      answer: await dispatch.endCancelled(config),
      error: undefined,
      isFromElsewhere: false,
    }),
    isRefused: ({ answer, isFromElsewhere }) => answer?.status === 401 && !isFromElsewhere,
    discard: async ({ answer }) => discardStream(answer?.data),
  };
}

async function sendOnce(
  { config, url, origin, correlation, adapter, dispatch }: AxiosCall,
  authorization: string | undefined,
): Promise<AxiosOutcome> {
  const headers = config.headers.concat();
  for (const [name, value] of correlation) headers.set(name, value);
  if (authorization !== undefined) headers.set('Authorization', authorization);
  const watch = watchRedirects(origin, authorization, config.beforeRedirect);
  const sent = {
    ...config,
    // The URL that was decided on, so that nothing can be made of it but that.
    url,
    baseURL: undefined,
    headers,
    beforeRedirect: watch.beforeRedirect,
  };
  try {
    const answer = await dispatch.send(sent, adapter);
    conceal(answer, config);
    return { answer, error: undefined, isFromElsewhere: watch.hasLeft() };
  } catch (reason) {
    const answer = (reason as { response?: AxiosAnswer } | undefined)?.response;
    conceal(reason, config);
    conceal(answer, config);
    return { answer, error: { reason }, isFromElsewhere: watch.hasLeft() };
  }
}

/**
 * Puts the caller's own configuration, which knows no token, where axios shows the one that was sent; and takes `request`,
 * which holds the header as it went out, from the sight of `console.log` and loggers. It can be read as before.
 */
function conceal(shown: unknown, config: AxiosRequest): void {
  if (typeof shown !== 'object' || shown === null) return;
  const target = shown as { config?: unknown; request?: unknown };
  if (target.config !== undefined) target.config = config;
  if (target.request !== undefined) {
    Object.defineProperty(target, 'request', { value: target.request, enumerable: false });
  }
}

/** Lets go of the connection of an answer that came as a stream, of Node or of the web; others were read to their end. */
async function discardStream(data: unknown): Promise<void> {
  if (typeof data !== 'object' || data === null) return;
  if (data instanceof ReadableStream) {
    // A connection that broke while the refusal was on its way is as good as one that is closed.
    await data.cancel().catch(() => undefined);
  } else if ('destroy' in data && typeof data.destroy === 'function') {
    data.destroy();
  }
}
