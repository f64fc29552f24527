import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  runCommand,
  startBroker,
  type BrokerProcess,
  type CommandResult,
} from '../support/broker-process.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from './folders.js';
import { basic } from './peer-http.js';

const CREDENTIALS = '{"client_id":"broker","client_secret":"right-secret"}';

let provider: ProviderServer;
let settings: NodeJS.ProcessEnv;

beforeAll(async () => {
  provider = await startProviderServer({});
  settings = {
    BROKER_ISSUER: provider.issuer,
    BROKER_AUDIENCE: 'https://services.example.test',
    BROKER_ROTATION_CRON: '0 3,15 * * *',
  };
});
afterAll(() => provider.close());

/** A broker's folder with a token and a peer, and its command line. */
async function newBroker(more: NodeJS.ProcessEnv = {}) {
  const dataDir = join(await temporaryFolder(), 'data');
  const env = { ...settings, BROKER_DATA_DIR: dataDir, ...more };
  const run = (args: readonly string[], changes: NodeJS.ProcessEnv = {}, input?: string) =>
    runCommand(args, { ...env, ...changes }, input === undefined ? {} : { input });
  expect(await run(['credentials', 'set'], {}, CREDENTIALS)).toMatchObject({ code: 0 });
  expect(await run(['rotate'])).toMatchObject({ code: 0 });
  return { dataDir, env, run };
}

/** Asks a broker for the token, by a read of its store. */
async function getFresh(broker: BrokerProcess, authorization: string): Promise<number> {
  const headers = { authorization, 'cache-control': 'no-cache' };
  const response = await fetch(`${broker.url}/v1/token`, { headers });
  expect(response.headers.get('x-cache')).not.toBe('STALE');
  return response.status;
}

async function addPeer(
  run: (args: readonly string[]) => Promise<CommandResult>,
  id: string,
): Promise<string> {
  const { stdout } = await run(['--json', 'peers', 'add', id, '--show-secret']);
  return basic(id, (JSON.parse(stdout) as { secret: string }).secret);
}

/** No key, whatever its form, stands in what a command wrote. */
function expectNoKey({ stdout, stderr }: CommandResult, ...keys: readonly string[]): void {
  for (const key of keys) {
    for (const form of [key, Buffer.from(key, 'base64').toString('hex')]) {
      expect(stdout + stderr).not.toContain(form);
    }
  }
}

