import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** For sixteen that start at once on a busy machine. */
const PATIENCE = 120_000;
const POLL = 2;

/**
 * Starts the broker as a process of its own, and waits until `/health/ready` answers 200. Its log goes into a file, at
 * the default level and as JSON, as a container's would.
 */
export function startBroker(build, command, env, logFile) {
  return startProcess(process.execPath, [build.cli, command], {
    env: { BROKER_LOG_FORMAT: 'json', ...env },
    logFile,
    // One that logs too little to say where it listens is given its port.
    address: env.PORT === '0' ? /"url":"(http:[^"]+)"/ : undefined,
    url: `http://127.0.0.1:${env.PORT}`,
    isReady: (url) => answersOk(`${url}/health/ready`),
  });
}

/**
 * Starts a process that writes into `logFile` where it listens, as `address` finds it, and waits until `isReady(url)`. Without an
 * `address` it listens at `url`.
 */
export async function startProcess(command, args, options) {
  const { env, cwd, logFile, address, isReady } = options;
  const startedAt = performance.now();
  const out = openSync(logFile, 'w');
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, ...env },
    cwd,
    stdio: ['ignore', out, 'inherit'],
  });
  closeSync(out);
  try {
    const listensAt = async () => address.exec(await readFile(logFile, 'utf8'))?.[1];
    const url = address ? await until(child, listensAt, 'said where it listens') : options.url;
    await until(child, () => isReady(url), 'was ready');
    const milliseconds = performance.now() - startedAt;
    return { pid: child.pid, url, logFile, milliseconds, stop: () => stop(child) };
  } catch (error) {
    await stop(child);
    throw error;
  }
}

/** A port that nobody listens on at this moment. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Milliseconds from the start of a process to its end. */
export async function runToEnd(args, env = {}) {
  const startedAt = performance.now();
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`node ${args.join(' ')} ended with ${code}.`);
  return performance.now() - startedAt;
}

async function until(child, found, what) {
  const deadline = performance.now() + PATIENCE;
  while (performance.now() < deadline) {
    if (child.exitCode !== null) {
      throw new Error(`${child.spawnfile} ended with ${child.exitCode} before it ${what}.`);
    }
    const value = await found();
    if (value) return value;
    await sleep(POLL);
  }
  throw new Error(`${child.spawnfile} has not ${what} within ${PATIENCE / 1000} s.`);
}

/** Whether a GET is answered by 200, over a connection of its own. */
export function answersOk(url, headers = {}) {
  return new Promise((resolve) => {
    get(url, { agent: false, headers }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    }).on('error', () => resolve(false));
  });
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const hung = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await exited;
  clearTimeout(hung);
}
