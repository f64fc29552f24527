import {
  CLAIM_LABEL,
  isStoreError,
  SecretStoreError,
  versionWithLabel,
  type SecretDescription,
  type SecretStore,
  type SecretVersion,
  type VersionSelector,
} from '../../../src/secrets/secret-store.js';
import { pendingLeftover } from '../../../src/rotation/rotation.js';
import { parseServiceToken, type ServiceToken } from '../../../src/tokens/service-token.js';
import type { StoreOfRun } from './stores.js';
import type { Life, World } from './world.js';

/** What the rotators must leave to others in a replica, and where Secrets Manager rotates. */
const OWN_WRITES: ReadonlySet<string> = new Set(['putPending', 'putClaim', 'promote']);

/** The secret as it was after a write. */
export interface State {
  readonly description: SecretDescription;
  readonly current: string | undefined;
  /** How many values there were. */
  readonly values: number;
}

interface Value {
  readonly value: string;
  readonly createdAt: number;
  /** Its place among all values. */
  readonly place: number;
  readonly token: ServiceToken | undefined;
}

/** Changes a store for one process: a fault on purpose, which the model has to notice. */
export type StoreFault = (store: SecretStore, life: Life) => SecretStore;

/** Notified of what a process does to the store. */
export interface LedgerObserver {
  /** A version was looked for by its id, and had no value. */
  missed(life: Life, versionId: string): void;
  /** @param value what the claim says. */
  claimed(life: Life, claimId: string, value: string): void;
  released(claimId: string): void;
  /** Secrets Manager was asked to rotate. */
  requested(versionId: string): void;
}

/**
 * Writes down each state that the secret goes through, and judges each step from one to the next: these are the invariants of what
 * the store holds. Every process reaches the store through it.
 */
export class Ledger {
  readonly states: State[] = [];
  readonly #values = new Map<string, Value>();
  /** {@link World.tick} when it changed who rotates the secret. */
  #modeChangedAt = 0;
  #hadToken = false;
  /** Scheduled for deletion, as before RestoreSecret. */
  isDeleted = false;

  private constructor(
    readonly of: StoreOfRun,
    private readonly world: World,
    private readonly observer: LedgerObserver,
    private readonly fault: StoreFault | undefined,
  ) {}

  static async open(
    of: StoreOfRun,
    world: World,
    observer: LedgerObserver,
    fault?: StoreFault,
  ): Promise<Ledger> {
    const ledger = new Ledger(of, world, observer, fault);
    await ledger.#record();
    return ledger;
  }

  get now(): State {
    const state = this.states.at(-1);
    if (state === undefined) throw new Error('Nothing is written down yet.');
    return state;
  }

  valueOf(versionId: string | undefined): string | undefined {
    return versionId === undefined ? undefined : this.#values.get(versionId)?.value;
  }

  tokenOf(versionId: string | undefined): ServiceToken | undefined {
    return versionId === undefined ? undefined : this.#values.get(versionId)?.token;
  }

  /** Something that people or Secrets Manager do. Nothing of it is judged but the labels. */
  async byHand(act: () => Promise<void>, written?: string): Promise<void> {
    const before = this.now;
    try {
      await act();
    } catch (error) {
      // People may try what a replica does not allow.
      if (isStoreError(error, 'STORE_READ_ONLY')) return;
      throw error;
    }
    if (written !== undefined) await this.#keepValue(written);
    const after = await this.#record();
    const { rotationEnabled, readOnlyReplica } = before.description;
    if (
      rotationEnabled !== after.description.rotationEnabled ||
      readOnlyReplica !== after.description.readOnlyReplica
    ) {
      this.#modeChangedAt = this.world.tick;
    }
    if (after.current !== before.current) {
      this.#hadToken = this.tokenOf(after.current) !== undefined;
    }
    this.#judgeLabels(after);
  }

