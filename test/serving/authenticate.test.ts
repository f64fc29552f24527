import { describe, expect, test } from '@jest/globals';
import { authenticate } from '../../src/peers/peer-credentials.js';
import { parsePeers } from '../../src/peers/peers.js';
import { peerEntry } from './broker.js';

/** As long as a secret of the broker's making. */
const SECRET_LIKE = 'x'.repeat(43);

const peers = parsePeers(
  JSON.stringify({
    peers: {
      orders: peerEntry('right', ['token']),
      retired: peerEntry('right', ['token'], false),
      slip: { ...peerEntry('right', ['token']), enabled: 'true' },
      'no id': peerEntry('right', ['token']),
      [SECRET_LIKE]: { ...peerEntry('right', ['token']), enabled: 'true' },
    },
  }),
);
const [orders, retired] = [peers.byId.get('orders'), peers.byId.get('retired')];

describe('authenticate', () => {
  test.each([
    ['the right secret', 'orders', 'right', { ok: true, peer: orders }],
    ['a wrong secret', 'orders', 'wrong', { ok: false, reason: 'wrong_secret', peer: orders }],
    ['no secret', 'orders', '', { ok: false, reason: 'wrong_secret', peer: orders }],
    ['an unknown peer', 'nobody', 'right', { ok: false, reason: 'unknown_peer', peer: undefined }],
    [
      'a name of the prototype',
      'toString',
      '',
      { ok: false, reason: 'unknown_peer', peer: undefined },
    ],
    [
      'an id in another case',
      'Orders',
      'right',
      { ok: false, reason: 'unknown_peer', peer: undefined },
    ],
    [
      'a malformed entry',
      'slip',
      'right',
      { ok: false, reason: 'malformed_peer', peer: { id: 'slip' } },
    ],
    [
      'an entry whose id cannot be one, and is not logged',
      'no id',
      'right',
      { ok: false, reason: 'unknown_peer', peer: undefined },
    ],
    [
      'an entry whose id looks like a secret, and is not logged',
      SECRET_LIKE,
      'right',
      { ok: false, reason: 'unknown_peer', peer: undefined },
    ],
    ['a disabled peer', 'retired', 'right', { ok: false, reason: 'disabled_peer', peer: retired }],
    [
      'a disabled peer, wrong',
      'retired',
      'wrong',
      { ok: false, reason: 'wrong_secret', peer: retired },
    ],
  ])('%s', (_, id, secret, expected) => {
    expect(authenticate(peers, { id, secret })).toEqual(expected);
  });

  test('the stored digest is not a secret that is accepted', () => {
    const digest = orders?.secretSha256.toString('base64url') ?? '';
    expect(authenticate(peers, { id: 'orders', secret: digest }).ok).toBe(false);
  });
});
