import { describe, expect, test } from '@jest/globals';
import {
  addPeer,
  grantPeer,
  listPeers,
  removePeer,
  setPeerEnabled,
} from '../../src/peers/peer-admin.js';
import { authenticate } from '../../src/peers/peer-credentials.js';
import { createPeerDirectory } from '../../src/peers/peer-directory.js';
import { SecretStoreError, versionWithLabel } from '../../src/secrets/secret-store.js';
import {
  MemorySecretStore,
  type MemoryStoreOptions,
  type StoreMethod,
} from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';

const secretId = 'broker/peers';

type Admin = ReturnType<typeof setUp>['admin'];

function setUp(options: MemoryStoreOptions = {}) {
  const clock = new VirtualClock();
  const store = new MemorySecretStore({ clock, ...options });
  const admin = { store, secretId, clock };
  const ids = async (): Promise<string[]> => (await listPeers(admin)).peers.map(({ id }) => id);
  const accepts = async (id: string, secret: string): Promise<boolean> => {
    const { value } = await createPeerDirectory({ store, secretId, clock }).get();
    return authenticate(value, { id, secret }, clock.now()).ok;
  };
  return { store, admin, ids, accepts };
}

describe.each([
  ['becomes current by itself', { firstVersionBecomesCurrent: true }],
  ['does not', { firstVersionBecomesCurrent: false }],
  [
    'does not, and promoting takes AWSPENDING off',
    { firstVersionBecomesCurrent: false, pendingStaysAfterPromote: false },
  ],
])('where the first version %s', (_, options) => {
  test('a peer is added to a secret that does not exist, and then to the list', async () => {
    const { admin, store, ids, accepts } = setUp(options);
    expect(await ids()).toEqual([]);
    const orders = await addPeer(admin, 'orders', ['token']);
    const billing = await addPeer(admin, 'billing', ['token', 'admin']);
    expect(orders.secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(await ids()).toEqual(['billing', 'orders']);
    expect(store.calls.create).toBe(1);
    expect(await accepts('orders', orders.secret)).toBe(true);
    expect(await accepts('billing', billing.secret)).toBe(true);
    expect(await accepts('billing', orders.secret)).toBe(false);
    expect(versionWithLabel(await store.describe(secretId), 'AWSPENDING')).toBeUndefined();
  });

  test('a secret without a value is an empty list', async () => {
    const { admin, store, ids } = setUp(options);
    store.seed(secretId);
    expect(await ids()).toEqual([]);
    await addPeer(admin, 'orders', ['token']);
    expect(await ids()).toEqual(['orders']);
  });

  test('many at once: every peer is added with its own secret', async () => {
    const { admin, ids, accepts } = setUp(options);
    const names = ['a', 'b', 'c', 'd', 'e'];
    const added = await Promise.all(names.map((name) => addPeer(admin, name, ['token'])));
    expect(await ids()).toEqual(names);
    for (const { id, secret } of added) expect(await accepts(id, secret)).toBe(true);
    await Promise.all(names.slice(1).map((name) => removePeer(admin, name)));
    expect(await ids()).toEqual(['a']);
  });

  test.each<StoreMethod>(['putPending', 'promote', 'clearPending'])(
    'the answer to %s is lost: the peer is there once, with the secret that is shown',
    async (method) => {
      const { admin, store, accepts, ids } = setUp(options);
      store.after = (call) => {
        if (call.method === method && call.nth === 1) {
          throw new SecretStoreError('STORE_TIMEOUT', 'No answer in time.');
        }
      };
      const { secret } = await addPeer(admin, 'orders', ['token']);
      expect(await accepts('orders', secret)).toBe(true);
      expect(await ids()).toEqual(['orders']);
    },
  );
});

test('a peer is removed; removing it again is an error', async () => {
  const { admin, ids } = setUp();
  await addPeer(admin, 'orders', ['token']);
  await removePeer(admin, 'orders');
  expect(await ids()).toEqual([]);
  await expect(removePeer(admin, 'orders')).rejects.toMatchObject({ code: 'PEER_UNKNOWN' });
});

test.each([
  ['removing a peer', 'PEER_UNKNOWN', (admin: Admin) => removePeer(admin, 'orders')],
  ['a role that does not exist', 'PEER_ROLE_INVALID', (admin: Admin) => addPeer(admin, 'a', ['b'])],
])('without a peers secret, %s creates none', async (_what, code, act) => {
  const { admin, store } = setUp();
  await expect(act(admin)).rejects.toMatchObject({ code });
  expect(store.calls.create).toBe(0);
});

test('what cannot be read is not overwritten', async () => {
  const { admin, store } = setUp();
  store.seed(secretId, '{"peers":[]}');
  await expect(addPeer(admin, 'billing', ['token'])).rejects.toMatchObject({
    code: 'PEERS_INVALID',
  });
  expect(store.calls.putPending).toBe(0);
});

test('a malformed entry is listed as such, kept while others are edited, and removed when asked to', async () => {
  const { admin, store, ids } = setUp();
  store.seed(secretId, '{"peers":{"orders":{"secret_sha256":"?"}}}');
  await addPeer(admin, 'billing', ['token']);
  await addPeer(admin, 'shipping', ['token']);
  await removePeer(admin, 'billing');
  expect(await ids()).toEqual(['shipping']);
  const { malformed } = await listPeers(admin);
  expect(malformed).toEqual([
    { id: 'orders', reason: '"secret_sha256" must be a SHA-256 digest in base64url' },
  ]);
  expect(JSON.parse((await store.read(secretId)).value)).toMatchObject({
    peers: { orders: { secret_sha256: '?' } },
  });
  await expect(addPeer(admin, 'orders', ['token'])).rejects.toMatchObject({ code: 'PEER_EXISTS' });
  await removePeer(admin, 'orders');
  expect((await listPeers(admin)).malformed).toEqual([]);
  await addPeer(admin, 'orders', ['token']);
  expect(await ids()).toEqual(['orders', 'shipping']);
});

test('an error that is not temporary is not retried', async () => {
  const { admin, store } = setUp();
  store.before = ({ method }) => {
    if (method === 'putPending') throw new SecretStoreError('STORE_ACCESS_DENIED', 'Denied.');
  };
  await expect(addPeer(admin, 'orders', ['token'])).rejects.toMatchObject({
    code: 'STORE_ACCESS_DENIED',
  });
  expect(store.calls.putPending).toBe(1);
});

describe('an answer to the write is lost', () => {
  test.each<[string, (admin: Admin) => Promise<unknown>]>([
    ['removed', (admin) => removePeer(admin, 'orders')],
    ['granted', (admin) => grantPeer(admin, 'orders', { tokens: ['ledger'] })],
    ['disabled', (admin) => setPeerEnabled(admin, 'orders', false)],
  ])('the peer is %s, and the write is not repeated', async (_what, act) => {
    const { admin, store } = setUp();
    await addPeer(admin, 'orders', ['token']);
    const writes = store.calls.putPending;
    let isLost = false;
    store.after = ({ method }) => {
      if (method !== 'promote' || isLost) return;
      isLost = true;
      throw new SecretStoreError('STORE_TIMEOUT', 'No answer in time.');
    };
    await act(admin);
    expect(store.calls.putPending).toBe(writes + 1);
  });

  test('of the last attempt: it has taken effect all the same', async () => {
    const { admin, store, accepts } = setUp();
    await addPeer(admin, 'billing', ['token']);
    let promotes = 0;
    store.before = ({ method }) => {
      if (method === 'promote' && (promotes += 1) < 8) {
        throw new SecretStoreError('STORE_UNAVAILABLE', 'Down.');
      }
    };
    store.after = ({ method }) => {
      if (method === 'promote') throw new SecretStoreError('STORE_TIMEOUT', 'No answer in time.');
    };
    const { secret } = await addPeer(admin, 'orders', ['token']);
    expect(promotes).toBe(8);
    expect(await accepts('orders', secret)).toBe(true);
  });
});

test('a secret is full at 65,536 bytes, and not before', async () => {
  const { admin, store } = setUp();
  await addPeer(admin, 'orders', ['token']);
  const { value } = await store.read(secretId);
  const document = JSON.parse(value) as object;
  const note = 'x'.repeat(65_536 - JSON.stringify({ ...document, note: '' }).length);
  store.edit(secretId, JSON.stringify({ ...document, note }));
  await setPeerEnabled(admin, 'orders', true);
  expect((await listPeers(admin)).secrets).toEqual([
    { id: secretId, exists: true, bytes: 65_536, limit: 65_536, entries: 1 },
  ]);
  // One byte longer than "true".
  await expect(setPeerEnabled(admin, 'orders', false)).rejects.toMatchObject({
    code: 'PEERS_FULL',
  });
});

test('an edit reads no more of the store than it needs', async () => {
  const { admin, store } = setUp();
  await addPeer(admin, 'orders', ['token']);
  const readsOf = async (act: () => Promise<unknown>): Promise<number> => {
    const before = store.calls.read;
    await act();
    return store.calls.read - before;
  };
  expect(await readsOf(() => setPeerEnabled(admin, 'orders', true))).toBe(1);
  const spanning = { ...admin, moreSecretIds: ['broker/peers-2'] };
  expect(await readsOf(() => setPeerEnabled(spanning, 'orders', true))).toBe(3);
});

test('a store that is down lists nobody: that is an error', async () => {
  const { admin, store } = setUp();
  expect(await listPeers(admin)).toEqual({ peers: [], malformed: [], secrets: [] });
  store.before = () => {
    throw new SecretStoreError('STORE_UNAVAILABLE', 'Down.');
  };
  await expect(listPeers(admin)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
});

test('while others keep writing, attempts are limited', async () => {
  const { admin, store } = setUp();
  await addPeer(admin, 'orders', ['token']);
  const { value } = await store.read(secretId);
  store.before = ({ method }) => {
    if (method === 'promote') store.edit(secretId, value);
  };
  const started = admin.clock.now();
  await expect(addPeer(admin, 'billing', ['token'])).rejects.toMatchObject({
    code: 'PEERS_BUSY',
    kind: 'retry',
    message:
      'The peers secret was changed by others 8 times in a row. Nothing was changed; try again.',
    cause: { code: 'PROMOTE_CONFLICT' },
  });
  // Waits that grow: 20 to 40 ms, then 40 to 80, and so on.
  const waited = admin.clock.now() - started;
  expect(waited).toBeGreaterThanOrEqual(720);
  expect(waited).toBeLessThan(1_440);
  expect(store.calls.promote).toBe(1 + 8);
});

test('a store that is down: its error, after a limited number of attempts', async () => {
  const { admin, store } = setUp();
  store.before = ({ method }) => {
    if (method === 'putPending') throw new SecretStoreError('STORE_UNAVAILABLE', 'Down.');
  };
  await expect(addPeer(admin, 'orders', ['token'])).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
  });
  expect(store.calls.putPending).toBe(8);
});

