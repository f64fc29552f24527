import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { BrokerConfig } from '../../src/config/broker-config.js';
import { ConfigError } from '../../src/config/config-error.js';
import { loadConfig, type LoadConfigOptions } from '../../src/config/load-config.js';
import { SETTING_NAMES } from '../../src/config/settings.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { fc } from '../support/properties.js';

const KEY = Buffer.alloc(32, 7).toString('base64');

function load(env: NodeJS.ProcessEnv, options: Partial<LoadConfigOptions> = {}): BrokerConfig {
  return loadConfig({ env, ...options });
}

function mistakesOf(env: NodeJS.ProcessEnv, options: Partial<LoadConfigOptions> = {}): ConfigError {
  try {
    load(env, options);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('expected a mistake');
}

test('an empty environment gives the documented defaults', () => {
  expect(load({})).toEqual({
    audit: undefined,
    http: {
      authorizes: false,
      port: 3000,
      host: '0.0.0.0',
      publicUrl: undefined,
      tls: undefined,
      trustedProxies: [],
      iamPeers: [],
      maxConnections: undefined,
      shutdownDelaySeconds: 0,
      management: undefined,
      pageHosts: [],
    },
    network: { httpsProxy: undefined, httpProxy: undefined, noProxy: '', caFile: undefined },
    secrets: {
      store: 'embedded',
      awsFallbackRegions: [],
      awsRole: undefined,
      dataDir: '.broker',
      masterKey: undefined,
      olderMasterKeys: [],
      masterKeyKmsIds: [],
      peersSecretId: 'service-token-broker/peers',
      morePeersSecretIds: [],
    },
    tokens: [
      {
        name: 'default',
        providerName: 'default',
        credentialsSecretId: 'service-token-broker/credentials',
        secretId: 'service-token-broker/token',
        provider: {
          issuer: undefined,
          tokenEndpoint: undefined,
          jwksUri: undefined,
          audience: undefined,
          scope: undefined,
          resource: [],
          clientAuthentication: undefined,
          allowInsecureHttp: false,
        },
        verification: {
          profile: 'rfc9068',
          serviceClientIds: undefined,
          customerClientIds: undefined,
          otherAudiences: [],
          typ: undefined,
          scopeClaims: undefined,
          clockSkewSeconds: 60,
        },
        rotation: {
          cron: '0 3 * * *',
          timeZone: 'UTC',
          manualIntervalSeconds: 60,
          minRemainingSeconds: 3600,
        },
      },
    ],
    identities: { issuers: [], peers: [] },
    rotation: { enabled: true },
    cache: { ttlSeconds: 300 },
    log: { level: 'info', format: 'json' },
    dev: { providerPort: 3001 },
    warnings: [],
  });
});

test('every setting is read', () => {
  const config = load({
    PORT: '8080',
    HOST: '::1',
    BROKER_PUBLIC_URL: 'https://broker.example/base',
    BROKER_MAX_CONNECTIONS: '500',
    BROKER_SHUTDOWN_DELAY_SECONDS: '5',
    BROKER_SECRET_STORE: 'aws',
    BROKER_AWS_FALLBACK_REGIONS: 'eu-west-1, us-gov-west-1',
    BROKER_DATA_DIR: '/var/lib/broker',
    BROKER_MASTER_KEY: KEY,
    BROKER_CREDENTIALS_SECRET_ID: 'a',
    BROKER_TOKEN_SECRET_ID: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:b-AbCdEf',
    BROKER_PEERS_SECRET_ID: 'c, d',
    BROKER_HTTP_IAM_PEERS:
      'arn:aws:iam::123456789012:role/path/orders, token+admin=arn:aws-cn:iam::123456789012:user/a=b@c',
    BROKER_ISSUER: 'https://issuer.example/',
    BROKER_TOKEN_ENDPOINT: 'https://issuer.example/token?api-version=2',
    BROKER_JWKS_URI: 'http://127.0.0.1:9000/jwks',
    BROKER_AUDIENCE: 'https://api.example',
    BROKER_SCOPE: 'read write',
    BROKER_RESOURCE: 'https://one.example/, urn:two',
    BROKER_CLIENT_AUTHENTICATION: 'private_key_jwt',
    BROKER_CLIENT_ASSERTION_AUDIENCE: 'token_endpoint',
    BROKER_ALLOW_INSECURE_HTTP: 'true',
    BROKER_PROFILE: 'zitadel',
    BROKER_SERVICE_CLIENT_IDS: 'one,two',
    BROKER_CUSTOMER_CLIENT_IDS: 'web',
    BROKER_OTHER_AUDIENCES: 'account, urn:other',
    BROKER_TOKEN_TYP: 'at+jwt',
    BROKER_SCOPE_CLAIMS: 'scope,permissions',
    BROKER_CLOCK_SKEW_SECONDS: '0',
    BROKER_CACHE_TTL_SECONDS: '60',
    BROKER_ROTATION: 'disabled',
    BROKER_ROTATION_CRON: '30 0 */6 * * *',
    BROKER_MIN_REMAINING_SECONDS: '61',
    BROKER_LOG_LEVEL: 'debug',
    BROKER_LOG_FORMAT: 'text',
    BROKER_DEV_PROVIDER_PORT: '9090',
    BROKER_MANAGEMENT_PORT: '8081',
    BROKER_MANUAL_ROTATION_SECONDS: '90',
    BROKER_MANAGEMENT_HOST: '127.0.0.2',
    HTTPS_PROXY: 'https://proxy.example:3128/',
    HTTP_PROXY: 'proxy.example',
    NO_PROXY: '.internal, 10.0.0.0/8',
    BROKER_CA_FILE: '/etc/ca.pem',
    BROKER_AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/team/broker',
    BROKER_AWS_EXTERNAL_ID: 'our:id/1',
    BROKER_AWS_ROLE_SESSION_NAME: 'broker@eu',
    BROKER_MANAGEMENT_HOSTS: 'status.example.com, broker-management',
  });
  expect(config.secrets.masterKey?.reveal()).toEqual(Uint8Array.from(Buffer.alloc(32, 7)));
  expect({ ...config, secrets: { ...config.secrets, masterKey: undefined } }).toEqual({
    audit: undefined,
    http: {
      authorizes: false,
      port: 8080,
      host: '::1',
      publicUrl: 'https://broker.example/base',
      tls: undefined,
      trustedProxies: [],
      iamPeers: [
        { arn: 'arn:aws:iam::123456789012:role/path/orders', roles: ['token'] },
        { arn: 'arn:aws-cn:iam::123456789012:user/a=b@c', roles: ['token', 'admin'] },
      ],
      maxConnections: 500,
      shutdownDelaySeconds: 5,
      management: { port: 8081, host: '127.0.0.2' },
      pageHosts: ['status.example.com', 'broker-management'],
    },
    network: {
      httpsProxy: { url: 'https://proxy.example:3128', login: undefined },
      httpProxy: { url: 'http://proxy.example', login: undefined },
      noProxy: '.internal, 10.0.0.0/8',
      caFile: '/etc/ca.pem',
    },
    secrets: {
      store: 'aws',
      awsFallbackRegions: ['eu-west-1', 'us-gov-west-1'],
      awsRole: {
        arn: 'arn:aws:iam::123456789012:role/team/broker',
        externalId: 'our:id/1',
        sessionName: 'broker@eu',
      },
      dataDir: '/var/lib/broker',
      masterKey: undefined,
      olderMasterKeys: [],
      masterKeyKmsIds: [],
      peersSecretId: 'c',
      morePeersSecretIds: ['d'],
    },
    tokens: [
      {
        name: 'default',
        providerName: 'default',
        credentialsSecretId: 'a',
        secretId: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:b-AbCdEf',
        provider: {
          issuer: 'https://issuer.example/',
          tokenEndpoint: 'https://issuer.example/token?api-version=2',
          jwksUri: 'http://127.0.0.1:9000/jwks',
          audience: 'https://api.example',
          scope: 'read write',
          resource: ['https://one.example/', 'urn:two'],
          clientAuthentication: 'private_key_jwt',
          clientAssertionAudience: 'token_endpoint',
          allowInsecureHttp: true,
        },
        verification: {
          profile: 'zitadel',
          serviceClientIds: ['one', 'two'],
          customerClientIds: ['web'],
          otherAudiences: ['account', 'urn:other'],
          typ: 'at+jwt',
          scopeClaims: ['scope', 'permissions'],
          clockSkewSeconds: 0,
        },
        rotation: {
          cron: '30 0 */6 * * *',
          timeZone: 'UTC',
          manualIntervalSeconds: 90,
          minRemainingSeconds: 61,
        },
      },
    ],
    identities: { issuers: [], peers: [] },
    rotation: { enabled: false },
    cache: { ttlSeconds: 60 },
    log: { level: 'debug', format: 'text' },
    dev: { providerPort: 9090 },
    warnings: [],
  });
});

describe('values', () => {
  test.each<[string, string]>([
    ['PORT', '0'],
    ['PORT', '65535'],
    ['HOST', 'localhost'],
    ['HOST', '::'],
    ['HOST', 'broker.internal'],
    ['BROKER_ISSUER', 'http://localhost:3001'],
    ['BROKER_ISSUER', 'http://[::1]:3001/x'],
    ['BROKER_ISSUER', 'http://127.1.2.3'],
    ['BROKER_CACHE_TTL_SECONDS', '1'],
    ['BROKER_ROTATION_CRON', '0 3 29 2 *'],
    ['BROKER_ROTATION_CRON', '0 3 * * mon-fri'],
    ['BROKER_SCOPE', 'api://x/.default'],
  ])('%s takes %s', (name, value) => {
    expect(load({ [name]: value })).toBeDefined();
  });

  test.each([
    ['utc', 'UTC'],
    ['Etc/UTC', 'UTC'],
    ['Zulu', 'UTC'],
    ['GMT', 'UTC'],
    ['Etc/GMT+0', 'UTC'],
    ['Etc/GMT+1', 'Etc/GMT+1'],
    ['Europe/London', 'Europe/London'],
    ['Asia/Kolkata', 'Asia/Kolkata'],
  ])('the time zone %s is %s', (BROKER_ROTATION_TIME_ZONE, name) => {
    const [token] = load({ BROKER_ROTATION_TIME_ZONE }).tokens;
    expect(token?.rotation.timeZone).toBe(name);
  });

  const refused: [name: string, value: string, problem?: string][] = [
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '3e3'],
    ['PORT', '3 000'],
    ['PORT', 'http'],
    ['HOST', 'http://x', 'it is neither an IP address nor a host name'],
    ['HOST', '-x', 'it is neither an IP address nor a host name'],
    ['BROKER_PUBLIC_URL', 'broker.example', 'it is not an http or https URL'],
    ['BROKER_SECRET_STORE', 'AWS'],
    ['BROKER_DATA_DIR', 'a\nb'],
    ['BROKER_CREDENTIALS_SECRET_ID', 'has space'],
    ...[
      'arn:aws:iam::123456789012:root',
      'arn:aws:sts::123456789012:assumed-role/orders/session',
      'arn:aws:iam::123456789012:role/*',
      'reader=arn:aws:iam::123456789012:role/orders',
      'arn:aws:iam::123456789012:role/a,b',
    ].map((value): [string, string, string] => [
      'BROKER_HTTP_IAM_PEERS',
      value,
      'each one must be the ARN of an IAM role or user',
    ]),
    ['BROKER_ISSUER', 'http://issuer.example', 'it is http, and not on this machine'],
    ['BROKER_ISSUER', 'http://127.0.0.1.evil.example', 'it is http, and not on this machine'],
    ['BROKER_ISSUER', 'ftp://issuer.example', 'it is not an http or https URL'],
    ['BROKER_ISSUER', 'https://issuer.example?x=1', 'it has a query'],
    ['BROKER_ISSUER', 'https://issuer.example#', 'it has a fragment'],
    ['BROKER_ISSUER', 'https://me@issuer.example', 'it holds a user name or password'],
    ['BROKER_ISSUER', 'https://issuer.example/ a', 'it holds white space'],
    ['BROKER_AUDIENCE', 'a\u0000b'],
    ['BROKER_SCOPE', 'read  write'],
    ['BROKER_SCOPE', 'read"'],
    [
      'BROKER_RESOURCE',
      'https://a.example,,b',
      'each one must be an absolute URI without a fragment',
    ],
    [
      'BROKER_RESOURCE',
      'https://a.example#x',
      'each one must be an absolute URI without a fragment',
    ],
    ['BROKER_CLIENT_AUTHENTICATION', 'none'],
    [
      'BROKER_CLIENT_ASSERTION_AUDIENCE',
      'tokenEndpoint',
      'it is neither one of the words nor an absolute URI',
    ],
    [
      'BROKER_CLIENT_ASSERTION_AUDIENCE',
      'https://a.example b',
      'it is neither one of the words nor an absolute URI',
    ],
    ['BROKER_PROFILE', 'auth1'],
    ['BROKER_SERVICE_CLIENT_IDS', 'a,,b'],
    ['BROKER_OTHER_AUDIENCES', 'a,,b'],
    ['BROKER_TOKEN_TYP', 'JWT'],
    ['BROKER_CACHE_TTL_SECONDS', '0'],
    ['BROKER_CACHE_TTL_SECONDS', '3601'],
    ['BROKER_CLOCK_SKEW_SECONDS', '1.5'],
    ['BROKER_ROTATION', 'true'],
    ['BROKER_ROTATION_CRON', '@daily', 'it has 1 fields'],
    ['BROKER_ROTATION_CRON', '0 99 * * *', 'it is not a cron expression'],
    ['BROKER_ROTATION_TIME_ZONE', 'Europe/Berln', 'it is not the name of a time zone'],
    ['BROKER_ROTATION_TIME_ZONE', '+02:00', 'it is not the name of a time zone'],
    ['BROKER_ROTATION_TIME_ZONE', 'local', 'it is not the name of a time zone'],
    ['BROKER_ROTATION_CRON', '0 3 30 2 *', 'it matches no date'],
    [
      'BROKER_MIN_REMAINING_SECONDS',
      '360',
      'caches would still hold the old token when it expires',
    ],
    ['BROKER_LOG_LEVEL', 'verbose'],
    ['BROKER_ALLOW_INSECURE_HTTP', 'yes'],
    ['BROKER_DEV_PROVIDER_PORT', '3000', 'it is the same as PORT'],
  ];
  test.each(refused.map(([name, value, problem]) => [name, value, problem] as const))(
    '%s refuses %j',
    (name, value, problem) => {
      const { mistakes } = mistakesOf({ [name]: value });
      expect(mistakes).toHaveLength(1);
      expect(mistakes[0]).toMatchObject({
        name,
        given: JSON.stringify(value).replace('me@', '[redacted]@'),
      });
      expect(mistakes[0]?.problem).toBe(problem);
      expect(mistakes[0]?.allowed).not.toBe('');
    },
  );

  test.each([
    [`${KEY}\n`, 'https://issuer.example/\n', ' enabled\r\n', '\ufeff8080'],
    [`\ufeff${KEY}\r\n`, '\u00a0https://issuer.example/', 'enabled', '8080 '],
  ])('what pasting leaves around a value is dropped: %#', (master, issuer, rotation, port) => {
    const config = load({
      BROKER_MASTER_KEY: master,
      BROKER_ISSUER: issuer,
      BROKER_ROTATION: rotation,
      PORT: port,
      BROKER_AUDIENCE: ' \n',
    });
    expect(config.secrets.masterKey?.reveal()).toEqual(Uint8Array.from(Buffer.alloc(32, 7)));
    expect(config.tokens[0].provider).toMatchObject({
      issuer: 'https://issuer.example/',
      audience: undefined,
    });
    expect(config.rotation.enabled).toBe(true);
    expect(config.http.port).toBe(8080);
  });

  test('an empty variable counts as not given', () => {
    expect(load({ PORT: '', BROKER_ISSUER: '', BROKER_CONFIG: '' })).toEqual(load({}));
  });

  test('the embedded provider stands next to the broker', () => {
    expect(load({ PORT: '4000' }).dev.providerPort).toBe(4001);
    expect(load({ PORT: '65535' }).dev.providerPort).toBe(65_534);
    expect(load({ PORT: '0' }).dev.providerPort).toBe(0);
  });

  test('defaults of the caller replace the built-in ones, and nothing else', () => {
    const defaults = { HOST: '127.0.0.1' };
    expect(load({}, { defaults }).http.host).toBe('127.0.0.1');
    expect(load({ HOST: '10.0.0.1' }, { defaults }).http.host).toBe('10.0.0.1');
  });
});

