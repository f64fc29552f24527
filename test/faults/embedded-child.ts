import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { SecretStore } from '../../src/secrets/secret-store.js';

/** The path of a program in this folder. They run what `npm run build` has built. */
export const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** What a call in a child process came to. */
export type Answer =
  | { readonly ok: true; readonly value?: unknown }
  | { readonly ok: false; readonly code: string; readonly kind: string; readonly message: string };

/** A process of its own with an embedded store. Answers come in the order of the calls. */
export class StoreProcess {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #waiting: ((answer: Answer) => void)[] = [];
  #complaints = '';

  /** @param command the program and arguments that run node, for another user or within another view of the disks. */
  constructor(dataDir: string, options: { uid?: number; command?: readonly string[] } = {}) {
    const [file = process.execPath, ...args] = options.command ?? [process.execPath];
    this.#process = spawn(file, [...args, program('embedded-child.mjs'), dataDir], {
      ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
    });
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      this.#waiting.shift()?.(JSON.parse(line) as Answer);
    });
    this.#process.stderr.on('data', (text: Buffer) => {
      this.#complaints += text.toString();
    });
    this.#process.on('exit', (code, signal) => {
      for (const answer of this.#waiting.splice(0)) {
        answer({
          ok: false,
          code: 'DIED',
          kind: 'bug',
          message: `exit ${code ?? signal ?? ''}: ${this.#complaints}`,
        });
      }
    });
  }

  call(method: 'open' | keyof SecretStore, ...args: readonly unknown[]): Promise<Answer> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#process.stdin.write(`${JSON.stringify({ method, args })}\n`);
    });
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = new Promise((resolve) => {
      this.#process.once('exit', resolve);
    });
    this.#process.stdin.end();
    await exited;
  }
}
