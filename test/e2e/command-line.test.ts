import { join } from 'node:path';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  BASE_ENVIRONMENT,
  CLI,
  runCommand,
  runNode,
  startBroker,
  type CommandResult,
} from '../support/broker-process.js';
import { isUnset } from '../../src/cli/serve.js';
import { SETTINGS } from '../../src/config/settings.js';
import { answers, startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from './folders.js';
import { basic, getToken } from './peer-http.js';

/** What the commands under test write with `--json`. */
interface JsonAnswer {
  readonly version_id: string;
  readonly access_token: string;
  readonly error: { readonly code: string; readonly kind: string; readonly message: string };
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

  test.each([
    [['status']],
    [['rotate']],
    [['rotate', '--dry-run']],
    [['rotate', '--repair']],
    [['peers', 'list']],
    [['peers', 'remove', 'orders']],
  ])('%j finds no store in a wrong folder, and makes none', async (args) => {
    expect(await run(args)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/holds no embedded store.*BROKER_DATA_DIR.*STORE_MISSING/s),
    });
    expect(await readdir(folder)).toEqual([]);
  });

  test('says what is missing before anything is set up, and what to do', async () => {
    const fresh = { ...env, BROKER_DATA_DIR: join(await temporaryFolder(), 'data') };
    const added = await runCommand(['peers', 'add', 'first', '--show-secret'], fresh);
    expect(added).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^Added the peer first \(roles: token\)\.\nRunning brokers accept it at once; .* within 5 s\.\n/,
      ),
      stderr: `Made a new store in ${fresh.BROKER_DATA_DIR}.\n`,
    });
    expect(await runCommand(['rotate'], fresh)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/credentials secret .*client_id.*CREDENTIALS_SECRET_EMPTY/s),
    });
    expect(await runCommand(['status'], fresh)).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('none yet'),
      stderr: '',
    });
  });

  test('refuses invalid credentials, and keeps valid ones', async () => {
    expect(await run(['credentials', 'set'], '{"client_id":"broker"}')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('CREDENTIALS_SECRET_INVALID'),
    });
    const good = '{"client_id":"broker","client_secret":"right-secret"}';
    expect(await run(['credentials', 'set'], good)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('client broker'),
    });
    expect(await run(['credentials', 'set'], '')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Nothing was given.*NOTHING_GIVEN/s),
    });
  });

  test('a wrong client secret is not taken for a provider that is down', async () => {
    await run(['credentials', 'set'], '{"client_id":"broker","client_secret":"wrong"}');
    const { code, value } = await json(['rotate']);
    expect(code).toBe(1);
    expect(value.error).toMatchObject({ code: 'PROVIDER_INVALID_CLIENT', kind: 'misconfigured' });
    await run(['credentials', 'set'], '{"client_id":"broker","client_secret":"right-secret"}');
  });

  test('rotate, status and verify', async () => {
    const rotated = await json(['rotate']);
    expect(rotated).toMatchObject({ code: 0, value: { result: 'rotated' } });
    expect((await run(['rotate'])).stdout).toMatch(/^Rotated: version \S+ is AWSCURRENT\.\n/);
    const shown = await json(['status', '--show-token']);
    expect(shown).toMatchObject({
      code: 0,
      value: {
        current: { version_id: expect.not.stringMatching(rotated.value.version_id) },
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

  test('verify needs no store where the configuration says it all, as at a receiver', async () => {
    const elsewhere = await temporaryFolder();
    const receiver = { ...env, BROKER_DATA_DIR: elsewhere };
    const input = await provider.token();
    expect(await runCommand(['verify'], receiver, { input })).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Accepted: a service token\.\n/),
      stderr: '',
    });
    const unchecked = { ...receiver, BROKER_AUDIENCE: '' };
    expect(await runCommand(['verify'], unchecked, { input })).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('the audience is not checked'),
    });
    const nobody = { BROKER_DATA_DIR: elsewhere };
    expect(await runCommand(['verify'], nobody, { input })).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/BROKER_ISSUER and BROKER_AUDIENCE.*STORE_MISSING/s),
    });
    expect(await readdir(elsewhere)).toEqual([]);
  });

  test('verify names the address that did not answer, and the settings that replace it', async () => {
    const gone = await startProviderServer();
    const input = await gone.token();
    await gone.close();
    const { code, stdout } = await runCommand(
      ['verify'],
      { ...env, BROKER_ISSUER: gone.issuer },
      { input },
    );
    expect(code).toBe(1);
    expect(stdout).toContain(`${gone.issuer}/.well-known/openid-configuration`);
    expect(stdout).toMatch(
      /KEYS_UNAVAILABLE.*ECONNREFUSED.*Or set both BROKER_TOKEN_ENDPOINT and BROKER_JWKS_URI\./s,
    );
  });

  test('what the provider says of a refusal, and what helps, is shown by rotate and doctor', async () => {
    provider.always(
      'token',
      answers.oauthError(
        401,
        'unauthorized_client',
        'Client not enabled to retrieve service account',
      ),
    );
    const said =
      /unauthorized_client: Client not enabled to retrieve service account\)\..*client-credentials grant: allow it there/;
    const [rotated, examined] = await Promise.all([run(['rotate']), run(['doctor', '--mint'])]);
    provider.always('token', undefined);
    expect([rotated.code, examined.code]).toEqual([1, 1]);
    expect(rotated.stderr).toMatch(said);
    expect(examined.stdout).toMatch(said);
    for (const { stdout, stderr } of [rotated, examined]) {
      expect(`${stdout}${stderr}`).not.toMatch(/client id and secret|right-secret/);
    }
  });

  test('a token that receivers would refuse is reported with what was expected and what it has', async () => {
    const { code, stderr } = await runCommand(['rotate'], { ...env, BROKER_AUDIENCE: 'urn:other' });
    expect(code).toBe(1);
    expect(stderr).toContain('expected: "urn:other"');
    expect(stderr).toContain('"aud" "https://services.example.test"');
    expect(stderr).toContain('ROTATION_TOKEN_REJECTED');
    expect(stderr).not.toContain('eyJ');
  });

  test('status: what is degraded, and a token with too little life', async () => {
    const weekly = { ...env, BROKER_ROTATION_CRON: '0 3 * * 1' };
    const broker = await startBroker(['serve'], weekly);
    const { code, stdout } = await run(['status', '--url', broker.url]);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      new RegExp(
        `^Broker +degraded at ${broker.url}\\n +serves a token with 23 h \\d+ min left\\n +coverage: A token lives`,
        'm',
      ),
    );
    await broker.stop();
    const brief = await startProviderServer({ tokenLifeSeconds: 100 });
    const tight = {
      ...env,
      BROKER_ISSUER: brief.issuer,
      BROKER_DATA_DIR: join(await temporaryFolder(), 'data'),
      BROKER_CACHE_TTL_SECONDS: '1',
      BROKER_CLOCK_SKEW_SECONDS: '1',
      BROKER_MIN_REMAINING_SECONDS: '3',
    };
    const input = '{"client_id":"broker","client_secret":"right-secret"}';
    await runCommand(['credentials', 'set'], tight, { input });
    expect(await runCommand(['rotate'], tight)).toMatchObject({ code: 0 });
    await brief.close();
    const wider = {
      ...tight,
      BROKER_CLOCK_SKEW_SECONDS: '300',
      BROKER_MIN_REMAINING_SECONDS: '900',
      BROKER_ROTATION: 'disabled',
    };
    const late = await startBroker(['serve'], wider);
    const refused = await runCommand(['status', '--url', late.url], wider);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toMatch(
      /^Served +no: too little life left\. Rotate now: service-token-broker rotate$/m,
    );
    expect(refused.stdout).toMatch(/^Broker +not ready at .*\n +token: /m);
    await late.stop();
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
    expect((await run(['peers', 'list'])).stdout).toMatch(
      /^ID {6}ROLES {2}STATE {4}ADDED \(UTC\)\norders {2}token {2}enabled {2}\d{4}-\d\d-\d\d \d\d:\d\d\n$/,
    );

    const broker = await startBroker(['serve'], { ...env, BROKER_CACHE_TTL_SECONDS: '1' });
    expect(await getToken(broker.url, basic(id, secret))).toMatchObject({ status: 200 });
    const status = await run(['status', '--url', broker.url]);
    // Its tokens live a day, which a daily rotation does not cover.
    expect(status.stdout).toContain(`degraded at ${broker.url}`);
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

  test('nothing set at all: three lines say what to set, and no store is made', async () => {
    const cwd = await temporaryFolder();
    const unset = Object.keys(BASE_ENVIRONMENT).filter((name) => name.startsWith('BROKER_'));
    const nothing = Object.fromEntries(unset.map((name) => [name, undefined]));
    const { code, stdout, stderr } = await runNode([CLI, 'serve'], nothing, { cwd });
    const [where, aws, elsewhere, error, ...more] = stderr.split('\n');
    expect({ code, stdout, error, more }).toEqual({
      code: 1,
      stdout: '',
      error: '(NOT_CONFIGURED)',
      more: [''],
    });
    expect(where).toContain(join(cwd, '.broker'));
    expect(await readdir(cwd)).toEqual([]);
    const named = [aws, elsewhere].flatMap((line) => line?.match(/\bBROKER_[A-Z_]+/g) ?? []);
    expect(named.length).toBeGreaterThan(8);
    for (const name of named) expect(SETTINGS).toHaveProperty(name);
  });

  test.each(['BROKER_ISSUER', 'BROKER_CONFIG', 'BROKER_DATA_DIR'])('%s is something', (name) => {
    expect(isUnset({ PORT: '3000', HOST: '::', [name]: ' ' })).toBe(true);
    expect(isUnset({ [name]: 'any' })).toBe(false);
  });

  test('--help is worth reading, and a wrong call exits with 2', async () => {
    const help = await run(['serve', '--help']);
    expect(help).toMatchObject({ code: 0 });
    expect(help.stdout).toContain('BROKER_MIN_REMAINING_SECONDS');
    expect((await run(['peers', 'add', '--help'])).stdout).toContain('--json');
    expect((await run(['--version'])).stdout.trim()).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test.each([
    [['revolve'], /unknown command 'revolve'/],
    [['peers', 'add'], /missing required argument 'id'/],
    [['peers', 'add', 'a b'], /'a b' is invalid/],
    [['peers', 'add', 'x', '--role', 'boss'], /choices are token, admin/],
    [['peers', 'add', 'x', '--role=token,admin'], /choices are token, admin/],
    [['status', '--url', 'foo'], /http or https URL/],
    [['rotate', '--force', '--dry-run'], /does not go with '--dry-run'/],
    [[], /no command was given/],
  ])('%j is a wrong call, for programs too', async (args, words) => {
    expect(await run(args)).toMatchObject({ code: 2, stdout: '' });
    const { code, value } = await json(args);
    expect({ code, error: value.error }).toEqual({
      code: 2,
      error: { code: 'USAGE', kind: 'rejected', message: expect.stringMatching(words) },
    });
  });

  test('what stands behind "--" asks for no JSON', async () => {
    const wrong = ['peers', 'add', '--', 'a b', '--json'];
    expect(await run(wrong)).toMatchObject({ code: 2, stdout: '' });
    const asked = await run(['--json', ...wrong]);
    expect(asked).toMatchObject({ code: 2, stdout: expect.stringContaining('"USAGE"') });
  });

  test('a closed pipe ends it without an exception', async () => {
    const child = spawn(process.execPath, [CLI, 'serve', '--help'], { env: BASE_ENVIRONMENT });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
});

describe('colour', () => {
  const ESCAPE = '\u001b[';
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    env = { BROKER_DATA_DIR: join(await temporaryFolder(), 'data'), TERM: 'xterm-256color' };
    await runCommand(['peers', 'add', 'orders', '--show-secret'], env);
  });

  /** Runs a command at a terminal, as `script` of util-linux makes one. */
  const atTerminal = async (args: string, more: NodeJS.ProcessEnv = {}): Promise<string> => {
    const { stdout } = await promisify(execFile)(
      'script',
      ['-qc', `"${process.execPath}" "${CLI}" ${args}; true`, '/dev/null'],
      { env: { ...BASE_ENVIRONMENT, ...env, ...more } },
    );
    return stdout;
  };

  const hasScript =
    process.platform === 'linux' && spawnSync('script', ['--version']).error === undefined;

  (hasScript ? test : test.skip)(
    'is shown by a terminal, unless NO_COLOR is set, and never with --json',
    async () => {
      const shown = await atTerminal('doctor');
      expect(shown).toContain(`${ESCAPE}32m ok ${ESCAPE}39m`);
      expect(shown).toContain(`${ESCAPE}1m${ESCAPE}31mFAIL${ESCAPE}39m`);
      expect(await atTerminal('peers list')).toContain(`${ESCAPE}1mID`);
      for (const [args, more] of [
        ['doctor', { NO_COLOR: '1' }],
        ['doctor', { TERM: 'dumb' }],
        ['--json doctor', {}],
      ] as const) {
        const written = await atTerminal(args, more);
        expect(written).toContain('configuration');
        expect(written).not.toContain(ESCAPE);
      }
    },
  );

  test('is not written into a pipe, unless FORCE_COLOR is set, and never as JSON', async () => {
    for (const args of [['doctor'], ['status'], ['peers', 'list'], ['verify', 'x']]) {
      const piped = await runCommand(args, { ...env, BROKER_AUDIENCES: 'x' });
      expect(piped.stdout + piped.stderr).not.toContain(ESCAPE);
      expect(piped.stdout + piped.stderr).not.toBe('');
    }
    const force = { ...env, FORCE_COLOR: '1' };
    expect((await runCommand(['doctor'], force)).stdout).toContain(`${ESCAPE}32m ok `);
    const { stdout } = await runCommand(['--json', 'doctor'], force);
    expect(stdout).not.toContain(ESCAPE);
    expect(JSON.parse(stdout)).toHaveProperty('checks');
  });
});

describe('what a command loads', () => {
  /** The files and packages that a command loads, by a hook that this process registers in the other. */
  const loadedBy = async (args: readonly string[]): Promise<readonly string[]> => {
    const folder = await temporaryFolder();
    const list = join(folder, 'loaded.txt');
    const hook = join(folder, 'hook.mjs');
    await writeFile(
      hook,
      `import { appendFileSync } from 'node:fs';
      import { register } from 'node:module';
      import { isMainThread } from 'node:worker_threads';
      if (isMainThread) register(import.meta.url);
      export function load(url, context, next) {
        appendFileSync(${JSON.stringify(list)}, url + '\\n');
        return next(url, context);
      }`,
    );
    // The compiled modules themselves: a bundle does not show what it was made of.
    const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
    await runNode(['--import', pathToFileURL(hook).href, cli, ...args], {
      BROKER_DATA_DIR: join(folder, 'data'),
    });
    return (await readFile(list, 'utf8')).trim().split('\n');
  };

  test('is nearly nothing for --help, and no Nest for status', async () => {
    const help = await loadedBy(['--help']);
    expect(help.filter((url) => url.includes('/node_modules/'))).toEqual(
      help.filter((url) => url.includes('/node_modules/commander/')),
    );
    expect(help.length).toBeLessThan(25);
    const status = await loadedBy(['status']);
    expect(status.some((url) => url.endsWith('/cli/status.js'))).toBe(true);
    expect(
      status.filter((url) => /node_modules\/(?:@nestjs|@aws-sdk|fastify)\//.test(url)),
    ).toEqual([]);
  });
});
