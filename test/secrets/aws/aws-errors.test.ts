import * as sdk from '@aws-sdk/client-secrets-manager';
import { describe, expect, test } from '@jest/globals';
import { fc } from '../../support/properties.js';
import {
  storeErrorOf,
  AWS_API_CALLS,
  carriesValue,
  type AwsOperation,
} from '../../../src/secrets/aws/aws-errors.js';
import type { SecretStoreError } from '../../../src/secrets/secret-store.js';
import { client, ROWS, thrown } from './failures.js';
import { expectNoCanary } from './leaks.js';
import { REQUEST_ID } from './scripted-endpoint.js';

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
