import { openEmbeddedStore } from '../../../src/secrets/embedded/open-embedded-store.js';
import { versionWithLabel, type SecretStore } from '../../../src/secrets/secret-store.js';
import type { Clock } from '../../../src/tokens/time.js';
import { MemorySecretStore } from '../../support/memory-store.js';

/** How a store is set up, where AWS defines nothing, or stores differ. */
export interface StoreTraits {
  readonly firstVersionBecomesCurrent: boolean;
  readonly pendingStaysAfterPromote: boolean;
}

/** A store with one empty token secret, for one run of the model. */
export interface StoreOfRun {
  readonly store: SecretStore;
  readonly secretId: string;
  /** What Secrets Manager does itself; `undefined` where the store is not Secrets Manager. */
  readonly manager?: {
    setRotation(isEnabled: boolean): Promise<void>;
    /** RotateSecret: the version gets AWSPENDING before it has a value. */
    register(versionId: string): Promise<void>;
    setReplica?(isReplica: boolean): Promise<void>;
  };
}

/** Where the runs of the model get their stores from. */
export interface StoreKind {
  readonly name: string;
  /** Whether it is Secrets Manager, or behaves like it. */
  readonly isManager: boolean;
  open(traits: StoreTraits, clock: Clock): Promise<StoreOfRun>;
}

const SECRET = 'broker/token';

export const MEMORY: StoreKind = {
  name: 'memory',
  isManager: true,
  open: async (traits, clock) => {
    const store = new MemorySecretStore({ ...traits, clock });
    store.seed(SECRET);
    // DescribeSecret's LastChangedDate.
    const changed = (): void => store.configure(SECRET, { changedAt: clock.now() });
    store.after = ({ method }) => {
      if (method !== 'read' && method !== 'describe') changed();
    };
    return {
      store,
      secretId: SECRET,
      manager: {
        setRotation: async (rotationEnabled) => store.configure(SECRET, { rotationEnabled }),
        register: async (versionId) => {
          store.registerPending(SECRET, versionId);
          changed();
        },
        setReplica: async (readOnlyReplica) => store.configure(SECRET, { readOnlyReplica }),
      },
    };
  },
};

/** The embedded store: one file for all runs, and a secret for each. */
export async function embeddedStores(
  dataDir: string,
): Promise<StoreKind & { close(): Promise<void> }> {
  let clock: Clock | undefined;
  let runs = 0;
  const store = await openEmbeddedStore({
    dataDir,
    clock: {
      now: () => clock?.now() ?? 0,
      sleep: (milliseconds, signal) => clock?.sleep(milliseconds, signal) ?? Promise.resolve(),
    },
  });
  return {
    name: 'embedded',
    isManager: false,
    open: async (_traits, ofRun) => {
      clock = ofRun;
      runs += 1;
      const secretId = `token-${runs}`;
      await store.create(secretId, 'of a run of the model');
      return { store, secretId };
    },
    close: () => store.close(),
  };
}

/** A person's PutSecretValue: the version is current at once. */
export async function putCurrent(
  { store, secretId }: StoreOfRun,
  versionId: string,
  value: string,
): Promise<void> {
  await store.putPending(secretId, versionId, value);
  const description = await store.describe(secretId);
  await store.promote(secretId, versionId, versionWithLabel(description, 'AWSCURRENT'));
  await store.clearPending(secretId, versionId);
}
