import { describe, expect, test } from '@jest/globals';
import type { ConfiguredPeer, TrustedIssuer } from '../../src/peers/identities.js';
import { TokenUses, WorkloadTokens } from '../../src/peers/workload-tokens.js';
import { createOfflineTestIssuer, type OfflineTestIssuer } from '../../src/testing/index.js';
import {
  createStaticKeySet,
  KeysUnavailableError,
  type KeySet,
  type VerifiedToken,
} from '../../src/verification/index.js';
import { VirtualClock } from '../support/virtual-clock.js';

const US = 'https://broker.example.com';
const START = Date.UTC(2026, 0, 1);
const NOW = START / 1_000;

/** Tokens with the claims of each platform, as its documentation shows them. */
const PLATFORMS: readonly (readonly [
  platform: string,
  claims: Readonly<Record<string, unknown>> & { readonly iss: string; readonly sub: string },
])[] = [
  [
    'a Kubernetes pod',
    {
      iss: 'https://kubernetes.default.svc',
      sub: 'system:serviceaccount:shop:orders',
      aud: [US],
      nbf: NOW,
      jti: '8c0ad1b2-1f5d-4f1e-9f5e-0a8f7a2f2c11',
      'kubernetes.io': {
        namespace: 'shop',
        node: { name: 'node-1', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
        pod: { name: 'orders-7d9', uid: '5e0bd49b-f040-43b0-99b7-22765a53f7f3' },
        serviceaccount: { name: 'orders', uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798' },
        warnafter: NOW + 3_607,
      },
    },
  ],
  [
    'a SPIFFE JWT-SVID',
    { iss: 'https://spire.example.com', sub: 'spiffe://prod.example.com/settle', aud: [US] },
  ],
  [
    'an AWS role',
    {
      iss: 'https://abc123-def456.tokens.sts.global.api.aws',
      sub: 'arn:aws:iam::123456789012:role/settle',
      jti: 'xyz123-def456',
      'https://sts.amazonaws.com/': {
        aws_account: '123456789012',
        source_region: 'us-east-1',
        org_id: 'o-abc1234567',
        principal_tags: { environment: 'production' },
        request_tags: { 'job-id': 'job-2024-001' },
      },
    },
  ],
  [
    'a GitHub workflow',
    {
      iss: 'https://token.actions.githubusercontent.com',
      sub: 'repo:acme/orders:environment:production',
      nbf: NOW,
      jti: '0f7d8d0e-5b3e-4a5f-8f8e-6f6f0b0c1a2b',
      actor: 'ann',
      actor_id: '12',
      base_ref: '',
      head_ref: '',
      environment: 'production',
      event_name: 'workflow_dispatch',
      job_workflow_ref: 'acme/orders/.github/workflows/deploy.yml@refs/heads/main',
      ref: 'refs/heads/main',
      ref_type: 'branch',
      repository: 'acme/orders',
      repository_id: '74',
      repository_owner: 'acme',
      repository_visibility: 'private',
      run_attempt: '2',
      run_id: '1234567890',
      runner_environment: 'github-hosted',
      sha: '0000000000000000000000000000000000000000',
      workflow: 'deploy',
    },
  ],
  [
    'a Google service account',
    {
      iss: 'https://accounts.google.com',
      sub: '112233445566778899001',
      azp: '112233445566778899001',
      email: 'billing@project.iam.gserviceaccount.com',
      email_verified: true,
    },
  ],
];

describe('the token of', () => {
  test.each(PLATFORMS)('%s is accepted, and known again', async (_platform, claims) => {
    const { workloadTokens, sign } = await setUp(claims);
    const token = sign(claims);
    expect(await workloadTokens.authenticate(token)).toMatchObject({ ok: true, peer: { id: 'p' } });
    expect(workloadTokens.now(token)?.id).toBe('p');
  });

  test.each(PLATFORMS)('%s for another service is refused', async (_platform, claims) => {
    const { workloadTokens, sign } = await setUp(claims);
    for (const aud of ['https://other.example.com', [US, 'https://other.example.com']]) {
      const token = sign({ ...claims, aud });
      expect(await workloadTokens.authenticate(token)).toEqual({
        ok: false,
        reason: 'token_audience_wrong',
        peer: undefined,
      });
      expect(workloadTokens.now(token)).toBeUndefined();
    }
  });
});

describe('a token', () => {
  const claims = { iss: 'https://issuer.example.com', sub: 'a:b' };

  test('about a subject that no peer has is refused, and one without a subject too', async () => {
    const { workloadTokens, sign } = await setUp(claims);
    const stranger = sign({ ...claims, sub: 'a:c' });
    expect(await workloadTokens.authenticate(stranger)).toEqual({
      ok: false,
      reason: 'subject_unknown',
      peer: undefined,
    });
    expect(workloadTokens.now(stranger)).toBeUndefined();
    expect(await workloadTokens.authenticate(sign({ iss: claims.iss }))).toMatchObject({
      ok: false,
      peer: undefined,
    });
    expect(workloadTokens.now('not verified before')).toBeUndefined();
  });

  test('of a disabled peer is refused, and its peer named', async () => {
    const { workloadTokens, sign } = await setUp(claims, { enabled: false });
    const token = sign(claims);
    expect(await workloadTokens.authenticate(token)).toMatchObject({
      ok: false,
      reason: 'disabled_peer',
      peer: { id: 'p' },
    });
    expect(workloadTokens.now(token)).toBeUndefined();
  });

  test('decides nothing once other peers apply, whether it is good or bad', async () => {
    const { workloadTokens, sign } = await setUp(claims, { singleUse: true });
    const token = sign({ ...claims, jti: 'one' });
    const replaced = () => true;
    expect(await workloadTokens.authenticate(token, replaced)).toBeUndefined();
    expect(await workloadTokens.authenticate('bad', replaced)).toBeUndefined();
    // No use has been counted.
    expect(await workloadTokens.authenticate(token)).toMatchObject({ ok: true });
    expect(await workloadTokens.authenticate('bad')).toMatchObject({ ok: false });
  });

  test('for one use is accepted once, and by its id', async () => {
    const { workloadTokens, sign } = await setUp(claims, { singleUse: true });
    const token = sign({ ...claims, jti: 'one' });
    expect(await workloadTokens.authenticate(token)).toMatchObject({ ok: true, peer: { id: 'p' } });
    expect(workloadTokens.now(token)).toBeUndefined();
    const again = { ok: false, reason: 'token_replayed', peer: { id: 'p' } };
    expect(await workloadTokens.authenticate(token)).toMatchObject(again);
    const renewed = sign({ ...claims, jti: 'one', exp: NOW + 1_800 });
    expect(await workloadTokens.authenticate(renewed)).toMatchObject(again);
    const other = sign({ ...claims, jti: 'two' });
    expect(await workloadTokens.authenticate(other)).toMatchObject({ ok: true });
    for (const jti of [undefined, 1]) {
      expect(await workloadTokens.authenticate(sign({ ...claims, jti }))).toMatchObject({
        ok: false,
        reason: 'token_claim_invalid',
      });
    }
  });

  test('that was used before a restart of the peers is remembered with the uses', async () => {
    const uses = new TokenUses(new VirtualClock(START), 60);
    const first = await setUp(claims, { singleUse: true, uses });
    const token = first.sign({ ...claims, jti: 'one' });
    expect(await first.workloadTokens.authenticate(token)).toMatchObject({ ok: true });
    const second = await setUp(claims, { singleUse: true, uses, platform: first.platform });
    expect(await second.workloadTokens.authenticate(token)).toMatchObject({
      ok: false,
      reason: 'token_replayed',
    });
  });

  test('has proved what holds as long as the issuer and the peer stay', async () => {
    const { workloadTokens, sign, trusted } = await setUp(claims);
    const answer = await workloadTokens.authenticate(sign(claims));
    if (answer?.ok !== true) throw new Error('The token is refused.');
    expect(answer.proof).toEqual({ issuer: trusted, subject: 'a:b' });
    expect(workloadTokens.holderOf(answer.proof)?.id).toBe('p');
    expect(workloadTokens.holderOf({ ...answer.proof, subject: 'a:c' })).toBeUndefined();
    // An entry that is equal is another one.
    expect(workloadTokens.holderOf({ ...answer.proof, issuer: { ...trusted } })).toBeUndefined();
    const { workloadTokens: disabled, trusted: same } = await setUp(claims, { enabled: false });
    expect(disabled.holderOf({ issuer: same, subject: 'a:b' })).toBeUndefined();
  });

  test('whose keys are not available is not a bad token', async () => {
    const unavailable = new KeysUnavailableError('Down.', { retryAfterSeconds: 5 });
    const find = (): Promise<never> => Promise.reject(unavailable);
    const { platform } = await setUp(claims);
    const keys = { ...createStaticKeySet(platform.jwks()), find };
    const { workloadTokens, sign } = await setUp(claims, { keys });
    await expect(workloadTokens.authenticate(sign(claims))).rejects.toMatchObject({
      code: unavailable.code,
    });
  });
});

describe('the uses of tokens', () => {
  const use = (jti: unknown, expiresAt = START + 1_000, issuer = 'https://a') => ({
    ...({} as VerifiedToken),
    issuer,
    claims: { jti } as VerifiedToken['claims'],
    expiresAt,
  });

  test('are counted by issuer and id', () => {
    const uses = new TokenUses(new VirtualClock(START), 60);
    expect(uses.take(use('one'))).toBeUndefined();
    expect(uses.take(use('one'))).toBe('token_replayed');
    expect(uses.take(use('two'))).toBeUndefined();
    expect(uses.take(use('one', START + 1_000, 'https://b'))).toBeUndefined();
  });

  test('are remembered until the tokens have expired on every clock, and are bounded', () => {
    const clock = new VirtualClock(START);
    const uses = new TokenUses(clock, 60, 2);
    expect(uses.take(use('one', START + 1_000))).toBeUndefined();
    expect(uses.take(use('two', START + 2_000))).toBeUndefined();
    clock.set(START + 60_999);
    expect(() => uses.take(use('three'))).toThrow(
      expect.objectContaining({
        code: 'TOKEN_USES_FULL',
        kind: 'retry',
        message: '2 tokens for one use are remembered, and none of them has expired yet.',
      }),
    );
    expect(uses.take(use('one'))).toBe('token_replayed');
    clock.advance(1);
    expect(uses.take(use('three', START + 90_000))).toBeUndefined();
    expect(uses.take(use('two'))).toBe('token_replayed');
    expect(() => uses.take(use('one'))).toThrow('2 tokens');
  });
});

async function setUp(
  { iss, sub }: { readonly iss: string; readonly sub: string },
  options: {
    readonly enabled?: boolean;
    readonly singleUse?: boolean;
    readonly uses?: TokenUses;
    readonly keys?: KeySet;
    readonly platform?: OfflineTestIssuer;
  } = {},
) {
  const platform = options.platform ?? (await createOfflineTestIssuer({ issuer: iss }));
  const trusted: TrustedIssuer = {
    name: 'platform',
    kind: 'oidc',
    issuer: iss,
    jwksUri: `${iss}/keys`,
    audience: US,
    algorithms: ['ES256'],
    maxLifetimeSeconds: 3_600,
    singleUse: options.singleUse ?? false,
    caFile: undefined,
    tokenFile: undefined,
  };
  const peer: ConfiguredPeer = {
    id: 'p',
    roles: ['token'],
    tokens: ['default'],
    enabled: options.enabled ?? true,
    identities: [{ issuer: 'platform', subject: sub }],
  };
  const workloadTokens = new WorkloadTokens({
    issuers: [trusted],
    peers: [peer],
    keysOf: () => options.keys ?? createStaticKeySet(platform.jwks()),
    clock: new VirtualClock(START),
    clockSkewSeconds: 60,
    ...(options.uses && { uses: options.uses }),
  });
  const sign = (claims: Readonly<Record<string, unknown>>): string =>
    platform.sign({ aud: US, iat: NOW, exp: NOW + 3_600, ...claims });
  return { workloadTokens, sign, platform, trusted };
}
