import { describe, expect, test } from '@jest/globals';
import { authenticate, parseBasicCredentials } from '../../src/peers/peer-credentials.js';
import { parsePeers } from '../../src/peers/peers.js';
import { peerEntry, START } from '../serving/broker.js';
import { fc } from '../support/properties.js';

const encode = (text: string | Buffer): string => Buffer.from(text).toString('base64');

describe('what is understood', () => {
  test.each([
    ['plain', `Basic ${encode('orders:secret')}`, 'orders', 'secret'],
    ['the scheme in any case', `bAsIc ${encode('orders:secret')}`, 'orders', 'secret'],
    ['more than one space', `Basic   ${encode('orders:secret')}`, 'orders', 'secret'],
    ['a colon in the secret', `Basic ${encode('orders:a:b')}`, 'orders', 'a:b'],
    ['form encoding', `Basic ${encode('a%3Ab:c+d%C3%A9')}`, 'a:b', 'c dé'],
    ['a space', `Basic ${encode('orders:a b')}`, 'orders', 'a b'],
    [
      'a byte-order mark, as part of the id',
      `Basic ${encode('\ufefforders:a')}`,
      '\ufefforders',
      'a',
    ],
    ['1,024 characters', `Basic   ${encode(`o:${'x'.repeat(760)}`)}`, 'o', 'x'.repeat(760)],
    ['UTF-8', `Basic ${encode('orders:dé')}`, 'orders', 'dé'],
  ])('%s', (_, header, id, secret) => {
    expect(parseBasicCredentials(header)).toEqual({ id, secret });
  });

  test('whatever an OAuth client encodes by RFC 6749 §2.3.1', () => {
    const text = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' });
    fc.assert(
      fc.property(text, text, (id, secret) => {
        const form = (value: string): string =>
          new URLSearchParams([['', value]]).toString().slice(1);
        const header = `Basic ${encode(`${form(id)}:${form(secret)}`)}`;
        fc.pre(header.length <= 1_024);
        expect(parseBasicCredentials(header)).toEqual({ id, secret });
      }),
    );
  });
});

describe('what is refused', () => {
  test.each([
    ['nothing', ''],
    ['the scheme alone', 'Basic'],
    ['no credentials', 'Basic '],
    ['another scheme', `Bearer ${encode('orders:secret')}`],
    ['no space', `Basic${encode('orders:secret')}`],
    ['a tab', `Basic\t${encode('orders:secret')}`],
    ['a trailing space', `Basic ${encode('orders:secret')} `],
    ['two values in one header', `Basic ${encode('a:b')}, Basic ${encode('a:b')}`],
    ['no colon', `Basic ${encode('orders')}`],
    ['no id', `Basic ${encode(':secret')}`],
    ['no secret', `Basic ${encode('orders:')}`],
    ['no padding', `Basic ${encode('orders:secre').replace('=', '')}x`],
    ['missing padding', 'Basic YTpiYw'],
    ['a last character that is not canonical', 'Basic YTpiYx=='],
    ['base64url', 'Basic YTr_'],
    ['invalid UTF-8', `Basic ${encode(Buffer.from([0x61, 0x3a, 0xff]))}`],
    ['an overlong encoding', `Basic ${encode(Buffer.from([0x61, 0x3a, 0xc0, 0xaf]))}`],
    ['a control character', `Basic ${encode('orders:sec\u0000ret')}`],
    ['a deletion', `Basic ${encode('orders:sec\u007fret')}`],
    ['1,025 characters', `Basic    ${encode(`o:${'x'.repeat(760)}`)}`],
    ['a line break', `Basic ${encode('orders:sec\r\nret')}`],
    ['a broken escape', `Basic ${encode('orders:50%')}`],
    ['an escape that is not UTF-8', `Basic ${encode('orders:%ff')}`],
    ['too long', `Basic ${encode(`orders:${'x'.repeat(1_000)}`)}`],
  ])('%s', (_, header) => {
    expect(parseBasicCredentials(header)).toBeUndefined();
  });

  test('every accepted header is the only way to write its credentials', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9+/]{2,12}={0,2}$/), (encoded) => {
        if (parseBasicCredentials(`Basic ${encoded}`) === undefined) return;
        expect(Buffer.from(encoded, 'base64').toString('base64')).toBe(encoded);
      }),
    );
  });
});

/** As long as a secret that the broker makes. */
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
    [
      'the right secret',
      'orders',
      'right',
      { ok: true, peer: orders, digest: orders?.secretSha256 },
    ],
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
    expect(authenticate(peers, { id, secret }, START)).toEqual(expected);
  });

  test('the stored digest is not accepted as a secret', () => {
    const digest = orders?.secretSha256.toString('base64url') ?? '';
    expect(authenticate(peers, { id: 'orders', secret: digest }, START).ok).toBe(false);
  });
});
