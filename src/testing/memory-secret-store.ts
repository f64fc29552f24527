import {
  SecretStoreError,
  type SecretDescription,
  CLAIM_LABEL,
  type SecretStore,
  type SecretVersion,
  type VersionSelector,
  encodeValue,
  requireNewSecretId,
  requireVersionId,
} from '../secrets/secret-store.js';
import { randomUUID } from 'node:crypto';
import { systemClock, type Clock } from '../tokens/time.js';

/** The calls that a hook sees and that are counted. */
export type StoreMethod =
  | 'read'
  | 'describe'
  | 'create'
  | 'putPending'
  | 'putClaim'
  | 'promote'
  | 'clearPending'
  | 'releaseClaim'
  | 'requestRotation';

/** One call to the store. */
export interface StoreCall {
  readonly method: StoreMethod;
  readonly secretId: string;
  /** The version id that the caller named, if any. */
  readonly versionId: string | undefined;
  /** 1 for the first call to the store of any kind, and so on: "fail at the n-th store call". */
  readonly index: number;
  /** 1 for the first call of this method. */
  readonly nth: number;
}

/** Runs around a call; its error becomes the call's. */
export type StoreHook = (call: StoreCall) => void | Promise<void>;

/** Choices where AWS defines nothing, or the embedded store differs. */
export interface MemoryStoreOptions {
  readonly clock?: Clock;
  /** AWS puts AWSCURRENT on the first version that is ever written. Default true. */
  readonly firstVersionBecomesCurrent?: boolean;
  /** Not defined by AWS: whether AWSPENDING stays on a version that is promoted. Default true. */
  readonly pendingStaysAfterPromote?: boolean;
}

/** What `describe` returns with the labels. */
type MemorySecretTraits = Omit<SecretDescription, 'secretId' | 'labels'>;

/** A version of a secret in memory. */
interface MemoryVersion {
  /** Undefined while Secrets Manager has only registered the version id. */
  value: string | undefined;
  readonly labels: Set<string>;
  readonly createdAt: number;
}

/** A secret in memory. */
interface MemorySecret {
  readonly versions: Map<string, MemoryVersion>;
  traits: MemorySecretTraits;
}

/**
 * A `SecretStore` in memory that behaves like AWS Secrets Manager. Every change happens in one turn of the event loop,
 * between `before` and `after`: an error in `before` means that nothing happened, one in `after` that the response was lost.
 *
 * @example
 * ```ts
 * import { MemorySecretStore } from 'service-token-kit/testing';
 *
 * const store = new MemorySecretStore();
 * store.seed('broker/credentials', JSON.stringify({ client_id: 'job', client_secret: 'test' }));
 * store.before = ({ method }) => {
 *   if (method === 'promote') throw new Error('the connection broke');
 * };
 * ```
 */
export class MemorySecretStore implements SecretStore {
  readonly name = 'memory';
  /** Runs before the call takes effect. Throw here for a call that never arrived. */
  before: StoreHook = () => undefined;
  /** Runs after the call took effect. Throw here for a lost response. */
  after: StoreHook = () => undefined;
  /** How often each method was called, failed calls included. */
  readonly calls: Record<StoreMethod, number> = {
    read: 0,
    describe: 0,
    create: 0,
    putPending: 0,
    putClaim: 0,
    promote: 0,
    clearPending: 0,
    releaseClaim: 0,
    requestRotation: 0,
  };

  readonly #clock: Clock;
  readonly #options: MemoryStoreOptions;
  readonly #secrets = new Map<string, MemorySecret>();
  #index = 0;

  constructor(options: MemoryStoreOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#options = options;
  }

  // What a person or AWS does: no hooks, not counted.

