import { withAudit, type RequestPlace } from '../operations/audit-events.js';
import { AuditTrail, lineSink } from '../operations/audit.js';
import {
  failureAnswer,
  headerOf,
  notFound,
  plainPath,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from '../serving/endpoint.js';
import {
  elapsed,
  prepareFunction,
  readHttpFunctionConfig,
  startOnce,
  type FunctionLog,
  type FunctionOptions,
} from './function-start.js';
import { AwaitedReads, createHttpRoutes, httpRouteOf, type HttpRoute } from './http-routes.js';
import {
  currentInvocation,
  FunctionError,
  runInvocation,
  shownError,
  type FunctionContext,
} from './invocation.js';

/**
 * The part of an HTTP event that is used: payload format 2.0, as function URLs and HTTP APIs of API Gateway send it. AWS
 * writes `requestContext`; everything else is the caller's.
 */
export interface HttpEvent {
  readonly version: '2.0';
  readonly rawPath: string;
  readonly rawQueryString?: string;
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly body?: string;
  readonly isBase64Encoded?: boolean;
  readonly requestContext: {
    readonly http: { readonly method: string; readonly sourceIp?: string };
    /** `$default`, or the name that an HTTP API puts in front of the path. */
    readonly stage?: string;
    /** The caller by AWS IAM; missing behind an endpoint that it does not authorize. */
    readonly authorizer?: { readonly iam?: { readonly userArn?: string } } | null;
  };
}

/** The answer to an HTTP event, payload format 2.0. */
export interface HttpResult {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly isBase64Encoded: false;
}

/** The handler of the HTTP function: payload format 2.0 in and out. */
export type HttpHandler = (event: unknown, context: FunctionContext) => Promise<HttpResult>;

interface Started {
  readonly routes: Readonly<Record<HttpRoute, Endpoint>>;
  readonly reads: AwaitedReads;
  readonly log: FunctionLog;
}

/**
 * Makes the handler of the HTTP function. Configuration, clients and caches are kept from one invocation to the next. A
 * failed start is answered with 503; the next invocation tries again.
 */
export function createHttpFunction(options: FunctionOptions = {}): HttpHandler {
  const { clock, firstLog, start } = prepareFunction(options, readHttpFunctionConfig);
  const peers = new WeakMap<object, string>();

  const started = startOnce(async (): Promise<Started> => {
    const { core, log, write } = await start();
    const reads = new AwaitedReads(core.store);
    const plain = httpObserver(log, (request, peerId) => peers.set(request, peerId));
    const observer =
      core.config.audit === undefined
        ? plain
        : withAudit(plain, new AuditTrail({ sink: lineSink(write), clock }), placeOf);
    return { routes: createHttpRoutes({ core, reads, callerOf, observer }), reads, log };
  });

  /** The answer, with the configured log; before the start, with the first one. */
  async function answer(
    request: EndpointRequest,
    path: string,
  ): Promise<{ readonly answered: EndpointAnswer; readonly log: FunctionLog }> {
    let running: Started;
    try {
      running = await started();
    } catch (error) {
      firstLog('error', 'the function cannot start', { err: error });
      const answered = failureAnswer(error, 'The broker cannot start. Its log says why.');
      return { answered, log: firstLog };
    }
    const route = httpRouteOf(path);
    const answered = route === undefined ? notFound() : await running.routes[route].answer(request);
    await running.reads.settled();
    return { answered, log: running.log };
  }

  return (event, context) =>
    runInvocation(clock, context, async () => {
      try {
        requireHttpEvent(event);
        const request = toRequest(event);
        const path = plainPath(pathOf(event));
        const { answered, log } = await answer(request, path);
        // The caller is written as it is: AWS has authenticated it, and redaction takes role names for secrets.
        const who = { peer: peers.get(event), caller: callerOf(request) };
        const what = {
          method: /^[A-Z]{1,16}$/.test(request.method) ? request.method : 'OTHER',
          route: httpRouteOf(path) ?? 'other',
          status: answered.status,
          cache: headerOf(answered, 'X-Cache'),
          remoteAddress: request.remoteAddress,
        };
        log(answered.status >= 500 ? 'warn' : 'info', 'request', elapsed(clock), {
          ...what,
          ...who,
        });
        return toResult(answered, request.method, { 'X-Request-Id': context.awsRequestId });
      } catch (error) {
        firstLog('error', 'the invocation failed', { err: error });
        throw shownError(error);
      }
    });
}

/** @throws {FunctionError} `FUNCTION_EVENT_INVALID` */
function requireHttpEvent(event: unknown): asserts event is HttpEvent {
  const { version, rawPath, rawQueryString, headers, body, requestContext } = membersOf(event);
  const { http, stage } = membersOf(requestContext);
  const { method, sourceIp } = membersOf(http);
  // Whoever may invoke the function itself can send anything; what AWS leaves out may be null.
  const optional = [rawQueryString, body, stage, sourceIp, ...Object.values(membersOf(headers))];
  if (
    version === '2.0' &&
    typeof rawPath === 'string' &&
    typeof method === 'string' &&
    optional.every((value) => (value ?? '') === '' || typeof value === 'string')
  ) {
    return;
  }
  throw new FunctionError(
    'FUNCTION_EVENT_INVALID',
    'This is not an HTTP event with payload format 2.0. Put a function URL or an HTTP API of API Gateway before this function.',
  );
}

/** The event as a request to an endpoint. Its `source` is the event, of which only `requestContext` is trusted. */
function toRequest(event: HttpEvent): EndpointRequest {
  const { requestContext, body } = event;
  const { method } = requestContext.http;
  const rawQueryString = event.rawQueryString ?? '';
  const bytes = Buffer.from(body ?? '', event.isBase64Encoded === true ? 'base64' : 'utf8');
  return {
    method,
    url: `${pathOf(event)}${rawQueryString === '' ? '' : `?${rawQueryString}`}`,
    headers: {
      ...Object.fromEntries(
        Object.entries(event.headers ?? {}).flatMap(([name, value]) =>
          value === null ? [] : [[name.toLowerCase(), [value]]],
        ),
      ),
      // The length of what came, whatever was announced.
      'content-length': [String(bytes.length)],
    },
    remoteAddress: requestContext.http.sourceIp ?? '',
    encrypted: true,
    source: event,
    ...(bytes.length > 0 && { body: formOf(bytes.toString('utf8')) }),
  };
}

/** The path without the stage of an HTTP API. */
function pathOf({ rawPath, requestContext }: HttpEvent): string {
  const stage = requestContext.stage ?? '$default';
  const prefix = `/${stage}`;
  const staged = stage !== '$default' && rawPath.startsWith(`${prefix}/`);
  return staged ? rawPath.slice(prefix.length) : rawPath;
}

/** The caller's ARN by AWS IAM. Nothing that the caller wrote is read. */
function callerOf({ source }: EndpointRequest): string | undefined {
  const { authorizer } = membersOf(membersOf(source)['requestContext']);
  const { userArn } = membersOf(membersOf(authorizer)['iam']);
  return typeof userArn === 'string' && userArn !== '' ? userArn : undefined;
}

/**
 * An endpoint's answer as a result. Lambda adds the body's length, and leaves it to the function to send no body after
 * HEAD.
 */
function toResult(
  answer: EndpointAnswer,
  method: string,
  more: Readonly<Record<string, string>>,
): HttpResult {
  const headers: Record<string, string> = {};
  for (let index = 0; index < answer.headers.length; index += 2) {
    const name = answer.headers[index] ?? '';
    if (name !== 'Content-Length') headers[name] = headerOf(answer, name) ?? '';
  }
  return {
    statusCode: answer.status,
    headers: { ...headers, ...more },
    body: method === 'HEAD' ? '' : answer.body.toString('utf8'),
    isBase64Encoded: false,
  };
}

/** The form as a framework's parser gives it: texts, and lists for repeated names. */
function formOf(text: string): Readonly<Record<string, string | readonly string[]>> {
  const form = new URLSearchParams(text);
  return Object.fromEntries(
    [...new Set(form.keys())].map((name) => {
      const values = form.getAll(name);
      return [name, values.length > 1 ? values : (values[0] ?? '')];
    }),
  );
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}

/** The id is that of the invocation, which its lines in the log have. */
const placeOf: RequestPlace = ({ remoteAddress }) => {
  const requestId = currentInvocation()?.requestId;
  return requestId === undefined ? { remoteAddress } : { remoteAddress, requestId };
};

/** Logs what peers ask for. Who asked is in the line of the request. */
function httpObserver(
  log: FunctionLog,
  onPeer: (request: object, peerId: string) => void,
): ServingObserver {
  return {
    loggedIn: (peerId, source) => {
      if (source !== undefined) onPeer(source, peerId);
    },
    tokenUnavailable: (peer, error) =>
      log('warn', 'the service token could not be served', { err: error }, { peer }),
    loginFailed: (reason, _peer, remoteAddress) =>
      log('warn', 'a peer could not log in', {}, { reason, remoteAddress }),
    loginThrottled: (_peer, remoteAddress) =>
      log('warn', 'a failing peer is asked to slow down', {}, { remoteAddress }),
    issuerUnavailable: (error) =>
      log('error', 'a workload token could not be judged', { err: error }),
    authorized: ({ outcome, reason }) => {
      if (reason !== undefined) log('info', 'a request may not pass', {}, { outcome, reason });
    },
    introspected: (peer, { outcome, reason }) => {
      if (reason !== undefined) log('info', 'a token is not active', {}, { peer, outcome, reason });
    },
    roleMissing: (peer, role) =>
      log('warn', 'a peer asked for what it has no role for', {}, { peer, role }),
    tokenNotGranted: (peer) =>
      log('warn', 'a peer asked for a token that it may not have', {}, { peer }),
    rotated: (peer, versionId, outcome) =>
      log('info', 'a peer rotated the service token', {}, { peer, versionId, outcome }),
    rotationFailed: (peer, error) =>
      log('warn', 'a rotation that a peer asked for failed', { err: error }, { peer }),
    failed: (error) => log('error', 'an unexpected error while answering', { err: error }),
  };
}
