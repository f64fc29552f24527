import { afterAll } from '@jest/globals';
import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/**
 * Runs a command until its standard input closes, and then ends its whole process group. Standard input is a pipe from
 * here, so that the server ends with this process, however that ends.
 */
const WHILE_STDIN_IS_OPEN =
  'exec 3<&0; { cat <&3 >/dev/null; kill -- -$$; } & "$@" </dev/null 3<&-; exit 1';

/** Milliseconds after which a server that does not answer counts as hanging. A busy machine takes minutes for Keycloak. */
const START_DEADLINE = 280_000;

const stops: (() => Promise<void>)[] = [];

afterAll(() => Promise.all(stops.splice(0).map((stop) => stop())));

/**
 * Starts a server that others wrote, in a process of its own that ends after the last test of the file.
 *
 * @param probe answers 200 as soon as the server is ready.
 * @throws {Error} with the last it wrote, when it ends before, or is not ready within {@link START_DEADLINE}.
 */
export async function startServer(
  command: readonly string[],
  probe: string,
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const child = spawn('bash', ['-c', WHILE_STDIN_IS_OPEN, 'server', ...command], {
    // A process group of its own.
    detached: true,
    env: { ...process.env, ...env },
  });
  let written = '';
  const keep = (text: string): void => void (written = (written + text).slice(-20_000));
  child.stdout.setEncoding('utf8').on('data', keep);
  child.stderr.setEncoding('utf8').on('data', keep);
  child.stdin.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  stops.push(() => {
    child.stdin.end();
    return ended;
  });
  const deadline = Date.now() + START_DEADLINE;
  while (!(await answers(probe))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`${command[0]} did not answer at ${probe}. It wrote:\n${written}`);
    }
    await pause(200);
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}

/** A port of 127.0.0.1 that nobody listens on at this moment, for servers that have to be told one. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
