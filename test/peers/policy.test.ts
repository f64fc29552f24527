import { describe, expect, test } from '@jest/globals';
import { parsePeers, PEER_ROLES } from '../../src/peers/peers.js';
import { decideAccess, requiredRole, type Access, type Need } from '../../src/peers/policy.js';
import { peerEntry } from '../serving/broker.js';
import { fc } from '../support/properties.js';

const TOKEN: Need = { token: 'default' };
const ADMIN: Need = { role: 'admin' };

describe('decideAccess', () => {
  test.each<[roles: string[], tokens: string[], need: Need, access: Access]>([
    [['token'], ['default'], TOKEN, 'granted'],
    [['token'], ['default', 'ledger'], { token: 'ledger' }, 'granted'],
    [['token'], ['default'], { token: 'ledger' }, 'token_not_granted'],
    [['token'], [], TOKEN, 'token_not_granted'],
    // A token without the role is as little as the role without a token.
    [[], ['default'], TOKEN, 'role_missing'],
    [['admin'], ['default'], TOKEN, 'role_missing'],
    [['introspect'], ['default'], TOKEN, 'role_missing'],
    [['token', 'admin'], ['default'], ADMIN, 'granted'],
    [['token'], ['default'], ADMIN, 'role_missing'],
    [['admin'], [], { role: 'introspect' }, 'role_missing'],
    [['introspect'], [], { role: 'introspect' }, 'granted'],
    // Names are compared exactly, and none is a pattern.
    [['token'], ['*'], TOKEN, 'token_not_granted'],
    [['token'], ['default '], TOKEN, 'token_not_granted'],
    [['Token'], ['default'], TOKEN, 'role_missing'],
    [['*'], ['default'], TOKEN, 'role_missing'],
    [['token'], ['default'], { token: '__proto__' }, 'token_not_granted'],
  ])('roles %j and tokens %j, for %j: %s', (roles, tokens, need, access) => {
    expect(decideAccess({ roles, tokens }, need)).toBe(access);
  });

  const name = fc.oneof(fc.constantFrom('default', 'ledger', 'a', '*'), fc.string());
  const role = fc.oneof(fc.constantFrom<string>(...PEER_ROLES), fc.string());
  const need: fc.Arbitrary<Need> = fc.oneof(
    fc.record({ token: name }),
    fc.constantFrom<Need>(ADMIN, { role: 'introspect' }),
  );
  const grants = fc.record({ roles: fc.array(role), tokens: fc.array(name) });

  test('nobody gets what no grant names', () => {
    fc.assert(
      fc.property(grants, need, (peer, wanted) => {
        const isNamed = 'role' in wanted || peer.tokens.includes(wanted.token);
        const may = peer.roles.includes(requiredRole(wanted)) && isNamed;
        expect(decideAccess(peer, wanted) === 'granted').toBe(may);
      }),
    );
  });

  test('without a grant there is nothing, and one more grant takes nothing away', () => {
    fc.assert(
      fc.property(grants, need, name, role, (peer, wanted, token, added) => {
        expect(decideAccess({ roles: [], tokens: [] }, wanted)).toBe('role_missing');
        const more = { roles: [...peer.roles, added], tokens: [...peer.tokens, token] };
        if (decideAccess(peer, wanted) === 'granted') {
          expect(decideAccess(more, wanted)).toBe('granted');
        }
      }),
    );
  });
});

describe('the tokens of an entry of the peers secret', () => {
  const parse = (tokens?: unknown) =>
    parsePeers(
      JSON.stringify({
        peers: {
          orders: { ...peerEntry('secret', ['token']), tokens },
          billing: peerEntry('secret', ['token']),
        },
      }),
    );

  test.each<[unknown, readonly string[]]>([
    [undefined, ['default']],
    [['default'], ['default']],
    [
      ['ledger', 'a-1'],
      ['ledger', 'a-1'],
    ],
    [[], []],
  ])('%j', (written, tokens) => {
    expect(parse(written).byId.get('orders')?.tokens).toEqual(tokens);
  });

  test.each([
    ['default'],
    [null],
    [{}],
    [[1]],
    [['*']],
    [['Ledger']],
    [['']],
    [['x'.repeat(41)]],
    [['default', 'a b']],
    [['a\n']],
    [[['default']]],
  ])('%j refuses this peer alone', (tokens) => {
    const { byId, malformed } = parse(tokens);
    expect([...byId.keys()]).toEqual(['billing']);
    expect(malformed.get('orders')).toBe('"tokens" must be a list of names of tokens');
  });
});
