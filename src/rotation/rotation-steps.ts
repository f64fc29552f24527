import {
  isStoreError,
  type SecretStore,
  type SecretVersion,
  versionWithLabel,
  type SecretDescription,
} from '../secrets/secret-store.js';
import type { Clock } from '../tokens/time.js';
import {
  TokenSecretError,
  parseServiceToken,
  remainingLife,
  type ServiceToken,
  serializeServiceToken,
} from '../tokens/service-token.js';
import { findVersion } from './claim.js';
import {
  RotationError,
  decideStep,
  type RotationStep,
  type StepDriver,
  type RotationObserver,
} from './rotation.js';
import { BrokerError, errorCode } from '../tokens/errors.js';

/** Waits in milliseconds between reads of what was just written: a store's reads may lag behind its writes. */
const READ_LAG_WAITS = [100, 200, 400, 800, 1_600] as const;

/** The labels of a version that a rotation works on, or has ended with. */
const IN_USE: ReadonlySet<string> = new Set(['AWSPENDING', 'AWSCURRENT']);

/** What {@link PendingVersions} works with. */
interface PendingVersionsOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  /** Life in milliseconds that a pending token must have left. */
  readonly minimumLife: number;
  readonly clock: Clock;
}

/** The staged versions of the token secret: reading them, judging their age, giving them up. */
class PendingVersions {
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

/** What the steps work with. */
export interface RotationStepsOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  /** Asks the provider for a new service token, until the signal is aborted. */
  readonly mint: (signal?: AbortSignal) => Promise<ServiceToken>;
  /**
   * Verifies a token the way receivers do: signature, issuer, audience, times, and that it speaks for a service.
   * Rejects with a BrokerError whose kind tells a bad token (`rejected`) from keys that cannot be had (`retry`).
   */
  readonly verify: (token: ServiceToken) => Promise<void>;
  /** Life in milliseconds that a token must have left to be promoted. */
  readonly minimumLife: number;
  readonly clock: Clock;
  readonly observer?: RotationObserver;
}

/** How one step is called. */
export interface StepCall extends StepDriver {
  /** Secrets Manager's RotationToken, passed on to the store and never logged. */
  readonly rotationToken?: string;
  /** Ends a mint that is under way. */
  readonly signal?: AbortSignal;
}

/** How long a token that was minted and could not be staged is kept for the next attempt, in milliseconds. */
const UNSTAGED_AGE = 300_000;

/** What createSecret did. */
export type Created = 'minted' | 'adopted' | 'skipped';

/**
 * The four steps of Secrets Manager's rotation contract for the service token.
 *
 * Each step describes the secret again, asks {@link decideStep} what is due, acts and returns. A step trusts no memory
 * of an earlier one: any may be repeated, in this process or another.
 */
export class RotationSteps {
  readonly #pending: PendingVersions;
  /** Minted, and neither staged nor rejected: the next attempt takes it, since each mint may cost money. */
  #unstaged: ServiceToken | undefined;

  constructor(private readonly options: RotationStepsOptions) {
    this.#pending = new PendingVersions(options);
  }

