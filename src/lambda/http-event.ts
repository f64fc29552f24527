import { headerOf, type EndpointAnswer, type EndpointRequest } from '../serving/http.js';
import { FunctionError } from './function-error.js';

/**
 * What is used of an HTTP event: payload format 2.0, as function URLs and HTTP APIs of API Gateway send it. AWS writes
 * `requestContext`; everything else is the caller's.
 */
export interface HttpEvent {
  readonly version: '2.0';
  readonly rawPath: string;
  readonly rawQueryString?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly isBase64Encoded?: boolean;
  readonly requestContext: {
    readonly http: { readonly method: string; readonly sourceIp?: string };
    /** `$default`, or the name that an HTTP API puts in front of the path. */
    readonly stage?: string;
    /** What AWS IAM says of the caller; there is none behind an endpoint that it does not authorize. */
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

/** Whether an event is one that {@link toRequest} understands. @throws {FunctionError} `FUNCTION_EVENT_INVALID` */
export function requireHttpEvent(event: unknown): asserts event is HttpEvent {
  const { version, rawPath, requestContext } = membersOf(event);
  const { method } = membersOf(membersOf(requestContext)['http']);
  if (version === '2.0' && typeof rawPath === 'string' && typeof method === 'string') return;
  throw new FunctionError(
    'FUNCTION_EVENT_INVALID',
    'This is not an HTTP event with payload format 2.0. Put a function URL or an HTTP API of API Gateway before this function.',
  );
}

/** The event as a request to an endpoint. Its `source` is the event, of which only `requestContext` is to be believed. */
export function toRequest(event: HttpEvent): EndpointRequest {
  const { requestContext, rawQueryString = '', body } = event;
  const { method, sourceIp = '' } = requestContext.http;
  const bytes = Buffer.from(body ?? '', event.isBase64Encoded === true ? 'base64' : 'utf8');
  return {
    method,
    url: `${pathOf(event)}${rawQueryString === '' ? '' : `?${rawQueryString}`}`,
    headers: {
      ...Object.fromEntries(
        Object.entries(event.headers ?? {}).map(([name, value]) => [name.toLowerCase(), [value]]),
      ),
      // What the endpoint is to judge by is what came, whatever was announced.
      'content-length': [String(bytes.length)],
    },
    remoteAddress: sourceIp,
    encrypted: true,
    source: event,
    ...(bytes.length > 0 && { body: formOf(bytes.toString('utf8')) }),
  };
}

/** The path without the stage of an HTTP API. */
export function pathOf({ rawPath, requestContext: { stage = '$default' } }: HttpEvent): string {
  const prefix = `/${stage}`;
  const staged = stage !== '$default' && rawPath.startsWith(`${prefix}/`);
  return staged ? rawPath.slice(prefix.length) : rawPath;
}

/** The ARN of the caller, as AWS IAM has found it out. Nothing that the caller wrote is looked at. */
export function callerOf({ source }: EndpointRequest): string | undefined {
  const { authorizer } = membersOf(membersOf(source)['requestContext']);
  const { userArn } = membersOf(membersOf(authorizer)['iam']);
  return typeof userArn === 'string' && userArn !== '' ? userArn : undefined;
}

/**
 * An endpoint's answer as a result. Lambda counts the body's length by itself, and leaves it to the function to send
 * none after HEAD.
 */
export function toResult(
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

/** The form as a framework's parser gives it: texts, and lists for what is repeated. */
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
