import { describe, expect, test } from '@jest/globals';
import {
  judgeCertificateLife,
  judgeClock,
  judgeCoverage,
  judgeExplanation,
  judgeKeys,
  judgeWorkload,
  type ClockReading,
} from '../../../src/cli/doctor/examine-provider.js';
import {
  judgeFunction,
  judgePending,
  judgeRotation,
} from '../../../src/cli/doctor/examine-rotation.js';
import {
  judgeEncryption,
  judgeFallbackRegions,
  judgeIdentity,
  judgePeers,
  judgeTokenLife,
} from '../../../src/cli/doctor/examine-secrets.js';
import { NO_PEERS, parsePeers, type Peer } from '../../../src/peers/peers.js';
import { checkCoverage, createSlots } from '../../../src/rotation/coverage.js';
import { PENDING_GRACE } from '../../../src/rotation/repair.js';
import type { SecretDescription, StoreRotation } from '../../../src/secrets/secret-store.js';
import type { TokenExplanation } from '../../../src/verification/index.js';
import { fc } from '../../support/properties.js';

const SECOND = 1_000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.parse('2026-11-22T12:00:00Z');

describe('AWS credentials', () => {
  const identity = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', region: 'eu-central-1' };
  test.each([
    ['that do not end', undefined, undefined, 'ok', '…MPLE, Region eu-central-1.'],
    ['of an account', '123456789012', NOW + 1, 'ok', 'account 123456789012'],
    ['that have expired', undefined, NOW, 'failed', 'expired at 2026-11-22T12:00:00.000Z'],
  ])('%s', (_what, accountId, expiresAt, state, says) => {
    const finding = judgeIdentity({ ...identity, accountId, expiresAt }, NOW);
    expect(finding.state).toBe(state);
    expect(finding.message).toContain(says);
    expect(finding.message).not.toContain('AKIA');
  });
});

test.each([
  ['fresh', DAY, 24 * HOUR, 'ok', '1 d left'],
  ['with just enough life', DAY, HOUR, 'ok', '1 h left'],
  ['due', DAY, HOUR - 1, 'warning', 'rotation is due'],
  ['of an hour, with a third of it', HOUR * (2 / 3), HOUR / 3, 'ok', '20 min left'],
  ['of an hour, and due', HOUR * (2 / 3), HOUR / 3 - 1, 'warning', 'rotation is due'],
  ['nearly expired', DAY, 60_000, 'failed', 'too little to be served'],
  ['expired', DAY, -60_000, 'failed', 'expired 1 min ago'],
])('a service token that is %s', (_what, age, life, state, says) => {
  const finding = judgeTokenLife({ generatedAt: NOW - age, expiresAt: NOW + life }, NOW, {
    minimumRemaining: HOUR,
    skew: 60_000,
  });
  expect(finding.state).toBe(state);
  expect(finding.message).toContain(says);
});

describe('peers', () => {
  const peer = (id: string, enabled: boolean): [string, Peer] => [
    id,
    {
      id,
      secretSha256: Buffer.alloc(32),
      roles: ['token'],
      tokens: ['default'],
      enabled,
      createdAt: NOW,
    },
  ];
  test.each([
    ['none', [], 'warning', 'has no enabled peer'],
    ['all disabled', [peer('a', false)], 'warning', 'has no enabled peer'],
    ['some', [peer('a', true), peer('b', false)], 'ok', 'has 1 enabled peer, 1 disabled'],
  ] as const)('%s', (_what, peers, state, says) => {
    const finding = judgePeers({ ...NO_PEERS, byId: new Map(peers) }, 'peers');
    expect(finding.state).toBe(state);
    expect(finding.message).toContain(says);
  });

  test('a malformed entry is a failure, and named', () => {
    const entry = { a: { enabled: 'false' }, 'not an id': {} };
    const finding = judgePeers(parsePeers(JSON.stringify({ peers: entry })), 'peers');
    expect(finding.state).toBe('failed');
    expect(finding.message).toContain('a: "secret_sha256" must be');
    expect(finding.message).toContain('(no id): the id has characters');
    expect(finding.message).not.toContain('not an id');
    expect(finding.action).toContain('peers remove ID');
  });
});

