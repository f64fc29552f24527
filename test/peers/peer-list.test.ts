import { describe, expect, jest, test } from '@jest/globals';
import { addPeer, listPeers, removePeer, rotatePeerSecret } from '../../src/peers/peer-admin.js';
import { authenticate } from '../../src/peers/peer-credentials.js';
import {
  createPeerDirectory,
  isNearlyFull,
  readPeers,
  readPeersSecrets,
  totalRoom,
  type PeersRoom,
} from '../../src/peers/peer-directory.js';
import { mergePeers, parsePeers } from '../../src/peers/peers.js';
import { MAX_VALUE_BYTES, SecretStoreError } from '../../src/secrets/secret-store.js';
import { peerEntry, START } from '../serving/broker.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { fc } from '../support/properties.js';
import { VirtualClock } from '../support/virtual-clock.js';

const [FIRST, SECOND, THIRD] = ['broker/peers', 'broker/peers-2', 'broker/peers-3'];

function setUp() {
  const clock = new VirtualClock(START);
  const store = new MemorySecretStore({ clock });
  const admin = { store, secretId: FIRST, moreSecretIds: [SECOND, THIRD], clock };
  const idsIn = async (secretId: string): Promise<string[]> => [
    ...parsePeers((await store.read(secretId)).value).byId.keys(),
  ];
  return { clock, store, admin, idsIn };
}

/** A list as a secret holds it, with as many peers as fit into so many bytes. */
function listOf(prefix: string, bytes = MAX_VALUE_BYTES): string {
  const peers: Record<string, object> = {};
  let size = '{"peers":{}}'.length;
  for (let index = 0; ; index += 1) {
    const id = `${prefix}-${index}`;
    const entry = peerEntry(`secret of ${id}`, ['token']);
    size += JSON.stringify({ [id]: entry }).length - 1;
    if (size > bytes) return JSON.stringify({ peers });
    peers[id] = entry;
  }
}

