import type { RequestListener } from 'node:http';
import type { ServingObserver } from '../serving/endpoint.js';
import { errorCode } from '../tokens/errors.js';
import {
  annotateSpan,
  hasSpan,
  isTraced,
  traced,
  type TracedOperation,
} from '../tokens/tracing.js';
import { methodOf, QUIET, routeOf } from './request-log.js';

/**
 * Traces requests, if an OpenTelemetry SDK is registered now: a server span for each, in the trace that its `traceparent`
 * names, and the histogram `http.server.request.duration`. Within a span of the application's own HTTP instrumentation no
 * second one is made. Probes and scrapes are not traced.
 *
 * @param scheme `http` or `https`.
 * @returns the handler itself when no SDK is registered.
 */
export function traceRequests(handler: RequestListener, scheme: string): RequestListener {
  if (!isTraced()) return handler;
  return (request, response) => {
    const route = routeOf(request.url ?? '');
    if (QUIET.test(route) || hasSpan()) return handler(request, response);
    const { headers, method = '' } = request;
    const waits = /(?:^|[,\s])wait=/i.test(String(headers['prefer'] ?? ''));
    const served = { ...serveOperation(route, methodOf(method), scheme, waits), headers };
    // A rejection is what the handler has thrown: unhandled, as without traces.
    void traced(served, async (span) => {
      const closed = new Promise((resolve) => response.on('close', resolve));
      handler(request, response);
      await closed;
      const status = response.headersSent ? response.statusCode : undefined;
      span.set({ 'http.response.status_code': status });
      if (!response.writableFinished) span.fail('aborted');
      else if (status !== undefined && status >= 500) span.fail(String(status));
    });
  };
}

/** The names of HTTP's semantic conventions. A path that is not one of the broker's own may hold anything, and is left out. */
function serveOperation(
  route: string,
  method: string,
  scheme: string,
  waits: boolean,
): TracedOperation {
  const isKnown = route !== 'other';
  const verb = method === 'OTHER' ? 'HTTP' : method;
  return {
    span: isKnown ? `${verb} ${route}` : verb,
    metric: 'http.server.request.duration',
    kind: 'server',
    attributes: {
      'http.request.method': method === 'OTHER' ? '_OTHER' : method,
      'url.scheme': scheme,
      ...(isKnown && { 'http.route': route }),
      // Their duration says how long the peer was willing to wait.
      ...(waits && { 'service_token.waits': true }),
    },
    ...(isKnown && !route.includes('{') && { details: { 'url.path': route } }),
  };
}

/**
 * Adds to a request's span who asked, for which token, and what the answer came from, if an OpenTelemetry SDK is registered
 * now. Otherwise the observer itself.
 */
export function traceServing(observer: ServingObserver): ServingObserver {
  if (!isTraced()) return observer;
  return {
    ...observer,
    loggedIn: (peer, source) => {
      annotateSpan({ 'service_token.peer': peer });
      observer.loggedIn?.(peer, source);
    },
    tokenServed: (peer, state, status, token) => {
      annotateSpan({ 'service_token.name': token, 'service_token.cache': state });
      observer.tokenServed?.(peer, state, status, token);
    },
    tokenUnavailable: (peer, error, token) => {
      annotateSpan({ 'service_token.name': token, 'service_token.code': errorCode(error) });
      observer.tokenUnavailable?.(peer, error, token);
    },
    loginFailed: (reason, peer, remoteAddress) => {
      annotateSpan({ 'service_token.login_failure': reason });
      observer.loginFailed?.(reason, peer, remoteAddress);
    },
  };
}
