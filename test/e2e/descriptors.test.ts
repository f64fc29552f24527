import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from '@jest/globals';
import { BASE_ENVIRONMENT, CLI } from '../support/broker-process.js';
import { fixedPort } from '../support/fixed-port.js';
import { temporaryFolder } from './folders.js';

const closing: (() => unknown)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** Starts `node FILE ARGS` with a limit of open files. */
async function startLimited(limit: number, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(
    'sh',
    ['-c', `ulimit -n ${limit}; exec "$@"`, 'sh', process.execPath, ...args],
    {
      env: { ...BASE_ENVIRONMENT, BROKER_DATA_DIR: join(await temporaryFolder(), 'data'), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  closing.push(() => child.kill('SIGKILL'));
  const written = { out: '', err: '' };
  child.stdout.on('data', (text: Buffer) => (written.out += text.toString()));
  child.stderr.on('data', (text: Buffer) => (written.err += text.toString()));
  return { child, written };
}

/** Node.js 20 opens all imported modules at once; 24 and 26 open them one by one, and start with 40 descriptors. */
const OPENS_ALL_AT_ONCE = Number(process.versions.node.split('.')[0]) < 22;

describe('a low limit of open files', () => {
  test.each([
    [40, 'cli.js', ['serve']],
    [64, 'cli.js', ['serve']],
    [128, 'main.js', []],
  ])('%i is reported with what to do, or is enough (%s)', async (limit, file, args) => {
    // The compiled modules: a bundle opens few files.
    const program = fileURLToPath(new URL(`../../dist/${file}`, import.meta.url));
    const { child, written } = await startLimited(limit, [program, ...args], { PORT: '0' });
    const end = once(child, 'close');
    const listens = async (): Promise<string> => {
      while (!written.out.includes('the broker listens')) await once(child.stdout, 'data');
      return 'listens';
    };
    const seen = await Promise.race([end, listens()]);
    expect(OPENS_ALL_AT_ONCE ? [[1, null]] : [[1, null], 'listens']).toContainEqual(seen);
    const reported =
      /^The limit of open files of this process is reached\. [^\n]+\n\(TOO_MANY_OPEN_FILES\)\n$/;
    expect(written.err).toMatch(seen === 'listens' ? /^$/ : reported);
  });
});

test('more idle connections than the limit allows keep nobody out, and that is said', async () => {
  const port = fixedPort();
  const { child, written } = await startLimited(600, [CLI, 'serve'], {
    PORT: String(port),
    BROKER_MAX_CONNECTIONS: '5000',
  });
  while (!written.out.includes('the broker listens')) await once(child.stdout, 'data');
  expect(written.out).toContain('BROKER_MAX_CONNECTIONS is 5000');
  const crowd: Socket[] = [];
  closing.push(() => crowd.forEach((socket) => socket.destroy()));
  // In batches: the kernel silently drops connections that a busy process does not accept in time.
  while (crowd.length < 2_000) {
    const some = Array.from({ length: 100 }, () =>
      connect(port, '127.0.0.1').on('error', () => undefined),
    );
    crowd.push(...some);
    await Promise.all(
      some.map((socket) => new Promise((go) => socket.once('connect', go).once('close', go))),
    );
  }
  while (!written.out.includes('connections are refused')) await once(child.stdout, 'data');
  while (crowd.filter(({ destroyed }) => !destroyed).length > 504) {
    await new Promise((go) => setTimeout(go, 20));
  }
  for (let count = 0; count < 20; count += 1) {
    const health = await fetch(`http://127.0.0.1:${port}/health/live`);
    expect(health.status).toBe(200);
  }
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const value = (name: string): number =>
    Number(new RegExp(`^service_token_broker_${name} (\\d+)$`, 'm').exec(metrics)?.[1]);
  expect(value('connections')).toBeLessThanOrEqual(520);
  // How many: those that come after the first have been idle for the grace period take their places instead.
  expect(value('connections_refused_total\\{how="reset"\\}')).toBeGreaterThan(0);
  expect(value('descriptors_exhausted')).toBe(0);
  expect(written.out.split('connections are refused')).toHaveLength(2);
});

test('a request with two hosts is refused by the broker that runs', async () => {
  const port = fixedPort();
  const { child, written } = await startLimited(2_000, [CLI, 'serve'], { PORT: String(port) });
  while (!written.out.includes('the broker listens')) await once(child.stdout, 'data');
  for (const path of ['/v1/token', '/health/live', '/oauth2/token']) {
    const socket = connect(port, '127.0.0.1');
    socket.end(`GET ${path} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 400 /);
  }
});