describe('a list that spans several secrets', () => {
  test('a peer goes to the first secret with room, which is created when it is needed', async () => {
    const { store, admin, idsIn } = setUp();
    await addPeer(admin, 'one', ['token']);
    expect(store.calls.create).toBe(1);
    store.edit(FIRST, listOf('first'));
    await addPeer(admin, 'two', ['token']);
    expect(await idsIn(SECOND)).toEqual(['two']);
    await removePeer(admin, 'first-7');
    await addPeer(admin, 'three', ['token']);
    expect(await idsIn(FIRST)).toContain('three');
    expect(await idsIn(SECOND)).toEqual(['two']);
    const { secrets } = await listPeers(admin);
    expect(secrets.map(({ id, exists, entries }) => [id, exists, entries > 0])).toEqual([
      [FIRST, true, true],
      [SECOND, true, true],
      [THIRD, false, false],
    ]);
  });

  test('when all are full, nothing is changed, and the error says what to do', async () => {
    const { store, admin } = setUp();
    for (const id of [FIRST, SECOND, THIRD]) store.seed(id, listOf(id.replace('/', '-')));
    await expect(addPeer(admin, 'one', ['token'])).rejects.toMatchObject({
      code: 'PEERS_FULL',
      kind: 'misconfigured',
      message: expect.stringContaining('BROKER_PEERS_SECRET_ID'),
    });
    expect(store.calls.putPending).toBe(0);
  });

  test('no id is added twice, wherever the first one is', async () => {
    const { store, admin } = setUp();
    store.seed(FIRST, '{"peers":{}}');
    store.seed(THIRD, JSON.stringify({ peers: { orders: peerEntry('secret', ['token']) } }));
    await expect(addPeer(admin, 'orders', ['token'])).rejects.toMatchObject({
      code: 'PEER_EXISTS',
    });
    expect(store.calls.putPending).toBe(0);
  });

  test('a peer of any secret logs in, gets a new secret, and is removed', async () => {
    const { clock, store, admin, idsIn } = setUp();
    store.seed(FIRST, JSON.stringify({ peers: { billing: peerEntry('b', ['token']) } }));
    store.seed(SECOND, JSON.stringify({ peers: { orders: peerEntry('o', ['token']) } }));
    const directory = createPeerDirectory(admin);
    const { value } = await directory.get();
    for (const [id, secret] of [
      ['billing', 'b'],
      ['orders', 'o'],
    ] as const) {
      expect(authenticate(value, { id, secret }, clock.now()).ok).toBe(true);
    }
    const rotated = await rotatePeerSecret(admin, 'orders', 1_000);
    expect(await idsIn(FIRST)).toEqual(['billing']);
    const again = await readPeers(store, FIRST, [SECOND]);
    for (const secret of ['o', rotated.secret]) {
      expect(authenticate(again, { id: 'orders', secret }, clock.now()).ok).toBe(true);
    }
    await removePeer(admin, 'orders');
    expect(await idsIn(SECOND)).toEqual([]);
    await expect(removePeer(admin, 'orders')).rejects.toMatchObject({ code: 'PEER_UNKNOWN' });
  });

  test('an id in two secrets opens with neither, is told as malformed, and can be removed', async () => {
    const { clock, store, admin, idsIn } = setUp();
    const [one, two, other] = ['one', 'two', 'b'].map((secret) => peerEntry(secret, ['token']));
    store.seed(FIRST, JSON.stringify({ peers: { orders: one, billing: other } }));
    store.seed(SECOND, JSON.stringify({ peers: { orders: two } }));
    const peers = await readPeers(store, FIRST, [SECOND]);
    for (const secret of ['one', 'two']) {
      expect(authenticate(peers, { id: 'orders', secret }, clock.now())).toEqual({
        ok: false,
        reason: 'malformed_peer',
        peer: { id: 'orders' },
      });
    }
    expect((await listPeers(admin)).malformed).toEqual([
      { id: 'orders', reason: 'it is in more than one peers secret' },
    ]);
    await expect(rotatePeerSecret(admin, 'orders', 0)).rejects.toMatchObject({
      code: 'PEER_UNKNOWN',
      message: expect.stringContaining('more than one peers secret'),
    });
    await removePeer(admin, 'orders');
    expect([await idsIn(FIRST), await idsIn(SECOND)]).toEqual([['billing'], []]);
  });

  test('a secret that cannot be read fails the whole read: nobody is refused for want of it', async () => {
    const { store, admin } = setUp();
    store.seed(FIRST, JSON.stringify({ peers: { billing: peerEntry('b', ['token']) } }));
    store.seed(SECOND, JSON.stringify({ peers: { orders: peerEntry('o', ['token']) } }));
    store.before = ({ method, secretId }) => {
      if (method === 'read' && secretId === SECOND) {
        throw new SecretStoreError('STORE_TIMEOUT', 'No answer in time.');
      }
    };
    await expect(readPeers(store, FIRST, admin.moreSecretIds)).rejects.toMatchObject({
      code: 'STORE_TIMEOUT',
    });
  });

  test('the first one has to exist, since its name may be wrong', async () => {
    const { store, admin } = setUp();
    store.seed(SECOND, '{"peers":{}}');
    await expect(readPeers(store, FIRST, admin.moreSecretIds)).rejects.toMatchObject({
      code: 'SECRET_NOT_FOUND',
    });
  });
});

test('that the secrets are nearly full is told once, and again when they had room meanwhile', async () => {
  const { clock, store } = setUp();
  const onNearlyFull = jest.fn<(room: PeersRoom) => void>();
  const directory = createPeerDirectory({ store, secretId: FIRST, clock, onNearlyFull });
  store.seed(FIRST, listOf('a', MAX_VALUE_BYTES * 0.88));
  const read = async (text?: string): Promise<void> => {
    if (text !== undefined) store.edit(FIRST, text);
    directory.invalidate();
    await directory.get();
  };
  await read();
  expect(onNearlyFull).not.toHaveBeenCalled();
  await read(listOf('a', MAX_VALUE_BYTES * 0.92));
  await read(listOf('a', MAX_VALUE_BYTES * 0.95));
  expect(onNearlyFull).toHaveBeenCalledTimes(1);
  await read(listOf('a', MAX_VALUE_BYTES * 0.5));
  await read(listOf('a', MAX_VALUE_BYTES * 0.92));
  expect(onNearlyFull).toHaveBeenCalledTimes(2);
  expect(onNearlyFull.mock.lastCall?.[0]).toMatchObject({ limit: 65_536 });
});

