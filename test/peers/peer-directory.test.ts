import { describe, expect, jest, test } from '@jest/globals';
import { createPeerDirectory, PEERS_LIFE } from '../../src/peers/peer-directory.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { basic, createBroker, peerEntry, PEERS_SECRET, SECRETS, START } from '../serving/broker.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';

const TTL = 300_000;
const down = new SecretStoreError('STORE_UNAVAILABLE', 'Down.');
const listOf = (entry: object): string => JSON.stringify({ peers: { orders: entry } });

function setUp() {
  const clock = new VirtualClock(START);
  const store = new MemorySecretStore({ clock });
  const onMalformed = jest.fn();
  store.seed(PEERS_SECRET, listOf(peerEntry('secret', ['token'])));
  const directory = createPeerDirectory({
    store,
    secretId: PEERS_SECRET,
    clock,
    random: () => 0,
    onMalformed,
  });
  return { clock, store, directory, onMalformed };
}

describe('a list that cannot be read any more', () => {
  test.each([
    [
      'the store is down',
      (store: MemorySecretStore) => (store.before = () => Promise.reject(down)),
    ],
    ['it is no list', (store: MemorySecretStore) => store.edit(PEERS_SECRET, 'canary')],
  ])('because %s is served for a day, and not longer', async (_, fail) => {
    const { clock, store, directory } = setUp();
    await directory.get();
    fail(store);
    clock.set(START + PEERS_LIFE - 1);
    expect((await directory.get()).state).toBe('STALE');
    clock.advance(1);
    expect(directory.peek()).toBeUndefined();
    await expect(directory.get()).rejects.toMatchObject({
      code: expect.stringMatching(/^(STORE_UNAVAILABLE|PEERS_INVALID)$/),
    });
  });

  test('is served no longer when the clock is set back', async () => {
    const { clock, store, directory } = setUp();
    await directory.get();
    store.before = () => Promise.reject(down);
    clock.set(START - 30 * PEERS_LIFE);
    expect((await directory.get()).state).toBe('STALE');
    clock.advance(PEERS_LIFE - 1);
    expect((await directory.get()).state).toBe('STALE');
    clock.advance(1);
    await expect(directory.get()).rejects.toBe(down);
  });

  test('and becomes too old while a failed login has it read again: 503, neither 401 nor 500', async () => {
    const failed = jest.fn();
    const { clock, store, serving } = createBroker({ observer: { failed } });
    const ask = (secret: string) =>
      serving.token.answer({
        method: 'GET',
        url: '/v1/token',
        headers: { authorization: [basic('orders', secret)] },
        remoteAddress: '192.0.2.1',
        encrypted: true,
      });
    expect((await ask(SECRETS.orders)).status).toBe(200);
    store.before = () => Promise.reject(down);
    clock.set(START + PEERS_LIFE - 10_000);
    expect((await ask('wrong')).status).toBe(401);
    store.before = () => {
      clock.advance(1);
      throw down;
    };
    clock.set(START + PEERS_LIFE - 1);
    expect((await ask('wrong')).status).toBe(503);
    expect(failed).not.toHaveBeenCalled();
  });
});

test('malformed entries are reported when first read, and when they change', async () => {
  const { clock, store, directory, onMalformed } = setUp();
  const read = async (entry: object): Promise<void> => {
    store.edit(PEERS_SECRET, listOf(entry));
    clock.advance(TTL);
    await directory.get();
  };
  const good = peerEntry('secret', ['token']);
  const slip = { ...good, enabled: 'false' };
  const other = { ...good, roles: 'token' };
  for (const entry of [good, slip, slip, other, good, good, slip]) await read(entry);
  const reasons = onMalformed.mock.calls.map(([malformed]) => malformed);
  const [enabled, roles] = ['"enabled" must be true or false', '"roles" must be a list of strings'];
  expect(reasons).toEqual([
    [{ id: 'orders', reason: enabled }],
    [{ id: 'orders', reason: roles }],
    [{ id: 'orders', reason: enabled }],
  ]);
});
