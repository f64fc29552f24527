import { expect, test } from '@jest/globals';
import { peerLines } from '../../src/cli/secret-commands.js';

const peer = {
  id: 'orders',
  roles: ['token'],
  tokens: ['default'],
  enabled: true,
  createdAt: Date.parse('2026-11-22T12:34:00Z'),
};
const room = (id: string, bytes: number, exists = true) => ({
  id,
  exists,
  bytes,
  limit: 65_536,
  entries: Math.floor(bytes / 155),
});
const after = (secrets: Parameters<typeof peerLines>[0]['secrets'] = []): readonly string[] =>
  peerLines({ peers: [peer], malformed: [], secrets }).slice(2);

test('how full the secrets are: of one from half full, of several always', () => {
  expect(after([room('a', 32_000)])).toEqual([]);
  expect(after([room('a', 33_000)])).toEqual(['Secret a: 212 peers, 50 % of 65536 bytes.']);
  expect(after([room('a', 65_000), room('b', 155), room('c', 0, false)])).toEqual([
    'Secret a: 419 peers, 99 % of 65536 bytes.',
    'Secret b: 1 peer, 0 % of 65536 bytes.',
    'Secret c: created when the others are full.',
  ]);
});

test('what to do is told from 90 % of all together', () => {
  expect(after([room('a', 58_980)])).toHaveLength(1);
  const [, advice] = after([room('a', 58_983)]);
  expect(advice).toBe('Nearly full: name another secret in BROKER_PEERS_SECRET_ID, after a comma.');
});

test('the tokens are a column when any peer has others than the default one', () => {
  const peers = [peer, { ...peer, id: 'settle', tokens: ['default', 'ledger'] }];
  const lines = peerLines({
    peers: [...peers, { ...peer, id: 'x', tokens: [], previousSecretUntil: peer.createdAt }],
    malformed: [],
  });
  expect(lines).toEqual([
    'ID      ROLES  TOKENS           STATE                                       ADDED (UTC)',
    'orders  token  default          enabled                                     2026-11-22 12:34',
    'settle  token  default, ledger  enabled                                     2026-11-22 12:34',
    'x       token  -                enabled, old secret until 2026-11-22 12:34  2026-11-22 12:34',
  ]);
});

test('the peers of the configuration file stand below, with what they prove themselves by', () => {
  const of = (kind: string) => ({ kind, proof: 'not shown' });
  const configured = [
    {
      id: 'settle',
      roles: ['token', 'admin'],
      tokens: ['default', 'ledger'],
      enabled: true,
      identities: [of('workload_token'), of('workload_token'), of('certificate')],
    },
    { id: 'off', roles: ['introspect'], tokens: [], enabled: false, identities: [of('iam')] },
  ] as const;
  const table = [
    'IN THE FILE  PROVES WHO IT IS BY          ROLES       TOKENS           STATE',
    'settle       workload token, certificate  admin       default, ledger  enabled',
    'off          iam                          introspect  -                disabled',
  ];
  expect(peerLines({ peers: [], malformed: [], configured })).toEqual(table);
  expect(peerLines({ peers: [peer], malformed: [], configured }).slice(2)).toEqual(['', ...table]);
});

test('a peer without the role token has no token, whatever its entry names', () => {
  const [, first, second] = peerLines({
    peers: [
      { ...peer, id: 'reports', roles: ['introspect'] },
      { ...peer, tokens: ['ledger'] },
    ],
    malformed: [],
  });
  expect([first, second]).toEqual([
    expect.stringMatching(/^reports +introspect +- +enabled/),
    expect.stringMatching(/^orders +token +ledger +enabled/),
  ]);
});