describe('one machine with the key file that the broker made', () => {
  test('one command exchanges the key, and a broker that runs follows', async () => {
    const { dataDir, env, run } = await newBroker();
    const orders = await addPeer(run, 'orders');
    const broker = await startBroker(['serve'], env);
    expect(await getFresh(broker, orders)).toBe(200);
    const old = (await readFile(join(dataDir, 'master.key'), 'utf8')).trim();

    const rekeyed = await run(['store', 'rekey']);
    const fresh = (await readFile(join(dataDir, 'master.key'), 'utf8')).trim();
    expect(rekeyed).toMatchObject({ code: 0, stderr: '' });
    expect(rekeyed.stdout).toMatch(
      /^Exchanged: the store is under the master key [0-9a-f]{8} now, in the key file/,
    );
    expect(rekeyed.stdout).toMatch(
      /Removed from the key file: [0-9a-f]{8}\. Running processes follow/,
    );
    expect(rekeyed.stdout).toMatch(/Keep a copy of the master key/);
    expectNoKey(rekeyed, old, fresh);
    expect(fresh).not.toBe(old);
    expect((await stat(join(dataDir, 'master.key'))).mode & 0o777).toBe(0o600);

    // Not cached anywhere: the peer is new, and the token is read again.
    const billing = await addPeer(run, 'billing');
    expect(await getFresh(broker, billing)).toBe(200);
    expect(await run(['store', 'check'])).toMatchObject({ code: 0 });
    expect(await run(['store', 'status'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /Master key {2}[0-9a-f]{8}, in the key file[^\n]*\nData keys {3}\d+, all of them under it\n$/,
      ),
    });

    const refused = await run(['status'], { BROKER_MASTER_KEY: old });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/"store rekey" has exchanged it.*\(STORE_KEY_WRONG\)/s);
    expectNoKey(refused, old);
    await broker.stop();
  });

  test('a ring that is broken names the line, never the key', async () => {
    const { dataDir, run } = await newBroker();
    const path = join(dataDir, 'master.key');
    const key = (await readFile(path, 'utf8')).trim();
    await writeFile(path, `# the ring\n${key}\n${key.slice(1)}\n`);
    const result = await run(['store', 'rekey']);
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('line 3') });
    expectNoKey(result, key, key.slice(1));
  });

  test('an own key, from a file that others may not read', async () => {
    const { dataDir, run } = await newBroker();
    const own = randomBytes(32).toString('base64');
    const file = join(dataDir, '..', 'own.key');
    await writeFile(file, `${own}\n`, { mode: 0o644 });
    const open = await run(['store', 'rekey', '--new-key-file', file]);
    expect(open).toMatchObject({ code: 1, stderr: expect.stringContaining('chmod 600') });
    await writeFile(`${file}-2`, `${own}\n`, { mode: 0o600 });
    expect(await run(['store', 'rekey', '--new-key-file', `${file}-2`])).toMatchObject({ code: 0 });
    expect(await readFile(join(dataDir, 'master.key'), 'utf8')).toBe(`${own}\n`);
    const nowhere = await run(['store', 'rekey', '--new-key-file', `${file}-3`]);
    expect(nowhere).toMatchObject({ code: 1, stderr: expect.stringContaining('FILE_NOT_READ') });
  });
});

