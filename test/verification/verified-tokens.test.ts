import { beforeEach, describe, expect, test } from '@jest/globals';
import type { Judgement } from '../../src/verification/judge.js';
import type { KeysAtHand } from '../../src/verification/keys/key-set.js';
import type { IssuerRules } from '../../src/verification/verifier-options.js';
import { VerifiedTokens, digestToken, TokenFingerprint } from '../../src/verification/verifier.js';
import { character, fc } from '../support/properties.js';
import { issuerRules, judgement, keysAtHand, SwitchedKeySet } from './support/judgements.js';
import { ManualClock } from './support/manual-clock.js';

const HOUR = 3600;

let clock: ManualClock;
let keySet: SwitchedKeySet;
let rules: IssuerRules;

beforeEach(async () => {
  clock = new ManualClock();
  keySet = new SwitchedKeySet();
  keySet.keys = await keysAtHand('one', 'two');
  rules = issuerRules(keySet);
});

const create = (maxEntries: number, clockSkewSeconds = 0): VerifiedTokens =>
  new VerifiedTokens({ maxEntries }, { clock, clockSkewSeconds, maxTokenLength: 100 });
const good = (kid = 'one', subject = 'job') => judgement(rules, kid, clock.seconds + HOUR, subject);
const remembered = (tokens: VerifiedTokens, asked: readonly string[]): readonly string[] =>
  asked.filter((token) => tokens.find(token) !== undefined);

describe('what is looked up', () => {
  const END = '-last-twelve';

  test('only the very token is found, and no other one with the same end', () => {
    const tokens = create(10);
    tokens.add(`one${END}`, good());
    for (let time = 0; time < 3; time += 1) {
      expect(tokens.find(`one${END}`)).toBeDefined();
      for (const other of [`two${END}`, `One${END}`, `a-one${END}`, END, '', 'one']) {
        expect(tokens.find(other)).toBeUndefined();
      }
    }
  });

  test('a token takes the place of one with the same end', () => {
    const tokens = create(10);
    tokens.add(`one${END}`, good());
    expect(tokens.find(`one${END}`)).toBeDefined();
    const second = good('one', 'second');
    tokens.add(`two${END}`, second);
    expect(tokens.size).toBe(1);
    expect(tokens.find(`two${END}`)).toBe(second.verified);
    expect(tokens.find(`one${END}`)).toBeUndefined();
  });

  test('what cannot be a token is not even looked up', () => {
    const tokens = create(10);
    tokens.add('a'.repeat(100), good());
    tokens.add('a'.repeat(101), good());
    // Whatever was added: a text that is too long for a token is none.
    expect(tokens.find('a'.repeat(101))).toBeUndefined();
    tokens.add('a'.repeat(100), good());
    expect(tokens.find('a'.repeat(100))).toBeDefined();
    for (const value of [undefined, null, 1, {}, Buffer.from('a'.repeat(100))]) {
      expect(tokens.find(value)).toBeUndefined();
    }
  });
});

