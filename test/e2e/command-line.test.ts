import { join } from 'node:path';
import { readFile, stat } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { runCommand, startBroker, type CommandResult } from '../support/broker-process.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from './folders.js';
import { basic, getToken } from './peer-http.js';

/** What the commands under test write with `--json`. */
interface JsonAnswer {
  readonly version_id: string;
  readonly access_token: string;
  readonly error: { readonly code: string; readonly kind: string };
}

describe('the command line', () => {
  let provider: ProviderServer;
  let folder: string;
  let env: NodeJS.ProcessEnv;

  const run = (args: readonly string[], input?: string): Promise<CommandResult> =>
    runCommand(args, env, { cwd: folder, ...(input !== undefined && { input }) });
  const json = async (
    args: readonly string[],
    input?: string,
  ): Promise<{ code: number | null; value: JsonAnswer }> => {
    const { code, stdout } = await run(['--json', ...args], input);
    return { code, value: JSON.parse(stdout) as JsonAnswer };
  };

  beforeAll(async () => {
    provider = await startProviderServer();
    folder = await temporaryFolder();
    env = {
      BROKER_DATA_DIR: join(folder, 'data'),
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: 'https://services.example.test',
    };
  });

  afterAll(() => provider.close());

  test('says what is missing before anything is set up, and what to do', async () => {
    expect(await run(['rotate'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/credentials secret .*client_id.*CREDENTIALS_SECRET_EMPTY/s),
    });
    expect(await run(['status'])).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('none yet'),
    });
  });

  test('refuses credentials that are none, and keeps those that are', async () => {
    expect(await run(['credentials', 'set'], '{"client_id":"broker"}')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('CREDENTIALS_SECRET_INVALID'),
    });
    const good = '{"client_id":"broker","client_secret":"right-secret"}';
    expect(await run(['credentials', 'set'], good)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('client broker'),
    });
  });

  test('a wrong client secret is told apart from a provider that is down', async () => {
    await run(['credentials', 'set'], '{"client_id":"broker","client_secret":"wrong"}');
    const { code, value } = await json(['rotate']);
    expect(code).toBe(1);
    expect(value.error).toMatchObject({ code: 'PROVIDER_INVALID_CLIENT', kind: 'misconfigured' });
    await run(['credentials', 'set'], '{"client_id":"broker","client_secret":"right-secret"}');
  });

  test('rotate, status and verify', async () => {
    const rotated = await json(['rotate']);
    expect(rotated).toMatchObject({ code: 0, value: { result: 'rotated' } });
    const shown = await json(['status', '--show-token']);
    expect(shown).toMatchObject({
      code: 0,
      value: {
        current: { version_id: rotated.value.version_id },
        rotated_by: 'broker',
        broker: { state: 'no answer' },
      },
    });
    const plain = await run(['status']);
    expect(plain.stdout).not.toContain(shown.value.access_token);
    const verified = await run(['verify'], shown.value.access_token);
    expect(verified).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Accepted: a service token.'),
    });
    const tampered = await run(['verify'], `${shown.value.access_token.slice(0, -8)}AAAAAAAA`);
    expect(tampered).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/Refused \(TOKEN_SIGNATURE_INVALID\)/),
    });
  });

  test('peers: added once, with a secret that only its owner may read; refused when removed', async () => {
    const added = await run(['peers', 'add', 'orders']);
    expect(added).toMatchObject({ code: 0, stderr: '' });
    const file = join(folder, 'orders-peer.json');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const { id, secret } = JSON.parse(await readFile(file, 'utf8')) as {
      id: string;
      secret: string;
    };
    expect(added.stdout).not.toContain(secret);
    expect(Buffer.from(secret, 'base64url')).toHaveLength(32);
    expect(await run(['peers', 'add', 'orders'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('FILE_EXISTS'),
    });
    expect(await run(['peers', 'add', 'orders', '--secret-file', 'other.json'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('PEER_EXISTS'),
    });
    expect(await json(['peers', 'list'])).toMatchObject({
      value: { peers: [{ id: 'orders', roles: ['token'], enabled: true }] },
    });

    const broker = await startBroker(['serve'], { ...env, BROKER_CACHE_TTL_SECONDS: '1' });
    expect(await getToken(broker.url, basic(id, secret))).toMatchObject({ status: 200 });
    const status = await run(['status', '--url', broker.url]);
    expect(status.stdout).toContain(`ready at ${broker.url}`);
    const rotate = await fetch(`${broker.url}/v1/rotate`, {
      method: 'POST',
      headers: { authorization: basic(id, secret) },
    });
    expect(rotate.status).toBe(403);
    expect(await run(['peers', 'remove', 'orders'])).toMatchObject({ code: 0 });
    const deadline = Date.now() + 20_000;
    let refused = 0;
    while (refused !== 401 && Date.now() < deadline) {
      refused = (await getToken(broker.url, basic(id, secret))).status;
    }
    expect(refused).toBe(401);
    expect(await broker.stop()).toMatchObject({ code: 0 });
  });

  test('all mistakes of the configuration at once', async () => {
    const { code, stderr } = await runCommand(['serve'], {
      PORT: 'http',
      BROKER_SECRET_STORE: 'vault',
      BROKER_ISSUER: 'http://provider.example.com',
      BROKER_ROTATION_CRON: 'daily',
    });
    expect(code).toBe(1);
    for (const name of ['PORT', 'BROKER_SECRET_STORE', 'BROKER_ISSUER', 'BROKER_ROTATION_CRON']) {
      expect(stderr).toContain(name);
    }
    expect(stderr).not.toContain('    at ');
  });

  test('--help is worth reading, and a wrong call exits with 2', async () => {
    const help = await run(['serve', '--help']);
    expect(help).toMatchObject({ code: 0 });
    expect(help.stdout).toContain('BROKER_MIN_REMAINING_SECONDS');
    expect(await run(['revolve'])).toMatchObject({ code: 2 });
    expect(await run(['peers', 'add'])).toMatchObject({ code: 2 });
    expect((await run(['--version'])).stdout.trim()).toMatch(/^\d+\.\d+\.\d+$/);
  });
});
