import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { doctorCommand } from '../../src/cli/doctor/doctor.js';
import type { CommandContext } from '../../src/cli/command.js';
import { rotateCommand } from '../../src/cli/rotate.js';
import {
  addPeerCommand,
  grantPeerCommand,
  setCredentialsCommand,
} from '../../src/cli/secret-commands.js';
import { statusCommand } from '../../src/cli/status.js';
import { chooseRules } from '../../src/cli/verify.js';
import { openStore } from '../../src/composition/open-store.js';
import { writeSecret } from '../../src/composition/secret-file.js';
import { plain } from '../../src/composition/terminal.js';
import { loadConfig } from '../../src/config/load-config.js';
import { startEmbeddedProvider, type EmbeddedProvider } from '../../src/dev/embedded-provider.js';
import { systemClock } from '../../src/tokens/time.js';
import { TEMPORARY } from '../support/temporary-folder.js';
import { CREDENTIALS } from '../support/rotation-scene.js';

// Commands about two tokens of two providers, over an embedded store.

/** Kept for the whole file. */
const folders: string[] = [];
async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(TEMPORARY, 'several-tokens-'));
  folders.push(folder);
  return folder;
}

const NOBODY = 'http://127.0.0.1:9';
let providers: EmbeddedProvider[] = [];
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  const folder = await newFolder();
  const { client_id: clientId, client_secret: clientSecret } = JSON.parse(CREDENTIALS) as {
    client_id: string;
    client_secret: string;
  };
  providers = await Promise.all(
    ['one', 'two'].map(async (name) =>
      startEmbeddedProvider({
        clientId,
        clientSecret,
        port: 0,
        dataDir: await newFolder(),
        audience: `https://${name}.example.test`,
        accessTokenTtlSeconds: 90_000,
      }),
    ),
  );
  const [one, two] = providers;
  const file = join(folder, 'broker.yaml');
  await writeFile(
    file,
    JSON.stringify({
      data_dir: join(folder, 'data'),
      providers: {
        one: { issuer: one?.issuer, credentials_secret: 'c/one' },
        two: { issuer: two?.issuer, credentials_secret: 'c/two' },
      },
      tokens: {
        default: { provider: 'one', audience: 'https://one.example.test', secret: 't/one' },
        ledger: { provider: 'two', audience: 'https://two.example.test', secret: 't/two' },
      },
    }),
  );
  env = { BROKER_CONFIG: file };
  const store = await openStore(loadConfig({ env }), systemClock);
  for (const secretId of ['c/one', 'c/two']) await writeSecret(store, secretId, CREDENTIALS);
  await store.close();
});

