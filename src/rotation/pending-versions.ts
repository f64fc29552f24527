import { isStoreError } from '../secrets/secret-store-error.js';
import type { SecretStore, SecretVersion } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/clock.js';
import {
  TokenSecretError,
  parseServiceToken,
  remainingLife,
  type ServiceToken,
} from '../tokens/service-token.js';
import { findVersion } from './claim.js';
import { RotationError } from './rotation-error.js';

/** Waits in milliseconds between reads of what was just written: a store's reads may lag behind its writes. */
export const READ_LAG_WAITS = [100, 200, 400, 800, 1_600] as const;

/** The labels of a version that a rotation works on, or has ended with. */
const IN_USE: ReadonlySet<string> = new Set(['AWSPENDING', 'AWSCURRENT']);

/** What {@link PendingVersions} works with. */
export interface PendingVersionsOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  /** Life in milliseconds that a pending token must have left. */
  readonly minimumLife: number;
  readonly clock: Clock;
}

/** The staged versions of the token secret: reading them, judging their age, giving them up. */
export class PendingVersions {
  constructor(private readonly options: PendingVersionsOptions) {}

  /** The staged version, read once. Only *not found* means that there is none: every other error must not mint. */
  async readOnce(versionId: string): Promise<SecretVersion | undefined> {
    const { store, tokenSecretId } = this.options;
    try {
      return await store.read(tokenSecretId, { versionId, label: 'AWSPENDING' });
    } catch (error) {
      if (isStoreError(error, 'VERSION_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  /**
   * Refuses a version that was staged and given up. A description does not show it any more, so that it looks like one
   * that nobody has staged yet; but its value stands for ever, and a token minted for it could not be kept.
   *
   * @throws {RotationError} `ROTATION_NOT_PENDING`.
   */
  async requireNotGivenUp(versionId: string): Promise<void> {
    const version = await findVersion(this.options.store, this.options.tokenSecretId, versionId);
    if (version === undefined || version.labels.some((label) => IN_USE.has(label))) return;
    throw this.givenUp(versionId);
  }

  /** What to tell of a version that was given up. */
  givenUp(versionId: string, cause?: unknown): RotationError {
    return new RotationError(
      'ROTATION_NOT_PENDING',
      `Version ${versionId} of secret "${this.options.tokenSecretId}" was given up by another attempt; rotate again.`,
      { cause },
    );
  }

  /** The pending token; one that is no token or has aged is cleared, so that the next attempt starts clean. */
  async requireUsable(version: SecretVersion): Promise<ServiceToken> {
    const { clock, minimumLife } = this.options;
    let token: ServiceToken;
    try {
      token = parseServiceToken(version.value);
    } catch (error) {
      if (!(error instanceof TokenSecretError)) throw error;
      await this.giveUp(version.versionId);
      throw new RotationError(
        'ROTATION_PENDING_INVALID',
        `The pending version ${version.versionId} held no service token and was cleared; the next rotation starts clean.`,
        { cause: error },
      );
    }
    if (remainingLife(token, clock.now()) > minimumLife) return token;
    await this.giveUp(version.versionId);
    throw new RotationError(
      'ROTATION_PENDING_AGED',
      `The token in the pending version ${version.versionId} had too little life left and was cleared; the next rotation mints a new one.`,
    );
  }

  /**
   * Whether a pending version holds what another version is current with. Secrets Manager tests a rotation that is not to
   * run at once on such a version, and removes it afterwards; AWS does not say whether it has a value.
   */
  async isCopyOfCurrent(pending: SecretVersion): Promise<boolean> {
    const { store, tokenSecretId } = this.options;
    try {
      const current = await store.read(tokenSecretId);
      return current.versionId !== pending.versionId && current.value === pending.value;
    } catch (error) {
      if (isStoreError(error, 'VERSION_NOT_FOUND')) return false;
      throw error;
    }
  }

  /** Clears a copy of the current value that a test left behind, which would bring no new token. Gives what to throw. */
  async leftOver(versionId: string): Promise<RotationError> {
    await this.giveUp(versionId);
    return new RotationError(
      'ROTATION_PENDING_INVALID',
      `The pending version ${versionId} was left over from a test, with the token that is current, and was cleared; the next rotation starts clean.`,
    );
  }

  /** Takes AWSPENDING off a version that must not be promoted. Its id is used up. */
  async giveUp(versionId: string): Promise<void> {
    await this.options.store.clearPending(this.options.tokenSecretId, versionId);
  }
}
