import { expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import type { Judgement } from '../../src/verification/judge.js';
import { VerifiedTokens } from '../../src/verification/verifier.js';
import { issuerRules, judgement, keysAtHand, SwitchedKeySet } from './support/judgements.js';
import { ManualClock } from './support/manual-clock.js';

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
