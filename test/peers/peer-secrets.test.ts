import { randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import {
  addPeer,
  grantPeer,
  listPeers,
  removePeer,
  rotatePeerSecret,
  setPeerEnabled,
} from '../../src/peers/peer-admin.js';
import { authenticate } from '../../src/peers/peer-credentials.js';
import {
  hashPeerSecret,
  NO_PEERS,
  parsePeers,
  serializePeers,
  summarizePeers,
  withNewSecret,
  withPeer,
  type Peers,
  type PeersSecret,
} from '../../src/peers/peers.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { peerEntry, START } from '../serving/broker.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { fc } from '../support/properties.js';
import { VirtualClock } from '../support/virtual-clock.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const opens = (peers: Peers, secret: string, now: number): boolean =>
  authenticate(peers, { id: 'orders', secret }, now).ok;

describe('withNewSecret', () => {
  const added = withPeer(NO_PEERS, 'orders', ['token'], START, randomBytes);

  test('both secrets work until the overlap ends, to the millisecond', () => {
    const rotated = withNewSecret(added.peers, 'orders', HOUR, START, randomBytes);
    const peers = parsePeers(serializePeers(rotated.peers));
    expect(rotated.secret).not.toBe(added.secret);
    for (const now of [START, START + HOUR - 1, START + HOUR, START + DAY]) {
      expect(opens(peers, rotated.secret, now)).toBe(true);
      expect(opens(peers, added.secret, now)).toBe(now < START + HOUR);
    }
    expect(serializePeers(peers)).not.toContain(rotated.secret);
    expect(summarizePeers(peers)[0]).toMatchObject({ previousSecretUntil: START + HOUR });
    expect(JSON.stringify(summarizePeers(peers))).not.toContain('sha256');
  });

  test('a second rotation waits for the end of the first, which was promised', () => {
    const { peers } = withNewSecret(added.peers, 'orders', HOUR, START, randomBytes);
    const again = (now: number) => withNewSecret(peers, 'orders', HOUR, now, randomBytes);
    expect(() => again(START + HOUR - 1)).toThrow(
      expect.objectContaining({ code: 'PEER_OVERLAP_RUNNING', kind: 'rejected' }),
    );
    expect(opens(again(START + HOUR).peers, added.secret, START + HOUR)).toBe(false);
  });

  test('with an overlap of 0 every older secret ends, one in its overlap too', () => {
    const first = withNewSecret(added.peers, 'orders', HOUR, START, randomBytes);
    const { peers, secret } = withNewSecret(first.peers, 'orders', 0, START, randomBytes);
    expect([added.secret, first.secret, secret].map((one) => opens(peers, one, START))).toEqual([
      false,
      false,
      true,
    ]);
    expect(serializePeers(peers)).not.toContain('previous');
  });

  test('keeps what it does not know: of the entry, of others, and of the list', () => {
    const orders = { ...peerEntry('secret', ['token', 'auditor']), team: 'payments' };
    const others = { billing: peerEntry('other', ['admin']), broken: 1 };
    const text = JSON.stringify({ version: 2, peers: { ...others, orders } });
    const { peers, secret } = withNewSecret(parsePeers(text), 'orders', HOUR, START, randomBytes);
    expect(JSON.parse(serializePeers(peers))).toEqual({
      version: 2,
      peers: {
        ...others,
        orders: {
          ...orders,
          secret_sha256: hashPeerSecret(secret).toString('base64url'),
          previous_secret_sha256: hashPeerSecret('secret').toString('base64url'),
          previous_secret_not_after: new Date(START + HOUR).toISOString(),
        },
      },
    });
  });

  test('an overlap has 30 days at most, and the error says until when one runs', () => {
    const { peers } = withNewSecret(added.peers, 'orders', 30 * DAY, START, randomBytes);
    expect(opens(peers, added.secret, START + 30 * DAY - 1)).toBe(true);
    expect(() => withNewSecret(peers, 'orders', 1, START, randomBytes)).toThrow(
      'The secret before the current one of "orders" works until 2026-12-22T12:00:00.000Z. Wait for that, or end every older secret at once with an overlap of 0.',
    );
    expect(() => withNewSecret(peers, 'orders', 31 * DAY, START, randomBytes)).toThrow(
      'Two secrets overlap for 30 days at most.',
    );
    expect(() => withNewSecret(NO_PEERS, 'not an id', 0, START, randomBytes)).toThrow(
      'There is no peer with this id.',
    );
  });

  test.each([-1, Number.NaN, Infinity, 30 * DAY + 1])('refuses an overlap of %p ms', (overlap) => {
    expect(() => withNewSecret(added.peers, 'orders', overlap, START, randomBytes)).toThrow(
      expect.objectContaining({ code: 'PEER_OVERLAP_INVALID' }),
    );
  });

  test('refuses an unknown peer and a malformed entry, and says which it is', () => {
    const rotate = (peers: PeersSecret) => () =>
      withNewSecret(peers, 'orders', 0, START, randomBytes);
    expect(rotate(NO_PEERS)).toThrow('There is no peer "orders".');
    const malformed = { orders: { ...peerEntry('secret', ['token']), enabled: 1 } };
    expect(rotate(parsePeers(JSON.stringify({ peers: malformed })))).toThrow(
      'The entry "orders" is malformed: "enabled" must be true or false.',
    );
  });

  test('at any time after any rotations: the newest works, and at most one other', () => {
    const step = fc.record({ wait: fc.nat(2 * HOUR), overlap: fc.constantFrom(0, 1, HOUR, DAY) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6 }), fc.nat(2 * DAY), (steps, later) => {
        let { peers, secret } = added;
        const secrets = [secret];
        let now = START;
        for (const { wait, overlap } of steps) {
          now += wait;
          try {
            ({ peers, secret } = withNewSecret(peers, 'orders', overlap, now, randomBytes));
            secrets.push(secret);
          } catch (error) {
            expect(error).toMatchObject({ code: 'PEER_OVERLAP_RUNNING' });
          }
        }
        const working = secrets.filter((one) => opens(peers, one, now + later));
        expect(working).toContain(secrets.at(-1));
        expect(working.length).toBeLessThanOrEqual(2);
      }),
      { numRuns: 50 },
    );
  });
});

