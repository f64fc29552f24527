import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE = 30_000;
const POLL = 2;

/**
 * Starts the broker as a process of its own, and waits until `/health/ready` answers 200. Its log goes into a file, at
 * the default level and as JSON, as a container's would.
 */
export async function startBroker(build, command, env, logFile) {
  const startedAt = performance.now();
  const out = openSync(logFile, 'w');
  const child = spawn(process.execPath, [build.cli, command], {
    env: { PATH: process.env.PATH, BROKER_LOG_FORMAT: 'json', ...env },
    stdio: ['ignore', out, 'inherit'],
  });
  closeSync(out);
  try {
    const url = await until(child, () => listeningUrl(logFile), 'said where it listens');
    await until(child, () => isReady(url), 'was ready');
    const milliseconds = performance.now() - startedAt;
    return { pid: child.pid, url, logFile, milliseconds, stop: () => stop(child) };
  } catch (error) {
    await stop(child);
    throw error;
  }
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
      throw new Error(`The broker ended with ${child.exitCode} before it ${what}.`);
    }
    const value = await found();
    if (value) return value;
    await sleep(POLL);
  }
  throw new Error(`The broker has not ${what} within ${PATIENCE / 1000} s.`);
}

async function listeningUrl(logFile) {
  return /"url":"(http:[^"]+)"/.exec(await readFile(logFile, 'utf8'))?.[1];
}

function isReady(url) {
  return new Promise((resolve) => {
    get(`${url}/health/ready`, { agent: false }, (response) => {
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
