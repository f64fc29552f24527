import { describe, expect, test } from '@jest/globals';
import { FunctionError } from '../../src/lambda/invocation.js';
import { isConfiguredSecret, readRotationEvent } from '../../src/lambda/rotation-function.js';
import { character, fc } from '../support/properties.js';

const ARN = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:broker/token-AbCdEf';
const VERSION = 'b1d0b3a2-0000-4000-8000-000000000001';
const GOOD = { Step: 'testSecret', SecretId: ARN, ClientRequestToken: VERSION };

function refusalOf(event: unknown): FunctionError {
  try {
    readRotationEvent(event);
  } catch (error) {
    expect(error).toBeInstanceOf(FunctionError);
    return error as FunctionError;
  }
  throw new Error('expected a refusal');
}

describe('a rotation event', () => {
  test('is read', () => {
    expect(readRotationEvent({ ...GOOD, RotationToken: 'sensitive' })).toEqual({
      step: 'testSecret',
      secretId: ARN,
      versionId: VERSION,
      rotationToken: 'sensitive',
    });
  });

  test.each([[{}], [{ RotationToken: null }], [{ SomethingNew: { a: 1 } }]])(
    'needs no rotation token, and may have members that are not known: %j',
    (more) => {
      expect(readRotationEvent({ ...GOOD, ...more }).rotationToken).toBeUndefined();
    },
  );

  test.each<[string, unknown]>([
    ['it is not an object', undefined],
    ['it is not an object', null],
    ['it is not an object', 'createSecret'],
    ['it is not an object', [GOOD]],
    ['"Step" is none of createSecret, setSecret', { ...GOOD, Step: undefined }],
    ['"Step" is none of', { ...GOOD, Step: 'CreateSecret' }],
    ['"Step" is none of', { ...GOOD, Step: 'constructor' }],
    ['"Step" is none of', { ...GOOD, Step: ['testSecret'] }],
    ['"SecretId" is not a text', { ...GOOD, SecretId: undefined }],
    ['"SecretId" must have 1 to 2048', { ...GOOD, SecretId: '' }],
    ['"SecretId" must have 1 to 2048', { ...GOOD, SecretId: 'x'.repeat(2_049) }],
    ['"SecretId" has characters', { ...GOOD, SecretId: 'a\nb' }],
    ['"ClientRequestToken" is not a text', { ...GOOD, ClientRequestToken: 7 }],
    ['"ClientRequestToken" must have 32 to 64', { ...GOOD, ClientRequestToken: 'x'.repeat(31) }],
    ['"ClientRequestToken" must have 32 to 64', { ...GOOD, ClientRequestToken: 'x'.repeat(65) }],
    [
      '"ClientRequestToken" has characters',
      { ...GOOD, ClientRequestToken: `${'x'.repeat(32)}\u0000` },
    ],
    ['"RotationToken" is not a text', { ...GOOD, RotationToken: {} }],
    ['"RotationToken" must have 1 to 256', { ...GOOD, RotationToken: 'x'.repeat(257) }],
  ])('is refused: %s', (what, event) => {
    expect(refusalOf(event)).toMatchObject({
      code: 'FUNCTION_EVENT_INVALID',
      kind: 'rejected',
      message: expect.stringContaining(what),
    });
  });

  test('a refusal repeats nothing of the event', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('Step', 'SecretId', 'ClientRequestToken', 'RotationToken'),
        fc.string({ minLength: 12, unit: character }).map((text) => `canary${text}\u0007`),
        (member, value) => {
          const error = refusalOf({ ...GOOD, [member]: value });
          expect(`${error.message} ${String(error.cause)}`).not.toContain('canary');
        },
      ),
    );
  });
});

describe('the secret of an event', () => {
  const elsewhere = ARN.replace('eu-central-1', 'eu-west-1');
  test.each([
    [ARN, ARN, true],
    [ARN, 'broker/token', true],
    [ARN, ARN.replace('-AbCdEf', ''), true],
    ['broker/token', 'broker/token', true],
    ['broker/token', ARN, true],
    [ARN, 'token', false],
    [ARN, 'broker/token-', false],
    [ARN, 'broker/other', false],
    [ARN, elsewhere, false],
    [ARN, elsewhere.replace('-AbCdEf', ''), false],
    [ARN.replace('AbCdEf', 'AbCdEf-GhIjKl'), 'broker/token', false],
    [ARN.replace('AbCdEf', 'AbCdEf-GhIjKl'), ARN.replace('-AbCdEf', ''), false],
    ['broker/token-AbCdEf', 'broker/token', false],
  ])('%s, configured as %s: %s', (secretId, configured, is) => {
    expect(isConfiguredSecret(secretId, configured)).toBe(is);
  });
});