  /** Mints a token and stages it as AWSPENDING, unless one is staged already: then that one is adopted. */
  async createSecret(versionId: string, call: StepCall): Promise<Created> {
    if ((await this.#begin('createSecret', versionId, call)) === undefined) return 'skipped';
    const staged = await this.#pending.readOnce(versionId);
    if (staged !== undefined) {
      if (call.managed && (await this.#pending.isCopyOfCurrent(staged))) {
        throw await this.#pending.leftOver(versionId);
      }
      await this.#pending.requireUsable(staged);
      this.#ended('createSecret', versionId, 'done', 'adopted the version that is staged');
      return 'adopted';
    }
    // Another replica may have promoted the version since: then nothing is pending, and nothing is to be minted.
    const description = await this.#begin('createSecret', versionId, call);
    if (description === undefined) return 'skipped';
    // Secrets Manager registers the versions it asks for; of our own nothing else tells one that was used up.
    if (!call.managed) await this.#pending.requireNotGivenUp(versionId);
    const token = this.#takeUnstaged() ?? (await this.#mint(call.signal));
    let created: Created;
    try {
      // The first version of a secret becomes AWSCURRENT as it is written, before testSecret can look at it.
      if (versionWithLabel(description, 'AWSCURRENT') === undefined) await this.#verify(token);
      created = await this.#stage(versionId, token, call);
    } catch (error) {
      if (errorCode(error) !== 'ROTATION_TOKEN_REJECTED') this.#unstaged = token;
      throw error;
    }
    if (created === 'skipped') return created;
    const detail = created === 'minted' ? 'minted and staged' : 'adopted what another had staged';
    this.#ended('createSecret', versionId, 'done', detail);
    return created;
  }

  /** A bearer token has to be set nowhere: only checks that the pending value can be read. */
  async setSecret(versionId: string, call: StepCall): Promise<void> {
    if ((await this.#begin('setSecret', versionId, call)) === undefined) return;
    const pending = await this.#awaitPending('setSecret', versionId, call);
    if (pending === 'settled') return;
    if (pending === undefined) {
      // Secrets Manager tests a rotation that is not to run at once on a version without a value.
      if (!call.managed) throw emptyPending(versionId);
      this.#ended('setSecret', versionId, 'skipped', 'the pending version has no value');
      return;
    }
    this.#ended('setSecret', versionId, 'done', 'the pending value can be read');
  }

  /** Verifies the pending token the way receivers will. */
  async testSecret(versionId: string, call: StepCall): Promise<void> {
    if ((await this.#begin('testSecret', versionId, call)) === undefined) return;
    const pending = await this.#awaitPending('testSecret', versionId, call);
    if (pending === 'settled') return;
    if (pending === undefined) {
      if (!call.managed) throw emptyPending(versionId);
      this.#ended('testSecret', versionId, 'skipped', 'the pending version has no value to test');
      return;
    }
    // The same test, where the version is made with the value that is current: nothing here is going to be promoted, and
    // the label is Secrets Manager's to take off.
    if (call.managed && (await this.#pending.isCopyOfCurrent(pending))) {
      this.#ended('testSecret', versionId, 'skipped', 'the pending version has the current value');
      return;
    }
    await this.#verify(await this.#pending.requireUsable(pending));
    this.#ended('testSecret', versionId, 'done', 'the pending token is one that receivers accept');
  }

  /** Moves AWSCURRENT to the version, as a compare-and-swap; the token is verified once more before it is served. */
  async finishSecret(versionId: string, call: StepCall): Promise<void> {
    const description = await this.#begin('finishSecret', versionId, call);
    if (description === undefined) return;
    const pending = await this.#awaitPending('finishSecret', versionId, call);
    if (pending === 'settled') return;
    if (pending === undefined) throw emptyPending(versionId);
    await this.#verify(await this.#pending.requireUsable(pending));
    const { store, tokenSecretId } = this.options;
    try {
      await store.promote(tokenSecretId, versionId, versionWithLabel(description, 'AWSCURRENT'));
    } catch (error) {
      if (!isStoreError(error, 'PROMOTE_CONFLICT')) throw error;
      const now = await store.describe(tokenSecretId);
      if (versionWithLabel(now, 'AWSCURRENT') !== versionId) {
        throw new RotationError(
          'ROTATION_SUPERSEDED',
          `Another rotation of secret "${tokenSecretId}" was promoted before version ${versionId}; that one is served.`,
          { cause: error },
        );
      }
      this.#ended('finishSecret', versionId, 'skipped', 'another process had promoted the version');
      return;
    }
    this.#ended('finishSecret', versionId, 'done', 'the version is AWSCURRENT');
  }

  /** Describes, decides, and reports a step that has nothing to do. */
  async #begin(
    step: RotationStep,
    versionId: string,
    call: StepCall,
  ): Promise<SecretDescription | undefined> {
    const { store, tokenSecretId, clock } = this.options;
    let description = await store.describe(tokenSecretId);
    let decision = decideStep(step, versionId, description, call);
    for (const wait of READ_LAG_WAITS) {
      // A version that was staged a moment ago may not be described yet.
      if (decision.due !== 'refuse' || decision.code !== 'ROTATION_VERSION_UNKNOWN') break;
      await clock.sleep(wait);
      description = await store.describe(tokenSecretId);
      decision = decideStep(step, versionId, description, call);
    }
    if (decision.due === 'refuse') throw new RotationError(decision.code, decision.message);
    if (decision.due === 'do') return description;
    this.#ended(step, versionId, 'skipped', decision.reason);
    return undefined;
  }

  /**
   * The staged version, given the time that a store needs to show what was just written. `settled` when another process
   * promoted it in the meantime, which takes AWSPENDING off in some stores; `undefined` when it has no value.
   */
  async #awaitPending(
    step: RotationStep,
    versionId: string,
    call: StepCall,
  ): Promise<SecretVersion | 'settled' | undefined> {
    for (const wait of [...READ_LAG_WAITS, 0]) {
      const staged = await this.#pending.readOnce(versionId);
      if (staged !== undefined) return staged;
      if ((await this.#begin(step, versionId, call)) === undefined) return 'settled';
      await this.options.clock.sleep(wait);
    }
    return undefined;
  }

  #takeUnstaged(): ServiceToken | undefined {
    const { clock, minimumLife } = this.options;
    const token = this.#unstaged;
    this.#unstaged = undefined;
    if (token === undefined) return undefined;
    const age = clock.now() - token.generatedAt;
    const isYoung = age >= 0 && age < UNSTAGED_AGE;
    return isYoung && remainingLife(token, clock.now()) > minimumLife ? token : undefined;
  }

  async #mint(signal: AbortSignal | undefined): Promise<ServiceToken> {
    const { mint, minimumLife, clock, observer } = this.options;
    let token: ServiceToken;
    try {
      token = await mint(signal);
    } catch (error) {
      observer?.mintEnded?.(error instanceof BrokerError ? error.code : 'UNEXPECTED');
      throw error;
    }
    observer?.mintEnded?.('OK');
    const life = remainingLife(token, clock.now());
    if (life > minimumLife) return token;
    throw new RotationError(
      'ROTATION_TOKEN_TOO_SHORT',
      `The provider minted a token with ${seconds(life)} s of life, and more than ${seconds(minimumLife)} s are needed. ` +
        "Raise the token lifetime in the provider's settings for this audience, or lower BROKER_MIN_REMAINING_SECONDS.",
    );
  }

  /** Writes the pending version; when another process wrote it first, that value stands and ours is dropped. */
  async #stage(versionId: string, token: ServiceToken, call: StepCall): Promise<Created> {
    const { store, tokenSecretId } = this.options;
    const { rotationToken } = call;
    try {
      await store.putPending(
        tokenSecretId,
        versionId,
        serializeServiceToken(token),
        rotationToken === undefined ? {} : { rotationToken },
      );
      return 'minted';
    } catch (error) {
      if (!isStoreError(error, 'VERSION_CONFLICT')) throw error;
      const staged = await this.#awaitPending('createSecret', versionId, call);
      if (staged === 'settled') return 'skipped';
      if (staged === undefined) throw this.#pending.givenUp(versionId, error);
      await this.#pending.requireUsable(staged);
      return 'adopted';
    }
  }

  /** Takes AWSPENDING off a version that must not be promoted. Its id is used up. */
  async giveUp(versionId: string): Promise<void> {
    await this.#pending.giveUp(versionId);
  }

  async #verify(token: ServiceToken): Promise<void> {
    try {
      await this.options.verify(token);
    } catch (error) {
      if (!(error instanceof BrokerError) || error.kind !== 'rejected') throw error;
      throw new RotationError(
        'ROTATION_TOKEN_REJECTED',
        `Receivers would refuse the token that the provider minted (${error.code}): ${error.message}`,
        { cause: error },
      );
    }
  }

  #ended(step: RotationStep, versionId: string, ended: 'done' | 'skipped', detail: string): void {
    this.options.observer?.stepEnded?.(step, versionId, ended, detail);
  }
}

function emptyPending(versionId: string): RotationError {
  return new RotationError(
    'ROTATION_PENDING_EMPTY',
    `The pending version ${versionId} has no value to read. Rotate again; if it stays, clear AWSPENDING from it.`,
  );
}

function seconds(milliseconds: number): number {
  return Math.max(0, Math.floor(milliseconds / 1000));
}