describe('other grants', () => {
  test('replace those that a peer has, and leave its secret and the other peers alone', async () => {
    const { admin, accepts } = setUp();
    const { secret } = await addPeer(admin, 'orders', ['token'], ['default']);
    await addPeer(admin, 'billing', ['token']);
    expect(
      await grantPeer(admin, 'orders', { tokens: ['ledger', 'mail', 'ledger'] }),
    ).toMatchObject({
      roles: ['token'],
      tokens: ['ledger', 'mail'],
    });
    expect(await grantPeer(admin, 'orders', { roles: ['token', 'admin'] })).toMatchObject({
      roles: ['token', 'admin'],
      tokens: ['ledger', 'mail'],
    });
    expect(await accepts('orders', secret)).toBe(true);
    const { peers } = await listPeers(admin);
    expect(peers.find(({ id }) => id === 'billing')).toMatchObject({ tokens: ['default'] });
  });

  test('are refused for nobody, and when they are none that exist', async () => {
    const { admin } = setUp();
    await addPeer(admin, 'orders', ['token']);
    const before = await listPeers(admin);
    for (const [id, grants, code] of [
      ['nobody', { tokens: ['ledger'] }, 'PEER_UNKNOWN'],
      ['orders', { tokens: ['Not a name'] }, 'PEER_TOKEN_INVALID'],
      ['orders', { roles: ['root'] }, 'PEER_ROLE_INVALID'],
      ['orders', { roles: [] }, 'PEER_ROLE_INVALID'],
    ] as const) {
      await expect(grantPeer(admin, id, grants)).rejects.toMatchObject({ code });
    }
    expect(await listPeers(admin)).toEqual(before);
  });
});

