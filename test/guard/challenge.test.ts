import { describe, expect, test } from '@jest/globals';
import {
  challengeOf,
  checkChallengeOptions,
  MALFORMED_CREDENTIALS,
  NO_CREDENTIALS,
  NOT_DECLARED,
  refusalOf,
  UNKNOWN_CONTEXT,
  type Refusal,
} from '../../src/guard/access.js';
import {
  KeysUnavailableError,
  TokenRejectedError,
  VerifierConfigError,
} from '../../src/verification/verification-errors.js';

const EXPIRED = refusalOf(new TokenRejectedError('TOKEN_EXPIRED', 'secret words'));
const DOWN = refusalOf(new KeysUnavailableError('secret words', { retryAfterSeconds: 2.1 }));
const SCOPES: Refusal = {
  status: 403,
  error: 'insufficient_scope',
  description: 'The access token lacks a scope.',
  reason: 'SCOPE_MISSING',
  scopes: ['a', 'b:c'],
};

describe('challengeOf', () => {
  test.each([
    [NO_CREDENTIALS, {}, 'Bearer'],
    [NO_CREDENTIALS, { realm: 'orders' }, 'Bearer realm="orders"'],
    [
      MALFORMED_CREDENTIALS,
      {},
      'Bearer error="invalid_request", error_description="There must be exactly one Authorization header with exactly one bearer token."',
    ],
    [
      EXPIRED,
      { realm: 'orders' },
      'Bearer realm="orders", error="invalid_token", error_description="The access token expired."',
    ],
    [
      SCOPES,
      { resourceMetadata: 'https://orders.example/.well-known/oauth-protected-resource' },
      'Bearer error="insufficient_scope", error_description="The access token lacks a scope.", scope="a b:c", resource_metadata="https://orders.example/.well-known/oauth-protected-resource"',
    ],
    [NOT_DECLARED, { realm: 'orders' }, undefined],
    [UNKNOWN_CONTEXT, {}, undefined],
    [DOWN, { realm: 'orders' }, undefined],
  ])('%j with %j', (refusal, options, header) => {
    expect(refusal).toBeDefined();
    expect(challengeOf(refusal as Refusal, options)).toBe(header);
  });
});

describe('checkChallengeOptions', () => {
  test.each([
    {},
    { realm: 'Orders of example.com' },
    { resourceMetadata: 'https://orders.example/.well-known/oauth-protected-resource' },
    { resourceMetadata: 'http://127.0.0.1:3000/meta?x=1' },
  ])('%j is fine', (options) => {
    expect(() => checkChallengeOptions(options)).not.toThrow();
  });

  test.each([
    { realm: '' },
    { realm: 'a"b' },
    { realm: 'a\\b' },
    { realm: 'a\r\nSet-Cookie: x=y' },
    { realm: 'é' },
    { resourceMetadata: '/relative' },
    { resourceMetadata: 'http://orders.example/' },
    { resourceMetadata: 'ftp://orders.example/' },
    { resourceMetadata: 'https://orders.example/#part' },
    { resourceMetadata: 'https://user:password@orders.example/' },
    { resourceMetadata: 'https://orders.example/"\r\nX: y' },
  ])('%j is refused', (options) => {
    expect(() => checkChallengeOptions(options)).toThrow(
      expect.objectContaining({ code: 'GUARD_MISCONFIGURED' }),
    );
  });
});

describe('refusalOf', () => {
  test('an expired token', () => {
    expect(EXPIRED).toMatchObject({ status: 401, error: 'invalid_token', reason: 'TOKEN_EXPIRED' });
  });

  test('keys that cannot be had, in whole seconds', () => {
    expect(DOWN).toMatchObject({ status: 503, retryAfterSeconds: 3 });
  });

  test('the verifier’s words stay here', () => {
    expect(JSON.stringify([EXPIRED, DOWN])).not.toContain('secret words');
  });

  test.each([new Error('other'), new VerifierConfigError('wrong'), undefined, 'text'])(
    '%p is no refusal',
    (error) => {
      expect(refusalOf(error)).toBeUndefined();
    },
  );
});