  /** The store as a process reaches it. */
  storeOf(life: Life, watched: (version: SecretVersion) => void = () => undefined): SecretStore {
    const real = this.fault?.(this.of.store, life) ?? this.of.store;
    const call = <T>(method: string, versionId: string, act: () => Promise<T>) =>
      this.#call(life, method, versionId, act);
    return {
      name: real.name,
      read: (id, selector = {}) =>
        life.call<SecretVersion>({
          what: 'read',
          run: () => this.#read(life, () => real.read(id, selector), selector, watched),
          recall: (age) =>
            this.#read(life, async () => this.#recall(selector, age), selector, watched),
          failure: unavailable,
        }),
      describe: (id) =>
        life.call<SecretDescription>({
          what: 'describe',
          run: async () => {
            this.#requireThere();
            return real.describe(id);
          },
          recall: (age) => this.#before(age).description,
          failure: unavailable,
        }),
      create: () => Promise.resolve(),
      putPending: (id, version, value, options) =>
        call('putPending', version, () => real.putPending(id, version, value, options)),
      putClaim: (id, version, value) =>
        call('putClaim', version, () => real.putClaim(id, version, value)),
      releaseClaim: (id, version) =>
        call('releaseClaim', version, () => real.releaseClaim(id, version)),
      promote: (id, version, expected) =>
        call('promote', version, async () => {
          const { current } = this.now;
          await real.promote(id, version, expected);
          if (current !== expected && current !== version) {
            this.world.violate(
              'AWSCURRENT moved from another version than the mover had seen: no compare-and-swap',
            );
          }
        }),
      clearPending: (id, version) =>
        call('clearPending', version, () => real.clearPending(id, version)),
      requestRotation: (id, version) =>
        call('requestRotation', version, () => real.requestRotation(id, version)),
      close: () => Promise.resolve(),
    };
  }