describe('members of a previous secret that are wrong refuse the peer alone', () => {
  const digest = hashPeerSecret('old').toString('base64url');
  const end = '2030-01-01T00:00:00Z';
  test.each([
    [{ previous_secret_sha256: digest }, '"previous_secret_not_after"'],
    [
      { previous_secret_sha256: digest, previous_secret_not_after: 1 },
      '"previous_secret_not_after"',
    ],
    [
      { previous_secret_sha256: digest, previous_secret_not_after: 'canary' },
      '"previous_secret_not_after"',
    ],
    [{ previous_secret_not_after: end }, '"previous_secret_sha256"'],
    [{ previous_secret_sha256: 'canary', previous_secret_not_after: end }, '"previous_secret_sha'],
    [{ previous_secret_sha256: null, previous_secret_not_after: end }, '"previous_secret_sha256"'],
  ])('%j', (members, names) => {
    const entry = peerEntry('secret', ['token']);
    const { byId, malformed } = parsePeers(
      JSON.stringify({ peers: { orders: { ...entry, ...members }, billing: entry } }),
    );
    expect([...byId.keys()]).toEqual(['billing']);
    expect(malformed.get('orders')).toContain(names);
    expect(malformed.get('orders')).not.toContain('canary');
  });
});

test('a previous secret of a disabled peer, and a wrong secret of a peer with two, are refused', () => {
  const previous = {
    previous_secret_sha256: hashPeerSecret('old').toString('base64url'),
    previous_secret_not_after: new Date(START + HOUR).toISOString(),
  };
  const parse = (enabled: boolean): Peers =>
    parsePeers(
      JSON.stringify({
        peers: { orders: { ...peerEntry('new', ['token'], enabled), ...previous } },
      }),
    );
  expect(authenticate(parse(false), { id: 'orders', secret: 'old' }, START)).toMatchObject({
    ok: false,
    reason: 'disabled_peer',
  });
  for (const [secret, now] of [
    ['other', START],
    ['', START],
    ['old', START + HOUR],
  ] as const) {
    expect(authenticate(parse(true), { id: 'orders', secret }, now)).toMatchObject({
      ok: false,
      reason: 'wrong_secret',
    });
  }
});