describe('rules between settings', () => {
  test.each([
    ['BROKER_TOKEN_SECRET_ID', { BROKER_TOKEN_SECRET_ID: 'a', BROKER_CREDENTIALS_SECRET_ID: 'a' }],
    ['BROKER_PEERS_SECRET_ID', { BROKER_PEERS_SECRET_ID: 'service-token-broker/token' }],
    ['BROKER_PEERS_SECRET_ID', { BROKER_PEERS_SECRET_ID: 'a,service-token-broker/token' }],
    ['BROKER_PEERS_SECRET_ID', { BROKER_PEERS_SECRET_ID: 'a,b,a' }],
    [
      'BROKER_TOKEN_SECRET_ID',
      {
        BROKER_TOKEN_SECRET_ID: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:a-AbCdEf',
        BROKER_CREDENTIALS_SECRET_ID: 'a',
      },
    ],
  ])('two ids of one secret are a mistake of %s', (name, env) => {
    const { mistakes } = mistakesOf(env);
    expect(mistakes.map((mistake) => mistake.name)).toEqual([name]);
    expect(mistakes[0]?.problem).toContain('the same secret as');
  });

  test('two ARNs of different Regions are two secrets', () => {
    const arn = (region: string): string =>
      `arn:aws:secretsmanager:${region}:123456789012:secret:a-AbCdEf`;
    expect(
      load({
        BROKER_TOKEN_SECRET_ID: arn('eu-west-1'),
        BROKER_PEERS_SECRET_ID: arn('eu-central-1'),
      }),
    ).toBeDefined();
  });

  test.each(['zitadel', 'authentik'])('%s needs the list of client ids', (profile) => {
    const error = mistakesOf({ BROKER_PROFILE: profile });
    expect(error.mistakes).toMatchObject([{ name: 'BROKER_SERVICE_CLIENT_IDS' }]);
    expect(load({ BROKER_PROFILE: profile, BROKER_SERVICE_CLIENT_IDS: 'a' })).toBeDefined();
  });

  test('a rule waits for the settings it is about, and for no others', () => {
    const { mistakes } = mistakesOf({
      PORT: 'x',
      BROKER_CACHE_TTL_SECONDS: 'x',
      BROKER_MIN_REMAINING_SECONDS: '1',
      BROKER_TOKEN_SECRET_ID: 'a',
      BROKER_PEERS_SECRET_ID: 'a',
    });
    expect(mistakes.map(({ name }) => name)).toEqual([
      'PORT',
      'BROKER_CACHE_TTL_SECONDS',
      'BROKER_PEERS_SECRET_ID',
    ]);
  });
});