afterAll(async () => {
  await Promise.all(providers.map((provider) => provider.close()));
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

/** Runs a command. @returns what it wrote, and whether it found everything well. */
async function run(
  command: (context: CommandContext) => Promise<boolean | void>,
  json = true,
  of: NodeJS.ProcessEnv = env,
): Promise<{
  readonly ok: boolean;
  readonly text: string;
  readonly warnings: string;
  readonly value: unknown;
}> {
  let text = '';
  let warnings = '';
  const write = (part: string): void => {
    text += part;
  };
  const err = (part: string): void => {
    if (part.startsWith('Warning')) warnings += part;
  };
  const output = { json, out: write, err, paint: plain, paintError: plain };
  const result = await command({ env: of, output });
  const value = json ? (JSON.parse(text) as unknown) : undefined;
  return { ok: result !== false, text, warnings, value };
}

interface Check {
  readonly check: string;
  readonly state: string;
}

/** The checks of a doctor's report. */
function checksOf(report: unknown): readonly Check[] {
  return (report as { readonly checks: readonly Check[] }).checks;
}

function statesOf(report: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(checksOf(report).map(({ check, state }) => [check, state]));
}

/** A configuration file whose secrets hold nothing yet. */
async function emptyBroker(): Promise<NodeJS.ProcessEnv> {
  const folder = await newFolder();
  const [one, two] = providers;
  const file = join(folder, 'broker.yaml');
  await writeFile(
    file,
    JSON.stringify({
      data_dir: join(folder, 'data'),
      issuer: one?.issuer,
      audience: 'https://one.example.test',
      providers: { two: { issuer: two?.issuer, credentials_secret: 'c/two' } },
      tokens: {
        default: {},
        ledger: { provider: 'two', audience: 'https://two.example.test', secret: 't/two' },
      },
    }),
  );
  return { BROKER_CONFIG: file };
}

describe('a broker that is set up from nothing', () => {
  test('each piece of advice is about the token that lacks something, and following it works', async () => {
    const own = await emptyBroker();
    const file = join(await newFolder(), 'credentials.json');
    await writeFile(file, CREDENTIALS);
    const set = (provider?: string) => (context: CommandContext) =>
      setCredentialsCommand(context, { file, ...(provider !== undefined && { provider }) });

    expect((await run(set(), false, own)).text).toContain(
      'Try them now: service-token-broker rotate\n',
    );
    await run((context) => rotateCommand(context, {}), true, own);
    const lacking = await run((context) => statusCommand(context, { url: NOBODY }), false, own);
    expect(lacking.text).toMatch(
      /^ledger +none yet: run "service-token-broker rotate --token ledger"/m,
    );
    const one = await run(
      (context) => statusCommand(context, { url: NOBODY, token: 'ledger' }),
      false,
      own,
    );
    expect(one.text).toContain('run "service-token-broker rotate --token ledger"');
    const report = await run((context) => doctorCommand(context, false), false, own);
    expect(report.text).toContain('service-token-broker credentials set --provider two');
    expect(report.text).toContain('service-token-broker rotate --token ledger');

    expect((await run(set('two'), false, own)).text).toContain(
      'service-token-broker rotate --token ledger',
    );
    await run((context) => rotateCommand(context, { token: 'ledger' }), true, own);
    expect((await run((context) => statusCommand(context, { url: NOBODY }), true, own)).ok).toBe(
      true,
    );
  });

  test('credentials of a provider that no token has are not written', async () => {
    const own = await emptyBroker();
    await expect(
      run(
        (context) => setCredentialsCommand(context, { file: 'none', provider: 'three' }),
        true,
        own,
      ),
    ).rejects.toMatchObject({
      code: 'PROVIDER_NAME_UNKNOWN',
      message: 'No token is of a provider named "three". Providers of tokens: default, two.',
    });
    // The file of the other tests has no provider by the name "default".
    await expect(
      run((context) => setCredentialsCommand(context, { file: 'none' })),
    ).rejects.toMatchObject({
      code: 'PROVIDER_NAME_UNKNOWN',
      message: 'There are several providers: choose one with --provider. Configured: one, two.',
    });
  });

  test('a peer with a token that is not configured is added, and the command says that the grant opens nothing', async () => {
    const own = await emptyBroker();
    const options = { role: ['token'], showSecret: true };
    const good = await run(
      (c) => addPeerCommand(c, 'a', { ...options, token: ['ledger'] }),
      true,
      own,
    );
    expect(good.warnings).toBe('');
    const bad = await run(
      (c) => addPeerCommand(c, 'b', { ...options, token: ['ledgr'] }),
      true,
      own,
    );
    expect(bad.warnings).toBe(
      'Warning: No token is configured here by the name ledgr: the grant opens nothing until there is one. Configured: default, ledger.\n',
    );
  });
});

test('a peer is granted another token, and keeps its secret', async () => {
  const own = await emptyBroker();
  await run((c) => addPeerCommand(c, 'a', { role: ['token'], showSecret: true }), true, own);
  const granted = await run(
    (c) => grantPeerCommand(c, 'a', { token: ['default', 'ledger'] }),
    false,
    own,
  );
  expect(granted.text).toBe(
    'The peer a has the roles token and the tokens default, ledger. Its secret is as it was.\n' +
      'Running brokers follow within 300 seconds.\n',
  );
});

describe('rotate', () => {
  test('a token by its name', async () => {
    const { value } = await run((context) => rotateCommand(context, { token: 'ledger' }));
    expect(value).toMatchObject({ result: 'rotated' });
    const status = await run((context) => statusCommand(context, { url: NOBODY }));
    expect(status.ok).toBe(false);
    const { tokens } = status.value as { tokens: readonly { name: string; ok: boolean }[] };
    expect(tokens.map(({ name, ok }) => [name, ok])).toEqual([
      ['default', false],
      ['ledger', true],
    ]);
  });

  test('a name that nobody has configured is refused, with those that are', async () => {
    const rotated = run((context) => rotateCommand(context, { token: 'ledgre' }));
    await expect(rotated).rejects.toMatchObject({
      code: 'TOKEN_NAME_UNKNOWN',
      message: expect.stringContaining('default, ledger'),
    });
  });

  test('all of them, one after another', async () => {
    const { ok, value } = await run((context) =>
      rotateCommand(context, { all: true, force: true }),
    );
    expect(ok).toBe(true);
    expect(value).toMatchObject({
      ok: true,
      tokens: [
        { token: 'default', result: 'rotated' },
        { token: 'ledger', result: 'rotated' },
      ],
    });
  });
});

describe('status', () => {
  test('is a table of all tokens', async () => {
    const { ok, text } = await run((context) => statusCommand(context, { url: NOBODY }), false);
    expect(ok).toBe(true);
    expect(text).toMatch(/^NAME +STATE +MINTED \(UTC\) +EXPIRES \(UTC\) +LEFT +NEXT \(UTC\)\n/);
    expect(text).toMatch(/^default +served +\S+ \S+ +\S+ \S+ +.+ +\S+ 03:00/m);
    expect(text).toMatch(/^ledger +served/m);
  });

  test('of one token is as it is where there is only one', async () => {
    const { value } = await run((context) =>
      statusCommand(context, { url: NOBODY, token: 'ledger' }),
    );
    expect(value).toMatchObject({ ok: true, token_secret: 't/two' });
    expect(value).not.toHaveProperty('tokens');
  });
});

describe('doctor', () => {
  test('examines each token, and each provider and credentials secret once', async () => {
    const doctor = await run((context) => doctorCommand(context, false));
    const states = statesOf(doctor.value);
    expect(states).toMatchObject({
      'credentials secret of one': 'ok',
      'credentials secret of two': 'ok',
      'token secret of default': 'ok',
      'token secret of ledger': 'ok',
      'provider one': 'ok',
      'provider two': 'ok',
      'classification of default': 'ok',
      'classification of ledger': 'ok',
      'coverage of ledger': expect.any(String),
    });
    expect(Object.keys(states)).toHaveLength(checksOf(doctor.value).length);
  });
});

describe('with a provider that is down', () => {
  test('the other one is rotated, and the command fails with words', async () => {
    await providers[1]?.close();
    const { ok, value } = await run((context) =>
      rotateCommand(context, { all: true, force: true }),
    );
    expect(ok).toBe(false);
    expect(value).toMatchObject({
      ok: false,
      tokens: [
        { token: 'default', result: 'rotated' },
        { token: 'ledger', result: 'failed', error: { kind: 'retry' } },
      ],
    });
    const states = statesOf((await run((context) => doctorCommand(context, false))).value);
    expect(states).toMatchObject({ 'provider one': 'ok', 'provider two': 'failed' });
    expect(states).toMatchObject({ 'classification of default': 'ok' });
  }, 120_000);
});

describe('verify judges by the rules of the token', () => {
  const tokens = () => loadConfig({ env }).tokens;
  const claiming = (claims: object): string =>
    `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`;

  test('whose issuer and audience it claims, else of "default", or that is named', () => {
    const [one, two] = providers;
    const of = (text: string, name?: string): string => chooseRules(tokens(), text, name).name;
    expect(of(claiming({ iss: two?.issuer, aud: 'https://two.example.test' }))).toBe('ledger');
    expect(of(claiming({ iss: one?.issuer, aud: ['x', 'https://one.example.test'] }))).toBe(
      'default',
    );
    // Another issuer's: the audience alone proves nothing.
    expect(of(claiming({ iss: one?.issuer, aud: 'https://two.example.test' }))).toBe('default');
    expect(of('no token')).toBe('default');
    expect(of('no token', 'ledger')).toBe('ledger');
    expect(() => of('no token', 'other')).toThrow(
      expect.objectContaining({ code: 'TOKEN_NAME_UNKNOWN' }),
    );
  });
});
