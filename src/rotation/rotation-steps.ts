import {
  isStoreError,
  versionWithLabel,
  type SecretDescription,
  type SecretStore,
  type SecretVersion,
} from '../secrets/secret-store.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import {
  keepsWithdrawals,
  nextWithdrawals,
  parseServiceToken,
  remainingLife,
  serializeServiceToken,
  TokenSecretError,
  type ServiceToken,
  type Withdrawals,
} from '../tokens/service-token.js';
import type { Clock } from '../tokens/time.js';
import { annotateSpan, traced } from '../tokens/tracing.js';
import { findVersion } from './claim.js';
import { lasts, type CurrentToken } from './due.js';
import {
  decideStep,
  refusedByReceivers,
  RotationError,
  type RotationObserver,
  type RotationStep,
  type StepDriver,
} from './rotation.js';
import { tokenIn, UnstagedToken } from './unstaged-token.js';

/** What the steps work with. */
export interface RotationStepsOptions {
  readonly store: SecretStore;
  readonly tokenSecretId: string;
  /** The token's name, for traces. Default: `default`. */
  readonly tokenName?: string;
  /** Asks the provider for a new service token, until the signal is aborted. */
  readonly mint: (signal?: AbortSignal) => Promise<ServiceToken>;
  /**
   * Verifies a token as receivers do: signature, issuer, audience, times, and that it speaks for a service. Rejects with a
   * BrokerError whose kind tells a bad token (`rejected`) from keys that are not available (`retry`).
   */
  readonly verify: (token: ServiceToken) => Promise<void>;
  /** Life in milliseconds that a token must exceed when it is minted; what it must have left to be promoted, {@link lasts} says. */
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
  /** Marks the version that is current as withdrawn, in the new one. Default: false. */
  readonly withdraws?: boolean;
  /** Shared by the steps of one run in one process; without it a step reads everything itself. */
  readonly run?: StepRun;
}

/**
 * What the steps of one run have read, and the next need not read again. A version's value never changes; whether the
 * version may still be promoted, finishSecret always asks the store.
 */
interface StepRun {
  /** The token secret as the run found it. */
  readonly description: SecretDescription;
  /** What was current then, if that was read. */
  readonly current: CurrentToken | undefined;
  /** The staged version, once it was read. */
  pending?: SecretVersion;
  /** Whether receivers accept the staged token. */
  isVerified?: boolean;
  /** The version that was current when the token was minted: what that one withdraws, the token withdraws too. */
  mintedAfter?: string;
}

/** What createSecret did. */
export type Created = 'minted' | 'adopted' | 'skipped';

/** Waits in milliseconds between reads of what was just written: a store's reads may lag behind its writes. */
const READ_LAG_WAITS = [100, 200, 400, 800, 1_600] as const;

/** A token that fails with one of these is not kept for the next attempt. */
const USELESS: ReadonlySet<string> = new Set([
  'ROTATION_TOKEN_REJECTED',
  'ROTATION_TOKEN_UNCHANGED',
]);

/**
 * The four steps of Secrets Manager's rotation contract for the service token.
 *
 * Each step asks the store what is due ({@link decideStep}), acts and returns. Any step may be repeated, in this process
 * or another: only the steps of one {@link StepRun} share what they read.
 */
export class RotationSteps {
  readonly #unstaged: UnstagedToken;

  constructor(private readonly options: RotationStepsOptions) {
    this.#unstaged = new UnstagedToken(options);
  }

  /** Mints a token and stages it as AWSPENDING, unless one is staged already: then that one is adopted. */
  createSecret(versionId: string, call: StepCall): Promise<Created> {
    return this.#traced('createSecret', () => this.#createSecret(versionId, call));
  }

  /** A bearer token has to be set nowhere: only checks that the pending value can be read. */
  setSecret(versionId: string, call: StepCall): Promise<void> {
    return this.#traced('setSecret', () => this.#setSecret(versionId, call));
  }

  /** Verifies the pending token as receivers will. */
  testSecret(versionId: string, call: StepCall): Promise<void> {
    return this.#traced('testSecret', () => this.#testSecret(versionId, call));
  }