  /** Creates a secret, and if a value is given its first version as AWSCURRENT. Returns that version's id. */
  seed(secretId: string, value?: string, versionId: string = randomUUID()): string {
    this.#secrets.set(secretId, {
      versions: new Map(),
      traits: { rotationEnabled: false, readOnlyReplica: false },
    });
    if (value !== undefined) this.edit(secretId, value, versionId);
    return versionId;
  }

  /** An edit in the console: a new version that is AWSCURRENT at once. Returns its id. */
  edit(secretId: string, value: string, versionId: string = randomUUID()): string {
    const secret = this.#secret(secretId);
    secret.versions.set(versionId, this.#version(value));
    moveCurrent(secret, versionId);
    return versionId;
  }

  /** RotateSecret: puts AWSPENDING on a version id that has no value yet. */
  registerPending(secretId: string, versionId: string): void {
    const secret = this.#secret(secretId);
    if (!secret.versions.has(versionId)) secret.versions.set(versionId, this.#version(undefined));
    moveLabel(secret, 'AWSPENDING', versionId);
  }

  /** Sets what `describe` returns about rotation, replication and the like. */
  configure(secretId: string, traits: Partial<MemorySecretTraits>): void {
    const secret = this.#secret(secretId);
    secret.traits = { ...secret.traits, ...traits };
  }

  // The port.

  read(secretId: string, selector: VersionSelector = {}): Promise<SecretVersion> {
    return this.#call('read', secretId, selector.versionId, () => {
      const { versionId: id, label } = selector;
      const wanted = label ?? (id === undefined ? 'AWSCURRENT' : undefined);
      for (const [versionId, version] of this.#secret(secretId).versions) {
        if (id !== undefined && versionId !== id) continue;
        if (wanted !== undefined && !version.labels.has(wanted)) continue;
        if (version.value === undefined) continue;
        const { value, createdAt } = version;
        return { versionId, value, labels: [...version.labels], createdAt };
      }
      throw notFound(secretId, id ?? wanted ?? '');
    });
  }

  describe(secretId: string): Promise<SecretDescription> {
    return this.#call('describe', secretId, undefined, () => {
      const secret = this.#secret(secretId);
      const labels = new Map<string, readonly string[]>();
      for (const [versionId, version] of secret.versions) {
        if (version.labels.size > 0) labels.set(versionId, [...version.labels]);
      }
      return { secretId, labels, ...secret.traits };
    });
  }

  create(secretId: string, _description: string): Promise<void> {
    return this.#call('create', secretId, undefined, () => {
      requireNewSecretId(secretId);
      if (!this.#secrets.has(secretId)) this.seed(secretId);
    });
  }

  putPending(secretId: string, versionId: string, value: string): Promise<void> {
    return this.#call('putPending', secretId, versionId, () => {
      this.#put(secretId, versionId, value, 'AWSPENDING');
    });
  }

  putClaim(secretId: string, versionId: string, value: string): Promise<void> {
    return this.#call('putClaim', secretId, versionId, () => {
      this.#put(secretId, versionId, value, CLAIM_LABEL);
    });
  }

  promote(secretId: string, versionId: string, expectedCurrent: string | undefined): Promise<void> {
    return this.#call('promote', secretId, versionId, () => {
      const secret = this.#writable(secretId);
      const version = secret.versions.get(versionId);
      if (version?.value === undefined) throw notFound(secretId, versionId);
      if (holder(secret, 'AWSCURRENT') !== expectedCurrent) {
        throw new SecretStoreError(
          'PROMOTE_CONFLICT',
          `Another version of the secret "${secretId}" is current than was expected. Read again.`,
        );
      }
      if (expectedCurrent === versionId) return;
      moveCurrent(secret, versionId);
      if (this.#options.pendingStaysAfterPromote === false) version.labels.delete('AWSPENDING');
    });
  }

  clearPending(secretId: string, versionId: string): Promise<void> {
    return this.#call('clearPending', secretId, versionId, () => {
      this.#writable(secretId).versions.get(versionId)?.labels.delete('AWSPENDING');
    });
  }

  releaseClaim(secretId: string, versionId: string): Promise<void> {
    return this.#call('releaseClaim', secretId, versionId, () => {
      this.#writable(secretId).versions.get(versionId)?.labels.delete(CLAIM_LABEL);
    });
  }

  /** Registers the version as AWSPENDING, as RotateSecret does. No function runs: that is up to the test. */
  requestRotation(secretId: string, versionId: string): Promise<void> {
    return this.#call('requestRotation', secretId, versionId, () => {
      const secret = this.#writable(secretId);
      requireVersionId(secretId, versionId);
      if (!secret.traits.rotationEnabled) throw rotationRefused('STORE_ROTATION_UNSUPPORTED');
      const pending = holder(secret, 'AWSPENDING');
      const isLeft = pending !== undefined && pending !== holder(secret, 'AWSCURRENT');
      if (isLeft) throw rotationRefused('STORE_ROTATION_PENDING');
      this.registerPending(secretId, versionId);
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #call<T>(
    method: StoreMethod,
    secretId: string,
    versionId: string | undefined,
    act: () => T,
  ): Promise<T> {
    this.calls[method] += 1;
    this.#index += 1;
    const call = { method, secretId, versionId, index: this.#index, nth: this.calls[method] };
    await this.before(call);
    const result = act();
    await this.after(call);
    return result;
  }

  #put(secretId: string, versionId: string, value: string, label: string): void {
    const secret = this.#writable(secretId);
    requireVersionId(secretId, versionId);
    encodeValue(secretId, value);
    const existing = secret.versions.get(versionId);
    if (existing?.value !== undefined) {
      if (existing.value === value) return;
      throw new SecretStoreError(
        'VERSION_CONFLICT',
        `The version ${versionId} of the secret "${secretId}" has a different value already.`,
      );
    }
    const first = [...secret.versions.values()].every((version) => version.value === undefined);
    if (existing) existing.value = value;
    else secret.versions.set(versionId, this.#version(value));
    moveLabel(secret, label, versionId);
    if (first && this.#options.firstVersionBecomesCurrent !== false) {
      moveLabel(secret, 'AWSCURRENT', versionId);
    }
  }

  #version(value: string | undefined): MemoryVersion {
    return { value, labels: new Set(), createdAt: this.#clock.now() };
  }

  #secret(secretId: string): MemorySecret {
    const secret = this.#secrets.get(secretId);
    if (secret) return secret;
    throw new SecretStoreError('SECRET_NOT_FOUND', `No secret has the id "${secretId}".`);
  }

  #writable(secretId: string): MemorySecret {
    const secret = this.#secret(secretId);
    if (!secret.traits.readOnlyReplica) return secret;
    throw new SecretStoreError(
      'STORE_READ_ONLY',
      `The secret "${secretId}" is a replica. Write to it in its primary Region.`,
    );
  }
}

