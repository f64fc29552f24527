import * as sdk from '@aws-sdk/client-secrets-manager';
import { describe, expect, test } from '@jest/globals';
import type { ServerResponse } from 'node:http';
import {
  AWS_API_CALLS,
  carriesValue,
  storeErrorOf,
  type AwsOperation,
} from '../../../src/secrets/aws/aws-errors.js';
import { maySucceedElsewhere } from '../../../src/secrets/aws/fallback-store.js';
import type { SecretStoreError } from '../../../src/secrets/secret-store.js';
import { fixedPort } from '../../support/fixed-port.js';
import { fc } from '../../support/properties.js';
import { client, ROWS, thrown } from './failures.js';
import { put, useScriptedEndpoint, VALUE, VERSION } from './harness.js';
import { expectNoCanary, failureOf } from './leaks.js';
import { answer, refuse, REQUEST_ID } from './scripted-endpoint.js';

const ARN = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf';

function storeError(
  error: unknown,
  operation: AwsOperation = 'GetSecretValue',
  secretId = 'token',
): SecretStoreError {
  return storeErrorOf(error, { operation, secretId, region: 'eu-central-1' });
}

describe('every failure has a code, a kind and a way out', () => {
  test.each(
    ROWS.map(
      (row) => [`${row[0].name} ${row[0].code ?? ''} ${row[0].message ?? ''}`, row] as const,
    ),
  )('%s', (_title, [shape, code, kind, says]) => {
    const error = storeError(thrown(shape));
    expect({ code: error.code, kind: error.kind }).toEqual({ code, kind });
    expect(error.message).toMatch(says);
    expect(error.message).toContain('the secret "token"');
    expect(error.cause).toMatchObject({ name: 'AwsFault' });
    if (shape.status !== undefined) expect(error.message).toContain(REQUEST_ID);
  });

  test('the table has every exception the SDK declares', () => {
    const declared = Object.values(sdk).filter(
      (value): value is typeof sdk.InvalidRequestException =>
        typeof value === 'function' &&
        value.prototype instanceof sdk.SecretsManagerServiceException,
    );
    expect(declared.length).toBeGreaterThanOrEqual(12);
    for (const Declared of declared) {
      const error = new Declared({
        message: '',
        $metadata: { httpStatusCode: 400, requestId: REQUEST_ID },
      });
      expect(ROWS.some(([{ name }]) => name === error.name)).toBe(true);
      expect(storeError(error).message).toContain(`(${error.name}, HTTP 400, request id`);
    }
  });

  test.each([
    ['a name', 'token', /that name/],
    ['an ARN', ARN, /that ARN/],
  ])('a secret that is unknown, by %s', (_what, secretId, says) => {
    const error = storeError(
      thrown(client('ResourceNotFoundException')),
      'DescribeSecret',
      secretId,
    );
    expect(error.message).toMatch(says);
    expect(error.message).toContain(`"${secretId}"`);
  });

  test.each(['a string', undefined, null, 42, {}, new Error('no name of ours')])(
    'whatever is thrown becomes a store error: %p',
    (value) => {
      expect(storeError(value)).toMatchObject({ code: 'STORE_REQUEST_INVALID', kind: 'bug' });
    },
  );
});

describe("AWS's own words", () => {
  const words = 'Invalid name. Must be a valid name containing alphanumeric characters';

  test.each(AWS_API_CALLS)('are quoted only when the call carries no value: %s', (operation) => {
    const error = storeError(thrown(client('InvalidParameterException', words)), operation);
    expect(error.message.includes(words)).toBe(!carriesValue(operation));
  });

  test.each(['CredentialsProviderError', 'Error', 'SyntaxError'])(
    "are AWS's, and not what the SDK says about commands and files: %s",
    (name) => {
      const error = thrown({ name, message: 'the command printed {"SecretAccessKey":"canary"}' });
      expectNoCanary(storeError(error, 'DescribeSecret'));
    },
  );

  test('are one line of bounded length', () => {
    const long = 'a\n\u0007\u202e'.repeat(400);
    const { message } = storeError(thrown(client('ValidationException', long)), 'DescribeSecret');
    expect(message).not.toMatch(/[\p{Cc}\u202e]/u);
    expect(message.length).toBeLessThan(700);
  });

  test('about a value never come through, wherever they stand in the error', () => {
    const planted = fc
      .tuple(fc.constantFrom('canary', 'CANARY', 'Canary'), fc.string())
      .map(([canary, noise]) => `${canary}${noise}`);
    const names = fc.constantFrom(...ROWS.map(([{ name }]) => name));
    fc.assert(
      fc.property(planted, names, fc.constantFrom(200, 400, 403, 500), (text, name, status) => {
        // The SDK puts every member of the answer's body on the error.
        const error = Object.assign(new Error(text), {
          name: status === 403 ? text : name,
          $fault: 'client',
          code: text,
          hostname: text,
          errors: [{ code: text, address: text }],
          $metadata: { httpStatusCode: status, requestId: text, attempts: 2 },
        });
        Object.defineProperty(error, '$response', {
          value: { headers: { 'retry-after': text, 'content-type': text }, body: text },
        });
        expectNoCanary(storeError(error, 'PutSecretValue'));
        expectNoCanary(storeError(error, 'GetSecretValue'));
      }),
    );
  });
});