  /** Moves AWSCURRENT to the version, as a compare-and-swap. A token that this run has not verified is verified first. */
  finishSecret(versionId: string, call: StepCall): Promise<void> {
    return this.#traced('finishSecret', () => this.#finishSecret(versionId, call));
  }

  async #createSecret(versionId: string, call: StepCall): Promise<Created> {
    const step = 'createSecret';
    let description = call.run?.description ?? (await this.#begin(step, versionId, call));
    if (description === undefined) return 'skipped';
    const staged = call.managed
      ? await this.#readPending(versionId)
      : await findVersion(this.options.store, this.options.tokenSecretId, versionId);
    if (staged?.labels.includes('AWSCURRENT') && !call.managed) {
      this.#ended(step, versionId, 'skipped', 'the version is already AWSCURRENT');
      return 'skipped';
    }
    if (staged !== undefined) return this.#adopt(staged, call);
    if (call.managed) {
      // Another invocation may have promoted the version since: then nothing is pending, and nothing must be minted.
      description = await this.#begin(step, versionId, call);
      if (description === undefined) return 'skipped';
    }
    // The first version of a secret becomes AWSCURRENT as it is written, before testSecret can look at it.
    const current = versionWithLabel(description, 'AWSCURRENT');
    const isFirst = current === undefined;
    const withdrawals = isFirst ? {} : await this.#withdrawals(current, call);
    const minted = (await this.#unstaged.take(current)) ?? (await this.#mint(call.signal));
    const token = { ...minted, ...withdrawals };
    try {
      if (call.withdraws === true && !isFirst) await this.#requireOther(minted, current);
      if (isFirst) await this.#verify(token);
      const created = await this.#stage(versionId, token, call);
      if (call.run !== undefined) {
        call.run.isVerified = isFirst && created === 'minted';
        if (current !== undefined && created === 'minted') call.run.mintedAfter = current;
      }
      return created;
    } catch (error) {
      if (!USELESS.has(errorCode(error))) this.#unstaged.keep(minted, versionId);
      throw error;
    }
  }

  async #setSecret(versionId: string, call: StepCall): Promise<void> {
    const pending = await this.#pending('setSecret', versionId, call);
    if (pending === undefined) return;
    this.#ended('setSecret', versionId, 'done', 'the pending value can be read');
  }

  async #testSecret(versionId: string, call: StepCall): Promise<void> {
    const pending = await this.#pending('testSecret', versionId, call);
    if (pending === undefined) return;
    // Secrets Manager may test a rotation on a version with the current value; it removes the label itself.
    if (call.managed && (await this.#isCopyOfCurrent(pending))) {
      this.#ended('testSecret', versionId, 'skipped', 'the pending version has the current value');
      return;
    }
    if (call.run?.isVerified !== true) await this.#verify(await this.#requireUsable(pending));
    if (call.run !== undefined) call.run.isVerified = true;
    this.#ended('testSecret', versionId, 'done', 'the pending token is one that receivers accept');
  }