/** The version that has a label, if any. */
function holder(secret: MemorySecret, label: string): string | undefined {
  for (const [versionId, version] of secret.versions) {
    if (version.labels.has(label)) return versionId;
  }
  return undefined;
}

/** Puts a label on one version and takes it from all others. */
function moveLabel(secret: MemorySecret, label: string, versionId: string): void {
  for (const version of secret.versions.values()) version.labels.delete(label);
  secret.versions.get(versionId)?.labels.add(label);
}

/** Makes a version current; the one before becomes AWSPREVIOUS. */
function moveCurrent(secret: MemorySecret, versionId: string): void {
  const before = holder(secret, 'AWSCURRENT');
  moveLabel(secret, 'AWSCURRENT', versionId);
  if (before !== undefined && before !== versionId) moveLabel(secret, 'AWSPREVIOUS', before);
}

function rotationRefused(
  code: 'STORE_ROTATION_UNSUPPORTED' | 'STORE_ROTATION_PENDING',
): SecretStoreError {
  return new SecretStoreError(code, 'The store does not start a rotation of the secret now.');
}

/** No version matches, or it has no value. */
function notFound(secretId: string, which: string): SecretStoreError {
  return new SecretStoreError(
    'VERSION_NOT_FOUND',
    `The secret "${secretId}" has no version ${which} with a value.`,
  );
}