const aws = useScriptedEndpoint();

/** An endpoint that failed may repeat what it was sent anywhere in its answer. */
function echo(response: ServerResponse, text: string, status: number, type: string): void {
  response.writeHead(status, {
    'content-type': 'application/x-amz-json-1.1',
    'x-amzn-requestid': text.slice(0, 36).replaceAll(/[^\w-]/g, '-'),
    'x-amzn-errortype': type,
  });
  response.end(JSON.stringify({ __type: type, Message: text, message: text, Value: text }));
}

describe('an endpoint that fails', () => {
  test('500s are tried three times, then reported as unavailable', async () => {
    aws.endpoint.play(({ text }, response) => echo(response, text, 500, 'InternalServiceError'));
    const error = await failureOf(put(aws.open()));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'retry' });
    expect(error.message).toContain('after 3 attempts');
    expect(aws.endpoint.received).toHaveLength(3);
  });

  test('a 500 that passes is not seen at all', async () => {
    aws.endpoint.play(({ nth }, response) =>
      nth < 3 ? refuse(response, 'InternalServiceError', 'oops', 500) : answer(response, {}),
    );
    await put(aws.open());
    expect(aws.endpoint.received).toHaveLength(3);
    expect(new Set(aws.endpoint.received.map(({ body }) => body['ClientRequestToken']))).toEqual(
      new Set([VERSION]),
    );
  });

  test.each([
    ['ThrottlingException', 400],
    ['TooManyRequestsException', 429],
    ['RequestLimitExceeded', 503],
  ])('throttling is told from failing: %s, HTTP %i', async (type, status) => {
    process.env['AWS_MAX_ATTEMPTS'] = '1';
    aws.endpoint.play(({ text }, response) => {
      response.setHeader('retry-after', '7');
      echo(response, text, status, type);
    });
    const error = await failureOf(put(aws.open()));
    expect(error).toMatchObject({ code: 'STORE_THROTTLED', kind: 'retry', retryAfterSeconds: 7 });
    expect(aws.endpoint.received).toHaveLength(1);
  });

  test('a denied call says who may not do what, and nothing else of the answer', async () => {
    aws.endpoint.play(({ text }, response) =>
      refuse(
        response,
        'AccessDeniedException',
        `User: arn:aws:sts::123456789012:assumed-role/broker/i-1 is not authorized to perform: secretsmanager:PutSecretValue on resource: token because no identity-based policy allows the secretsmanager:PutSecretValue action ${text}`,
      ),
    );
    const error = await failureOf(put(aws.open()));
    expect(error).toMatchObject({ code: 'STORE_ACCESS_DENIED', kind: 'misconfigured' });
    expect(error.message).toContain(
      'arn:aws:sts::123456789012:assumed-role/broker/i-1 may not secretsmanager:PutSecretValue: no identity-based policy allows it',
    );
    expect(error.message).toContain(`request id ${REQUEST_ID}`);
    expect(aws.endpoint.received).toHaveLength(1);
  });

  test('a name that is no exception name is not repeated', async () => {
    aws.endpoint.play(({ text }, response) => echo(response, text, 400, VALUE));
    const error = await failureOf(put(aws.open()));
    expect(error).toMatchObject({ code: 'STORE_REQUEST_INVALID', kind: 'bug' });
    expect(error.message).toContain('(UnknownError, HTTP 400)');
  });
});