describe('what is said', () => {
  test('all mistakes at once, with name, value and what is allowed', () => {
    const error = mistakesOf({ PORT: '99999', BROKER_ISSUER: 'http://issuer.example' });
    expect(error).toBeInstanceOf(BrokerError);
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', kind: 'misconfigured' });
    expect(error.message).toBe(
      [
        'The configuration has 2 mistakes:',
        '  - PORT is "99999". Allowed: a port from 1 to 65535, or 0 for any free one.',
        '  - BROKER_ISSUER is "http://issuer.example": it is http, and not on this machine. Allowed: an https URL; http only for localhost, 127.0.0.0/8 and [::1], or with BROKER_ALLOW_INSECURE_HTTP=true.',
        'Correct them and start again; "service-token-broker serve --help" lists every setting.',
      ].join('\n'),
    );
  });

  test.each([
    ['short', Buffer.alloc(31, 9).toString('base64'), 'it holds 31 bytes, not 32'],
    ['not base64', `${KEY}!`, 'it is not base64'],
    ['without padding', KEY.slice(0, -1), 'it is not base64'],
    ['another alphabet', Buffer.alloc(32, 251).toString('base64url'), 'it is not base64'],
  ])('a master key that is %s is refused and never shown', (_what, value, problem) => {
    const error = mistakesOf({ BROKER_MASTER_KEY: value });
    expect(error.mistakes).toMatchObject([{ given: '(hidden)', problem }]);
    expect(inspect(error, { depth: 9 })).not.toContain(value.slice(0, 12));
  });

  test('a good master key does not show itself either', () => {
    const config = load({ BROKER_MASTER_KEY: KEY });
    const bytes = [...Buffer.alloc(32, 7)].slice(0, 4).join(',');
    for (const text of [
      JSON.stringify(config),
      inspect(config, { depth: 9, showHidden: true }),
      String(config.secrets.masterKey),
    ]) {
      expect(text).toContain('(hidden)');
      expect(text.replaceAll(' ', '')).not.toContain(bytes);
      expect(text).not.toContain(KEY);
    }
  });

  test('the revealed key is a copy', () => {
    const { masterKey } = load({ BROKER_MASTER_KEY: KEY }).secrets;
    masterKey?.reveal().fill(0);
    expect(masterKey?.reveal()[0]).toBe(7);
  });

  test('a ring: the first key, and those that only open the store', () => {
    const [older, oldest] = [8, 9].map((byte) => Buffer.alloc(32, byte).toString('base64'));
    const { secrets } = load({ BROKER_MASTER_KEY: ` ${KEY}, ${older} ,${oldest}\n` });
    expect(secrets.masterKey?.reveal()[0]).toBe(7);
    expect(secrets.olderMasterKeys.map((key) => key.reveal()[0])).toEqual([8, 9]);
    expect(inspect(secrets, { depth: 9, showHidden: true })).not.toContain(older?.slice(0, 12));
  });

  test.each([
    [`${KEY},`, 'of its keys, number 2: it holds 0 bytes, not 32'],
    [`,${KEY}`, 'of its keys, number 1: it holds 0 bytes, not 32'],
    [`${KEY},${KEY}`, 'of its keys, number 2: it repeats an earlier one'],
    [`${KEY}\n${KEY}`, 'it is not base64'],
    [`${KEY},AAAA`, 'of its keys, number 2: it holds 3 bytes, not 32'],
    [`AAA,${KEY}`, 'of its keys, number 1: it is not base64'],
  ])('a ring with a mistake names the key by its number: %#', (value, problem) => {
    const error = mistakesOf({ BROKER_MASTER_KEY: value });
    expect(error.mistakes).toMatchObject([{ given: '(hidden)', problem }]);
    expect(inspect(error, { depth: 9 })).not.toContain(KEY.slice(0, 12));
  });

  test('a token that was pasted into the wrong variable is not shown', () => {
    const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl';
    const { message } = mistakesOf({ BROKER_ISSUER: jwt, PORT: 'x'.repeat(500) });
    expect(message).not.toContain('c2lnbmF0dXJl');
    expect(message).toContain('"[redacted]"');
    expect(message).toContain(`"${'x'.repeat(80)}…"`);
  });

  test('unknown variables are warnings, with the name that was probably meant', () => {
    const config = load({
      BROKER_ISUER: 'https://issuer.example',
      BROKER_CACHE_TTL: '5',
      BROKER_CLIENT_SECRET: 'do-not-show',
      BROKER_ZZZZZZ: 'x',
      OTHER: 'x',
    });
    expect(config.warnings).toEqual([
      'BROKER_CACHE_TTL is not a setting and has no effect.',
      'BROKER_CLIENT_SECRET is not a setting and has no effect: client credentials belong in the credentials secret (BROKER_CREDENTIALS_SECRET_ID).',
      'BROKER_ISUER is not a setting and has no effect. Did you mean BROKER_ISSUER?',
      'BROKER_ZZZZZZ is not a setting and has no effect.',
    ]);
  });

  test('unknown variables are named beside a mistake, since they may be its cause', () => {
    const { message, mistakes, lines } = mistakesOf({ PORT: 'x', BROKER_ISSUERR: 'x' });
    expect(message).toContain('The configuration has a mistake:');
    expect(mistakes.map(({ name }) => name)).toEqual(['PORT']);
    expect(lines).toEqual([
      expect.stringContaining('PORT is "x"'),
      'BROKER_ISSUERR is not a setting and has no effect. Did you mean BROKER_ISSUER?',
    ]);
    expect(message).toContain(`\nNote: ${lines[1]}\n`);
  });

  test('as many mistakes are listed as are counted', () => {
    const value = fc.oneof(
      fc.constantFrom(
        'x',
        '-1',
        '\n  - PORT',
        'a\u2028  - b',
        ' ',
        'zitadel',
        '1',
        'http://a.test',
      ),
      fc.string(),
    );
    const name = fc.oneof(
      fc.constantFrom(...SETTING_NAMES, 'BROKER_CONFIG', 'BROKER_PORT'),
      fc.string().map((rest) => `BROKER_${rest}`),
    );
    const file = fc.oneof(
      fc.constantFrom('', 'port: x\nissuerr: 1\n? "a\\n  - b"\n: 2'),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.dictionary(name, value, { maxKeys: 8 }), file, (env, text) => {
        let message = '';
        try {
          load(env, { readFile: () => text });
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          message = error.message;
          expect(error.lines.length).toBeGreaterThanOrEqual(error.mistakes.length);
        }
        fc.pre(message !== '');
        const [head = '', ...others] = message.split(/[\n\u2028\u2029]/);
        const counted = /^The configuration has (a|\d+) mistakes?:$/.exec(head)?.[1];
        const listed = others.filter((line) => line.startsWith('  - '));
        expect(listed).toHaveLength(counted === 'a' ? 1 : Number(counted));
        const rest = others.filter((line) => !line.startsWith('  - '));
        expect(rest.slice(0, -1).filter((line) => !line.startsWith('Note: '))).toEqual([]);
        expect(rest.at(-1)).toMatch(/^Correct them/);
      }),
      { numRuns: 200 },
    );
  });
});

