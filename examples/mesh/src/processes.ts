import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

type Settings = Readonly<Record<string, string>>;

const running = new Set<ReturnType<typeof spawn>>();

/** Runs the command line of the broker to its end. */
export async function runBrokerCommand(args: readonly string[], env: Settings): Promise<void> {
  await ended(start([brokerCommand(), ...args], env), args.join(' '));
}

/** Starts a broker with its embedded provider. @returns the addresses of both. */
export async function startBroker(env: Settings): Promise<{ url: string; issuer: string }> {
  const ready = /ready at (\S+), the embedded provider at (\S+)\./;
  const [, url = '', issuer = ''] = await said(start([brokerCommand(), 'dev'], env), ready, false);
  return { url, issuer };
}

/** Starts a service of the mesh, whose lines are shown. @returns its address. */
export async function startService(name: string, env: Settings): Promise<string> {
  const [, url = ''] = await said(start([program(name)], env), /listens at (\S+)/, true);
  return url;
}

/** Runs a job of the mesh to its end, and shows its lines. */
export async function runJob(name: string, env: Settings): Promise<void> {
  const child = start([program(name)], env);
  child.stdout?.pipe(process.stdout);
  await ended(child, name);
}

/** Ends whatever still runs, and waits for it. */
export async function stopAll(): Promise<void> {
  await Promise.all(
    [...running].map((child) => {
      const closed = once(child, 'close');
      child.kill();
      return closed;
    }),
  );
}

function start(args: readonly string[], env: Settings): ReturnType<typeof spawn> {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  child.once('close', () => running.delete(child));
  return child;
}

/** Waits for a line of a process. */
async function said(
  child: ReturnType<typeof spawn>,
  expected: RegExp,
  isShown: boolean,
): Promise<RegExpExecArray> {
  const { stdout } = child;
  if (stdout === null) throw new Error('The process has no output.');
  return new Promise((resolve, reject) => {
    child.once('close', (code) => reject(new Error(`${child.spawnargs.join(' ')} ended: ${code}`)));
    createInterface({ input: stdout }).on('line', (line) => {
      if (isShown) process.stdout.write(`${line}\n`);
      const found = expected.exec(line);
      if (found !== null) resolve(found);
    });
  });
}

async function ended(child: ReturnType<typeof spawn>, name: string): Promise<void> {
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${name} failed with exit code ${code}.`);
}

function program(name: string): string {
  return fileURLToPath(new URL(`${name}.js`, import.meta.url));
}

function brokerCommand(): string {
  return fileURLToPath(
    new URL('dist/cli.js', import.meta.resolve('service-token-broker/package.json')),
  );
}
