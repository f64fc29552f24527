import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { access, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASE_ENVIRONMENT, CLI } from '../support/broker-process.js';
import { startDevBroker, type DevBroker } from '../support/dev-broker.js';
import { BLOCKS } from '../support/documented-blocks.js';
import { fixedPort } from '../support/fixed-port.js';

// Blocks of the pages, as they stand there, in a shell with the real curl. Only ports and absolute paths are others.

let folder = '';
let clone = '';
let broker: DevBroker;
const shells: Shell[] = [];

/** The shell's blocks of a page that have these words, in order; at least one for each. */
function blocksWith(page: string, ...words: readonly string[]): readonly string[] {
  const blocks = BLOCKS.filter((block) => block.page === page && block.language === 'sh');
  return words.map((word) => {
    const found = blocks.filter(({ text }) => text.includes(word));
    expect({ page, word, found: found.length }).toEqual({ page, word, found: 1 });
    return found[0]?.text ?? '';
  });
}

/** A shell that ends with the first command that fails, as a reader would. */
class Shell {
  readonly #child: ChildProcessWithoutNullStreams;
  #blocks = 0;

  constructor(
    readonly cwd: string,
    env: NodeJS.ProcessEnv,
  ) {
    // A group of its own: the broker that it runs ends with it.
    this.#child = spawn('bash', ['-eo', 'pipefail'], { cwd, env, detached: true });
    this.#child.stdin.write('exec 2>&1\n');
  }

  /** @returns what the block wrote. @throws {Error} with it, when a command failed. */
  async run(block: string): Promise<string> {
    this.#blocks += 1;
    const file = join(this.cwd, `block-${this.#blocks}.sh`);
    await writeFile(file, block);
    const end = `end of ${file}`;
    const { stdin, stdout } = this.#child;
    return new Promise((resolve, reject) => {
      let written = '';
      const failed = (): void => reject(new Error(`${block}\nfailed. It wrote:\n${written}`));
      const take = (chunk: Buffer): void => {
        written += chunk.toString();
        if (!written.includes(end)) return;
        stdout.off('data', take);
        this.#child.off('close', failed);
        resolve(written.replace(end, ''));
      };
      stdout.on('data', take);
      this.#child.once('close', failed);
      stdin.write(`. '${file}' < /dev/null\necho '${end}'\n`);
    });
  }

  close(): void {
    try {
      process.kill(-(this.#child.pid ?? 0), 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

function openShell(env: NodeJS.ProcessEnv): Shell {
  const { HOST: _host, ...others } = BASE_ENVIRONMENT;
  const shell = new Shell(clone, { ...others, ...env });
  shells.push(shell);
  return shell;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'documented-shell-'));
  broker = await startDevBroker(join(folder, 'dev'));
  clone = join(folder, 'clone');
  await mkdir(join(clone, 'dist'), { recursive: true });
  await symlink(CLI, join(clone, 'dist/cli.js'));
  await symlink(join(folder, 'dev'), join(clone, '.broker'));
});

afterAll(async () => {
  for (const shell of shells) shell.close();
  await broker?.stop();
  await rm(folder, { recursive: true, force: true });
});

test.each(['README.md', 'docs/first-steps.md'])('the first token of %s', async (page) => {
  const [block = ''] = blocksWith(page, 'login="demo:');
  const shell = openShell({ PORT: new URL(broker.url).port });
  const written = await shell.run(block.replaceAll('http://127.0.0.1:3000', broker.url));
  expect(written).toMatch(/"token_type":"Bearer"/);
  expect(written).toMatch(/"outcome":"rotated"/);
  expect(written).toContain(`ready at ${broker.url}`);
  expect(written).not.toContain('"error":"');
});

test('the commands about peers and the embedded store', async () => {
  const shell = openShell({ BROKER_DATA_DIR: join(folder, 'store') });
  await shell.run('service-token-broker() { node dist/cli.js "$@"; }');
  const [peers = ''] = blocksWith('docs/configuration.md', 'peers add billing');
  expect(await shell.run(peers)).toContain('Removed the peer billing.');
  const [others = ''] = blocksWith('docs/identities/secret.md', 'peers add orders');
  expect(await shell.run(others)).toMatch(/settle +token +default, ledger +enabled/);
  const [store = '', status = ''] = blocksWith(
    'docs/embedded-store.md',
    'store rekey ',
    'store status',
  );
  await shell.run(store.replaceAll('/backups/', `${folder}/`));
  expect(await shell.run(status)).toMatch(/Master key +[0-9a-f]{8}, in the key file/);
});

// It ends the broker in development mode.
describe('docs/rehearsal.md', () => {
  const file = (name: string): string => join(folder, 'rehearsal', name);

  test('the production form runs on the provider of development mode, and without it', async () => {
    const [
      settings = '',
      secrets = '',
      serve = '',
      token = '',
      outage = '',
      restart = '',
      back = '',
    ] = blocksWith(
      'docs/rehearsal.md',
      '--print-credentials',
      'credentials set --file',
      'doctor --mint',
      'login="billing:',
      'rotate --force',
      'store backup',
      'rm -r ',
    );
    const shell = openShell({
      DEV_FOLDER: join(folder, 'dev'),
      REHEARSAL: join(folder, 'rehearsal'),
      PORT: String(fixedPort()),
    });

    expect(await shell.run(settings)).toContain('standard output has a client secret');
    const { client_secret: secret } = JSON.parse(
      await readFile(file('credentials.json'), 'utf8'),
    ) as {
      client_secret: string;
    };
    expect(await shell.run(secrets)).toContain('Added the peer billing');
    await expect(access(file('credentials.json'))).rejects.toThrow('ENOENT');
    expect(await shell.run(serve)).toContain('Nothing failed');
    expect(await shell.run(token)).toMatch(/service/);

    await broker.stop();
    expect(await shell.run(outage)).toMatch(
      /PROVIDER_UNAVAILABLE[\s\S]*No rotation, as it should be\.\nStill served/,
    );
    const { access_token } = JSON.parse(await readFile(file('answer.json'), 'utf8')) as {
      access_token: string;
    };
    expect(access_token.split('.')).toHaveLength(3);

    expect(await shell.run(restart)).toContain('Served after a restart, without the provider.');
    const log = await readFile(file('broker.log'), 'utf8');
    expect(log.match(/"the broker listens"/g)).toHaveLength(2);
    for (const hidden of [secret, access_token]) expect(log).not.toContain(hidden);

    await shell.run(back);
    await expect(access(join(folder, 'rehearsal'))).rejects.toThrow('ENOENT');
  });
});
