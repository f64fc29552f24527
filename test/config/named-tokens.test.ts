import { describe, expect, test } from '@jest/globals';
import type { BrokerConfig } from '../../src/config/broker-config.js';
import { ConfigError } from '../../src/config/config-error.js';
import { loadConfig } from '../../src/config/load-config.js';
import { INHERITED, PROVIDER_MEMBERS, TOKEN_MEMBERS } from '../../src/config/named-tokens.js';
import { SETTING_NAMES } from '../../src/config/settings.js';
import { fc } from '../support/properties.js';

/** Loads a file of this text, beside these variables. */
function load(text: string, env: NodeJS.ProcessEnv = {}): BrokerConfig {
  return loadConfig({ env: { ...env, BROKER_CONFIG: 'broker.yaml' }, readFile: () => text });
}

function linesOf(text: string, env: NodeJS.ProcessEnv = {}): readonly string[] {
  try {
    load(text, env);
  } catch (error) {
    if (error instanceof ConfigError) return error.lines;
    throw error;
  }
  return [];
}

const PROVIDERS = `
providers:
  auth0: { issuer: 'https://tenant.example/', profile: auth0, credentials_secret: broker/auth0 }
  entra: { issuer: 'https://login.example/', profile: entra, credentials_secret: broker/entra, clock_skew_seconds: 30 }
`;
const TOKENS = `
tokens:
  default: { provider: auth0, audience: 'https://services.example', secret: broker/token }
  ledger:
    provider: auth0
    audience: https://ledger.example
    scope: post:entries
    secret: broker/token-ledger
    rotation: { cron: '0 5 * * *', time_zone: Asia/Kolkata, min_remaining_seconds: 7200, manual_rotation_seconds: 0 }
  mail: { provider: entra, resource: ['urn:mail', 'urn:post'], secret: broker/token-mail }
`;

