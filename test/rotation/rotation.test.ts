import { describe, expect, test } from '@jest/globals';
import { decideStep, ROTATION_STEPS } from '../../src/rotation/rotation.js';
import type { SecretDescription } from '../../src/secrets/secret-store.js';

const describeSecret = (
  labels: readonly string[] | undefined,
  rotationEnabled: boolean,
): SecretDescription => ({
  secretId: 'broker/token',
  labels: new Map(labels === undefined ? [] : [['version-1', labels]]),
  rotationEnabled,
  readOnlyReplica: false,
});

describe('what is due for a step', () => {
  // labels of the version, driver, expectation for createSecret, expectation for every later step
  test.each([
    [['AWSCURRENT'], true, 'skip', 'skip'],
    [['AWSCURRENT', 'AWSPENDING'], true, 'skip', 'skip'],
    [['AWSPENDING'], true, 'do', 'do'],
    [['AWSPREVIOUS'], true, 'ROTATION_NOT_PENDING', 'ROTATION_NOT_PENDING'],
    [undefined, true, 'ROTATION_VERSION_UNKNOWN', 'ROTATION_VERSION_UNKNOWN'],
    [['AWSCURRENT'], false, 'skip', 'skip'],
    [['AWSPENDING'], false, 'do', 'do'],
    [['BROKERCLAIM'], false, 'ROTATION_NOT_PENDING', 'ROTATION_NOT_PENDING'],
    [undefined, false, 'do', 'ROTATION_VERSION_UNKNOWN'],
  ] as const)('labels %j, driven by Secrets Manager: %s', (labels, managed, create, later) => {
    for (const step of ROTATION_STEPS) {
      const decision = decideStep(step, 'version-1', describeSecret(labels, managed), { managed });
      const seen = decision.due === 'refuse' ? decision.code : decision.due;
      expect([step, seen]).toEqual([step, step === 'createSecret' ? create : later]);
    }
  });

  test('Secrets Manager may not drive a secret whose rotation is switched off', () => {
    const decision = decideStep('testSecret', 'version-1', describeSecret(['AWSPENDING'], false), {
      managed: true,
    });
    expect(decision).toMatchObject({ due: 'refuse', code: 'ROTATION_NOT_ENABLED' });
  });
});
