import { describe, expect, test } from '@jest/globals';
import { judgeEncryption } from '../../../src/cli/doctor/doctor.js';
import {
  judgeFallbackRegions,
  judgePeers,
  judgeTokenLife,
  judgeIdentity,
} from '../../../src/cli/doctor/examine-secrets.js';
import {
  judgeKeys,
  judgeCoverage,
  judgeExplanation,
} from '../../../src/cli/doctor/examine-provider.js';
import { checkCoverage } from '../../../src/rotation/coverage.js';
import type { SecretDescription } from '../../../src/secrets/secret-store.js';
import { NO_PEERS, parsePeers, type Peer } from '../../../src/peers/peers.js';
import type { TokenExplanation } from '../../../src/verification/index.js';

const HOUR = 3_600_000;
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
  ['fresh', 24 * HOUR, 'ok', '1 d left'],
  ['with just enough life', HOUR, 'ok', '1 h left'],
  ['due', HOUR - 1, 'warning', 'rotation is due'],
  ['nearly expired', 60_000, 'failed', 'too little to be served'],
  ['expired', -60_000, 'failed', 'expired 1 min ago'],
])('a service token that is %s', (_what, life, state, says) => {
  const finding = judgeTokenLife({ generatedAt: NOW - HOUR, expiresAt: NOW + life }, NOW, {
    minimumRemaining: HOUR,
    skew: 60_000,
  });
  expect(finding.state).toBe(state);
  expect(finding.message).toContain(says);
});

describe('peers', () => {
  const peer = (id: string, enabled: boolean): [string, Peer] => [
    id,
    { id, secretSha256: Buffer.alloc(32), roles: ['token'], enabled, createdAt: NOW },
  ];
  test.each([
    ['none', [], 'warning', 'lets nobody'],
    ['all disabled', [peer('a', false)], 'warning', 'lets nobody'],
    ['some', [peer('a', true), peer('b', false)], 'ok', 'lets 1 in; 1 disabled'],
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
