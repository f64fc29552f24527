import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { runCommand, startBroker, type BrokerProcess } from '../support/broker-process.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from './folders.js';
import { basic } from './peer-http.js';

/** Numbers that are no spans: RFC 6749 names the first, the others are counts. */
const PLAIN_NUMBERS = new Set([
  'expires_in',
  'entries',
  'used_bytes',
  'limit_bytes',
  'data_keys',
  'secrets',
  'versions',
]);

/** Every deviation from the form that docs/operating.md promises, with its path. */
function deviations(value: unknown, path = '$', name = ''): readonly string[] {
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => deviations(item, `${path}[${index}]`, name));
  }
  if (typeof value === 'object' && value !== null) {
    const badNames = Object.keys(value).filter(
      (key) => !/^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$/.test(key),
    );
    const members = Object.entries(value).flatMap(([key, member]) =>
      deviations(member, `${path}.${key}`, key),
    );
    return badNames.map((key) => `${path}.${key}: its name`).concat(members);
  }
  const isSpan = name.endsWith('_seconds');
  if (typeof value === 'number') {
    return isSpan || PLAIN_NUMBERS.has(name) ? [] : [`${path}: the unit of ${value}`];
  }
  if (isSpan) return [`${path}: no number`];
  const text = typeof value === 'string' ? value : '';
  const isInstant = name.endsWith('_at') || /^\s*\d{4}-\d\d-\d\d|^\d{10}(?:\d{3})?$/.test(text);
  return isInstant && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text)
    ? [`${path}: the form of ${text}`]
    : [];
}

test('the rules find what deviates', () => {
  const bad = {
    camelCase: true,
    'kebab-case': true,
    Upper: true,
    age: 5,
    age_ms: 5,
    life_seconds: '5',
    created_at: 1_767_225_600,
    next: '2026-01-01T00:00:00Z',
    until: '2026-01-01 00:00',
    list: [{ innerName: 1 }],
  };
  expect(deviations(bad)).toHaveLength(11);
  expect(
    deviations({ a: null, b_1: [{ c_seconds: 1.5 }], made_at: '2026-01-01T00:00:00.000Z' }),
  ).toEqual([]);
});

describe('what programs read', () => {
  let provider: ProviderServer;
  let broker: BrokerProcess;
  let admin: string;
  let env: NodeJS.ProcessEnv;

  const run = async (args: readonly string[], input?: string, changes?: NodeJS.ProcessEnv) => {
    const options = input === undefined ? {} : { input };
    const { stdout } = await runCommand(['--json', ...args], { ...env, ...changes }, options);
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const get = async (path: string, init?: RequestInit) => {
    const response = await fetch(`${broker.url}${path}`, init);
    return (await response.json()) as Record<string, unknown>;
  };

  beforeAll(async () => {
    provider = await startProviderServer({ tokenLifeSeconds: 7_000 });
    env = {
      BROKER_DATA_DIR: join(await temporaryFolder(), 'data'),
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: 'https://services.example.test',
      BROKER_CLOCK_SKEW_SECONDS: '30',
    };
    const credentials = '{"client_id":"broker","client_secret":"right-secret"}';
    expect(deviations(await run(['credentials', 'set'], credentials))).toEqual([]);
    const added = await run(['peers', 'add', 'ops', '--role', 'admin', '--show-secret']);
    expect(deviations(added)).toEqual([]);
    admin = basic('ops', String(added['secret']));
    expect(deviations(await run(['rotate']))).toEqual([]);
    broker = await startBroker(['serve'], env);
  });

  afterAll(async () => {
    await broker.stop();
    await provider.close();
  });

  test.each([
    [
      ['rotate', '--dry-run'],
      ['schedule', 'coverage.required_seconds', 'receivers.state'],
    ],
    [['rotate', '--repair'], ['cleared_version_id']],
    [['rotate', '--nope'], ['error.code']],
    [['doctor'], ['checks']],
    [
      ['peers', 'list'],
      ['peers', 'malformed'],
    ],
    [['peers', 'remove', 'nobody'], ['error.kind']],
    [
      ['store', 'status'],
      ['ok', 'key_id', 'kept_by', 'data_keys', 'old_key_ids'],
    ],
    [
      ['store', 'check'],
      ['sound', 'key_id', 'secrets', 'versions', 'newest_at', 'damaged'],
    ],
    [
      ['store', 'rekey'],
      ['result', 'key_id', 'previous_key_id', 'removed_key_ids', 'is_scrubbed'],
    ],
    [['store', 'check', 'no-backup'], ['error.code']],
    [
      ['verify', 'no-token'],
      ['is_retryable', 'seen', 'code'],
    ],
  ])('%j', async (args, members) => {
    const value = await run(args);
    expect(deviations(value)).toEqual([]);
    for (const member of members) expect(value).toHaveProperty(member);
  });

  test('status, of the store and of a broker that is degraded', async () => {
    const value = await run(['status', '--url', broker.url, '--show-token']);
    expect(deviations(value)).toEqual([]);
    expect(value).toMatchObject({
      current: { remaining_seconds: expect.any(Number), expires_at: expect.any(String) },
      coverage: { covered: false, required_seconds: 86_730 },
      broker: { details: { details: { token: { remaining_seconds: expect.any(Number) } } } },
    });
    const verified = await run(['verify', String(value['access_token'])]);
    expect(deviations(verified)).toEqual([]);
    expect(verified).toMatchObject({
      accepted: true,
      is_retryable: false,
      receivers_need: expect.stringContaining('issuer'),
      seen: { expires_at: expect.any(String), remaining_seconds: expect.any(Number) },
    });
  });

  test('a configuration with mistakes', async () => {
    const value = await run(['status'], undefined, { PORT: 'x' });
    expect(deviations(value)).toEqual([]);
    expect(value).toHaveProperty('error.code', 'CONFIG_INVALID');
  });

  test.each([
    ['/health/live', 'GET'],
    ['/health/ready', 'GET'],
    ['/v1/token', 'GET'],
    ['/v1/token', 'PATCH'],
    ['/v1/rotate', 'POST'],
    ['/oauth2/token', 'POST'],
    ['/.well-known/oauth-authorization-server', 'GET'],
    ['/nowhere', 'GET'],
  ])('%s, %s', async (path, method) => {
    for (const authorization of [admin, basic('nobody', 'wrong')]) {
      const value = await get(path, { method, headers: { authorization } });
      expect(deviations(value)).toEqual([]);
    }
  });

  test('dev mode leaves standard output to its log, an object a line', async () => {
    const dataDir = join(await temporaryFolder(), 'data');
    const dev = await startBroker(['--json', 'dev'], { BROKER_DATA_DIR: dataDir });
    await dev.stop();
    const lines = dev.stdout().trim().split('\n');
    expect(lines.length).toBeGreaterThan(1);
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty('message');
    expect(dev.stderr()).toContain('DEVELOPMENT MODE');
    expect(dev.stderr()).toContain(`The broker is ready at ${dev.url}`);
  });
});
