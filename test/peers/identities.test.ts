import { describe, expect, test } from '@jest/globals';
import {
  findConflicts,
  IdentityTable,
  isPattern,
  matchesSubject,
  principalArn,
  subjectFault,
  type ConfiguredPeer,
} from '../../src/peers/identities.js';
import { decideAccess } from '../../src/peers/policy.js';
import { fc } from '../support/properties.js';

const peer = (id: string, ...subjects: string[]): ConfiguredPeer => ({
  id,
  roles: ['token'],
  tokens: [id],
  enabled: true,
  identities: subjects.map((subject) => ({ issuer: 'cluster', subject })),
});

describe('matchesSubject', () => {
  test.each([
    ['system:serviceaccount:shop:orders', 'system:serviceaccount:shop:orders', true],
    ['system:serviceaccount:shop:orders', 'system:serviceaccount:shop:orders2', false],
    ['system:serviceaccount:shop:orders', 'System:serviceaccount:shop:orders', false],
    ['system:serviceaccount:shop:*', 'system:serviceaccount:shop:orders', true],
    ['system:serviceaccount:shop:*', 'system:serviceaccount:shop:', false],
    ['system:serviceaccount:shop:*', 'system:serviceaccount:shop', false],
    ['system:serviceaccount:shop:*', 'system:serviceaccount:shop:a:b', false],
    ['system:serviceaccount:shop:*', 'system:serviceaccount:shop:a/b', false],
    ['system:serviceaccount:shop:*', 'system:serviceaccount:shop-evil:a', false],
    ['system:serviceaccount:*:orders', 'system:serviceaccount:a:b:orders', false],
    ['spiffe://prod.example.com/ns/*/sa/orders', 'spiffe://prod.example.com/ns/a/sa/orders', true],
    ['spiffe://prod.example.com/ns/*/sa/orders', 'spiffe://prod.example.com/ns/a/x/orders', false],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com.evil/x', false],
    ['spiffe://prod.example.com/*', 'spiffe://prod.example.com:x', false],
    ['spiffe://prod.example.com/a', 'spiffe://prod.example.com/x/../a', false],
    ['repo:acme/orders:ref:refs/heads/*', 'repo:acme/orders:ref:refs/heads/main', true],
    ['repo:acme/orders:ref:refs/heads/*', 'repo:acme/orders:ref:refs/heads/a/b', false],
    ['repo:acme/*:ref:refs/heads/main', 'repo:acme/x:pull_request', false],
    // A star in a token is a text like any other.
    ['a:b', 'a:*', false],
    ['a:*', 'a:*', true],
  ])('%s for %s: %p', (pattern, subject, fits) => {
    expect(matchesSubject(pattern, subject)).toBe(fits);
  });

  const segment = fc.constantFrom('a', 'b', 'ab', '', '*');
  const subject = fc
    .array(fc.tuple(segment, fc.constantFrom('/', ':')), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.flat().slice(0, -1).join(''));

  test('what an exact subject fits is itself alone', () => {
    fc.assert(
      fc.property(subject, subject, (one, other) => {
        if (isPattern(one)) return;
        expect(matchesSubject(one, other)).toBe(one === other);
      }),
    );
  });

  test('where no conflict is found, every subject has one peer at most, and the table finds it', () => {
    const subjects = fc.array(subject, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(subjects, subjects, subject, (one, other, given) => {
        const peers = [peer('one', ...one), peer('other', ...other)];
        const fitting = peers.filter(({ identities }) =>
          identities.some((identity) => matchesSubject(identity.subject, given)),
        );
        if (findConflicts(peers).length === 0) {
          expect(fitting.length).toBeLessThanOrEqual(1);
          expect(new IdentityTable(peers).find('cluster', given)).toBe(fitting[0]);
        }
        expect(new IdentityTable(peers).find('other-cluster', given)).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  test('no proof gets a token that no grant names', () => {
    fc.assert(
      fc.property(fc.array(subject, { maxLength: 4 }), subject, (subjects, given) => {
        const peers = subjects.map((one, index) => peer(`p${index}`, one));
        if (findConflicts(peers).length > 0) return;
        const found = new IdentityTable(peers).find('cluster', given);
        for (const token of ['p0', 'p1', 'p2', 'p3', 'default']) {
          const named = peers.some(
            ({ tokens, identities }) =>
              tokens.includes(token) &&
              identities.some((identity) => matchesSubject(identity.subject, given)),
          );
          const got = found !== undefined && decideAccess(found, { token }) === 'granted';
          expect(got).toBe(named);
        }
      }),
    );
  });
});

describe('principalArn', () => {
  test.each([
    // A session is its role.
    [
      'arn:aws:sts::123456789012:assumed-role/orders/i-0abc',
      'arn:aws:iam::123456789012:role/orders',
    ],
    ['arn:aws-cn:sts::123456789012:assumed-role/a/b', 'arn:aws-cn:iam::123456789012:role/a'],
    [
      'arn:aws-us-gov:sts::123456789012:assumed-role/a/b',
      'arn:aws-us-gov:iam::123456789012:role/a',
    ],
    // A role is known without its path.
    ['arn:aws:iam::123456789012:role/orders', 'arn:aws:iam::123456789012:role/orders'],
    ['arn:aws:iam::123456789012:role/services/orders', 'arn:aws:iam::123456789012:role/orders'],
    ['arn:aws-cn:iam::123456789012:role/a/b/c', 'arn:aws-cn:iam::123456789012:role/c'],
    ...[
      'arn:aws:sts::123456789012:assumed-role/orders',
      'arn:aws:sts::123456789012:assumed-role/orders/',
      'arn:aws:sts::123456789012:assumed-role//i-0abc',
      'arn:aws:sts::123456789012:assumed-role/orders/i-0abc/x',
      'arn:aws:sts::12345678901:assumed-role/orders/i-0abc',
      'arn:aws:sts::1234567890123:assumed-role/orders/i-0abc',
      'arn:aws:sts::abcdefghijkl:assumed-role/orders/i-0abc',
      'arn:aws:sts::123456789012:federated-user/ann',
      'arn:AWS:sts::123456789012:assumed-role/orders/i-0abc',
      ' arn:aws:sts::123456789012:assumed-role/orders/i-0abc',
      'arn:aws:iam::123456789012:user/services/orders',
      'arn:aws:iam::123456789012:role/services/',
      'arn:aws:iam::1234567890123:role/services/orders',
      'arn:aws:iam::abcdefghijkl:role/services/orders',
      'arn:AWS:iam::123456789012:role/services/orders',
      ' arn:aws:iam::123456789012:role/services/orders',
      'arn:aws:iam::123456789012:root',
    ].map((arn) => [arn, arn] as const),
  ])('of %s is %s', (arn, principal) => {
    expect(principalArn(arn)).toBe(principal);
  });
});

describe('subjectFault', () => {
  test.each(['a', 'a:b', 'a:*', '*:a', 'spiffe://td/*/x', 'a//b'])('%s is right', (subject) => {
    expect(subjectFault(subject)).toBeUndefined();
  });
  test.each(['*', '*:*', '*/*', '**', 'a:b*', 'a:*b', 'a*', 'a:**', '', ':', '*:/'])(
    '%j is wrong',
    (subject) => {
      expect(subjectFault(subject)).toEqual(expect.any(String));
    },
  );
  test.each([
    ['a:b*', '"*" stands only for a whole segment between "/" and ":"'],
    ['*:*', 'it would fit every workload of the issuer'],
  ])('of %s it says what', (subject, fault) => {
    expect(subjectFault(subject)).toBe(fault);
  });
});

describe('findConflicts', () => {
  test.each<[string[], string[], boolean]>([
    [['a:b'], ['a:b'], true],
    [['a:b'], ['a:c'], false],
    [['a:*'], ['a:b'], true],
    [['a:b'], ['a:*'], true],
    [['a:*'], ['*:b'], true],
    [['a:*'], ['b:*'], false],
    [['a:*'], ['a/*'], false],
    [['a:*'], ['a:b:c'], false],
    [['x', 'a:*'], ['y', 'a:b'], true],
    [['a:*'], ['a:bc'], true],
    [['abc:*'], ['abc:def'], true],
    // A star fits no empty segment.
    [['a:*'], ['a:'], false],
    [['a:'], ['a:*'], false],
  ])('%j and %j: %p', (one, other, isConflict) => {
    const found = findConflicts([peer('one', ...one), peer('other', ...other)]);
    expect(found.map(({ peer: id, other: known }) => [id, known])).toEqual(
      isConflict ? [['other', 'one']] : [],
    );
  });

  test('a peer may name the same proof twice, and issuers do not mix', () => {
    expect(findConflicts([peer('one', 'a:b', 'a:*')])).toEqual([]);
    const elsewhere = { ...peer('two'), identities: [{ issuer: 'other', subject: 'a:b' }] };
    expect(findConflicts([peer('one', 'a:b'), elsewhere])).toEqual([]);
  });

  test('10,000 exact peers are compared by a look-up', () => {
    const many = Array.from({ length: 10_000 }, (_, index) => peer(`p${index}`, `a:b:${index}`));
    expect(findConflicts([...many, peer('last', 'a:b:77')])).toEqual([
      { peer: 'last', index: 0, other: 'p77' },
    ]);
  });
});