test('10,000 peers in 30 secrets: each one logs in with its own secret alone', async () => {
  const clock = new VirtualClock(START);
  const store = new MemorySecretStore({ clock });
  const ids = Array.from({ length: 30 }, (_, index) => `broker/peers-${index}`);
  ids.forEach((id, index) => store.seed(id, listOf(`p${index}`)));
  const peers = await readPeers(store, ids[0] ?? '', ids.slice(1));
  expect(peers.byId.size).toBeGreaterThan(10_000);
  expect(peers.malformed.size).toBe(0);
  for (const id of [...peers.byId.keys()].filter((_, index) => index % 500 === 0)) {
    expect(authenticate(peers, { id, secret: `secret of ${id}` }, START).ok).toBe(true);
    expect(authenticate(peers, { id, secret: 'secret of p0-0' }, START).ok).toBe(id === 'p0-0');
  }
});

test('a list that is nearly full when it is read first is told', async () => {
  const { clock, store } = setUp();
  const onNearlyFull = jest.fn<(room: PeersRoom) => void>();
  store.seed(FIRST, listOf('a', MAX_VALUE_BYTES * 0.92));
  await createPeerDirectory({ store, secretId: FIRST, clock, onNearlyFull }).get();
  expect(onNearlyFull).toHaveBeenCalledTimes(1);
});

test('the room of several secrets is one, malformed entries included', async () => {
  const { store } = setUp();
  store.seed(FIRST, JSON.stringify({ peers: { a: peerEntry('a', ['token']), b: 1 } }));
  store.seed(SECOND, '{"peers":{"c":1}}');
  const secrets = await readPeersSecrets(store, [FIRST, SECOND]);
  expect(totalRoom(secrets)).toEqual({
    bytes: (await store.read(FIRST)).value.length + 17,
    limit: 2 * MAX_VALUE_BYTES,
    entries: 3,
  });
  expect(
    [0.89, 0.9, 0.91].map((share) =>
      isNearlyFull({ bytes: 1_000 * share, limit: 1_000, entries: 1 }),
    ),
  ).toEqual([false, true, true]);
  const merged = await readPeers(store, FIRST, [SECOND]);
  expect([...merged.malformed]).toEqual([
    ['b', 'it must be an object'],
    ['c', 'it must be an object'],
  ]);
  expect([...(await readPeers(store, FIRST)).malformed.keys()]).toEqual(['b']);
});

test('merged in any order: an id counts when it is in one list alone', () => {
  const id = fc.constantFrom('a', 'b', 'c', 'd');
  const list = fc.dictionary(id, fc.boolean());
  fc.assert(
    fc.property(fc.array(list, { minLength: 1, maxLength: 4 }), (lists) => {
      const parsed = lists.map((entries) =>
        parsePeers(
          JSON.stringify({
            peers: Object.fromEntries(
              Object.entries(entries).map(([name, isRight]) => [
                name,
                isRight ? peerEntry(name, ['token']) : 1,
              ]),
            ),
          }),
        ),
      );
      for (const order of [parsed, parsed.toReversed()]) {
        const { byId, malformed } = mergePeers(order);
        for (const name of ['a', 'b', 'c', 'd']) {
          const among = lists.filter((entries) => Object.hasOwn(entries, name));
          expect(byId.has(name)).toBe(among.length === 1 && among[0]?.[name] === true);
          expect(malformed.has(name)).toBe(among.length > 0 && !byId.has(name));
        }
      }
    }),
    { numRuns: 60 },
  );
});
