import type { FunctionOptions } from '../../../src/lambda/function-start.js';
import {
  createHttpFunction,
  type HttpEvent,
  type HttpResult,
} from '../../../src/lambda/http-function.js';
import { FakeClock } from '../../../src/testing/fake-clock.js';
import { serializeServiceToken, type ServiceToken } from '../../../src/tokens/service-token.js';
import { MemorySecretStore } from '../../support/memory-store.js';
import { AUDIENCE, HOUR, TOKEN_SECRET, type LogLine } from './rotation-function.js';

const ACCOUNT = '123456789012';
export const ORDERS = `arn:aws:iam::${ACCOUNT}:role/orders`;
export const PLATFORM = `arn:aws:iam::${ACCOUNT}:role/platform`;
export const ORDERS_SESSION = `arn:aws:sts::${ACCOUNT}:assumed-role/orders/i-0abc`;
export const PLATFORM_SESSION = `arn:aws:sts::${ACCOUNT}:assumed-role/platform/ann`;
export const TOKEN = 'header.payload.signature-one';

/** What a test asks with; everything else is as AWS sends it for a plain GET. */
export interface Ask {
  readonly method?: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly form?: string | URLSearchParams;
  /** The caller by AWS's word; `null` for an endpoint that IAM does not authorize. Default: the orders service. */
  readonly userArn?: string | null;
  /** Members that replace those of the event. */
  readonly event?: Readonly<Partial<Record<keyof HttpEvent, unknown>>>;
}

/** An event of a function URL, which encodes every body that is not text or JSON. */
export function httpEvent(path: string, ask: Ask = {}): Readonly<Record<string, unknown>> {
  const { method = 'GET', query = '', headers = {}, form, userArn = ORDERS_SESSION } = ask;
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: query,
    headers: {
      host: 'abc.lambda-url.eu-central-1.on.aws',
      authorization: 'AWS4-HMAC-SHA256 Credential=AKIA/20261122/eu-central-1/lambda/aws4_request',
      ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
      ...headers,
    },
    requestContext: {
      accountId: ACCOUNT,
      authorizer: userArn === null ? null : { iam: { accountId: ACCOUNT, userArn } },
      http: { method, path, protocol: 'HTTP/1.1', sourceIp: '10.0.0.7', userAgent: 'test' },
      requestId: 'gateway-1',
      stage: '$default',
    },
    ...(form === undefined
      ? { isBase64Encoded: false }
      : { body: Buffer.from(String(form)).toString('base64'), isBase64Encoded: true }),
    ...ask.event,
  };
}

/** An HTTP function in this process, over a store in memory and a clock that is moved by hand. */
export function httpScene(options: FunctionOptions & { readonly empty?: boolean } = {}) {
  const clock = new FakeClock();
  const store = new MemorySecretStore({ clock });
  const versionId = store.seed(
    TOKEN_SECRET,
    options.empty === true ? undefined : tokenValue(clock.now()),
  );
  const written: string[] = [];
  const handler = createHttpFunction({
    env: {
      BROKER_TOKEN_SECRET_ID: TOKEN_SECRET,
      BROKER_HTTP_IAM_PEERS: `${ORDERS}, admin=${PLATFORM}`,
    },
    store,
    clock,
    write: (line) => written.push(line),
    ...options,
  });
  return {
    clock,
    store,
    versionId,
    handler,
    ask: (path: string, ask?: Ask): Promise<HttpResult> =>
      handler(httpEvent(path, ask), {
        awsRequestId: 'request-1',
        getRemainingTimeInMillis: () => 10_000,
      }),
    output: (): string => written.join(''),
    lines: (): readonly LogLine[] => written.map((line) => JSON.parse(line) as LogLine),
  };
}

/** A token secret's value, minted at an instant and good for a day. */
export function tokenValue(now: number, change: Partial<ServiceToken> = {}): string {
  return serializeServiceToken({
    accessToken: TOKEN,
    tokenType: 'Bearer',
    generatedAt: now,
    expiresAt: now + 24 * HOUR,
    issuer: 'https://provider.example',
    audience: [AUDIENCE],
    ...change,
  });
}

/** The body of a result as JSON. */
export function bodyOf(result: HttpResult): Readonly<Record<string, unknown>> {
  return JSON.parse(result.body) as Record<string, unknown>;
}
