import { describe, expect, test } from '@jest/globals';
import {
  judgeFunction,
  judgePending,
  judgeRotation,
} from '../../../src/cli/doctor/examine-rotation.js';
import { PENDING_GRACE } from '../../../src/rotation/repair.js';
import { createSlots } from '../../../src/rotation/coverage.js';
import type { SecretDescription, StoreRotation } from '../../../src/secrets/secret-store.js';

const HOUR = 3_600_000;
const NOW = Date.parse('2026-11-22T12:00:00Z');
const ARN = 'arn:aws:lambda:eu-central-1:123456789012:function:rotate';

const described = (traits: Partial<SecretDescription> = {}): SecretDescription => ({
  secretId: 'token',
  labels: new Map([['v1', ['AWSCURRENT']]]),
  rotationEnabled: false,
  readOnlyReplica: false,
  ...traits,
});
const managed = (storeRotation: StoreRotation, traits: Partial<SecretDescription> = {}) =>
  described({ rotationEnabled: true, storeRotation, ...traits });

describe('who rotates', () => {
  const slots = createSlots('0 3 * * *');
  const judge = (description: SecretDescription, enabled = true) =>
    judgeRotation(
      description,
      { enabled, cron: '0 3 * * *', minRemainingSeconds: 60, manualIntervalSeconds: 60 },
      slots,
      NOW,
    );
  const schedule = 'cron(0 3 * * ? *)';

  test.each([
    ['the broker', described(), true, 'ok', 'next at 2026-11-23T03:00:00.000Z'],
    ['another process', described(), false, 'warning', 'BROKER_ROTATION=disabled'],
    ['the primary Region', described({ readOnlyReplica: true }), true, 'ok', 'primary Region'],
    ['Secrets Manager', managed({ schedule, window: '2h' }), true, 'ok', 'window of 2h, never yet'],
    [
      'Secrets Manager, soon',
      managed({ schedule, lastAt: NOW - HOUR, nextAt: NOW + HOUR }),
      true,
      'ok',
      'last 2026-11-22T11:00:00.000Z, next by 2026-11-22T13:00:00.000Z',
    ],
    ['nobody in time', managed({ schedule, nextAt: NOW - 1 }), true, 'warning', 'was due by'],
    ['nobody on schedule', managed({}), true, 'warning', 'has no schedule'],
    // The broker's own schedule does not matter where Secrets Manager rotates.
    ['Secrets Manager alone', managed({ schedule }), false, 'ok', 'Secrets Manager rotates at'],
  ])('%s', (_who, description, enabled, state, says) => {
    const finding = judge(description, enabled);
    expect(finding.state).toBe(state);
    expect(finding.message).toContain(says);
  });
});

describe('the rotation function', () => {
  const daily = { functionId: ARN, schedule: 'rate(1 day)', window: '2h' };
  test.each([
    ['is not needed', described(), 'skipped', 'does not rotate'],
    ['is missing', managed({ schedule: 'rate(1 day)' }), 'failed', 'no rotation function'],
    ['worked lately', managed({ ...daily, lastAt: NOW - 26 * HOUR }), 'ok', ARN],
    ['worked long ago', managed({ ...daily, lastAt: NOW - 27 * HOUR }), 'skipped', 'Not checked'],
    ['never worked', managed(daily), 'skipped', 'Not checked'],
    ['has a schedule of its own kind', managed({ functionId: ARN, lastAt: NOW }), 'skipped', 'Not'],
  ])('%s', (_what, description, state, says) => {
    const finding = judgeFunction(description, NOW);
    expect(finding.state).toBe(state);
    expect(finding.message).toContain(says);
    if (says === 'Not checked')
      expect(finding.action).toContain(`get-policy --function-name ${ARN}`);
  });
});

describe('a pending version', () => {
  const labels = new Map([
    ['v1', ['AWSCURRENT']],
    ['v2', ['AWSPENDING']],
  ]);
  const old = NOW - PENDING_GRACE;
  test.each([
    ['is not there', described(), undefined, 'ok', 'No rotation was left'],
    [
      'is the current one',
      described({ labels: new Map([['v1', ['AWSCURRENT', 'AWSPENDING']]]) }),
      undefined,
      'ok',
      'No rotation was left',
    ],
    ['is young', described({ labels }), NOW - 1_000, 'warning', 'may be running'],
    ['is old', described({ labels }), old, 'warning', 'v2 is AWSPENDING since 15 min'],
    ['blocks Secrets Manager', managed({}, { labels }), old, 'failed', 'takes no request'],
    ['has no value and no age', managed({}, { labels }), undefined, 'failed', 'takes no request'],
    [
      'has no value, in a secret that was touched just now',
      managed({}, { labels, changedAt: NOW }),
      undefined,
      'warning',
      'may be running',
    ],
  ])('%s', (_what, description, stagedAt, state, says) => {
    const finding = judgePending(description, stagedAt, NOW);
    expect(finding.state).toBe(state);
    expect(finding.message).toContain(says);
    if (state === 'failed') expect(finding.action).toContain('rotate --repair');
  });
});
