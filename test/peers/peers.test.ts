import { randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import {
  withPeer,
  hashPeerSecret,
  hasRole,
  isTokenName,
  listMalformed,
  summarizePeers,
  NO_PEERS,
  parsePeers,
  withoutPeer,
  withSecretsOf,
  serializePeers,
} from '../../src/peers/peers.js';
import { peerEntry, START } from '../serving/broker.js';
import { fc } from '../support/properties.js';

const with1 = (entry: unknown): string => JSON.stringify({ peers: { orders: entry } });

describe('withPeer', () => {
  test('makes a secret of 256 bits and keeps only its digest', () => {
    const bytes = Buffer.alloc(32, 7);
    const { peers, secret } = withPeer(NO_PEERS, 'orders', ['token'], START, () => bytes);
    expect(secret).toBe(bytes.toString('base64url'));
    expect(JSON.parse(serializePeers(peers))).toEqual({
      peers: {
        orders: {
          secret_sha256: hashPeerSecret(secret).toString('base64url'),
          roles: ['token'],
          enabled: true,
          created_at: '2026-11-22T12:00:00.000Z',
        },
      },
    });
    expect(serializePeers(peers)).not.toContain(secret);
  });

  test.each([
    ['', ['token'], 'PEER_ID_INVALID'],
    ['a b', ['token'], 'PEER_ID_INVALID'],
    ['a:b', ['token'], 'PEER_ID_INVALID'],
    ['é', ['token'], 'PEER_ID_INVALID'],
    ['x'.repeat(65), ['token'], 'PEER_ID_INVALID'],
    ['orders\n', ['token'], 'PEER_ID_INVALID'],
    ['orders', [], 'PEER_ROLE_INVALID'],
    ['orders', ['root'], 'PEER_ROLE_INVALID'],
    ['orders', ['token', 'root'], 'PEER_ROLE_INVALID'],
  ])('refuses the id %j with the roles %j', (id, roles, code) => {
    expect(() => withPeer(NO_PEERS, id, roles, START, randomBytes)).toThrow(
      expect.objectContaining({ code, kind: 'rejected' }),
    );
  });

  test.each<[string, string[], string[], string]>([
    ['a b', ['token'], [], 'A peer id has 1 to 64 characters: letters, digits, ".", "_" and "-".'],
    ['a', ['root'], [], 'A peer has one or more roles of: token, admin, introspect.'],
    [
      'a',
      ['token'],
      ['default', 'Not a name'],
      'The name of a token has 1 to 40 lower-case letters, digits and hyphens.',
    ],
  ])('says what is wrong with %j, %j, %j', (id, roles, tokens, message) => {
    expect(() => withPeer(NO_PEERS, id, roles, START, randomBytes, tokens)).toThrow(message);
  });

  test.each([['token'], ['admin'], ['introspect'], ['token', 'introspect']])(
    'knows the roles %s %s',
    (...roles) => {
      const { peers } = withPeer(NO_PEERS, 'orders', roles, START, randomBytes);
      expect(peers.byId.get('orders')?.roles).toEqual(roles);
    },
  );

  test('refuses an id that is taken', () => {
    const { peers } = withPeer(NO_PEERS, 'orders', ['token'], START, randomBytes);
    expect(() => withPeer(peers, 'orders', ['token'], START, randomBytes)).toThrow(
      expect.objectContaining({
        code: 'PEER_EXISTS',
        message:
          'There is a peer "orders" already. For a new secret: peers rotate-secret; for other roles or tokens: peers grant; for another service: another id.',
      }),
    );
  });
});

test.each([
  ['default', true],
  ['a', true],
  ['a-bc', true],
  ['a--b', true],
  ['a1-2b', true],
  ['x'.repeat(40), true],
  ['x'.repeat(41), false],
  ['', false],
  ['-a', false],
  ['a-', false],
  ['A', false],
  ['a_b', false],
  ['a\n', false],
  [1, false],
])('a token can have the name %j: %p', (name, isName) => {
  expect(isTokenName(name)).toBe(isName);
});

describe('withSecretsOf', () => {
  const entries = { billing: peerEntry('b', ['token']), orders: peerEntry('o', ['token']) };
  const listOf = (peers: Record<string, unknown>) => parsePeers(JSON.stringify({ peers }));

  test('takes the secret of the one peer, and what it may do stays', () => {
    const now = listOf({
      billing: peerEntry('b2', ['token']),
      orders: { ...peerEntry('o2', ['admin'], false), tokens: ['ledger'] },
    });
    expect(JSON.parse(serializePeers(withSecretsOf(now, listOf(entries), 'orders')))).toEqual({
      peers: {
        billing: peerEntry('b2', ['token']),
        orders: { ...peerEntry('o', ['admin'], false), tokens: ['ledger'] },
      },
    });
  });

  test('a peer that either list does not have, or has malformed, stays as it is', () => {
    const now = listOf(entries);
    const malformed = listOf({ orders: 1 });
    for (const [list, other] of [
      [now, listOf({ billing: peerEntry('b2', ['token']) })],
      [now, malformed],
      [malformed, now],
      [listOf({ billing: peerEntry('b', ['token']) }), now],
    ] as const) {
      expect(serializePeers(withSecretsOf(list, other, 'orders'))).toBe(serializePeers(list));
    }
  });
});

test('withoutPeer removes one peer, and refuses an unknown id', () => {
  const { peers } = withPeer(NO_PEERS, 'orders', ['token'], START, randomBytes);
  expect(withoutPeer(peers, 'orders').byId.size).toBe(0);
  expect(() => withoutPeer(peers, 'nobody')).toThrow(
    expect.objectContaining({ code: 'PEER_UNKNOWN', message: 'There is no peer "nobody".' }),
  );
  for (const id of ['not an id', 'A-secret_of_43_characters'.padEnd(43, 'x')]) {
    expect(() => withoutPeer(peers, id)).toThrow('There is no such peer.');
  }
});

test('members that this version does not know survive an edit, and unknown roles grant nothing', () => {
  const entry = { ...peerEntry('secret', ['token', 'auditor']), team: 'payments' };
  const peers = parsePeers(JSON.stringify({ version: 2, peers: { orders: entry } }));
  const edited = withoutPeer(
    withPeer(peers, 'other', ['admin'], START, randomBytes).peers,
    'other',
  );
  expect(JSON.parse(serializePeers(edited))).toEqual({ version: 2, peers: { orders: entry } });
  const orders = edited.byId.get('orders');
  expect(orders && hasRole(orders, 'token')).toBe(true);
  expect(orders && hasRole(orders, 'admin')).toBe(false);
});

test('names of built-in members are ids like any other', () => {
  const ids = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
  let peers = NO_PEERS;
  for (const id of ids) {
    expect(peers.byId.has(id)).toBe(false);
    peers = withPeer(peers, id, ['token'], START, randomBytes).peers;
  }
  const again = parsePeers(serializePeers(peers));
  expect(summarizePeers(again).map(({ id }) => id)).toEqual([...ids].sort());
  expect(withoutPeer(again, '__proto__').byId.has('__proto__')).toBe(false);
});

test('adding and removing in any order leaves what was not removed', () => {
  const id = fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/);
  fc.assert(
    fc.property(fc.uniqueArray(id, { maxLength: 8 }), fc.func(fc.boolean()), (ids, isRemoved) => {
      const added = ids.reduce(
        (peers, id) => withPeer(peers, id, ['token'], START, randomBytes).peers,
        NO_PEERS,
      );
      const removed = ids.filter((id) => isRemoved(id)).reduce(withoutPeer, added);
      const left = ids.filter((id) => !isRemoved(id)).sort((one, other) => (one < other ? -1 : 1));
      expect(summarizePeers(parsePeers(serializePeers(removed))).map((peer) => peer.id)).toEqual(
        left,
      );
    }),
    { numRuns: 50 },
  );
});