  async #finishSecret(versionId: string, call: StepCall): Promise<void> {
    const description = await this.#begin('finishSecret', versionId, call);
    if (description === undefined) return;
    let pending = call.run?.isVerified === true ? call.run.pending : undefined;
    if (pending === undefined) {
      const staged = await this.#awaitPending('finishSecret', versionId, call);
      if (staged === 'settled') return;
      if (staged === undefined) throw emptyPending(versionId);
      await this.#verify(await this.#requireUsable(staged));
      pending = staged;
    }
    const current = versionWithLabel(description, 'AWSCURRENT');
    if (current !== undefined) await this.#requireWithdrawals(pending, current, call);
    const { store, tokenSecretId } = this.options;
    try {
      await store.promote(tokenSecretId, versionId, current);
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

  /** Takes AWSPENDING off a version that must not be promoted. Its id is used up. */
  async giveUp(versionId: string): Promise<void> {
    await this.options.store.clearPending(this.options.tokenSecretId, versionId);
  }

  /** Describes, decides, and reports a step that has nothing to do: then the result is `undefined`. */
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

  /** The staged version that setSecret or testSecret has to look at; `undefined` when there is nothing to do. */
  async #pending(
    step: 'setSecret' | 'testSecret',
    versionId: string,
    call: StepCall,
  ): Promise<SecretVersion | undefined> {
    const { run } = call;
    if (run?.pending !== undefined) return run.pending;
    if (run === undefined && (await this.#begin(step, versionId, call)) === undefined) {
      return undefined;
    }
    const pending = await this.#awaitPending(step, versionId, call);
    if (pending === 'settled') return undefined;
    if (pending === undefined) {
      // Secrets Manager tests a rotation that is not to run at once on a version without a value.
      if (!call.managed) throw emptyPending(versionId);
      this.#ended(step, versionId, 'skipped', 'the pending version has no value');
    } else if (run !== undefined) {
      run.pending = pending;
    }
    return pending;
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
      const pending = await this.#readPending(versionId);
      if (pending !== undefined) return pending;
      if ((await this.#begin(step, versionId, call)) === undefined) return 'settled';
      await this.options.clock.sleep(wait);
    }
    return undefined;
  }

  /** The staged version, read once. Only *not found* means that there is none: every other error must not mint. */
  async #readPending(versionId: string): Promise<SecretVersion | undefined> {
    const { store, tokenSecretId } = this.options;
    try {
      return await store.read(tokenSecretId, { versionId, label: 'AWSPENDING' });
    } catch (error) {
      if (isStoreError(error, 'VERSION_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  /**
   * Goes on with a version that has a value. One without AWSPENDING was given up: a description does not show it any more,
   * but its value stands for ever, and a token minted for it could not be kept.
   */
  async #adopt(staged: SecretVersion, call: StepCall): Promise<Created> {
    const { versionId } = staged;
    if (!staged.labels.includes('AWSPENDING')) throw this.#givenUp(versionId);
    if (call.managed && (await this.#isCopyOfCurrent(staged))) {
      await this.giveUp(versionId);
      throw new RotationError(
        'ROTATION_PENDING_INVALID',
        `The pending version ${versionId} was left over from a test, with the token that is current, and was cleared; the next rotation starts clean.`,
      );
    }
    await this.#requireUsable(staged);
    if (call.run !== undefined) call.run.pending = staged;
    this.#ended('createSecret', versionId, 'done', 'adopted the version that is staged');
    return 'adopted';
  }

  /**
   * Whether a pending version holds what another version is current with. Secrets Manager tests a rotation that is not to
   * run at once on such a version, and removes it afterwards; AWS does not say whether it has a value.
   */
  async #isCopyOfCurrent(pending: SecretVersion): Promise<boolean> {
    const { store, tokenSecretId } = this.options;
    try {
      const current = await store.read(tokenSecretId);
      return current.versionId !== pending.versionId && current.value === pending.value;
    } catch (error) {
      if (isStoreError(error, 'VERSION_NOT_FOUND')) return false;
      throw error;
    }
  }

  /** The pending token; one that is no token or has aged is cleared, so that the next attempt starts clean. */
  async #requireUsable(version: SecretVersion): Promise<ServiceToken> {
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
    if (lasts(token, minimumLife, clock.now())) return token;
    await this.giveUp(version.versionId);
    throw new RotationError(
      'ROTATION_PENDING_AGED',
      `The token in the pending version ${version.versionId} had too little life left and was cleared; the next rotation mints a new one.`,
    );
  }

  /** Which versions the new one withdraws, or goes on withdrawing. */
  async #withdrawals(currentId: string, call: StepCall): Promise<Withdrawals> {
    const { clock } = this.options;
    const { withdraws = false, run } = call;
    if (run?.current?.versionId === currentId) {
      return nextWithdrawals(run.current, withdraws, clock.now());
    }
    const token = await this.#currentToken(currentId);
    return nextWithdrawals({ ...token, versionId: currentId }, withdraws, clock.now());
  }

  /** The current token; nothing when it has no value. What it withdraws is not forgotten because a read lags behind the labels. */
  async #currentToken(currentId: string): Promise<Partial<ServiceToken>> {
    const { store, tokenSecretId, clock } = this.options;
    for (const wait of [...READ_LAG_WAITS, 0]) {
      const version = await findVersion(store, tokenSecretId, currentId);
      if (version !== undefined) return tokenIn(version.value);
      await clock.sleep(wait);
    }
    return {};
  }

  /**
   * A token that was minted before another rotation was promoted may not name what it has to withdraw: what that one withdraws,
   * and where this one withdraws, that one itself. It must not follow it, and is cleared.
   */
  async #requireWithdrawals(
    pending: SecretVersion,
    currentId: string,
    { run, withdraws = false }: StepCall,
  ): Promise<void> {
    if (run?.mintedAfter === currentId) return;
    const { tokenSecretId, clock } = this.options;
    const current =
      run?.current?.versionId === currentId ? run.current : await this.#currentToken(currentId);
    const next = tokenIn(pending.value);
    const before = { ...current, versionId: currentId };
    if (keepsWithdrawals(next, before, withdraws, clock.now())) return;
    await this.giveUp(pending.versionId);
    throw new RotationError(
      'ROTATION_SUPERSEDED',
      `Another rotation of secret "${tokenSecretId}" was promoted after version ${pending.versionId} was minted, which does not withdraw all that it has to and was cleared; rotate again.`,
    );
  }