describe('a peer that is disabled', () => {
  test('is refused with the right secret, and let in again with the same one', async () => {
    const { admin, accepts, ids } = setUp();
    const orders = await addPeer(admin, 'orders', ['token', 'admin'], ['ledger']);
    const billing = await addPeer(admin, 'billing', ['token']);
    await setPeerEnabled(admin, 'orders', false);
    expect(await accepts('orders', orders.secret)).toBe(false);
    expect(await accepts('billing', billing.secret)).toBe(true);
    expect(await ids()).toEqual(['billing', 'orders']);
    const { peers } = await listPeers(admin);
    expect(peers[1]).toMatchObject({
      enabled: false,
      roles: ['token', 'admin'],
      tokens: ['ledger'],
    });
    // Twice is as good as once.
    await setPeerEnabled(admin, 'orders', false);
    await setPeerEnabled(admin, 'orders', true);
    expect(await accepts('orders', orders.secret)).toBe(true);
  });

  test('has to exist, in whichever of the secrets', async () => {
    const { admin, store } = setUp();
    const spanning = { ...admin, moreSecretIds: ['broker/peers-2'] };
    await addPeer(admin, 'orders', ['token']);
    await addPeer({ ...admin, secretId: 'broker/peers-2' }, 'ledger', ['token']);
    await setPeerEnabled(spanning, 'ledger', false);
    expect((await listPeers(spanning)).peers).toMatchObject([
      { id: 'ledger', enabled: false },
      { id: 'orders', enabled: true },
    ]);
    expect((await store.read('broker/peers-2')).value).toContain('"enabled":false');
    await expect(setPeerEnabled(spanning, 'nobody', false)).rejects.toMatchObject({
      code: 'PEER_UNKNOWN',
    });
  });
});