describe('how many', () => {
  test('100,000 distinct tokens, and never more than the configured number', () => {
    const tokens = create(1000);
    let most = 0;
    for (let count = 0; count < 100_000; count += 1) {
      tokens.add(`token ${count}`, good());
      most = Math.max(most, tokens.size);
    }
    expect(most).toBe(1000);
    expect(tokens.find('token 99999')).toBeDefined();
    expect(tokens.find('token 98999')).toBeUndefined();
  });

  test('the same token twice takes one place', () => {
    const tokens = create(2);
    const later = good('one', 'later');
    tokens.add('a', good());
    tokens.add('a', later);
    tokens.add('b', good());
    expect(tokens.size).toBe(2);
    expect(tokens.find('a')).toBe(later.verified);
    expect(tokens.find('b')).toBeDefined();
  });

  test('the oldest goes first', () => {
    const tokens = create(3);
    for (const name of ['a', 'b', 'c', 'd']) tokens.add(name, good());
    expect(remembered(tokens, ['a', 'b', 'c', 'd'])).toEqual(['b', 'c', 'd']);
  });

  test('the oldest goes first, however many there are that nobody asked for', () => {
    const tokens = create(40);
    const names = Array.from({ length: 41 }, (_, index) => String(index));
    for (const name of names) tokens.add(name, good());
    expect(remembered(tokens, names)).toEqual(names.slice(1));
  });

  test('what is in use stays while others pass by once', () => {
    const tokens = create(10);
    tokens.add('in use', good());
    for (let count = 0; count < 1000; count += 1) {
      tokens.add(`once ${count}`, good());
      if (count % 5 === 0) expect(tokens.find('in use')).toBeDefined();
    }
    expect(tokens.size).toBe(10);
  });

  test('when all are in use, one goes nevertheless', () => {
    const tokens = create(40);
    const names = Array.from({ length: 40 }, (_, index) => String(index));
    for (const name of names) tokens.add(name, good());
    expect(remembered(tokens, names)).toHaveLength(40);
    tokens.add('new', good());
    expect(tokens.find('new')).toBeDefined();
    // The one after sixteen that were given another chance: the search has an end, however many are in use.
    expect(remembered(tokens, names)).toEqual(names.filter((name) => name !== '16'));
    expect(tokens.size).toBe(40);
  });

  test('having been in use once is no reason to stay for ever', () => {
    const tokens = create(3);
    for (const name of ['a', 'b', 'c']) tokens.add(name, good());
    tokens.find('a');
    for (const name of ['d', 'e', 'f']) tokens.add(name, good());
    expect(remembered(tokens, ['a', 'b', 'c', 'd', 'e', 'f'])).toEqual(['d', 'e', 'f']);
  });

  test('a place that became free is used before anybody has to go', () => {
    const tokens = create(3);
    tokens.add('a', good());
    tokens.add('short', judgement(rules, 'one', clock.seconds + 10));
    tokens.add('c', good());
    clock.advance(10_000);
    expect(tokens.find('short')).toBeUndefined();
    expect(tokens.size).toBe(2);
    tokens.add('d', good());
    expect(remembered(tokens, ['a', 'c', 'd'])).toEqual(['a', 'c', 'd']);
  });
});

describe('keys', () => {
  test('tokens of a key that is gone are forgotten, those of the others are not', async () => {
    const tokens = create(10);
    tokens.add('a', good('one'));
    tokens.add('b', good('two'));
    tokens.add('c', good('one'));
    const before = keySet.keys;
    keySet.keys = without(before, 'one');
    expect(tokens.find('b')).toBeDefined();
    // Not only refused: gone, also those that nobody asked for.
    expect(tokens.size).toBe(1);
    expect(remembered(tokens, ['a', 'c'])).toEqual([]);
    keySet.keys = before;
    expect(remembered(tokens, ['a', 'b', 'c'])).toEqual(['b']);
  });

  test('they are forgotten too when only new tokens come', async () => {
    const tokens = create(10);
    tokens.add('a', good('one'));
    keySet.keys = without(keySet.keys, 'one');
    tokens.add('b', good('two'));
    expect(tokens.size).toBe(1);
  });

  test('asking for one of them forgets the others too, and nothing else', () => {
    const tokens = create(4);
    for (const name of ['a', 'c']) tokens.add(name, good('one'));
    for (const name of ['b', 'd']) tokens.add(name, good('two'));
    keySet.keys = without(keySet.keys, 'one');
    expect(tokens.find('a')).toBeUndefined();
    expect(tokens.size).toBe(2);
    for (const name of ['e', 'f']) tokens.add(name, good('two'));
    expect(remembered(tokens, ['b', 'd', 'e', 'f'])).toEqual(['b', 'd', 'e', 'f']);
  });

  test('another key with the same id is another key', async () => {
    const tokens = create(10);
    tokens.add('a', good('one'));
    keySet.keys = await keysAtHand('one');
    expect(tokens.find('a')).toBeUndefined();
    expect(tokens.size).toBe(0);
  });

  test('a token whose key left while it was verified is not remembered', () => {
    const tokens = create(10);
    const judged = good('one');
    keySet.keys = without(keySet.keys, 'one');
    tokens.add('a', judged);
    expect(tokens.size).toBe(0);
  });

  test('a token that expired while it was verified is not remembered', () => {
    const tokens = create(10);
    const judged = good();
    clock.advance(HOUR * 1000);
    tokens.add('a', judged);
    expect(tokens.size).toBe(0);
  });

  test('while no keys may be used, no token is good; afterwards it is again', () => {
    const tokens = create(10);
    tokens.add('a', good());
    const judged = good();
    const before = keySet.keys;
    keySet.keys = undefined;
    expect(tokens.find('a')).toBeUndefined();
    tokens.add('b', judged);
    expect(tokens.size).toBe(1);
    keySet.keys = before;
    expect(tokens.find('a')).toBeDefined();
  });

  test("one issuer's change of keys leaves another issuer's tokens alone", async () => {
    const otherSet = new SwitchedKeySet();
    otherSet.keys = await keysAtHand('one');
    const other = issuerRules(otherSet, 'https://other.example/');
    const tokens = create(10);
    tokens.add('a', good('one'));
    tokens.add('b', judgement(other, 'one', clock.seconds + HOUR));
    expect(remembered(tokens, ['a', 'b'])).toEqual(['a', 'b']);
    keySet.keys = without(keySet.keys, 'one');
    expect(remembered(tokens, ['a', 'b'])).toEqual(['b']);
    otherSet.keys = await keysAtHand('one');
    expect(remembered(tokens, ['a', 'b'])).toEqual([]);
  });
});