describe('what Kubernetes sets for each Service', () => {
  /** As the kubelet makes them (pkg/kubelet/envvars), of a Service with the ports http (80) and metrics (9090, UDP). */
  const links = (service: string, address: string): NodeJS.ProcessEnv => {
    const name = service.toUpperCase().replaceAll('-', '_');
    const at = address.includes(':') ? `[${address}]` : address;
    return {
      [`${name}_SERVICE_HOST`]: address,
      [`${name}_SERVICE_PORT`]: '80',
      [`${name}_SERVICE_PORT_HTTP`]: '80',
      [`${name}_SERVICE_PORT_METRICS_2`]: '9090',
      [`${name}_PORT`]: `tcp://${at}:80`,
      [`${name}_PORT_80_TCP`]: `tcp://${at}:80`,
      [`${name}_PORT_80_TCP_PROTO`]: 'tcp',
      [`${name}_PORT_80_TCP_PORT`]: '80',
      [`${name}_PORT_80_TCP_ADDR`]: address,
      [`${name}_PORT_9090_UDP`]: `udp://${at}:9090`,
      [`${name}_PORT_9090_UDP_PROTO`]: 'udp',
      [`${name}_PORT_9090_UDP_PORT`]: '9090',
      [`${name}_PORT_9090_UDP_ADDR`]: address,
    };
  };

  test.each([
    ['broker', '10.96.14.2'],
    ['broker', 'fd00:10:96::1'],
    ['broker-canary', '10.96.14.2'],
  ])('is silent: %s, %s', (service, address) => {
    const env = links(service, address);
    expect(Object.keys(env)).toHaveLength(13);
    expect(load(env).warnings).toEqual([]);
    expect(mistakesOf({ ...env, PORT: 'x' }).lines).toHaveLength(1);
  });

  test.each([
    ['BROKER_PORT', '8080'],
    ['BROKER_PORT', 'tcp://broker:80'],
    ['BROKER_PORT', 'https://10.0.0.1:80'],
    ['BROKER_SERVICE_HOST', 'broker.internal'],
    ['BROKER_SERVICE_PORT', 'http'],
    ['BROKER_PORT_80_TCP_PROTO', 'http'],
    ['BROKER_PORT_80_HTTP', 'tcp://10.0.0.1:80'],
    ['BROKER_PORT_80_TCP_NAME', 'broker'],
  ])('is nothing else: %s=%s', (name, value) => {
    expect(load({ [name]: value }).warnings).toHaveLength(1);
  });

  test('is named as such where it meets a setting', () => {
    const { message } = mistakesOf(links('broker-dev-provider', '10.96.14.2'));
    expect(message).toContain('The configuration has a mistake:');
    expect(message).toContain(
      '  - BROKER_DEV_PROVIDER_PORT is "tcp://10.96.14.2:80": Kubernetes sets it for the Service "broker-dev-provider": give the pod "enableServiceLinks: false", or the Service another name. Allowed:',
    );
  });
});

