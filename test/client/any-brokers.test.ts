import { expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import type { BrokerFailed } from '../../src/client/client-options.js';
import {
  createServiceTokenClient,
  type ServiceTokenClient,
} from '../../src/client/service-token-client.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { SteppingClock } from '../provider/stepping-clock.js';
import { meanwhile, requireHarmless, TIMEOUT } from './client-fixture.js';

const BROKERS = ['https://one.test', 'https://two.test'];
const SKEW = 60_000;

/** What a broker does with one request. */
type Behaviour =
  | { readonly does: 'grants'; readonly lifeSeconds: number; readonly after: number }
  | { readonly does: 'fails'; readonly status: number; readonly retryAfter?: number }
  | { readonly does: 'breaks' | 'hangs' | 'babbles' };

/** What somebody does with the client. */
type Step =
  | { readonly does: 'waits'; readonly milliseconds: number }
  | { readonly does: 'asks'; readonly calls: number; readonly force: boolean };

const behaviour: fc.Arbitrary<Behaviour> = fc.oneof(
  fc.record({
    does: fc.constant('grants' as const),
    lifeSeconds: fc.oneof(fc.integer({ min: -10, max: 90_000 }), fc.integer({ min: 0, max: 120 })),
    after: fc.integer({ min: 0, max: 4_000 }),
  }),
  fc.record(
    {
      does: fc.constant('fails' as const),
      status: fc.constantFrom(302, 400, 401, 403, 418, 429, 500, 503),
      retryAfter: fc.integer({ min: 0, max: 600 }),
    },
    { requiredKeys: ['does', 'status'] },
  ),
  fc.record({ does: fc.constantFrom('breaks' as const, 'hangs' as const, 'babbles' as const) }),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    does: fc.constant('waits' as const),
    milliseconds: fc.oneof(
      fc.integer({ min: 0, max: 2_000 }),
      fc.integer({ max: 400_000, min: 0 }),
    ),
  }),
  fc.record({
    does: fc.constant('asks' as const),
    calls: fc.integer({ min: 1, max: 4 }),
    force: fc.boolean(),
  }),
);

/** Brokers that do what a list says, one entry for each request, and look whether the client behaves. */
function scripted(clock: SteppingClock, behaviours: readonly Behaviour[], hasToken: () => boolean) {
  const left = [...behaviours];
  const aliveUntil = new Map<string, number>();
  const closed = new Map<string, { readonly at: number; readonly until: number }>();
  const state = { inFlight: 0, mostInFlight: 0, tooEarly: 0 };
  const grant = (lifeSeconds: number): Response => {
    const token = `canary-in-body.${aliveUntil.size}`;
    aliveUntil.set(token, clock.now() + lifeSeconds * 1_000);
    return Response.json({ access_token: token, token_type: 'Bearer', expires_in: lifeSeconds });
  };
  const answer = async (url: string): Promise<Response> => {
    const behaviour = left.shift() ?? { does: 'grants', lifeSeconds: 3_600, after: 0 };
    switch (behaviour.does) {
      case 'grants':
        clock.advance(behaviour.after);
        return grant(behaviour.lifeSeconds);
      case 'fails': {
        const { status, retryAfter } = behaviour;
        const named = retryAfter !== undefined && (status === 429 || status >= 500);
        if (named) closed.set(url, { at: clock.now(), until: clock.now() + retryAfter * 1_000 });
        return Response.json(
          { error: 'invalid_client', error_description: 'canary-in-body' },
          { status, headers: named ? { 'retry-after': String(retryAfter) } : {} },
        );
      }
      case 'breaks':
        throw new TypeError('fetch failed', { cause: new Error('canary-in-body') });
      case 'hangs':
        // It does answer, after everybody stopped waiting.
        await clock.sleep(TIMEOUT);
        return grant(3_600);
      case 'babbles':
        break;
    }
    return new Response('<html>canary-in-body</html>');
  };
  /** Until when a broker must not be asked: for 10 s at most, unless there is a usable token. */
  const closingTime = (url: string): number => {
    const { at = 0, until = 0 } = closed.get(url) ?? {};
    return Math.min(until, at + (hasToken() ? 300_000 : 10_000));
  };
  const fetch = async (input: unknown): Promise<Response> => {
    const url = String(input);
    if (clock.now() < closingTime(url)) state.tooEarly += 1;
    closed.delete(url);
    state.inFlight += 1;
    state.mostInFlight = Math.max(state.mostInFlight, state.inFlight);
    try {
      return await answer(url);
    } finally {
      state.inFlight -= 1;
    }
  };
  /** Who did not wait for the answer has not seen the time that it names. */
  const brokerFailed = ({ broker, error }: BrokerFailed): void => {
    if (error.code === 'BROKER_TIMEOUT') closed.delete(`${broker}/oauth2/token`);
  };
  return { fetch, observer: { brokerFailed }, aliveUntil, state };
}

test('whatever the brokers do: no token past its life, one request in flight, Retry-After kept, nothing shown', async () => {
  const outcomes = { tokens: 0, failures: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(behaviour, { maxLength: 25 }),
      fc.array(step, { minLength: 1, maxLength: 25 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      async (behaviours, steps, random) => {
        const clock = new SteppingClock((milliseconds) => milliseconds > 4_000);
        const { fetch, observer, aliveUntil, state } = scripted(
          clock,
          behaviours,
          () => client.status().usable,
        );
        const client: ServiceTokenClient = createServiceTokenClient({
          brokers: BROKERS,
          peer: { id: 'orders', secret: 'right-peer-secret' },
          timeoutSeconds: TIMEOUT / 1_000,
          skewSeconds: SKEW / 1_000,
          fetch,
          clock,
          observer,
          random: () => random,
        });
        const ask = async (force: boolean): Promise<void> => {
          try {
            const { accessToken, expiresAt } = await client.getToken({ force });
            expect(expiresAt - clock.now()).toBeGreaterThan(SKEW);
            expect(expiresAt).toBeLessThanOrEqual(aliveUntil.get(accessToken) ?? 0);
            outcomes.tokens += 1;
          } catch (error) {
            if (!(error instanceof BrokerError)) throw error;
            requireHarmless(error);
            outcomes.failures += 1;
          }
        };
        for (const one of steps) {
          if (one.does === 'waits') clock.advance(one.milliseconds);
          else {
            const calls = Array.from({ length: one.calls }, () => ask(one.force));
            await meanwhile(Promise.all(calls), () => clock.held > 0 && clock.release());
          }
        }
        expect(state.tooEarly).toBe(0);
        expect(state.mostInFlight).toBeLessThanOrEqual(1);
      },
    ),
    { numRuns: 300 },
  );
  expect(Math.min(outcomes.tokens, outcomes.failures)).toBeGreaterThan(100);
});