  #call<T>(life: Life, method: string, versionId: string, act: () => Promise<T>): Promise<T> {
    this.#judgeRight(life, method);
    return life.call<T>({
      what: method,
      run: async () => {
        this.#requireThere();
        const before = this.now;
        const result = await act();
        if (method.startsWith('put')) await this.#keepValue(versionId);
        const after = await this.#record();
        this.#judge(life, method, before, after);
        this.#notify(life, method, versionId);
        return result;
      },
      failure: unavailable,
    });
  }

  #notify(life: Life, method: string, versionId: string): void {
    const value = this.valueOf(versionId);
    if (method === 'putClaim' && value !== undefined) this.observer.claimed(life, versionId, value);
    if (method === 'releaseClaim') this.observer.released(versionId);
    if (method === 'requestRotation') this.observer.requested(versionId);
  }

  async #read(
    life: Life,
    act: () => Promise<SecretVersion>,
    { versionId, label }: VersionSelector,
    watched: (version: SecretVersion) => void,
  ): Promise<SecretVersion> {
    this.#requireThere();
    try {
      const version = await act();
      watched(version);
      return version;
    } catch (error) {
      if (versionId !== undefined && (label === undefined || label === 'AWSPENDING')) {
        this.observer.missed(life, versionId);
      }
      throw error;
    }
  }

  /** Who rotates the secret decides who may write. A process that began before that changed may not know yet. */
  #judgeRight(life: Life, method: string): void {
    const { rotationEnabled, readOnlyReplica } = this.now.description;
    if (!OWN_WRITES.has(method) || life.wasMisled || life.isOver) return;
    const isManaged = life.machine.name.startsWith('function');
    // Secrets Manager calls no function for a replica.
    if (isManaged ? rotationEnabled || readOnlyReplica : !rotationEnabled && !readOnlyReplica)
      return;
    for (const { startedAt } of life.tasks) if (startedAt <= this.#modeChangedAt) return;
    this.world.violate(
      `${life.machine.name} asked for ${method}, where ${readOnlyReplica ? 'the secret is a replica' : 'another rotates'}`,
    );
  }

  #requireThere(): void {
    if (!this.isDeleted) return;
    throw new SecretStoreError('STORE_REQUEST_INVALID', 'The secret is scheduled for deletion.', {
      kind: 'misconfigured',
    });
  }

  #before(age: number): State {
    return this.states.at(-1 - age) ?? this.states[0] ?? this.now;
  }

  /** What a read gives that sees an older state. */
  #recall({ versionId, label }: VersionSelector, age: number): SecretVersion {
    const { description, values } = this.#before(age);
    const wanted = label ?? (versionId === undefined ? 'AWSCURRENT' : undefined);
    const id = versionId ?? (wanted && versionWithLabel(description, wanted));
    const labels = (id === undefined ? undefined : description.labels.get(id)) ?? [];
    const known = id === undefined ? undefined : this.#values.get(id);
    const isThere = known !== undefined && known.place < values;
    if (id === undefined || !isThere || (wanted !== undefined && !labels.includes(wanted))) {
      throw new SecretStoreError('VERSION_NOT_FOUND', 'The store has no such version yet.');
    }
    return { versionId: id, value: known.value, labels, createdAt: known.createdAt };
  }

  async #keepValue(versionId: string): Promise<void> {
    if (this.#values.has(versionId)) return;
    let version: SecretVersion;
    try {
      version = await this.of.store.read(this.of.secretId, { versionId });
    } catch (error) {
      // A rotator that is broken on purpose writes nothing.
      if (isStoreError(error, 'VERSION_NOT_FOUND')) return;
      throw error;
    }
    const { value, createdAt } = version;
    const token = tokenIn(value);
    this.#values.set(versionId, { value, createdAt, token, place: this.#values.size });
  }

  async #record(): Promise<State> {
    const description = await this.of.store.describe(this.of.secretId);
    const state: State = {
      description,
      current: versionWithLabel(description, 'AWSCURRENT'),
      values: this.#values.size,
    };
    this.states.push(state);
    return state;
  }

  #judge(life: Life, method: string, before: State, after: State): void {
    this.#judgeMove(life, method, before, after);
    this.#judgeLabels(after);
    const pending = pendingLeftover(before.description);
    const isGivenUp = after.description.labels.get(pending ?? '') === undefined;
    // Its token was minted in vain.
    if (pending !== undefined && isGivenUp) this.world.disturbances += 1;
  }

  /** Whether AWSCURRENT might move as it did. */
  #judgeMove(life: Life, method: string, before: State, after: State): void {
    if (method === 'promote' && after.current === undefined) this.#hadToken = true;
    if (after.current === before.current || after.current === undefined) return;
    const token = this.tokenOf(after.current);
    const isFirst = before.current === undefined && method.startsWith('put');
    if (method === 'putClaim' && isFirst) return;
    if (method !== 'promote' && !isFirst) {
      this.world.violate(`AWSCURRENT was moved by ${method}`);
    }
    if (token === undefined) {
      this.world.violate('a version without a service token was promoted');
      return;
    }
    this.#hadToken = true;
    if (!life.verified.has(token.accessToken)) {
      this.world.violate('a version was promoted that was not verified');
    }
    if (before.current === undefined) return;
    if (versionWithLabel(after.description, 'AWSPREVIOUS') !== before.current) {
      this.world.violate('AWSPREVIOUS is not on the version that was current before');
    }
    this.#judgeWithdrawals(before.current, token);
  }

  /** Who is withdrawn stays so while any withdrawn token lives. */
  #judgeWithdrawals(before: string, token: ServiceToken): void {
    const old = this.tokenOf(before);
    if (old?.withdrawn === undefined) return;
    const until = old.withdrawnUntil ?? old.expiresAt;
    if (until <= this.world.latestClock()) return;
    const lost = old.withdrawn.filter((id) => token.withdrawn?.includes(id) !== true);
    if (lost.length > 0) this.world.violate('a withdrawal was forgotten by the next version');
  }

  #judgeLabels({ description, current }: State): void {
    for (const label of ['AWSCURRENT', 'AWSPENDING', 'AWSPREVIOUS', CLAIM_LABEL]) {
      let holders = 0;
      for (const labels of description.labels.values()) {
        holders += labels.filter((name) => name === label).length;
      }
      if (holders > 1) this.world.violate(`${label} is on ${holders} versions`);
    }
    if (!this.#hadToken) return;
    if (current === undefined) this.world.violate('no version is AWSCURRENT any more');
    else if (this.tokenOf(current) === undefined) {
      this.world.violate('AWSCURRENT holds no service token any more');
    } else if (description.labels.get(current)?.includes('AWSPREVIOUS') === true) {
      this.world.violate('the current version is AWSPREVIOUS as well');
    }
  }
}

function tokenIn(value: string | undefined): ServiceToken | undefined {
  try {
    return value === undefined ? undefined : parseServiceToken(value);
  } catch {
    return undefined;
  }
}

export function unavailable(): SecretStoreError {
  return new SecretStoreError('STORE_UNAVAILABLE', 'The store does not answer.');
}