describe('tokens by name', () => {
  test('default goes on to be of the provider of the flat settings when another is added', () => {
    const second = 'providers: { second: { issuer: "https://b.example", credentials_secret: b } }';
    const tokens = 'tokens: { default: {}, b: { provider: second, secret: t } }';
    const flat = { BROKER_ISSUER: 'https://a.example', BROKER_AUDIENCE: 'https://api.example' };
    const [first] = load(`${second}\n${tokens}`, flat).tokens;
    expect([first.providerName, first.provider.issuer]).toEqual(['default', flat.BROKER_ISSUER]);
    // Every other token has to say it.
    expect(linesOf(`${second}\ntokens: { default: {}, b: { secret: t } }`, flat)).toEqual([
      expect.stringMatching(
        /^tokens\.b\.provider .*it is missing, and there are several providers/,
      ),
    ]);
  });

  test('are read, each with its provider', () => {
    const { tokens, warnings } = load(PROVIDERS + TOKENS, { BROKER_ROTATION_CRON: '0 4 * * *' });
    expect(warnings).toEqual([]);
    expect(tokens.map(({ name, providerName }) => [name, providerName])).toEqual([
      ['default', 'auth0'],
      ['ledger', 'auth0'],
      ['mail', 'entra'],
    ]);
    expect(tokens[1]).toEqual({
      name: 'ledger',
      providerName: 'auth0',
      secretId: 'broker/token-ledger',
      credentialsSecretId: 'broker/auth0',
      provider: expect.objectContaining({
        issuer: 'https://tenant.example/',
        audience: 'https://ledger.example',
        scope: 'post:entries',
        resource: [],
      }),
      verification: expect.objectContaining({ profile: 'auth0', clockSkewSeconds: 60 }),
      rotation: {
        cron: '0 5 * * *',
        timeZone: 'Asia/Kolkata',
        minRemainingSeconds: 7200,
        manualIntervalSeconds: 0,
      },
    });
    expect(tokens[2]).toMatchObject({
      credentialsSecretId: 'broker/entra',
      provider: { audience: undefined, resource: ['urn:mail', 'urn:post'] },
      verification: { profile: 'entra', clockSkewSeconds: 30 },
      // What the flat settings say holds for every token that does not say otherwise.
      rotation: {
        cron: '0 4 * * *',
        timeZone: 'UTC',
        minRemainingSeconds: 3600,
        manualIntervalSeconds: 60,
      },
    });
    expect(Object.isFrozen(tokens[1]?.provider)).toBe(true);
  });

  test('the flat settings describe the token "default" and the provider "default" alone', () => {
    const env = {
      BROKER_ISSUER: 'https://flat.example/',
      BROKER_PROFILE: 'okta',
      BROKER_AUDIENCE: 'https://flat-audience.example',
      BROKER_SCOPE: 'flat',
      BROKER_TOKEN_SECRET_ID: 'flat/token',
      BROKER_CREDENTIALS_SECRET_ID: 'flat/credentials',
    };
    const { tokens } = load('tokens: { default: , ledger: { scope: a, secret: b } }', env);
    expect(tokens).toMatchObject([
      {
        secretId: 'flat/token',
        credentialsSecretId: 'flat/credentials',
        provider: { audience: 'https://flat-audience.example', scope: 'flat' },
      },
      {
        secretId: 'b',
        credentialsSecretId: 'flat/credentials',
        provider: { issuer: 'https://flat.example/', audience: undefined, scope: 'a' },
        verification: { profile: 'okta' },
      },
    ]);
  });

  test('a section with the default token alone changes nothing', () => {
    const env = { BROKER_ISSUER: 'https://flat.example/', BROKER_AUDIENCE: 'urn:a' };
    expect(load('tokens: { default: {} }', env)).toEqual(loadConfig({ env }));
  });

  test('providers without tokens: the token is "default", of the only provider', () => {
    const { tokens } = load('providers: { okta: { issuer: "https://okta.example" } }', {
      BROKER_AUDIENCE: 'urn:a',
    });
    expect(tokens).toMatchObject([
      { name: 'default', providerName: 'okta', provider: { issuer: 'https://okta.example' } },
    ]);
    expect(tokens[0].provider.audience).toBe('urn:a');
  });

  test('what has no effect is a warning', () => {
    const text = `${PROVIDERS}tokens: { ledger: { provider: auth0, secret: a, audience: b } }`;
    const env = { BROKER_AUDIENCE: 'urn:a', BROKER_ISSUER: 'https://flat.example' };
    expect(load(text, env).warnings).toEqual([
      'No token uses providers.entra (broker.yaml).',
      'BROKER_ISSUER has no effect: it describes the provider "default", which broker.yaml does not use.',
      'BROKER_AUDIENCE has no effect: it describes the token "default", which broker.yaml does not use.',
    ]);
  });

  test.each<[string, string, readonly (string | RegExp)[]]>([
    ['no token at all', 'tokens:', [/^tokens \(broker\.yaml\): it names none/]],
    ['a list', 'tokens: [ledger]', [/^tokens \(broker\.yaml\): it names none/]],
    ['an empty section', 'providers: {}', [/^providers \(broker\.yaml\): it names none/]],
    ...['Ledger', '-a', 'a-', 'a_b', 'a'.repeat(41), 'a/b', ''].map(
      (name): [string, string, readonly RegExp[]] => [
        `the name "${name}"`,
        `tokens: { default: , "${name}": { secret: a, scope: b } }`,
        [/one of its names cannot be used\. Allowed: lower-case letters/],
      ],
    ),
    [
      'a token that is a text',
      'tokens: { default: , ledger: broker/token }',
      [/^tokens\.ledger \(broker\.yaml\): it has no settings/],
    ],
    [
      'a token without its secret',
      'tokens: { default: , ledger: { scope: b } }',
      [/^tokens\.ledger\.secret \(broker\.yaml\): it is missing\. Allowed: the name or the ARN/],
    ],
    [
      'an unknown member',
      'tokens: { default: , ledger: { secrte: a, scope: b, secret: c } }',
      [
        /^broker\.yaml has the key "tokens\.ledger\.secrte", which is unknown; did you mean "secret"\?/,
      ],
    ],
    [
      'an unknown member of rotation',
      'tokens: { default: { rotation: { corn: a } } }',
      [
        /has the key "tokens\.default\.rotation\.corn", which is unknown; did you mean "rotation\.cron"/,
      ],
    ],
    [
      'a rotation that is a word',
      'tokens: { default: { rotation: disabled } }',
      [/"tokens\.default\.rotation", which is unknown/],
    ],
    [
      'a bad cron expression',
      'tokens: { default: , ledger: { secret: a, scope: b, rotation: { cron: "61 * * * *" } } }',
      [
        'tokens.ledger.rotation.cron (broker.yaml) is "61 * * * *": it is not a cron expression. Allowed: a cron expression of five or six fields (the first of six is seconds).',
      ],
    ],
    [
      'a bad scope, and a nested one',
      'tokens: { default: { scope: "a  b" }, ledger: { secret: a, scope: { b: c } } }',
      [
        /^tokens\.ledger\.scope \(broker\.yaml\): it is neither a single value/,
        /^tokens\.default\.scope \(broker\.yaml\) is "a {2}b"/,
      ],
    ],
    [
      'a provider without https',
      'providers: { a: { issuer: "http://far.example" } }',
      [/^providers\.a\.issuer \(broker\.yaml\) is "http:\/\/far\.example": it is http/],
    ],
    [
      'a profile that needs client ids',
      'providers: { a: { profile: zitadel } }',
      [/^providers\.a\.service_client_ids \(broker\.yaml\): it is missing, and the profile/],
    ],
    [
      'a provider of the name that is taken',
      'providers: { default: { issuer: "https://a.example" } }',
      [/^providers\.default \(broker\.yaml\): the flat settings describe that provider/],
    ],
    [
      'a provider that nobody knows',
      `${PROVIDERS}tokens: { default: { provider: auth } }`,
      [
        /^tokens\.default\.provider \(broker\.yaml\) is "auth": there is no such provider; did you mean "auth0"\?\. Allowed: one of auth0, entra, default/,
      ],
    ],
    [
      'no provider where there are several',
      `${PROVIDERS}tokens: { default: { audience: a } }`,
      [
        /^tokens\.default\.provider .*it is missing, and there are several providers\. Allowed: one of auth0, entra/,
      ],
    ],
    [
      'a minimum that the caches outlast',
      'tokens: { default: { rotation: { min_remaining_seconds: 300 } } }',
      [/^tokens\.default\.rotation\.min_remaining_seconds .* is "300": caches would still hold/],
    ],
    [
      'two tokens in one secret',
      'tokens: { default: { secret: a, scope: a }, b: { secret: a, scope: b } }',
      [
        /^tokens\.b\.secret \(broker\.yaml\) is "a": it names the same secret as tokens\.default\.secret/,
      ],
    ],
    [
      'two tokens in one secret, by name and by ARN',
      'tokens: { a: { secret: "x/y", scope: a }, b: { secret: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x/y-AbCdEf", scope: b } }',
      [/^tokens\.b\.secret .*it names the same secret as tokens\.a\.secret/],
    ],
    [
      'a token in the secret of the provider',
      `${PROVIDERS}tokens: { a: { provider: entra, secret: broker/entra } }`,
      [/^tokens\.a\.secret .*it names the same secret as providers\.entra\.credentials_secret/],
    ],
    [
      'a token in the secret of another provider',
      `${PROVIDERS}tokens: { a: { provider: entra, secret: x }, b: { provider: auth0, secret: broker/entra } }`,
      [/^tokens\.b\.secret .*it names the same secret as providers\.entra\.credentials_secret/],
    ],
    [
      'a token in the peers secret',
      'tokens: { a: { secret: service-token-broker/peers } }',
      [/^BROKER_PEERS_SECRET_ID .*it names the same secret as tokens\.a\.secret/],
    ],
    [
      'two providers with one credentials secret',
      `providers: { a: { issuer: 'https://a.example' }, b: { issuer: 'https://b.example' } }
tokens: { x: { provider: a, secret: x }, y: { provider: b, secret: y } }`,
      [
        /^providers\.b\.credentials_secret .*it names the same secret as providers\.a\.credentials_secret/,
      ],
    ],
    [
      'two tokens that nothing tells apart',
      'tokens: { a: { secret: a }, b: { secret: b } }',
      [
        /^tokens\.b\.audience \(broker\.yaml\): tokens\.a asks the same provider for the same token/,
      ],
    ],
    [
      'mistakes of every kind at once',
      'port: x\ntokens: { default: { scope: "" , rotation: { cron: x } }, B: {} }\nprovider: {}',
      [
        /"provider", which is unknown; did you mean "providers"/,
        /^PORT \(port in broker\.yaml\) is "x"/,
        /one of its names cannot be used/,
        /^tokens\.default\.rotation\.cron/,
      ],
    ],
  ])('%s is a mistake', (_what, text, expected) => {
    const lines = linesOf(text);
    expect(lines).toEqual(
      expected.map((line) => (typeof line === 'string' ? line : expect.stringMatching(line))),
    );
  });

  test('a flat mistake is told once, however many tokens inherit it', () => {
    const text =
      'rotation_cron: x\ntokens: { a: { secret: a, scope: a }, b: { secret: b, scope: b } }';
    expect(linesOf(text)).toHaveLength(1);
  });

  test('every setting of a provider or a token is a member of theirs, and nothing else is', () => {
    const members = [...Object.values(PROVIDER_MEMBERS), ...Object.values(TOKEN_MEMBERS)];
    expect(new Set(members).size).toBe(members.length);
    for (const name of INHERITED) expect(members).toContain(name);
    expect(SETTING_NAMES).toEqual(expect.arrayContaining(members));
  });

  test('any set of tokens comes back as it was given', () => {
    const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/);
    const text = fc
      .stringMatching(/^[A-Za-z0-9:/._-]{1,20}$/)
      .filter((value) => !/^\.|,/.test(value));
    const token = fc.record({ audience: text, scope: text, minute: fc.nat(59) });
    fc.assert(
      fc.property(
        fc.dictionary(name, token, { minKeys: 1, maxKeys: 6, noNullPrototype: true }),
        (wanted) => {
          const entries = Object.entries(wanted);
          fc.pre(
            new Set(entries.map(([, { audience, scope }]) => `${audience} ${scope}`)).size ===
              entries.length,
          );
          const tokens = Object.fromEntries(
            entries.map(([key, { audience, scope, minute }], index) => [
              key,
              {
                secret: `secret-${index}`,
                audience,
                scope,
                rotation: { cron: `${minute} 3 * * *` },
              },
            ]),
          );
          const { tokens: read } = load(JSON.stringify({ tokens }));
          expect(
            Object.fromEntries(
              read.map(({ name: key, provider, rotation }) => [
                key,
                {
                  audience: provider.audience,
                  scope: provider.scope,
                  minute: Number(rotation.cron.split(' ')[0]),
                },
              ]),
            ),
          ).toEqual(wanted);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('a thousand tokens are read in well under a second', () => {
    const tokens = Object.fromEntries(
      Array.from({ length: 1000 }, (_, index) => [
        `t-${index}`,
        { secret: `s-${index}`, scope: `x${index}` },
      ]),
    );
    expect(load(JSON.stringify({ tokens })).tokens).toHaveLength(1000);
  });
});
