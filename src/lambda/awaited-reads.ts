import type { SecretStore, SecretVersion, VersionSelector } from '../secrets/secret-store.js';

/**
 * The reads of a secret store, and when they have ended. A cache reads behind an answer; but a function is frozen as
 * soon as it has answered, and a read that is under way then breaks off at some later time.
 */
export class AwaitedReads implements Pick<SecretStore, 'read'> {
  readonly #running = new Set<Promise<unknown>>();

  constructor(private readonly store: Pick<SecretStore, 'read'>) {}

  read(secretId: string, selector?: VersionSelector): Promise<SecretVersion> {
    const read = this.store.read(secretId, selector);
    // Whoever asked for the read gets its error.
    const forget = (): boolean => this.#running.delete(ended);
    const ended: Promise<unknown> = read.then(forget, forget);
    this.#running.add(ended);
    return read;
  }

  /** Resolves when no read is under way, however they end. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }
}