describe('encryption', () => {
  const secret = (encryptionKeyId: string | undefined, wasRead = true) => ({
    description: {
      secretId: 's',
      labels: new Map(),
      rotationEnabled: false,
      readOnlyReplica: false,
      ...(encryptionKeyId !== undefined && { encryptionKeyId }),
    } satisfies SecretDescription,
    wasRead,
  });
  test('names the KMS key of each secret, and which of them proved nothing', () => {
    const { message } = judgeEncryption({
      credentials: secret('alias/broker'),
      token: secret('aws/secretsmanager', false),
    });
    expect(message).toContain('credentials by alias/broker,');
    expect(message).toContain('token by aws/secretsmanager (nothing to decrypt yet)');
  });
  test('is not of KMS in the embedded store', () => {
    expect(judgeEncryption({ token: secret(undefined) }).message).toContain('KMS is not used');
  });
});

test.each([
  ['all the same', [{ versionId: 'v' }, { versionId: 'v' }], 'ok', 'eu-west-1, us-east-1'],
  ['one behind', [{ versionId: 'v' }, { versionId: 'u' }], 'warning', 'in us-east-1'],
  [
    'one not there',
    [{ code: 'SECRET_NOT_FOUND' }, { versionId: 'v' }],
    'failed',
    'eu-west-1 (SECRET_',
  ],
] as const)('fallback Regions: %s', (_what, [west, east], state, says) => {
  const finding = judgeFallbackRegions(
    [
      { region: 'eu-west-1', answer: west },
      { region: 'us-east-1', answer: east },
    ],
    'v',
  );
  expect(finding.state).toBe(state);
  expect(finding.message).toContain(says);
});

test.each([
  ['two', ['a', 'b'], [], 'ok', 'a, b'],
  ['one weak', ['a'], [{ keyId: 'b', reason: 'weak' }], 'ok', 'Not used: b (weak)'],
  ['none', [], [{ keyId: undefined, reason: 'malformed' }], 'warning', 'one without an id'],
] as const)('provider keys: %s', (_what, keyIds, ignored, state, says) => {
  const finding = judgeKeys({ keyIds, ignored });
  expect(finding.state).toBe(state);
  expect(finding.message).toContain(says);
});

describe('classification', () => {
  const explanation: TokenExplanation = {
    accepted: true,
    kind: 'service',
    code: undefined,
    isRetryable: false,
    steps: [{ step: 'parse', outcome: 'ok', words: 'well-formed' }],
    rules: [],
    seen: {
      alg: 'RS256',
      typ: undefined,
      kid: undefined,
      iss: undefined,
      aud: undefined,
      expiresAt: undefined,
      remainingSeconds: undefined,
    },
  };
  test.each<readonly [string, Partial<TokenExplanation>, string, string]>([
    ['a service token', {}, 'ok', 'as a service token'],
    ['a customer token', { kind: 'customer' }, 'failed', 'customer token'],
    [
      'a refused token',
      {
        accepted: false,
        kind: undefined,
        code: 'TOKEN_AUDIENCE_WRONG',
        steps: [{ step: 'audience', outcome: 'failed', words: 'It is for\nothers.' }],
      },
      'failed',
      'at "audience": It is for others.',
    ],
  ])('%s', (_what, traits, state, says) => {
    const finding = judgeExplanation({ ...explanation, ...traits });
    expect(finding.state).toBe(state);
    expect(finding.message).toContain(says);
    expect(finding.code).toBe(traits.code);
  });
});

test.each([
  [26, 'ok'],
  [24, 'warning'],
] as const)('coverage of a token that lives %d h', (hours, state) => {
  const coverage = checkCoverage({
    tokenLifetime: hours * HOUR,
    period: 24 * HOUR,
    window: HOUR,
    cacheTtl: 300_000,
    skew: 60_000,
  });
  expect(judgeCoverage(coverage)).toMatchObject({ state, message: coverage.explanation });
  expect(judgeCoverage(undefined).state).toBe('warning');
});

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
    judgeRotation(description, { enabled, timeZone: 'UTC', cron: '0 3 * * *' }, slots, NOW);
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

const NOON = NOW + 500;

