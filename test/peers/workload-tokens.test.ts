import { describe, expect, test } from '@jest/globals';
import type { ConfiguredPeer, TrustedIssuer } from '../../src/peers/identities.js';
import { WorkloadTokens } from '../../src/peers/workload-tokens.js';
import { createOfflineTestIssuer } from '../../src/testing/index.js';
import { createStaticKeySet } from '../../src/verification/index.js';
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

async function setUp({ iss, sub }: { readonly iss: string; readonly sub: string }) {
  const platform = await createOfflineTestIssuer({ issuer: iss });
  const trusted: TrustedIssuer = {
    name: 'platform',
    kind: 'oidc',
    issuer: iss,
    jwksUri: `${iss}/keys`,
    audience: US,
    algorithms: ['ES256'],
    maxLifetimeSeconds: 3_600,
    singleUse: false,
    caFile: undefined,
    tokenFile: undefined,
  };
  const peer: ConfiguredPeer = {
    id: 'p',
    roles: ['token'],
    tokens: ['default'],
    enabled: true,
    identities: [{ issuer: 'platform', subject: sub }],
  };
  const workloadTokens = new WorkloadTokens({
    issuers: [trusted],
    peers: [peer],
    keysOf: () => createStaticKeySet(platform.jwks()),
    clock: new VirtualClock(START),
    clockSkewSeconds: 60,
  });
  const sign = (claims: Readonly<Record<string, unknown>>): string =>
    platform.sign({ aud: US, iat: NOW, exp: NOW + 3_600, ...claims });
  return { workloadTokens, sign };
}
