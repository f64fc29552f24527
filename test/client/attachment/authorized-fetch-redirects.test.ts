import { describe, expect, test } from '@jest/globals';
import { createAuthorizedFetch, runInCallContext } from '../../../src/client/index.js';
import { redirectingTo, startCallee } from './support/callee.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN } from './support/principals.js';
import { ScriptedTokens } from './support/scripted-tokens.js';

/** Two callees that both are listed: the first one redirects. */
async function rig(target: (first: string, second: string) => string, status = 302) {
  const second = await startCallee();
  const first = await startCallee(redirectingTo(() => target(first.origin, second.origin), status));
  const send = createAuthorizedFetch({
    tokens: new ScriptedTokens('token'),
    outsideCalls: 'service',
    origins: [first, second].map(({ origin }) => ({ origin, acceptsCustomers: true })),
  });
  return { first, second, send };
}

// These show what the fetch of the Node.js that runs them does: it follows redirects itself.
describe('a redirect', () => {
  test('within the origin keeps the token', async () => {
    const { first, send } = await rig(() => '/arrived');
    const response = await send(first.origin);
    expect([response.status, response.redirected]).toEqual([200, true]);
    expect(first.tokens()).toEqual(['Bearer token', 'Bearer token']);
  });

  test.each([301, 302, 303, 307, 308])(
    'to another origin, a listed one too, takes it off: %d',
    async (status) => {
      const { first, second, send } = await rig((_, other) => `${other}/arrived`, status);
      await send(first.origin, { method: 'POST', body: 'content' });
      expect(second.arrivals).toMatchObject([{ url: '/arrived', authorization: [] }]);
    },
  );

  test('takes a customer’s off as well', async () => {
    const { first, second, send } = await rig((_, other) => other);
    await runInCallContext(CUSTOMER_CALL, () => send(first.origin));
    expect(first.tokens()).toEqual([`Bearer ${CUSTOMER_TOKEN}`]);
    expect(second.tokens()).toEqual([undefined]);
  });

  test('there and back does not bring it back', async () => {
    const second = await startCallee(redirectingTo(() => `${first.origin}/arrived`));
    const first = await startCallee(redirectingTo(() => second.origin));
    const send = createAuthorizedFetch({
      tokens: new ScriptedTokens('token'),
      outsideCalls: 'service',
      origins: [first, second].map(({ origin }) => ({ origin })),
    });
    await send(first.origin);
    expect([first.tokens(), second.tokens()]).toEqual([['Bearer token', undefined], [undefined]]);
  });

  test('is not followed when the caller says so', async () => {
    const { first, second, send } = await rig((_, other) => other);
    const response = await send(first.origin, { redirect: 'manual' });
    expect([response.status, response.headers.get('location')]).toEqual([302, second.origin]);
    await expect(send(first.origin, { redirect: 'error' })).rejects.toMatchObject({
      name: 'TypeError',
    });
    expect(second.arrivals).toEqual([]);
  });
});
