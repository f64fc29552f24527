import { Worker } from 'node:worker_threads';
import type { ChangedFile, ConfigChange } from '../config/config-change.js';
import { digestText, readConfigText, unreadable, type LoadedFile } from '../config/load-config.js';
import type { IdentitiesConfig } from '../config/peer-sections.js';
import { errorCode } from '../tokens/errors.js';
import type { Clock } from '../tokens/time.js';
import { FileWatch } from './file-watch.js';

/** Notified of what a changed file means. */
export interface ConfigWatchObserver {
  /** Its peers and trusted issuers are other ones, and apply from now on. */
  applied?(identities: IdentitiesConfig): void;
  /** The keys of what takes effect at the next start have changed; empty when nothing does any more. */
  waiting?(keys: readonly string[]): void;
  /** It has mistakes, and changes nothing. Called once for each text. */
  mistaken?(mistakes: readonly string[]): void;
  /** It has none any more. */
  corrected?(): void;
}

/** Options of {@link ConfigWatch}. */
export interface ConfigWatchOptions {
  readonly file: LoadedFile;
  /** The environment that the broker was started with. */
  readonly env: NodeJS.ProcessEnv;
  /** Those that apply now. */
  readonly identities: IdentitiesConfig;
  /** Makes others apply. */
  readonly apply: (identities: IdentitiesConfig) => void;
  readonly clock: Clock;
  readonly observer?: ConfigWatchObserver;
  /** Default: `decideChange`, in a thread of its own. */
  readonly decide?: (changed: ChangedFile) => Promise<ConfigChange>;
}

/** What is known of the file. */
export interface ConfigFileState {
  /** Whether its text, as it was last read, has no mistakes. */
  readonly isValid: boolean;
  /** When what it says last took effect, in milliseconds since the Unix epoch. */
  readonly appliedAt: number;
}

/**
 * Follows the configuration file. Its text decides whether anything has changed, so that a link which now leads elsewhere, as
 * Kubernetes makes them, is read like any other file.
 */
export class ConfigWatch extends FileWatch {
  readonly #options: ConfigWatchOptions;
  /** The digest of the last text without mistakes, and the last text or reason that changed nothing. */
  #valid: string;
  #mistaken: string | undefined;
  #identities: string;
  #waiting = '[]';
  #appliedAt: number;

  constructor(options: ConfigWatchOptions) {
    super([options.file.path], options.clock);
    this.#options = options;
    this.#valid = options.file.digest;
    this.#identities = digestText(JSON.stringify(options.identities));
    this.#appliedAt = options.clock.now();
  }

  /** What is known of the file. */
  status(): ConfigFileState {
    return { isValid: this.#mistaken === undefined, appliedAt: this.#appliedAt };
  }

  protected override async read(): Promise<void> {
    const { file, env, observer, clock, decide = decideInThread, apply } = this.#options;
    let text: string;
    try {
      text = readConfigText(file.path);
    } catch (error) {
      this.#refuse(unreadable(error), [`${file.path}: ${unreadable(error)}`]);
      this.readAgain();
      return;
    }
    const digest = digestText(text);
    if (digest === this.#mistaken) return;
    if (digest === this.#valid) {
      this.#accept(digest);
      return;
    }
    try {
      const change = await decide({ env: { ...env }, path: file.path, before: file.keys, text });
      if (!change.ok) {
        this.#refuse(digest, change.mistakes);
        return;
      }
      const { identities, atNextStart } = change;
      const next = digestText(JSON.stringify(identities));
      if (next !== this.#identities) {
        apply(identities);
        this.#identities = next;
        this.#appliedAt = clock.now();
        observer?.applied?.(identities);
      }
      this.#accept(digest);
      const waiting = JSON.stringify(atNextStart);
      if (waiting !== this.#waiting) observer?.waiting?.(atNextStart);
      this.#waiting = waiting;
    } catch (error) {
      // Not its text, but the thread or what applies it: SIGHUP tries the same text once more.
      this.#refuse(`${digest} not judged`, [
        `${file.path} could not be used (${errorCode(error)})`,
      ]);
    }
  }

  #accept(digest: string): void {
    this.#valid = digest;
    if (this.#mistaken !== undefined) this.#options.observer?.corrected?.();
    this.#mistaken = undefined;
  }

  #refuse(what: string, mistakes: readonly string[]): void {
    if (what !== this.#mistaken) this.#options.observer?.mistaken?.(mistakes);
    this.#mistaken = what;
  }
}

/** Beside the folder that this module is in, whether the packages are bundled or not. */
const READER = new URL('../config-reader.js', import.meta.url);

/** Far more than the largest file takes, in milliseconds: a thread that hangs must not keep the next change waiting. */
const PATIENCE = 120_000;

/** Runs `decideChange` where it keeps no peer waiting. @throws {Error} when the thread ends without an answer, or has none. */
async function decideInThread(changed: ChangedFile): Promise<ConfigChange> {
  const thread = new Worker(READER, { workerData: changed });
  let patience: NodeJS.Timeout | undefined;
  try {
    return await new Promise((resolve, reject) => {
      patience = setTimeout(
        () => reject(new Error('The thread does not answer.')),
        PATIENCE,
      ).unref();
      thread.once('message', resolve).once('error', reject);
      thread.once('exit', (code) => reject(new Error(`The thread has ended (${code}).`)));
    });
  } finally {
    clearTimeout(patience);
    await thread.terminate();
  }
}