describe('an endpoint that does not answer', () => {
  // Each bound ends a wait that would last for ever; none of them races with anything.
  test('is given up after the request time-out of each attempt', async () => {
    aws.endpoint.play(() => undefined);
    const error = await failureOf(put(aws.open({ timeouts: { request: 50 } })));
    expect(error).toMatchObject({ code: 'STORE_TIMEOUT', kind: 'retry' });
    expect(error.message).toContain('after 3 attempts');
  });

  test('is given up when the whole call takes too long, whatever the attempts do', async () => {
    aws.endpoint.play(() => undefined);
    const error = await failureOf(put(aws.open({ timeouts: { request: 60_000, total: 50 } })));
    expect(error).toMatchObject({ code: 'STORE_TIMEOUT', kind: 'retry' });
  });

  test('is given up when the headers trickle for ever', async () => {
    const timers: NodeJS.Timeout[] = [];
    aws.endpoint.play((_received, response) => {
      response.socket?.write('HTTP/1.1 200 OK\r\nx-slow: ');
      timers.push(setInterval(() => response.socket?.write('c'), 5));
    });
    const error = await failureOf(put(aws.open({ timeouts: { request: 60 } })));
    for (const timer of timers) clearInterval(timer);
    expect(error).toMatchObject({ code: 'STORE_TIMEOUT', kind: 'retry' });
    expect(error.message).toContain('after 3 attempts');
  });

  test('is given up when the body stands still', async () => {
    aws.endpoint.play((_received, response) => {
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
      response.write(`{"SecretString":"canary`);
    });
    const error = await failureOf(aws.open({ timeouts: { request: 50 } }).read('token'));
    expect(error).toMatchObject({ code: 'STORE_TIMEOUT', kind: 'retry' });
    expect(error.message).toContain('after 3 attempts');
  });

  test('is given up when the body trickles for ever', async () => {
    const timers: NodeJS.Timeout[] = [];
    aws.endpoint.play((_received, response) => {
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
      response.write(`{"SecretString":"canary`);
      timers.push(setInterval(() => response.write('c'), 5));
    });
    const error = await failureOf(
      aws.open({ timeouts: { request: 60_000, total: 150 } }).read('token'),
    );
    for (const timer of timers) clearInterval(timer);
    expect(error).toMatchObject({ code: 'STORE_TIMEOUT', kind: 'retry' });
  });

  test('is unavailable when it resets the connection', async () => {
    aws.endpoint.play((_received, response) => response.destroy());
    const error = await failureOf(put(aws.open()));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'retry' });
    expect(error.message).toContain('ECONNRESET');
    expect(aws.endpoint.received).toHaveLength(3);
  });

  test('is unavailable when it resets the connection inside the body', async () => {
    aws.endpoint.play((_received, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write(`{"SecretString":"canary`, () => response.destroy());
    });
    const error = await failureOf(aws.open().read('token'));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'retry' });
  });

  test.each([
    ['no HTTP', 'canary garbage\r\n\r\n', /HPE_.*not of Secrets/],
    ['a status that is none', 'HTTP/1.1 99999 canary\r\n\r\n', /HPE_.*not of Secrets/],
    ['another protocol', 'SSH-2.0-canary\r\n', /HPE_.*not of Secrets/],
    ['a head that ends in the middle', 'HTTP/1.1 200 OK\r\nx-can', /ECONNRESET/],
    [
      'a body that ends in the middle',
      'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"SecretString":"canary',
      /truncated/,
    ],
    [
      'a body without length that ends in the middle',
      'HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\n\r\n{"SecretString":"canary',
      /truncated/,
    ],
    [
      'a page',
      'HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 19\r\n\r\n<html>canary</html>',
      /not of Secrets/,
    ],
  ])('is unavailable for now when it sends %s', async (_what, text, says) => {
    aws.endpoint.play((_received, response) => response.socket?.end(text));
    const error = await failureOf(aws.open().read('token'));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'retry' });
    expect(error.message).toMatch(says);
    expect(maySucceedElsewhere(error)).toBe(true);
  });

  test('is unavailable when nobody listens, and the message says where', async () => {
    const host = `127.0.0.1:${fixedPort()}`;
    const error = await failureOf(put(aws.open({ endpoint: `http://${host}` })));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'retry' });
    expect(error.message).toContain(`ECONNREFUSED at ${host}`);
  });
});