describe('rotatePeerSecret', () => {
  const setUp = async () => {
    const clock = new VirtualClock(START);
    const store = new MemorySecretStore({ clock });
    const admin = { store, secretId: 'broker/peers', clock };
    const { secret } = await addPeer(admin, 'orders', ['token']);
    const works = async (one: string): Promise<boolean> =>
      opens(parsePeers((await store.read('broker/peers')).value), one, clock.now());
    return { clock, store, admin, secret, works };
  };

  test('the peer changes over without a moment in which its secret is refused', async () => {
    const { clock, admin, secret, works } = await setUp();
    const now = clock.now();
    const rotated = await rotatePeerSecret(admin, 'orders', HOUR);
    expect(rotated.previousUntil).toBe(now + HOUR);
    expect([await works(secret), await works(rotated.secret)]).toEqual([true, true]);
    clock.advance(HOUR);
    expect([await works(secret), await works(rotated.secret)]).toEqual([false, true]);
    expect((await listPeers(admin)).peers).toHaveLength(1);
  });

  test('undone, only the secret before works, and somebody else’s change stays', async () => {
    const { admin, secret, works } = await setUp();
    const rotated = await rotatePeerSecret(admin, 'orders', HOUR);
    const billing = await addPeer(admin, 'billing', ['token']);
    await rotated.undo();
    expect([await works(secret), await works(rotated.secret)]).toEqual([true, false]);
    expect((await listPeers(admin)).peers.map(({ id }) => id)).toEqual([billing.id, 'orders']);
    await rotated.undo();
    expect(await works(secret)).toBe(true);
  });

  test('undone, it lets nobody in who was disabled meanwhile, and gives no role back', async () => {
    const { admin, works } = await setUp();
    await grantPeer(admin, 'orders', { roles: ['token', 'admin'], tokens: ['default', 'ledger'] });
    const rotated = await rotatePeerSecret(admin, 'orders', HOUR);
    await grantPeer(admin, 'orders', { roles: ['token'], tokens: ['ledger'] });
    await setPeerEnabled(admin, 'orders', false);
    await rotated.undo();
    expect(await works(rotated.secret)).toBe(false);
    expect((await listPeers(admin)).peers).toMatchObject([
      { id: 'orders', enabled: false, roles: ['token'], tokens: ['ledger'] },
    ]);
  });

  test('undone, a secret that somebody made since stays, and a peer that was removed too', async () => {
    const { admin, secret, works } = await setUp();
    const rotated = await rotatePeerSecret(admin, 'orders', HOUR);
    const newest = await rotatePeerSecret(admin, 'orders', 0);
    await rotated.undo();
    expect([await works(secret), await works(newest.secret)]).toEqual([false, true]);
    await removePeer(admin, 'orders');
    await newest.undo();
    expect((await listPeers(admin)).peers).toEqual([]);
  });

  test('undone while the answer to the write is lost, it is undone once', async () => {
    const { store, admin, secret, works } = await setUp();
    const rotated = await rotatePeerSecret(admin, 'orders', HOUR);
    const writes = store.calls.putPending;
    let isLost = false;
    store.after = ({ method }) => {
      if (method !== 'promote' || isLost) return;
      isLost = true;
      throw new SecretStoreError('STORE_TIMEOUT', 'No answer in time.');
    };
    await rotated.undo();
    expect([await works(secret), await works(rotated.secret)]).toEqual([true, false]);
    expect(store.calls.putPending).toBe(writes + 1);
  });

  test('the answer to a write is lost: there is one rotation, and its secret is shown', async () => {
    const { store, admin, secret, works } = await setUp();
    let isLost = false;
    store.after = ({ method }) => {
      if (method !== 'promote' || isLost) return;
      isLost = true;
      throw new SecretStoreError('STORE_TIMEOUT', 'No answer in time.');
    };
    const rotated = await rotatePeerSecret(admin, 'orders', HOUR);
    expect([await works(secret), await works(rotated.secret)]).toEqual([true, true]);
  });

  test('an unknown peer changes nothing', async () => {
    const { store, admin } = await setUp();
    const writes = store.calls.putPending;
    await expect(rotatePeerSecret(admin, 'billing', 0)).rejects.toMatchObject({
      code: 'PEER_UNKNOWN',
    });
    expect(store.calls.putPending).toBe(writes);
  });
});
