import { describe, expect, test } from '@jest/globals';
import { NO_PEERS, serializePeers, withPeer } from '../../src/peers/peers.js';
import { createServing } from '../../src/serving/serving.js';
import { followInterval, WAITING_INTERVAL } from '../../src/serving/waiting-peers.js';
import { MemorySecretStore } from '../../src/testing/memory-secret-store.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { tokenAt } from './broker.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Reads of the tokens' secrets in twenty minutes in which a peer waits for each of so many tokens. */
async function readsInTwentyMinutes(count: number): Promise<number> {
  const clock = new VirtualClock();
  const store = new MemorySecretStore({ clock });
  const names = Array.from({ length: count }, (_, index) => `token-${index}`);
  const bytes = (length: number) => Buffer.alloc(length, 7);
  const { peers, secret } = withPeer(NO_PEERS, 'orders', ['token'], clock.now(), bytes, names);
  store.seed('peers', serializePeers(peers));
  for (const name of names) store.seed(name, serializeServiceToken(tokenAt(clock.now())), name);
  const serving = createServing({
    store,
    clock,
    tokens: names.map((name) => ({ name, secretId: name })),
    peersSecretId: 'peers',
    maxWaiting: 10 * count,
    random: () => 0.5,
  });
  const authorization = [`Basic ${Buffer.from(`orders:${secret}`).toString('base64')}`];
  let waits = 0;
  const wait = async (name: string): Promise<void> => {
    waits += 1;
    const answer = await serving.token.answer({
      method: 'GET',
      url: `/v1/tokens/${name}`,
      headers: { authorization, prefer: ['wait=300'], 'if-none-match': [`"${name}"`] },
      remoteAddress: '192.0.2.1',
      encrypted: true,
      onDisconnect: () => () => undefined,
    });
    expect(answer.status).toBe(304);
    void wait(name);
  };
  // Two for each, which do not come back together.
  serving.keepWarm();
  for (const name of names) void wait(name);
  await turn();
  clock.advance(100_000);
  for (const name of names) void wait(name);
  await turn();
  expect(waits).toBe(2 * count);
  const before = store.calls.read;
  for (let second = 0; second < 1_200; second += 1) {
    clock.advance(1_000);
    serving.keepWarm();
    await turn();
  }
  return store.calls.read - before - 5;
}

describe('the tokens that peers wait for', () => {
  test.each([
    [1, 80],
    [16, 16 * 80],
    // Together about one a second.
    [32, 32 * 40],
  ])('%i of them cost about %i reads', async (count, reads) => {
    const found = await readsInTwentyMinutes(count);
    expect(Math.abs(found - reads) / reads).toBeLessThan(0.05);
  });

  test.each([
    [0, WAITING_INTERVAL],
    [1, WAITING_INTERVAL],
    [16, WAITING_INTERVAL],
    [32, 2 * WAITING_INTERVAL],
    [1_000, 62.5 * WAITING_INTERVAL],
  ])('%i of them: each is read every %i ms', (followed, interval) => {
    expect(followInterval(followed)).toBe(interval);
  });
});