test('the list shows no digest', () => {
  const peers = parsePeers(with1(peerEntry('secret', ['token'], false)));
  expect(summarizePeers(peers)).toEqual([
    {
      id: 'orders',
      roles: ['token'],
      tokens: ['default'],
      enabled: false,
      createdAt: Date.parse('2026-01-01'),
    },
  ]);
});

describe('parsePeers refuses, without repeating what it read', () => {
  test.each([
    ['text', 'canary', 'it is not JSON'],
    ['a list', '["canary"]', 'it is not a JSON object'],
    ['null', 'null', 'it is not a JSON object'],
    ['no peers', '{}', '"peers" must be an object'],
    ['a list of peers', '{"peers":["canary"]}', '"peers" must be an object'],
  ])('%s', (_, text, reason) => {
    const parse = (): unknown => parsePeers(text);
    expect(parse).toThrow(
      expect.objectContaining({ code: 'PEERS_INVALID', kind: 'misconfigured' }),
    );
    expect(parse).toThrow(reason);
    expect(parse).not.toThrow('canary');
  });
});

describe('a malformed entry is not a peer, and its value is not repeated', () => {
  const good = peerEntry('secret', ['token']);
  test.each([
    ['a peer that is text', with1('canary'), 'it must be an object'],
    ['no digest', with1({ ...good, secret_sha256: undefined }), '"secret_sha256" must be'],
    ['a short digest', with1({ ...good, secret_sha256: 'canary' }), '"secret_sha256" must be'],
    [
      'a digest that is not canonical',
      with1({ ...good, secret_sha256: `${'A'.repeat(42)}B` }),
      '"secret_sha256" must be',
    ],
    ['roles as text', with1({ ...good, roles: 'canary' }), '"roles" must be a list of strings'],
    [
      'a role that is a number',
      with1({ ...good, roles: [1] }),
      '"roles" must be a list of strings',
    ],
    [
      'a number among the roles',
      with1({ ...good, roles: ['token', 1] }),
      '"roles" must be a list of strings',
    ],
    [
      'no name among the tokens',
      with1({ ...good, tokens: ['default', 'Canary'] }),
      '"tokens" must be a list of names of tokens',
    ],
    [
      'no word on enabled',
      with1({ ...good, enabled: undefined }),
      '"enabled" must be true or false',
    ],
    ['enabled as text', with1({ ...good, enabled: 'canary' }), '"enabled" must be true or false'],
    [
      'no date',
      with1({ ...good, created_at: undefined }),
      '"created_at" must be an ISO 8601 instant',
    ],
    [
      'a bad date',
      with1({ ...good, created_at: 'canary' }),
      '"created_at" must be an ISO 8601 instant',
    ],
  ])('%s', (_, text, reason) => {
    const peers = parsePeers(text);
    expect(peers.byId.size).toBe(0);
    expect(listMalformed(peers)).toEqual([
      { id: 'orders', reason: expect.stringContaining(reason) },
    ]);
    expect(JSON.stringify(listMalformed(peers))).not.toContain('canary');
  });

  test('they are listed by id', () => {
    const peers = parsePeers('{"peers":{"c":1,"a":1,"b":1}}');
    expect(listMalformed(peers).map(({ id }) => id)).toEqual(['a', 'b', 'c']);
  });

  test('an invalid id is not repeated either: it may be a secret', () => {
    const peers = parsePeers(JSON.stringify({ peers: { 'canary canary': good } }));
    expect(listMalformed(peers)).toEqual([
      { reason: 'the id has characters that are not allowed, or is too long' },
    ]);
  });

  test.each([
    [42, true],
    [43, false],
    [44, true],
  ])('an id of %d letters is shown: %s, since secrets of the broker have 43', (length, isShown) => {
    const id = '_canary-'.padEnd(length, 'x');
    const peers = parsePeers(JSON.stringify({ peers: { [id]: 1 } }));
    const reason = 'it must be an object';
    expect(listMalformed(peers)).toEqual([
      isShown ? { id, reason } : { reason: `an entry whose id looks like a secret: ${reason}` },
    ]);
    const add = (): unknown => withPeer(peers, id, ['token'], START, randomBytes);
    expect(add).toThrow(isShown ? `malformed entry "${id}"` : 'malformed entry with this id');
    expect(withoutPeer(peers, id).malformed.size).toBe(0);
  });

  test('a peer whose id is as long as a secret is valid', () => {
    const id = 'x'.repeat(43);
    const { peers } = withPeer(NO_PEERS, id, ['token'], START, randomBytes);
    expect(summarizePeers(peers)).toMatchObject([{ id }]);
  });

  test('the other peers are unaffected', () => {
    const peers = parsePeers(JSON.stringify({ peers: { orders: 'canary', billing: good } }));
    expect(summarizePeers(peers).map(({ id }) => id)).toEqual(['billing']);
  });

  test('it survives an edit, is not added again, and can be removed', () => {
    const entries = { orders: { ...good, enabled: 'false' }, 'not an id': 1 };
    const peers = parsePeers(JSON.stringify({ peers: entries }));
    const { peers: edited } = withPeer(peers, 'billing', ['token'], START, randomBytes);
    expect(JSON.parse(serializePeers(withoutPeer(edited, 'billing')))).toEqual({ peers: entries });
    expect(() => withPeer(edited, 'orders', ['token'], START, randomBytes)).toThrow(
      expect.objectContaining({
        code: 'PEER_EXISTS',
        message: expect.stringContaining('malformed entry "orders" already: "enabled" must be'),
      }),
    );
    const removed = ['orders', 'not an id'].reduce(withoutPeer, edited);
    expect(removed.malformed.size).toBe(0);
    expect(summarizePeers(removed).map(({ id }) => id)).toEqual(['billing']);
  });
});

test('white space and byte-order marks around the list and a digest are ignored', () => {
  const digest = hashPeerSecret('secret').toString('base64url');
  const pasted = { ...peerEntry('secret', ['token']), secret_sha256: `\ufeff${digest}\r\n` };
  const { byId, malformed } = parsePeers(`\ufeff${with1(pasted)}\r\n`);
  expect(malformed.size).toBe(0);
  expect(byId.get('orders')?.secretSha256).toEqual(hashPeerSecret('secret'));
});

test('thousands of levels can be read, and an edit says that they cannot be written', () => {
  const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
  const text = `{"peers":{},"note":${deep}}`;
  const peers = parsePeers(text);
  let written: unknown;
  try {
    written = serializePeers(peers);
  } catch (error) {
    written = error;
  }
  // Newer releases of Node.js write any depth.
  expect([
    text,
    expect.objectContaining({
      code: 'PEERS_INVALID',
      message: expect.stringContaining('nested too deeply'),
    }),
  ]).toContainEqual(written);
});