  /** Some providers give the same token again while it lives: to withdraw that would end the service. */
  async #requireOther(minted: ServiceToken, currentId: string): Promise<void> {
    const { accessToken } = await this.#currentToken(currentId);
    if (accessToken !== minted.accessToken) return;
    throw new RotationError(
      'ROTATION_TOKEN_UNCHANGED',
      'The provider gave the same token as before, so that it cannot be withdrawn here: revoke it at the provider, or rotate its ' +
        'client credentials, and rotate again.',
    );
  }

  async #mint(signal: AbortSignal | undefined): Promise<ServiceToken> {
    const { mint, minimumLife, clock, observer } = this.options;
    let token: ServiceToken;
    try {
      const name = this.options.tokenName ?? 'default';
      token = await traced(
        {
          span: 'service_token.mint',
          metric: 'service_token.mint.duration',
          attributes: { 'service_token.name': name },
        },
        () => mint(signal),
      );
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
    } catch (error) {
      if (!isStoreError(error, 'VERSION_CONFLICT')) throw error;
      const staged = await this.#awaitPending('createSecret', versionId, call);
      if (staged === 'settled') return 'skipped';
      if (staged === undefined) throw this.#givenUp(versionId, error);
      await this.#requireUsable(staged);
      this.#ended('createSecret', versionId, 'done', 'adopted what another had staged');
      return 'adopted';
    }
    this.#ended('createSecret', versionId, 'done', 'minted and staged');
    return 'minted';
  }

  async #verify(token: ServiceToken): Promise<void> {
    try {
      await this.options.verify(token);
    } catch (error) {
      throw refusedByReceivers(error) ?? error;
    }
  }

  #givenUp(versionId: string, cause?: unknown): RotationError {
    return new RotationError(
      'ROTATION_NOT_PENDING',
      `Version ${versionId} of secret "${this.options.tokenSecretId}" was given up by another attempt; rotate again.`,
      { cause },
    );
  }

  #ended(step: RotationStep, versionId: string, ended: 'done' | 'skipped', detail: string): void {
    annotateSpan({ 'service_token.rotation.outcome': ended });
    this.options.observer?.stepEnded?.(step, versionId, ended, detail);
  }

  #traced<Result>(step: RotationStep, run: () => Promise<Result>): Promise<Result> {
    return traced(
      {
        span: `service_token.rotation.${step}`,
        metric: 'service_token.rotation.step.duration',
        attributes: {
          'service_token.name': this.options.tokenName ?? 'default',
          'service_token.rotation.step': step,
        },
      },
      run,
    );
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
