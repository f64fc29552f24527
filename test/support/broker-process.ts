import { afterAll } from '@jest/globals';
import {
  fork,
  spawn,
  type ChildProcess,
  type ChildProcessWithoutNullStreams,
} from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The path of a program that `bundle-programs.mjs`, beside this file, has bundled. */
export function program(name: string): string {
  const folder = process.env['TEST_PROGRAMS'];
  if (folder === undefined) throw new Error('There is no build to test: run "npm run build".');
  return join(folder, `${name}.js`);
}

/** The command line. */
export const CLI = program('cli');

/** Settings of a broker, and what Node.js decides on colours by, which under `CI` it does not show. */
const NOT_INHERITED =
  /^(?:BROKER_.*|PORT|HOST|NODE_OPTIONS|FORCE_COLOR|NO_COLOR|NODE_DISABLE_COLORS|CI)$/;

/** The machine's environment without {@link NOT_INHERITED}, on this machine alone, with free ports. */
export const BASE_ENVIRONMENT: NodeJS.ProcessEnv = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !NOT_INHERITED.test(name))),
  HOST: '127.0.0.1',
  PORT: '0',
  BROKER_DEV_PROVIDER_PORT: '0',
  // Tests ask for one rotation after the other.
  BROKER_MANUAL_ROTATION_SECONDS: '0',
  // No slot begins while a test runs, whatever the hour.
  BROKER_ROTATION_CRON: `0 ${(new Date().getUTCHours() + 12) % 24} * * *`,
};

/** How a process ended: one of the two is null. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A command that ended, and what it wrote. */
export interface CommandResult extends Exit {
  readonly stdout: string;
  readonly stderr: string;
}

/** A broker that listens, in a process of its own. */
export interface BrokerProcess {
  /** Where it listens, without a slash at the end. */
  readonly url: string;
  /** Where the embedded provider listens: its issuer. Empty unless the broker runs in dev mode. */
  readonly providerUrl: string;
  readonly pid: number;
  /** Sends a signal (default: SIGTERM) and waits until the process has ended. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  /** All it has written to standard output so far. */
  stdout(): string;
  /** All it has written to standard error so far. */
  stderr(): string;
  /** Resolves when it has ended and its output is complete; never rejects. */
  readonly exit: Promise<Exit>;
}

/** Where a process runs. Default: the folder of temporary files, so that nothing is ever written into the package. */
export interface ProcessOptions {
  readonly cwd?: string;
  /** The command line that {@link startBroker} runs. Default: {@link CLI}. */
  readonly cli?: string;
  /** Written to its standard input, which is closed afterwards. */
  readonly input?: string;
}

/** Milliseconds after which a broker that has not said where it listens counts as hanging. */
const START_DEADLINE = 150_000;

const running = new Set<ChildProcess>();

// Whatever a test does, its processes end with it.
afterAll(async () => {
  await Promise.all(
    [...running].map((child) => {
      const closed = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      return closed;
    }),
  );
});

/**
 * Starts `service-token-broker ARGS` and waits until the broker listens. Free ports are taken unless `env` names some.
 *
 * @param args `['serve']` or `['dev']`.
 * @param env settings; nothing of the machine's own `BROKER_*`, `PORT` and `HOST` reaches the broker.
 * @throws {Error} with what it wrote, when it ends before it listens, or says nothing for {@link START_DEADLINE}.
 */
export async function startBroker(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  options: ProcessOptions = {},
): Promise<BrokerProcess> {
  const started = start([options.cli ?? CLI, ...args], env, options);
  const { child, stdout, stderr, exit } = started;
  const isForPeople = args.includes('dev') && !args.includes('--json');
  const listeningIn = isForPeople ? readyInDevMode : listeningInLog;
  const listens = await new Promise<Listening>((resolve, reject) => {
    const fail = (what: string): void => {
      clearTimeout(deadline);
      child.kill('SIGKILL');
      reject(new Error(`The broker ${what}. It wrote:\n${stdout()}\n${stderr()}`));
    };
    const deadline = setTimeout(() => fail('did not start to listen in time'), START_DEADLINE);
    const look = (): void => {
      const found = listeningIn(stdout());
      if (found === undefined) return;
      clearTimeout(deadline);
      child.stdout.off('data', look);
      resolve(found);
    };
    child.stdout.on('data', look);
    void exit.then(({ code, signal }) => fail(`ended (${code ?? signal}) before it listened`));
  });
  return {
    ...listens,
    pid: child.pid ?? 0,
    stdout,
    stderr,
    exit,
    stop: (signal = 'SIGTERM') => {
      child.kill(signal);
      return exit;
    },
  };
}

/**
 * Runs `service-token-broker ARGS` to its end, with the same environment as {@link startBroker}: in a process that has run
 * others before, unless the environment has what Node.js reads as it starts. What is about the process is run by
 * `runNode([CLI, …])`.
 */
export async function runCommand(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  options: ProcessOptions = {},
): Promise<CommandResult> {
  if (Object.keys(env).some((name) => name.startsWith('NODE_'))) {
    return runNode([CLI, ...args], env, options);
  }
  const { cwd = tmpdir(), input = '' } = options;
  const server = idle.pop() ?? startCommandServer();
  const result = new Promise<CommandResult>((resolve, reject) => {
    const died = (): void => reject(new Error(`A command ended its process: ${args.join(' ')}`));
    server.once('exit', died).once('message', (answer) => {
      server.off('exit', died);
      idle.push(server);
      resolve(answer as CommandResult);
    });
  });
  server.send({ args, env: { ...BASE_ENVIRONMENT, ...env }, cwd, input });
  return result;
}

/** Command servers that run nothing at the moment. */
const idle: ChildProcess[] = [];

function startCommandServer(): ChildProcess {
  const child = fork(program('command-server'), {
    execArgv: [],
    env: BASE_ENVIRONMENT,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  child.unref();
  child.channel?.unref();
  running.add(child);
  child.once('close', () => running.delete(child));
  return child;
}

/** Runs any script with node to its end. */
export async function runNode(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  options: ProcessOptions = {},
): Promise<CommandResult> {
  const { stdout, stderr, exit } = start(args, env, options);
  return { ...(await exit), stdout: stdout(), stderr: stderr() };
}

interface Started {
  readonly child: ChildProcessWithoutNullStreams;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly exit: Promise<Exit>;
}

function start(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  { cwd = tmpdir(), input = '' }: ProcessOptions,
): Started {
  const child = spawn(process.execPath, args, { cwd, env: { ...BASE_ENVIRONMENT, ...env } });
  running.add(child);
  const exit = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    });
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  // A process that ends without reading its input closes it: no failure of the test.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return { child, stdout: () => out, stderr: () => err, exit };
}

type Listening = Pick<BrokerProcess, 'url' | 'providerUrl'>;

/** Dev mode tells people, when the broker listens and everything else is ready too. */
function readyInDevMode(output: string): Listening | undefined {
  const ready = /^The broker is ready at (\S+), the embedded provider at (\S+)\. Try:$/m.exec(
    output,
  );
  return ready === null ? undefined : { url: ready[1] ?? '', providerUrl: ready[2] ?? '' };
}

/** The log is JSON unless somebody asks for text. */
function listeningInLog(output: string): Listening | undefined {
  const line = output.split('\n').find((one) => /"the broker listens".*\}$/.test(one));
  if (line === undefined) return undefined;
  return { url: (JSON.parse(line) as { url: string }).url, providerUrl: '' };
}
