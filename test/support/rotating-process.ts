import { afterAll } from '@jest/globals';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { loadConfig } from '../../src/config/load-config.js';
import { BASE_ENVIRONMENT, program, type Exit } from './broker-process.js';

const PROGRAM = program('rotating-process');

/** How a rotation in another process ended. */
export type Rotation =
  | { readonly versionId: string; readonly result: string }
  | { readonly failed: string; readonly message: string };

/** What {@link RotatingProcess} is told. */
export interface RotatingProcessOptions {
  /** Settings of the broker, without a master key: they are handed over on a command line. */
  readonly env: NodeJS.ProcessEnv;
  /** How far its clock is ahead of the machine's, in milliseconds. Default: 0. */
  readonly clockAhead?: number;
  /** The point, counted from 1, at which it kills itself. Default: none. */
  readonly killAt?: number;
}

/** A replica of the broker in a process of its own, which rotates what it is told to. */
export class RotatingProcess {
  /** The points it has passed: `before store.read`, `after store.read`, and so on. */
  readonly points: string[] = [];
  /** Resolves when the process has ended. */
  readonly exit: Promise<Exit>;
  /** Resolves when it can be told to rotate, or has ended before. */
  readonly ready: Promise<unknown>;
  readonly #process: ChildProcessWithoutNullStreams;
  #complaints = '';
  #ended: (rotation: Rotation) => void = () => undefined;

  constructor({ env, clockAhead = 0, killAt = 0 }: RotatingProcessOptions) {
    // Read here: a process that need not load the schema starts in half the time, and there are many.
    const order = { config: loadConfig({ env }), clockAhead, killAt };
    const child = spawn(process.execPath, [PROGRAM, JSON.stringify(order)], {
      env: BASE_ENVIRONMENT,
    });
    this.#process = child;
    running.add(child);
    this.exit = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        running.delete(child);
        this.#ended({ failed: 'DIED', message: `exit ${code ?? signal}: ${this.#complaints}` });
        resolve({ code, signal });
      });
    });
    this.ready = new Promise((resolve) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        const said = JSON.parse(line) as Rotation | { point: string } | { ready: true };
        if ('point' in said) this.points.push(said.point);
        else if ('ready' in said) resolve(true);
        else this.#ended(said);
      });
      void this.exit.then(resolve);
    });
    child.stderr.on('data', (text: Buffer) => (this.#complaints += text.toString()));
    // A process that was killed takes no more orders; its exit says so.
    child.stdin.on('error', () => undefined);
  }

  /** Rotates for the slot that starts at `slotStart`, in milliseconds since the Unix epoch. One at a time. */
  rotate(slotStart: number): Promise<Rotation> {
    return new Promise((resolve) => {
      this.#ended = resolve;
      this.#process.stdin.write(`${slotStart}\n`);
    });
  }

  /** Lets it end by itself. */
  end(): Promise<Exit> {
    this.#process.stdin.end();
    return this.exit;
  }
}

const running = new Set<ChildProcessWithoutNullStreams>();

// Whatever a test does, its processes end with it.
afterAll(async () => {
  for (const child of running) {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
});