test('the result is frozen all the way down', () => {
  const seen: object[] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    seen.push(value);
    expect(Object.isFrozen(value)).toBe(true);
    Object.values(value).forEach(visit);
  };
  visit(load({ BROKER_RESOURCE: 'urn:a', BROKER_SERVICE_CLIENT_IDS: 'a', BROKER_MASTER_KEY: KEY }));
  expect(seen.length).toBeGreaterThanOrEqual(12);
});

describe('the file', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'broker-config-'));
    path = join(folder, 'broker.yaml');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const write = (text: string): { BROKER_CONFIG: string } => {
    writeFileSync(path, text);
    return { BROKER_CONFIG: path };
  };

  test('holds the same settings, and the environment wins', () => {
    const file = write(
      [
        'port: 8080',
        'issuer: https://issuer.example',
        'allow_insecure_http: true',
        'rotation: disabled',
        'service_client_ids: [one, 2]',
        'resource:',
        '  - urn:a',
        '  - urn:b',
        'rotation_cron: "0 4 * * *"',
        'audience:',
      ].join('\n'),
    );
    const config = load({ ...file, PORT: '9090' });
    expect(config.http.port).toBe(9090);
    expect(config.tokens[0].provider).toMatchObject({
      issuer: 'https://issuer.example',
      allowInsecureHttp: true,
      resource: ['urn:a', 'urn:b'],
      audience: undefined,
    });
    expect(config.tokens[0].verification.serviceClientIds).toEqual(['one', '2']);
    expect(config.rotation).toEqual({ enabled: false });
    expect(config.tokens[0].rotation).toMatchObject({ cron: '0 4 * * *' });
  });

  test.each([
    ['a byte-order mark', Buffer.from('\ufeffport: 8080\naudience: urn:a\n')],
    ['line ends of Windows', Buffer.from('port: 8080\r\naudience: urn:a\r\n')],
    [
      'UTF-16, as PowerShell writes it',
      Buffer.from('\ufeffport: 8080\r\naudience: urn:a', 'utf16le'),
    ],
    ['blocks and quotes', Buffer.from('port: " 8080 "\naudience: |\n  urn:a\n')],
  ])('is read with %s', (_what, bytes) => {
    const given = write('');
    writeFileSync(path, bytes);
    const config = load(given);
    expect(config.http.port).toBe(8080);
    expect(config.tokens[0].provider.audience).toBe('urn:a');
  });

  test('that is not text is a mistake', () => {
    const given = write('');
    writeFileSync(path, Buffer.from('audience: ü', 'latin1'));
    expect(mistakesOf(given).mistakes).toMatchObject([
      { name: 'BROKER_CONFIG', problem: 'it cannot be read (not text in UTF-8)' },
    ]);
  });

  test('may be a link to a link, as Kubernetes mounts it', () => {
    mkdirSync(join(folder, '..2026'));
    writeFileSync(join(folder, '..2026', 'broker.yaml'), 'port: 8080');
    symlinkSync('..2026', join(folder, '..data'));
    symlinkSync(join('..data', 'broker.yaml'), path);
    expect(load({ BROKER_CONFIG: path }).http.port).toBe(8080);
  });

  test.each([
    ['a folder', (at: string) => mkdirSync(at)],
    ['a named pipe (FIFO)', (at: string) => execFileSync('mkfifo', [at])],
    ['a device', (at: string) => symlinkSync('/dev/zero', at)],
  ])('is not waited for when it is %s', (kind, make) => {
    make(path);
    expect(mistakesOf({ BROKER_CONFIG: path }).mistakes).toMatchObject([
      {
        name: 'BROKER_CONFIG',
        problem: `it cannot be read (it is ${kind}, where a regular file is needed)`,
      },
    ]);
  });

  test('an empty file is no mistake', () => {
    expect(load(write('# nothing yet\n'))).toEqual(load({}));
  });

  test('a bad value names the file and the key', () => {
    const { mistakes } = mistakesOf(write('port: 99999'));
    expect(mistakes).toMatchObject([{ name: 'PORT', source: `port in ${path}`, given: '"99999"' }]);
  });

  test('a value of the environment hides a bad one of the file', () => {
    expect(load({ ...write('port: 99999'), PORT: '1' }).http.port).toBe(1);
  });

  test.each([
    ['isuer', 'issuer'],
    ['secretStore', 'secret_store'],
    ['secret-store', 'secret_store'],
    ['BROKER_SECRET_STORE', 'secret_store'],
    ['cache_tll_seconds', 'cache_ttl_seconds'],
  ])('the unknown key %s is a mistake that suggests %s', (key, meant) => {
    const { mistakes } = mistakesOf(write(`${key}: x`));
    expect(mistakes).toMatchObject([
      {
        name: 'BROKER_CONFIG',
        given: `"${key}"`,
        problem: `this key is unknown; did you mean "${meant}"?`,
      },
    ]);
  });

  test.each(['zzzzzzzz', '__proto__', 'constructor'])(
    'the unknown key %s suggests nothing',
    (key) => {
      const { mistakes } = mistakesOf(write(`${key}: x`));
      expect(mistakes).toMatchObject([{ given: `"${key}"`, problem: 'this key is unknown' }]);
    },
  );

  test('an unknown key is named with its file, as a sentence', () => {
    const { path, env } = { path: 'settings.yaml', env: { BROKER_CONFIG: 'settings.yaml' } };
    const readFile = (): string => 'issuerr: x\nzzzzzzzz: 1';
    const { message } = mistakesOf(env, { readFile });
    expect(message).toContain(
      `- ${path} has the key "issuerr", which is unknown; did you mean "issuer"? Allowed: the keys`,
    );
    expect(message).toContain(
      `- ${path} has the key "zzzzzzzz", which is unknown. Allowed: the keys`,
    );
  });

  test('mistakes of the file and of the environment come together', () => {
    const { mistakes } = mistakesOf({
      ...write('isuer: x\ncache_ttl_seconds: {a: 1}\nlog_level: loud'),
      PORT: 'x',
    });
    expect(mistakes.map(({ name }) => name)).toEqual([
      'BROKER_CONFIG',
      'BROKER_CACHE_TTL_SECONDS',
      'PORT',
      'BROKER_LOG_LEVEL',
    ]);
  });

  test.each([
    [
      'broken YAML',
      'port: "1\nmaster_key: top-secret-value',
      /^it is not YAML: [A-Z_]+ in line \d+$/,
    ],
    ['a key twice', 'port: 1\nport: 2', /^it is not YAML: DUPLICATE_KEY in line 2$/],
    ['a list', '- top-secret-value', /^it is not a list of keys and values$/],
    ['a text', 'top-secret-value', /^it is not a list of keys and values$/],
    ['an alias', 'audience: &top-secret-value a\nscope: *top-secret-value', /^it has aliases/],
    ['an alias without an anchor', 'scope: *top-secret-value', /^it (?:has aliases|is not YAML)/],
    ['two documents', 'port: 1\n---\nport: 2', /^it is not YAML: MULTIPLE_DOCS in line 2$/],
    // Composing these ends the process.
    ['a deep flow', `port: ${'['.repeat(100_000)}`, /^it has more than 100 levels$/],
    ['a deep block', '- '.repeat(100_000), /^it has more than 100 levels$/],
    ['deep keys', '? '.repeat(100_000), /^it has more than 100 levels$/],
    ['a file of 9 MB', `port: 1 #${' '.repeat(9_000_000)}`, /it has more than 8 MiB/],
  ])('%s is one clear mistake that quotes nothing', (_what, text, problem) => {
    const error = mistakesOf(write(text));
    expect(error.mistakes).toMatchObject([{ name: 'BROKER_CONFIG', given: `"${path}"` }]);
    expect(error.mistakes[0]?.problem).toMatch(problem);
    expect(error.message).not.toContain('top-secret-value');
  });

  test('a master key in it is not shown', () => {
    const { message } = mistakesOf(write('master_key: top-secret-value'));
    expect(message).toContain(`BROKER_MASTER_KEY (master_key in ${path}) is (hidden)`);
    expect(message).not.toContain('top-secret-value');
  });

  test('a list with a comma inside, and a list of lists, are refused', () => {
    for (const text of ['service_client_ids: ["a,b"]', 'service_client_ids: [[a]]']) {
      expect(mistakesOf(write(text)).mistakes).toMatchObject([
        { name: 'BROKER_SERVICE_CLIENT_IDS' },
      ]);
    }
  });

  test('a file that is not there', () => {
    const { mistakes } = mistakesOf({ BROKER_CONFIG: join(folder, 'missing.yaml') });
    expect(mistakes).toMatchObject([
      { name: 'BROKER_CONFIG', problem: 'it cannot be read (ENOENT)' },
    ]);
  });

  test('another reader', () => {
    const readFile = (asked: string): string => `audience: ${asked}`;
    expect(load({ BROKER_CONFIG: 'here' }, { readFile }).tokens[0].provider.audience).toBe('here');
  });
});