/** The same keys without one; those that stay are the same objects. */
function without(keys: KeysAtHand | undefined, keyId: string): KeysAtHand {
  return {
    match: (wanted) => (wanted.kid === keyId ? 'unknown' : (keys?.match(wanted) ?? 'unknown')),
  };
}

type Step =
  | { readonly do: 'add'; readonly token: number; readonly kid: string; readonly life: number }
  | { readonly do: 'find'; readonly token: number }
  | { readonly do: 'move'; readonly seconds: number }
  | { readonly do: 'remove' | 'restore'; readonly kid: string };

const kid = fc.constantFrom('one', 'two');
const token = fc.nat({ max: 9 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('add'),
      token,
      kid,
      life: fc.integer({ min: 1, max: 300 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('find'), token }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('move'), seconds: fc.integer({ min: -200, max: 200 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('remove', 'restore'), kid }) },
);

/** Some of them end alike, as the signatures of real tokens never do. */
const textOf = (token: number): string => `${token}.${'s'.repeat(12)}${token % 7}`;

test('whatever happens, what is given out was added, is in its times and has its key; and the bound holds', async () => {
  const all = await keysAtHand('one', 'two');
  const keySet = new SwitchedKeySet();
  keySet.keys = all;
  const rules = issuerRules(keySet);
  const clock = new ManualClock();
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 6 }), (steps, max) => {
      const skew = 5;
      const tokens = new VerifiedTokens(
        { maxEntries: max },
        { clock, clockSkewSeconds: skew, maxTokenLength: 100 },
      );
      const added = new Map<string, Judgement>();
      const gone = new Set<string>();
      keySet.keys = all;
      for (const one of steps) {
        if (one.do === 'add' && !gone.has(one.kid)) {
          const judged = judgement(rules, one.kid, clock.seconds + one.life);
          added.set(textOf(one.token), judged);
          tokens.add(textOf(one.token), judged);
          expect(tokens.find(textOf(one.token))).toBe(judged.verified);
        } else if (one.do === 'find') {
          const found = tokens.find(textOf(one.token));
          const judged = added.get(textOf(one.token));
          if (found !== undefined) {
            expect(found).toBe(judged?.verified);
            expect(clock.now()).toBeLessThan(found.expiresAt + skew * 1000);
            expect(gone.has(found.keyId ?? '')).toBe(false);
          }
        } else if (one.do === 'move') {
          clock.advance(one.seconds * 1000);
        } else if (one.do === 'remove' || one.do === 'restore') {
          if (one.do === 'remove') gone.add(one.kid);
          else gone.delete(one.kid);
          keySet.keys = {
            match: (wanted) => (gone.has(wanted.kid ?? '') ? 'unknown' : all.match(wanted)),
          };
        }
        expect(tokens.size).toBeLessThanOrEqual(max);
      }
    }),
    { numRuns: 500 },
  );
});

describe('the digest', () => {
  test('is SHA-256, all of it', () => {
    // FIPS 180-2, appendix B.1.
    expect(Buffer.from(digestToken('abc'), 'latin1').toString('hex')).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    expect(digestToken('a'.repeat(1000))).toHaveLength(32);
  });
});

describe('a fingerprint', () => {
  test('is of one text and no other, however often either is shown to it', () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 40 }),
        fc.array(fc.string({ unit: character, maxLength: 40 })),
        (token, others) => {
          const fingerprint = new TokenFingerprint(token);
          for (const other of ['', ...others, `${token} `, token.slice(1), token.toUpperCase()]) {
            expect(fingerprint.matches(other)).toBe(other === token);
            // Another string each time, as each request brings its own.
            expect(fingerprint.matches(Buffer.from(token).toString())).toBe(true);
          }
        },
      ),
    );
  });
});
