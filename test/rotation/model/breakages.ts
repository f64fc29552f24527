import {
  isStoreError,
  versionWithLabel,
  type SecretStore,
} from '../../../src/secrets/secret-store.js';
import { parseServiceToken, serializeServiceToken } from '../../../src/tokens/service-token.js';
import { HOUR } from './provider.js';
import type { Breakage } from './scene.js';

/** A store that does some things otherwise than the real one. */
function changed(store: SecretStore, methods: Partial<SecretStore>): SecretStore {
  return {
    name: store.name,
    read: (...args) => store.read(...args),
    describe: (...args) => store.describe(...args),
    create: (...args) => store.create(...args),
    putPending: (...args) => store.putPending(...args),
    putClaim: (...args) => store.putClaim(...args),
    releaseClaim: (...args) => store.releaseClaim(...args),
    promote: (...args) => store.promote(...args),
    clearPending: (...args) => store.clearPending(...args),
    requestRotation: (...args) => store.requestRotation(...args),
    close: () => store.close(),
    ...methods,
  };
}

/** A store that shows other labels than it has. */
function relabelled(
  store: SecretStore,
  relabel: (labels: readonly string[]) => readonly string[],
): SecretStore {
  return changed(store, {
    describe: async (id) => {
      const description = await store.describe(id);
      const labels = [...description.labels].map(([version, names]) => {
        return [version, relabel(names)] as const;
      });
      return { ...description, labels: new Map(labels) };
    },
  });
}

/** What was to be staged, by its version, where something else was. */
const pretended = new Map<string, string>();

interface Broken extends Breakage {
  /** What the model has to say. */
  readonly says: RegExp;
  /** Where the model finds it soon. Default: that of the other tests. */
  readonly seed?: number;
}

/** Rotators and stores that are broken on purpose, and what the model has to say of each. */
export const BREAKAGES: Readonly<Record<string, Broken>> = {
  'promotes without verifying': {
    says: /a version was promoted that was not verified/,
    rotator: (options) => ({ ...options, verify: () => Promise.resolve() }),
  },
  'stages something else than it verifies': {
    says: /a version without a service token was promoted/,
    store: (store) =>
      changed(store, {
        putPending: (id, version, value, options) => {
          pretended.set(version, value);
          return store.putPending(id, version, '{"note":"empty"}', options);
        },
        read: async (id, selector) => {
          const version = await store.read(id, selector);
          return { ...version, value: pretended.get(version.versionId) ?? version.value };
        },
      }),
  },
  'takes a claim that another has': {
    says: /two processes hold one claim/,
    store: (store) =>
      changed(store, {
        putClaim: async (id, version, value) => {
          try {
            await store.putClaim(id, version, value);
          } catch (error) {
            if (!isStoreError(error, 'VERSION_CONFLICT')) throw error;
          }
        },
      }),
  },
  'mints without a claim': {
    says: /mints for one slot/,
    seed: 14,
    store: (store) => changed(store, { putClaim: () => Promise.resolve() }),
  },
  'does not wait for the lease of a claim': {
    says: /a claim was taken over while it stood/,
    rotator: (options) => ({ ...options, claimLease: 1_000 }),
  },
  'waits for a claim without end': {
    says: /the token was not fresh after|does not come to an end/,
    rotator: (options) => ({ ...options, claimLease: Number.MAX_SAFE_INTEGER }),
  },
  'moves labels without compare-and-swap': {
    says: /no compare-and-swap/,
    seed: 9,
    store: (store) =>
      changed(store, {
        promote: async (id, version) =>
          store.promote(id, version, versionWithLabel(await store.describe(id), 'AWSCURRENT')),
      }),
  },
  'takes AWSCURRENT off while it moves it': {
    says: /no version is AWSCURRENT any more/,
    whole: (store) => {
      let isMoving = false;
      const moving = changed(store, {
        promote: async (...args) => {
          await store.promote(...args);
          isMoving = true;
        },
      });
      const shown = relabelled(moving, (names) => names.filter((name) => name !== 'AWSCURRENT'));
      return changed(moving, {
        describe: (id) => {
          const wasMoving = isMoving;
          isMoving = false;
          return wasMoving ? shown.describe(id) : store.describe(id);
        },
      });
    },
  },
  'leaves a label where it was': {
    says: /AWSCURRENT is on 2 versions/,
    whole: (store) =>
      relabelled(store, (names) =>
        names.map((name) => (name === 'AWSPREVIOUS' ? 'AWSCURRENT' : name)),
      ),
  },
  'sets no AWSPREVIOUS': {
    says: /AWSPREVIOUS is not on the version that was current before/,
    whole: (store) => relabelled(store, (names) => names.filter((name) => name !== 'AWSPREVIOUS')),
  },
  'forgets who was withdrawn': {
    says: /a withdrawal was forgotten by the next version|a revocation withdrew nothing/,
    store: (store) =>
      changed(store, {
        putPending: (id, version, value, options) => {
          const { withdrawn: _list, withdrawnUntil: _until, ...token } = parseServiceToken(value);
          return store.putPending(id, version, serializeServiceToken(token), options);
        },
      }),
  },
  'serves what was withdrawn': {
    says: /a withdrawn token was served/,
    seed: 6,
    cache: (make) => ({ get: (request) => make({}).get(request) }),
  },
  'serves what has expired': {
    says: /an expired token was served/,
    seed: 9,
    cache: (make) => make({ skewMs: -100 * HOUR }),
  },
  'serves what is pending': {
    says: /a token was served that was never current/,
    cache: (make, store) =>
      make({
        store: {
          read: (id) => store.read(id, { label: 'AWSPENDING' }).catch(() => store.read(id)),
        },
      }),
  },
  'gives up after a failure': {
    says: /the token was not fresh after/,
    schedule: (schedule) => {
      let hasChecked = false;
      return {
        check: async () => {
          if (!hasChecked) await schedule.check();
          hasChecked = true;
        },
        stop: () => schedule.stop(),
      };
    },
  },
  'rotates at every check': {
    says: /a fresh token was replaced/,
    schedule: (schedule, rotator) => ({
      check: async () => {
        await schedule.check();
        await rotator.rotate({ trigger: 'cli', force: true }).catch(() => undefined);
      },
      stop: () => schedule.stop(),
    }),
  },
  'writes where Secrets Manager rotates': {
    says: /where another rotates/,
    store: (store, life) =>
      changed(store, {
        describe: async (id) => {
          const description = await store.describe(id);
          const isBroker = life.machine.name.startsWith('broker');
          return isBroker ? { ...description, rotationEnabled: false } : description;
        },
      }),
  },
  'writes to a replica': {
    says: /where the secret is a replica/,
    seed: 10,
    store: (store) =>
      changed(store, {
        describe: async (id) => ({ ...(await store.describe(id)), readOnlyReplica: false }),
      }),
  },
};