describe('a client authentication without a stored secret', () => {
  const KMS = { BROKER_CLIENT_AUTHENTICATION: 'kms', BROKER_KMS_KEY_ID: 'alias/broker' };
  const TOKEN = { BROKER_CLIENT_AUTHENTICATION: 'workload_token' };
  const TLS = {
    BROKER_CLIENT_AUTHENTICATION: 'mtls',
    BROKER_CLIENT_CERTIFICATE_FILE: '/tls.crt',
    BROKER_CLIENT_KEY_FILE: '/tls.key',
  };

  test('is read', () => {
    expect(load({ ...KMS, BROKER_CLIENT_ID: 'broker' }).tokens[0].provider).toMatchObject({
      clientAuthentication: 'kms',
      clientId: 'broker',
      kmsKeyId: 'alias/broker',
    });
    expect(
      load({ ...TOKEN, BROKER_WORKLOAD_TOKEN_FILE: '/t' }).tokens[0].provider.workloadTokenFile,
    ).toBe('/t');
    expect(
      load({ ...TOKEN, BROKER_AWS_TOKEN_AUDIENCE: 'a' }).tokens[0].provider.awsTokenAudience,
    ).toBe('a');
    expect(load(TLS).tokens[0].provider.clientKeyFile).toBe('/tls.key');
    // With a certificate in the credentials secret.
    expect(
      load({ BROKER_CLIENT_AUTHENTICATION: 'mtls' }).tokens[0].provider.clientAuthentication,
    ).toBe('mtls');
  });

  test.each<[string, NodeJS.ProcessEnv, string]>([
    ['no key', { BROKER_CLIENT_AUTHENTICATION: 'kms' }, 'BROKER_KMS_KEY_ID'],
    ['a key for nothing', { BROKER_KMS_KEY_ID: 'k' }, 'BROKER_KMS_KEY_ID'],
    ['a key of another method', { ...TLS, BROKER_KMS_KEY_ID: 'k' }, 'BROKER_KMS_KEY_ID'],
    ['no source', TOKEN, 'BROKER_WORKLOAD_TOKEN_FILE'],
    [
      'two sources',
      { ...TOKEN, BROKER_WORKLOAD_TOKEN_FILE: '/t', BROKER_AWS_TOKEN_AUDIENCE: 'a' },
      'BROKER_WORKLOAD_TOKEN_FILE',
    ],
    ['half a pair', { ...TLS, BROKER_CLIENT_KEY_FILE: '' }, 'BROKER_CLIENT_KEY_FILE'],
    [
      'an algorithm that KMS has not',
      { ...KMS, BROKER_KMS_ALGORITHM: 'EdDSA' },
      'BROKER_KMS_ALGORITHM',
    ],
  ])('with %s is a mistake', (_what, env, name) => {
    expect(mistakesOf(env).mistakes.map((mistake) => mistake.name)).toEqual([name]);
  });
});

