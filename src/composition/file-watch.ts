import { stat } from 'node:fs/promises';
import { systemCode } from '../tokens/http.js';
import type { Clock } from '../tokens/time.js';

/** How often it is checked whether files have changed, in milliseconds. */
export const POLL_INTERVAL = 1_000;

/**
 * Follows files. Their times, sizes and inodes are checked every second; they are read when they have changed and were the
 * same twice, since somebody may be writing them.
 */
export abstract class FileWatch {
  readonly #paths: readonly string[];
  readonly #clock: Clock;
  /** What `stat` said at the last check, and when the files were last read. */
  #seen = '';
  #read = '';
  #reading: Promise<void> = Promise.resolve();

  constructor(paths: readonly string[], clock: Clock) {
    this.#paths = paths;
    this.#clock = clock;
  }

  /** Reads the files, and uses what they say if it can be used. Must not reject. */
  protected abstract read(): Promise<void>;

  /** Checks the files every second until the signal is aborted. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.check();
      await this.#clock.sleep(POLL_INTERVAL, signal).catch(() => undefined);
    }
  }

  /** Checks the files once. Never rejects. */
  async check(): Promise<void> {
    const seen = (await Promise.all(this.#paths.map(describeFile))).join(', ');
    const isSettled = seen === this.#seen;
    this.#seen = seen;
    if (!isSettled || seen === this.#read) return;
    this.#read = seen;
    await this.reread();
  }

  /** Lets the next check read the files although they have not changed: what kept them from being read may pass. */
  protected readAgain(): void {
    this.#read = '';
  }

  /** Reads the files now, whether they have changed or not; one time after the other. Never rejects. */
  reread(): Promise<void> {
    this.#reading = this.#reading.then(() => this.read());
    return this.#reading;
  }
}

/** What changes with a file. Follows links: where they lead may change as well, as Kubernetes replaces them. */
async function describeFile(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return systemCode(error) ?? 'unreadable';
  }
}
