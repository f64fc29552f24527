import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { fixedPort } from '../support/fixed-port.js';
import { runCommand } from '../support/broker-process.js';
import { assertNoCanary, CANARIES } from '../support/canaries.js';
import { answers, startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from './folders.js';

/** What `doctor --json` writes. */
interface Report {
  readonly ok: boolean;
  readonly checks: readonly {
    readonly check: string;
    readonly state: string;
    readonly message: string;
    readonly action?: string;
    readonly details?: readonly string[];
    readonly code?: string;
  }[];
}

interface Examined {
  readonly exit: number | null;
  readonly report: Report;
  /** The checks in a state, by name. */
  readonly in: (state: string) => string[];
  readonly of: (check: string) => Report['checks'][number] | undefined;
}

const CREDENTIALS = JSON.stringify({
  client_id: 'broker',
  client_secret: CANARIES.clientSecret,
});
const ALL = [
  'configuration',
  'credentials',
  'credentials secret',
  'token secret',
  'peers secret',
  'encryption',
  'fallback Regions',
  'rotation',
  'rotation function',
  'pending version',
  'provider',
  'client authentication',
  'trial mint',
  'provider keys',
  'classification',
  'coverage',
  'clock',
];
/** What is skipped on a healthy broker with the embedded store. */
const NOT_MADE = ['fallback Regions', 'rotation function', 'trial mint'];

const written: string[] = [];
let provider: ProviderServer;
let env: NodeJS.ProcessEnv;

async function run(
  args: readonly string[],
  environment: NodeJS.ProcessEnv = env,
  input?: string,
): Promise<{ code: number | null; stdout: string }> {
  const { code, stdout, stderr } = await runCommand(
    args,
    environment,
    input === undefined ? {} : { input },
  );
  written.push(stdout, stderr);
  return { code, stdout };
}

async function doctor(
  overrides: NodeJS.ProcessEnv = {},
  ...args: readonly string[]
): Promise<Examined> {
  const { code, stdout } = await run(['--json', 'doctor', ...args], { ...env, ...overrides });
  const report = JSON.parse(stdout) as Report;
  return {
    exit: code,
    report,
    in: (state) => report.checks.filter((one) => one.state === state).map(({ check }) => check),
    of: (check) => report.checks.find((one) => one.check === check),
  };
}

async function currentVersion(): Promise<string> {
  const { stdout } = await run(['--json', 'status']);
  return (JSON.parse(stdout) as { current: { version_id: string } }).current.version_id;
}

beforeAll(async () => {
  provider = await startProviderServer({ clientSecrets: [CANARIES.clientSecret] });
  env = {
    BROKER_DATA_DIR: join(await temporaryFolder(), 'data'),
    BROKER_MASTER_KEY: CANARIES.masterKey,
    BROKER_ISSUER: provider.issuer,
    BROKER_AUDIENCE: 'https://services.example.test',
    // The provider's tokens live a day.
    BROKER_ROTATION_CRON: '0 3,15 * * *',
  };
  expect(await run(['credentials', 'set'], env, CREDENTIALS)).toMatchObject({ code: 0 });
  expect(
    await run(['peers', 'add', 'orders', '--secret-file', join(await temporaryFolder(), 'p')]),
  ).toMatchObject({ code: 0 });
  expect(await run(['rotate'])).toMatchObject({ code: 0 });
});
afterEach(() => {
  for (const route of ['openid', 'oauth', 'token', 'jwks'] as const) {
    provider.always(route, undefined);
  }
});
afterAll(() => provider.close());

describe('a broker in order', () => {
  test('passes every check, in their order, and nothing is minted or changed', async () => {
    const minted = provider.received('token').length;
    const before = await currentVersion();
    const { exit, report, ...examined } = await doctor();
    expect(report.checks.map(({ check }) => check)).toEqual(ALL);
    expect({ exit, ok: report.ok }).toEqual({ exit: 0, ok: true });
    expect(examined.in('skipped')).toEqual(NOT_MADE);
    expect(examined.in('ok')).toHaveLength(ALL.length - NOT_MADE.length);
    expect(provider.received('token')).toHaveLength(minted);
    expect(await currentVersion()).toBe(before);
  });

  test('is shown to people on a line for each check', async () => {
    const { code, stdout } = await run(['doctor']);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(ALL.length + 2);
    expect(lines[0]).toMatch(/^ ok {3}configuration +Without/);
    expect(lines.at(-1)).toMatch(/^Nothing failed\. /);
  });

  test('mints on trial with --mint, and keeps nothing of it', async () => {
    const minted = provider.received('token').length;
    const { exit, of } = await doctor({}, '--mint');
    expect(exit).toBe(0);
    expect(of('trial mint')).toMatchObject({
      state: 'ok',
      message: expect.stringContaining('receivers accept them'),
    });
    expect(provider.received('token')).toHaveLength(minted + 1);
  });

  test('warns of a schedule that a token does not outlive', async () => {
    const { exit, of } = await doctor({ BROKER_ROTATION_CRON: '0 3 * * 1' });
    expect(exit).toBe(0);
    expect(of('coverage')).toMatchObject({ state: 'warning' });
  });
});

describe('a broken setup', () => {
  /** Everything after the check that is to blame. */
  const after = (check: string): string[] => ALL.slice(ALL.indexOf(check) + 1);

  test('mistakes of the configuration are listed all at once', async () => {
    const { exit, in: all, of } = await doctor({ PORT: 'http', BROKER_PROFILE: 'none' });
    expect(exit).toBe(1);
    expect(all('failed')).toEqual(['configuration']);
    expect(of('configuration')).toMatchObject({
      code: 'CONFIG_INVALID',
      details: [expect.stringContaining('PORT'), expect.stringContaining('BROKER_PROFILE')],
    });
    expect(all('skipped')).toEqual(after('configuration'));
    expect(of('clock')).toMatchObject({
      message: 'It depends on "configuration".',
      blocked_by: 'configuration',
    });
  });

  test('an unknown setting is a warning', async () => {
    const { exit, of } = await doctor({ BROKER_AUDIENCES: 'x' });
    expect(exit).toBe(0);
    expect(of('configuration')).toMatchObject({
      state: 'warning',
      message: expect.stringContaining('BROKER_AUDIENCE?'),
    });
  });

  test('a wrong master key', async () => {
    const {
      exit,
      in: all,
      of,
    } = await doctor({
      BROKER_MASTER_KEY: randomBytes(32).toString('base64'),
    });
    expect(exit).toBe(1);
    expect(of('credentials')).toMatchObject({ state: 'failed', code: 'STORE_KEY_WRONG' });
    expect(all('skipped')).toEqual(after('credentials'));
  });

  test('a data folder without a store: none is made', async () => {
    const folder = await temporaryFolder();
    const { exit, of } = await doctor({ BROKER_DATA_DIR: folder });
    expect(exit).toBe(1);
    expect(of('credentials')).toMatchObject({
      state: 'failed',
      code: 'STORE_MISSING',
      message: expect.stringMatching(/holds no embedded store.*BROKER_DATA_DIR/),
    });
    const { stdout } = await run(['doctor'], { BROKER_DATA_DIR: folder });
    expect(stdout).toMatch(
      /^ ok {3}configuration .*\nFAIL {2}credentials .*service-token-broker credentials set \(STORE_MISSING\)\n\nFix "credentials" first: 14 other checks depend on it\.\n1 failed\. Warnings: 0, ok: 1, skipped: 14\.\n$/,
    );
    expect(await readdir(folder)).toEqual([]);
  });

  test('secrets by other names than they have: none is made', async () => {
    const other = { BROKER_TOKEN_SECRET_ID: 'other/token', BROKER_PEERS_SECRET_ID: 'other/peers' };
    for (const _time of ['first', 'second']) {
      const { exit, of, in: all } = await doctor(other);
      expect(exit).toBe(1);
      expect(of('token secret')).toMatchObject({ state: 'failed', code: 'SECRET_NOT_FOUND' });
      expect(of('peers secret')).toMatchObject({ state: 'failed', code: 'SECRET_NOT_FOUND' });
      expect(of('classification')?.message).toBe('It depends on "token secret".');
      expect(all('ok')).toEqual(expect.arrayContaining(['provider', 'provider keys', 'clock']));
    }
  });

  test('client credentials that nobody has written yet, and no token', async () => {
    const fresh = { BROKER_DATA_DIR: join(await temporaryFolder(), 'data') };
    const secretFile = join(await temporaryFolder(), 'peer');
    await run(['peers', 'add', 'first', '--secret-file', secretFile], { ...env, ...fresh });
    await run(['peers', 'remove', 'first'], { ...env, ...fresh });
    const { exit, of, in: all } = await doctor(fresh);
    expect(exit).toBe(1);
    expect(all('failed')).toEqual(['credentials secret', 'token secret']);
    expect(of('credentials secret')?.action).toContain('credentials set');
    expect(of('token secret')?.action).toContain('rotate');
    expect(of('peers secret')).toMatchObject({ state: 'warning' });
    expect(of('provider')?.message).toBe('It depends on "credentials secret".');
    expect(of('rotation')).toMatchObject({ state: 'ok' });
    expect(of('coverage')).toMatchObject({ state: 'skipped' });
  });

  test('a provider that is down', async () => {
    const issuer = `http://127.0.0.1:${fixedPort()}`;
    const { exit, of, in: all } = await doctor({ BROKER_ISSUER: issuer }, '--mint');
    expect(exit).toBe(1);
    expect(all('failed')).toEqual(['provider']);
    expect(of('provider')).toMatchObject({ code: 'PROVIDER_UNAVAILABLE' });
    for (const check of ['trial mint', 'provider keys', 'classification', 'clock']) {
      expect(of(check)).toMatchObject({
        state: 'skipped',
        message: 'It depends on "provider".',
      });
    }
    expect(of('coverage')).toMatchObject({ state: 'ok' });
  });

  test('a web page in the place of the provider', async () => {
    provider.always('openid', answers.html(200));
    provider.always('oauth', answers.html(200));
    const { exit, of } = await doctor();
    expect(exit).toBe(1);
    expect(of('provider')).toMatchObject({
      state: 'failed',
      code: 'PROVIDER_DISCOVERY_FAILED',
      message: expect.stringContaining('text/html'),
    });
  });

  test('a client secret that the provider does not take shows in a trial mint alone', async () => {
    const refused = answers.oauthError(401, 'invalid_client', CANARIES.clientSecret);
    provider.always('token', refused);
    expect((await doctor()).exit).toBe(0);
    const { exit, in: all, of } = await doctor({}, '--mint');
    expect(exit).toBe(1);
    expect(all('failed')).toEqual(['trial mint']);
    expect(of('trial mint')).toMatchObject({ code: 'PROVIDER_INVALID_CLIENT' });
  });

  test('a trial token that receivers would refuse', async () => {
    provider.always('token', answers.token({ access_token: CANARIES.jwt }));
    const { exit, of } = await doctor({}, '--mint');
    expect(exit).toBe(1);
    expect(of('trial mint')).toMatchObject({ state: 'failed' });
  });

  test('a trial token that no rule knows: what it says, and what it was asked', async () => {
    const { exit, of } = await doctor({ BROKER_PROFILE: 'auth0' }, '--mint');
    expect(exit).toBe(1);
    expect(of('trial mint')).toMatchObject({
      state: 'failed',
      code: 'TOKEN_KIND_UNDECIDED',
      details: [
        `the token's iss: ${provider.issuer}`,
        "the token's aud: https://services.example.test",
        "the token's typ: at+jwt",
        expect.stringMatching(/^rule service: "sub" ends with "@clients": no$/),
        expect.stringMatching(/^rule customer: /),
        expect.stringMatching(/^rule refused: /),
      ],
    });
  });

  test('public keys that are not available', async () => {
    provider.always('jwks', answers.html(200));
    const { exit, in: all, of } = await doctor();
    expect(exit).toBe(1);
    expect(all('failed')).toEqual(['provider keys', 'classification']);
    expect(of('provider keys')).toMatchObject({ code: 'KEYS_UNAVAILABLE' });
  });

  test('a token that receivers refuse', async () => {
    const { exit, of } = await doctor({ BROKER_AUDIENCE: 'https://others.example.test' });
    expect(exit).toBe(1);
    expect(of('classification')).toMatchObject({
      state: 'failed',
      code: 'TOKEN_AUDIENCE_WRONG',
      message: expect.stringContaining('"audience"'),
    });
  });

  test('a second audience is judged as receivers judge it, by every command', async () => {
    const aud = ['https://services.example.test', 'account'];
    const token = await provider.token({ aud });
    const minted = { access_token: token, token_type: 'Bearer', expires_in: 86_400 };
    provider.always('token', answers.json(200, minted));

    const refused = [
      (await doctor({}, '--mint')).of('trial mint')?.action,
      (await runCommand(['rotate'], env)).stderr,
      (await run(['verify'], env, token)).stdout,
    ];
    for (const words of refused) {
      expect(words).toContain('BROKER_OTHER_AUDIENCES=account');
      expect(words).toContain("otherAudiences: ['account']");
    }

    const listed = { ...env, BROKER_OTHER_AUDIENCES: 'account' };
    const accepted = [
      (await doctor({ BROKER_OTHER_AUDIENCES: 'account' }, '--mint')).of('trial mint')?.action,
      (await run(['rotate'], listed)).stdout,
      (await run(['verify'], listed, token)).stdout,
      (await doctor({ BROKER_OTHER_AUDIENCES: 'account' })).of('classification')?.action,
    ];
    for (const words of accepted) {
      expect(words).toContain("Receivers need: { issuer: 'http");
      expect(words).toContain("otherAudiences: ['account']");
    }
    provider.always('token', undefined);
    expect(await run(['rotate'])).toMatchObject({ code: 0 });
  });

  test.each([
    [45, 'warning', 0],
    [600, 'failed', 1],
  ])('a clock that is %d s behind', async (seconds, state, code) => {
    const keys = await (await fetch(provider.jwksUri)).json();
    provider.always('jwks', (...received) => {
      const date = new Date(Date.now() + seconds * 1000).toUTCString();
      return answers.json(200, keys, { date })(...received);
    });
    const { exit, of } = await doctor();
    expect(of('clock')).toMatchObject({
      state,
      message: expect.stringContaining('behind the provider'),
    });
    expect(exit).toBe(code);
  });
});

test('no check has written a token or a secret', async () => {
  const { stdout } = await runCommand(['--json', 'status', '--show-token'], env);
  const { access_token: served } = JSON.parse(stdout) as { access_token: string };
  const output = written.join('\n');
  expect(output.length).toBeGreaterThan(20_000);
  assertNoCanary(output, { ...CANARIES, jwt: served });
  assertNoCanary(output);
});
