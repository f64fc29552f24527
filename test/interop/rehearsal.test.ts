import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { access, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BASE_ENVIRONMENT, CLI } from '../support/broker-process.js';
import { startDevBroker, type DevBroker } from '../support/dev-broker.js';
import { fixedPort } from '../support/fixed-port.js';

// Stage 1 of docs/rehearsal.md, as it stands there, in one shell.

let folder = '';
let broker: DevBroker;
let shell: Shell;

/** The blocks of the page's first stage, in order. */
async function stageOne(): Promise<readonly string[]> {
  const file = fileURLToPath(new URL('../../docs/rehearsal.md', import.meta.url));
  const [, rest = ''] = (await readFile(file, 'utf8')).split('\n## Stage 1\n');
  const [section = ''] = rest.split('\n## ');
  return [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text);
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

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rehearsal-'));
  broker = await startDevBroker(join(folder, 'dev'));
  const clone = join(folder, 'clone');
  await mkdir(join(clone, 'dist'), { recursive: true });
  await symlink(CLI, join(clone, 'dist/cli.js'));
  const { HOST: _host, ...env } = BASE_ENVIRONMENT;
  shell = new Shell(clone, {
    ...env,
    DEV_FOLDER: join(folder, 'dev'),
    REHEARSAL: join(folder, 'rehearsal'),
    PORT: String(fixedPort()),
  });
});

afterAll(async () => {
  shell?.close();
  await broker?.stop();
  await rm(folder, { recursive: true, force: true });
});

test('the production form runs on the provider of development mode, and without it', async () => {
  const [settings = '', secrets = '', serve = '', token = '', outage = '', restart = '', back] =
    await stageOne();
  expect(back).toBeDefined();

  expect(await shell.run(settings)).toContain('standard output has a client secret');
  const printed = await readFile(join(folder, 'rehearsal/credentials.json'), 'utf8');
  const { client_secret: secret } = JSON.parse(printed) as { client_secret: string };
  expect(await shell.run(secrets)).toMatch(/Added the peer billing/);
  await expect(access(join(folder, 'rehearsal/credentials.json'))).rejects.toThrow('ENOENT');
  expect(await shell.run(serve)).toContain('Nothing failed');
  expect(await shell.run(token)).toMatch(/service/);

  await broker.stop();
  const during = await shell.run(outage);
  expect(during).toMatch(/PROVIDER_UNAVAILABLE[\s\S]*No rotation, as it should be\.\nStill served/);
  const { access_token } = JSON.parse(
    await readFile(join(folder, 'rehearsal/answer.json'), 'utf8'),
  ) as { access_token: string };
  expect(access_token.split('.')).toHaveLength(3);

  expect(await shell.run(restart)).toContain('Served after a restart, without the provider.');
  const log = await readFile(join(folder, 'rehearsal/broker.log'), 'utf8');
  expect(log.match(/"the broker listens"/g)).toHaveLength(2);
  for (const hidden of [secret, access_token]) expect(log).not.toContain(hidden);

  await shell.run(back ?? '');
  await expect(access(join(folder, 'rehearsal'))).rejects.toThrow('ENOENT');
}, 180_000);
