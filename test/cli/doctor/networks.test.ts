import { describe, expect, test } from '@jest/globals';
import { destinationsOf, judgeAuthoritiesLife } from '../../../src/cli/doctor/examine-network.js';
import { loadConfig } from '../../../src/config/load-config.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const DAY = 86_400_000;

describe('the file of authorities', () => {
  const authority = (subject: string, days: number) => ({
    subject,
    endsAt: NOW + days * DAY,
    pem: '',
  });

  test('names the one that ends first', () => {
    const found = judgeAuthoritiesLife([authority('CN=b', 20), authority('CN=a', 10)], '/ca', NOW);
    expect(found.state).toBe('ok');
    expect(found.message).toMatch(
      /^2 authorities in \/ca, besides those of Node\.js: "CN=a" is valid until 2026-12-02/,
    );
  });

  test('is a warning when one has ended', () => {
    const found = judgeAuthoritiesLife([authority('CN=a', -1), authority('CN=b', 9)], '/ca', NOW);
    expect(found).toMatchObject({
      state: 'warning',
      message: expect.stringMatching(/"CN=a" is valid until 2026-11-21.*, which is over\.$/),
      action: expect.stringContaining('Replace it in BROKER_CA_FILE'),
    });
  });
});

describe('the destinations', () => {
  const listed = (settings: NodeJS.ProcessEnv, readFile?: () => string): readonly string[] => {
    const config = loadConfig({ env: settings, ...(readFile && { readFile }) });
    return destinationsOf(config, settings).map(({ what, url }) => `${what}: ${url.href}`);
  };

  test.each<[what: string, settings: NodeJS.ProcessEnv, expected: readonly string[]]>([
    ['nothing that the configuration names', {}, []],
    [
      'an issuer',
      { BROKER_ISSUER: 'https://tenant.test/' },
      ['provider: https://tenant.test/', 'keys: https://tenant.test/'],
    ],
    [
      'a provider without discovery',
      { BROKER_TOKEN_ENDPOINT: 'https://a.test/token', BROKER_JWKS_URI: 'https://b.test/jwks' },
      ['provider: https://a.test/token', 'keys: https://b.test/jwks'],
    ],
    [
      'AWS in a Region, with a role',
      {
        BROKER_SECRET_STORE: 'aws',
        AWS_REGION: 'eu-west-1',
        BROKER_AWS_ROLE_ARN: 'arn:aws:iam::222222222222:role/a',
      },
      [
        'AWS Secrets Manager: https://secretsmanager.eu-west-1.amazonaws.com/',
        'AWS STS: https://sts.eu-west-1.amazonaws.com/',
      ],
    ],
    [
      'AWS in China',
      { BROKER_SECRET_STORE: 'aws', AWS_DEFAULT_REGION: 'cn-north-1' },
      ['AWS Secrets Manager: https://secretsmanager.cn-north-1.amazonaws.com.cn/'],
    ],
    [
      'AWS at an endpoint',
      {
        BROKER_SECRET_STORE: 'aws',
        AWS_REGION: 'eu-west-1',
        AWS_ENDPOINT_URL_SECRETS_MANAGER: 'https://vpce.test',
      },
      ['AWS Secrets Manager: https://vpce.test/'],
    ],
    ['AWS with a Region from a profile', { BROKER_SECRET_STORE: 'aws' }, []],
    [
      'a key that signs',
      {
        BROKER_CLIENT_AUTHENTICATION: 'kms',
        BROKER_KMS_KEY_ID: 'alias/a',
        AWS_REGION: 'eu-west-1',
      },
      ['AWS KMS: https://kms.eu-west-1.amazonaws.com/'],
    ],
  ])('%s', (_what, settings, expected) => {
    expect(listed(settings)).toEqual(expected);
  });

  test('trusted issuers, and each provider by its name', () => {
    const file = `
providers:
  one: { issuer: https://one.test, credentials_secret: c1 }
  two: { issuer: https://two.test, credentials_secret: c2 }
tokens:
  default: { provider: one, audience: a, secret: s1 }
  other: { provider: two, audience: b, secret: s2 }
trusted_issuers:
  cluster: { kind: kubernetes, issuer: https://cluster.test, jwks_uri: https://cluster.test/keys, audience: broker }
`;
    expect(listed({ BROKER_CONFIG: 'b.yml' }, () => file)).toEqual([
      'provider of one: https://one.test/',
      'keys of one: https://one.test/',
      'provider of two: https://two.test/',
      'keys of two: https://two.test/',
      'keys of cluster: https://cluster.test/keys',
    ]);
  });
});
