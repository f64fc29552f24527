import { expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import type { TokenVerifier } from '../../src/verification/index.js';
import { createVerifier, sign } from './support/cache-bench.js';
import { SwitchedKeySet } from './support/judgements.js';
import { ManualClock } from './support/manual-clock.js';
import { createSigner } from './support/signer.js';

type Step =
  | { readonly do: 'verify'; readonly token: number }
  | { readonly do: 'move'; readonly seconds: number }
  | { readonly do: 'publish'; readonly which: readonly number[] }
  | { readonly do: 'outage' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('verify'), token: fc.nat({ max: 5 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('move'), seconds: fc.integer({ min: -90, max: 90 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('publish'), which: fc.subarray([0, 1, 2]) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('outage') }) },
);

test('whatever happens, a verifier that remembers says what one without a memory says', async () => {
  const [first, second] = [await createSigner('first'), await createSigner('second')];
  const { kid: _, ...nameless } = second.jwk;
  // The third has the first one's id, and is another key.
  const jwks = [first.jwk, nameless, (await createSigner('first')).jwk];
  const start = new ManualClock();
  const tokens = await Promise.all([
    sign(first, start, {}, 60),
    sign(first, start, {}, 120),
    sign(first, start, { kid: undefined }, 90),
    sign(second, start, { kid: undefined }, 90),
    sign(second, start, {}, 90),
    sign(second, start, { kid: undefined }, 2_592_000),
  ]);
  const outcomes = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 10, maxLength: 60 }),
      fc.integer({ min: 1, max: 4 }),
      async (steps, maxEntries) => {
        const clock = new ManualClock();
        const keys = new SwitchedKeySet();
        await keys.publish(first.jwk, nameless);
        const remembering = createVerifier(keys, clock, { maxEntries });
        const forgetful = createVerifier(keys, clock, null);
        const judge = (verifier: TokenVerifier, token: string): Promise<unknown> =>
          verifier.verify(token).catch((error: { code?: string; message: string }) => {
            outcomes.add(error.code ?? error.message);
            return { code: error.code, message: error.message };
          });
        for (const one of steps) {
          if (one.do === 'verify') {
            const token = tokens[one.token] ?? '';
            expect(await judge(remembering, token)).toEqual(await judge(forgetful, token));
          } else if (one.do === 'move') {
            clock.advance(one.seconds * 1000);
          } else if (one.do === 'publish') {
            await keys.publish(...one.which.map((index) => jwks[index] ?? {}));
          } else {
            keys.keys = undefined;
          }
        }
      },
    ),
    { numRuns: 200 },
  );
  // The steps have led to each of these, so that the comparison was one.
  expect([...outcomes]).toEqual(
    expect.arrayContaining([
      'TOKEN_EXPIRED',
      'TOKEN_NOT_YET_VALID',
      'TOKEN_KEY_UNKNOWN',
      'TOKEN_SIGNATURE_INVALID',
      'no keys',
    ]),
  );
});