test('three steps with BROKER_MASTER_KEY: doctor and status say which one is next', async () => {
  const [old, fresh] = [randomBytes(32), randomBytes(32)].map((key) => key.toString('base64'));
  const { env, run } = await newBroker({ BROKER_MASTER_KEY: old });
  const orders = await addPeer(run, 'orders');
  const ring = { BROKER_MASTER_KEY: `${fresh},${old}` };
  const examine = async (changes: NodeJS.ProcessEnv): Promise<unknown> => {
    const { stdout } = await run(['--json', 'doctor'], changes);
    const { checks } = JSON.parse(stdout) as { checks: readonly { check: string }[] };
    return checks.find(({ check }) => check === 'credentials');
  };
  expect(await run(['store', 'rekey'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('NEW_KEY_MISSING'),
  });

  const broker = await startBroker(['serve'], { ...env, ...ring });
  expect(await getFresh(broker, orders)).toBe(200);
  expect(await examine({})).toMatchObject({ state: 'ok' });
  expect(await examine(ring)).toMatchObject({
    state: 'warning',
    message: expect.stringMatching(/all \d+ data keys are still under the old key/),
    action: expect.stringContaining('store rekey'),
  });
  expect(await run(['store', 'status'], ring)).toMatchObject({ code: 1 });

  const rekeyed = await run(['store', 'rekey'], ring);
  expect(rekeyed).toMatchObject({ code: 0 });
  expect(rekeyed.stdout).toMatch(/Still in BROKER_MASTER_KEY.*: [0-9a-f]{8}\. Remove/);
  expectNoKey(rekeyed, old ?? '', fresh ?? '');
  const billing = await addPeer((args) => run(args, ring), 'billing');
  expect(await getFresh(broker, billing)).toBe(200);
  expect(await examine(ring)).toMatchObject({
    state: 'warning',
    message: expect.stringContaining('opens nothing in this store'),
    action: expect.stringContaining('Remove the old key'),
  });

  const alone = { BROKER_MASTER_KEY: fresh };
  expect(await examine(alone)).toMatchObject({ state: 'ok' });
  expect(await run(['store', 'status'], alone)).toMatchObject({ code: 0 });
  expect(await run(['store', 'check'])).toMatchObject({ code: 1 });
  await broker.stop();
});

describe('a backup', () => {
  test('and back: a broker that runs serves what was restored, and is warned about it', async () => {
    const { dataDir, env, run } = await newBroker();
    const orders = await addPeer(run, 'orders');
    const file = join(dataDir, '..', 'backup.db');
    const made = await run(['store', 'backup', file]);
    expect(made).toMatchObject({ code: 0, stderr: '' });
    expect(made.stdout).toMatch(/Written and checked: .*backup\.db \(mode 0600\), 3 secrets/);
    expect(made.stdout).toMatch(/master key [0-9a-f]{8} alone, which is NOT in it/);
    expect(await run(['store', 'backup', file])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/replace it with --force\.\s+\(FILE_EXISTS/),
    });
    expect(await run(['store', 'backup', file, '--force'])).toMatchObject({ code: 0 });
    expect(await run(['store', 'check', file])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^sound: /),
    });

    const late = await addPeer(run, 'late');
    expect(await run(['rotate', '--force'])).toMatchObject({ code: 0 });
    const broker = await startBroker(['serve'], env);
    expect(await getFresh(broker, late)).toBe(200);
    const restored = await run(['store', 'restore', file]);
    expect(restored.code).toBe(0);
    expect(restored.stdout).toMatch(/What was there before is in .*secrets\.db\.replaced-/);
    expect(restored.stderr).toMatch(/Warning: The service token is an older one/);
    expect(restored.stderr).toMatch(/Warning: The peers are those of the backup/);
    expect(restored.stderr).not.toContain('client credentials');
    expect(await getFresh(broker, orders)).toBe(200);
    const { stdout } = await run(['--json', 'peers', 'list']);
    expect(stdout).not.toContain('"late"');
    await broker.stop();
  });

  test('that is cut off is refused, and nothing is changed', async () => {
    const { dataDir, run } = await newBroker();
    const file = join(dataDir, '..', 'backup.db');
    await run(['store', 'backup', file]);
    await truncate(file, 10_000);
    for (const args of [
      ['store', 'restore', file],
      ['store', 'check', file],
    ]) {
      const { code, stderr } = await run(args);
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(/cannot be used: it is damaged.*\(BACKUP_INVALID\)/s),
      });
    }
    expect(await run(['status'])).toMatchObject({ code: 0 });
  });

  test('from before an exchange needs its key, by a file', async () => {
    const { dataDir, run } = await newBroker();
    const file = join(dataDir, '..', 'backup.db');
    const keyFile = join(dataDir, '..', 'old.key');
    await run(['store', 'backup', file]);
    await writeFile(keyFile, await readFile(join(dataDir, 'master.key')), { mode: 0o600 });
    await run(['store', 'rekey']);
    expect(await run(['store', 'restore', file])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--key-file'),
    });
    expect(await run(['store', 'check', file, '--key-file', keyFile])).toMatchObject({ code: 0 });
    expect(await run(['store', 'restore', file, '--key-file', keyFile])).toMatchObject({ code: 0 });
    expect(await run(['status'])).toMatchObject({ code: 0 });
  });
});

test('without an embedded store, each command says so', async () => {
  const empty = { BROKER_DATA_DIR: join(await temporaryFolder(), 'data') };
  const aws = { BROKER_SECRET_STORE: 'aws', AWS_REGION: 'eu-central-1' };
  for (const args of [['status'], ['rekey'], ['check'], ['backup', join('x', 'y')]]) {
    expect(await runCommand(['store', ...args], { ...settings, ...empty })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('STORE_MISSING'),
    });
    expect(await runCommand(['store', ...args], { ...settings, ...aws })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('STORE_NOT_EMBEDDED'),
    });
  }
  expect(existsSync(empty.BROKER_DATA_DIR)).toBe(false);
});