describe('BROKER_MASTER_KEY_KMS_ID', () => {
  const UUID = '1234abcd-12ab-34cd-56ef-1234567890ab';
  const MULTI = `mrk-${'0123456789abcdef'.repeat(2)}`;
  const account = 'arn:aws-us-gov:kms:us-gov-west-1:123456789012';

  test.each([
    [UUID],
    [MULTI],
    ['alias/broker_1/x-y'],
    [`arn:aws:kms:eu-central-1:123456789012:key/${UUID}`],
    [`${account}:key/${MULTI}`],
    [`${account}:alias/broker`],
  ])('takes %s', (id) => {
    expect(load({ BROKER_MASTER_KEY_KMS_ID: id }).secrets.masterKeyKmsIds).toEqual([id]);
    const both = load({ BROKER_MASTER_KEY_KMS_ID: `${id}, alias/old` }).secrets.masterKeyKmsIds;
    expect(both).toEqual([id, 'alias/old']);
  });

  test.each([
    ['broker'],
    [`key/${UUID}`],
    [UUID.toUpperCase()],
    [`${UUID},`],
    ['alias/'],
    ['alias/with space'],
    ['alias/aws/secretsmanager'],
    [`${account}:alias/aws/ebs`],
    [`${account}:${UUID}`],
    [`arn:aws:kms:eu-central-1:1234:key/${UUID}`],
    [`arn:aws:secretsmanager:eu-central-1:123456789012:key/${UUID}`],
  ])('refuses %s', (id) => {
    const { mistakes } = mistakesOf({ BROKER_MASTER_KEY_KMS_ID: id });
    expect(mistakes).toMatchObject([{ name: 'BROKER_MASTER_KEY_KMS_ID' }]);
  });

  test('counts with the embedded store alone', () => {
    const { mistakes } = mistakesOf({
      BROKER_MASTER_KEY_KMS_ID: UUID,
      BROKER_SECRET_STORE: 'aws',
    });
    expect(mistakes).toMatchObject([
      { problem: 'it counts with BROKER_SECRET_STORE=embedded alone' },
    ]);
  });
});