/** An answer of a provider whose clock is ahead of ours by some milliseconds. */
function reading(ahead: number, traits: Partial<ClockReading> = {}): ClockReading {
  return {
    date: new Date(NOON + ahead).toUTCString(),
    age: null,
    sentAt: NOON,
    answeredAt: NOON,
    tolerated: 60 * SECOND,
    ...traits,
  };
}

describe("this machine's clock and the provider's", () => {
  test.each([
    ['agree', 0, 'ok'],
    ['differ by half a minute', 30 * SECOND, 'ok'],
    ['differ by half a minute the other way', -30 * SECOND, 'ok'],
    ['differ by 40 s', 40 * SECOND, 'warning'],
    ['differ by 40 s the other way', -40 * SECOND, 'warning'],
    ['differ by the tolerance', 60 * SECOND, 'warning'],
    ['differ by more', 62 * SECOND, 'failed'],
    ['differ by more the other way', -62 * SECOND, 'failed'],
    ['differ by days', -5 * 86_400 * SECOND, 'failed'],
  ])('%s', (_what, ahead, state) => {
    const finding = judgeClock(reading(ahead));
    expect(finding.state).toBe(state);
    if (state !== 'ok') {
      expect(finding.message).toContain(
        ahead > 0 ? 'behind the provider' : 'ahead of the provider',
      );
      expect(finding.action).toContain('NTP');
    }
  });

  test('are held to the tolerance that is configured', () => {
    expect(judgeClock(reading(10 * SECOND, { tolerated: 5 * SECOND })).state).toBe('failed');
    expect(judgeClock(reading(200 * SECOND, { tolerated: 300 * SECOND })).state).toBe('warning');
  });

  test('are not blamed for a slow answer', () => {
    const slow = { answeredAt: NOON + 100 * SECOND };
    expect(judgeClock(reading(90 * SECOND, slow)).state).toBe('ok');
  });

  test('are compared at the time when a cache on the way got the answer', () => {
    const cached = reading(-300 * SECOND, { age: '300' });
    expect(judgeClock(cached).state).toBe('ok');
    expect(judgeClock({ ...cached, age: null }).state).toBe('failed');
    expect(judgeClock(reading(0, { age: 'nonsense' })).state).toBe('ok');
  });

  test.each([
    ['no header', null],
    ['a header that is no date', 'today'],
  ])('cannot be compared by %s', (_what, date) => {
    expect(judgeClock(reading(0, { date })).state).toBe('skipped');
  });

  test('are never called wrong when they are the same', () => {
    const journey = fc.integer({ min: 0, max: 20 * SECOND });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4e12 }), journey, journey, (sentAt, there, back) => {
        const finding = judgeClock({
          date: new Date(sentAt + there).toUTCString(),
          age: null,
          sentAt,
          answeredAt: sentAt + there + back,
          tolerated: 0,
        });
        expect(finding.state).toBe('ok');
      }),
    );
  });
});

describe('the proof towards the provider', () => {
  const NOON = Date.UTC(2026, 10, 29, 12);

  test('a workload token is shown as the provider has to know it', () => {
    const token = {
      issuer: 'https://cluster.example.test',
      subject: 'system:serviceaccount:shop:broker',
      audience: ['https://idp.example.test'],
      expiresAt: NOON,
    };
    expect(judgeWorkload(token)).toEqual({
      state: 'ok',
      message:
        'By a workload token of https://cluster.example.test for system:serviceaccount:shop:broker, audience https://idp.example.test, until 2026-11-29T12:00:00.000Z.',
    });
    expect(judgeWorkload({ ...token, audience: [] })).toMatchObject({
      state: 'warning',
      action: expect.stringContaining('good anywhere'),
    });
  });

  test.each([
    ['fresh', 10, 'ok'],
    ['at the end of its life', 0.9, 'warning'],
  ])('a certificate that is %s', (_what, daysLeft, state) => {
    const endsAt = NOON + daysLeft * 86_400_000;
    const certificate = { subject: 'CN=broker', startsAt: endsAt - 10 * 86_400_000, endsAt };
    expect(judgeCertificateLife(certificate, NOON, 'https://idp.example.test/token')).toMatchObject(
      {
        state,
        message: expect.stringMatching(
          /^By mutual TLS at https:\/\/idp\.example\.test\/token, with the certificate of CN=broker, until /,
        ),
      },
    );
  });
});
