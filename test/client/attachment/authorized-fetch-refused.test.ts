import { describe, expect, jest, test } from '@jest/globals';
import {
  createAuthorizedFetch,
  runInCallContext,
  type AuthorizedRequestInit,
  type RefusedServiceToken,
} from '../../../src/client/index.js';
import { acceptingOnly, startCallee, type Arrival, type Reply } from './support/callee.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN } from './support/principals.js';
import { ScriptedTokens } from './support/scripted-tokens.js';
import { pause } from '../../support/pause.js';

async function rig(
  tokens: ScriptedTokens,
  answer: (arrival: Arrival) => Reply | Promise<Reply> = acceptingOnly('new'),
) {
  const callee = await startCallee(answer);
  const told: RefusedServiceToken[] = [];
  const send = createAuthorizedFetch({
    tokens,
    outsideCalls: 'service',
    origins: [{ origin: callee.origin, acceptsCustomers: true }],
    onRefused: (refusal) => told.push(refusal),
  });
  return { callee, send, told };
}

const always401 = (): Reply => ({ status: 401, body: '{"refused":true}' });

describe('a service token that is refused with 401', () => {
  test('is refreshed, and the request is sent once more', async () => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, send, told } = await rig(tokens);
    const response = await send(`${callee.origin}/orders`, { method: 'POST', body: 'content' });
    expect([response.status, await response.json()]).toEqual([200, { accepted: true }]);
    expect(
      callee.arrivals.map(({ url, body, authorization }) => [url, body, authorization]),
    ).toEqual([
      ['/orders', 'content', ['Bearer old']],
      ['/orders', 'content', ['Bearer new']],
    ]);
    expect(tokens.forced).toBe(1);
    expect(told).toEqual([{ origin: callee.origin, outcome: 'retried', error: undefined }]);
  });

  test('and refused again: one retry, then the 401 as it came', async () => {
    const tokens = new ScriptedTokens('old', 'new', 'newer');
    const { callee, send } = await rig(tokens, always401);
    const response = await send(callee.origin);
    expect([response.status, await response.json()]).toEqual([401, { refused: true }]);
    expect(callee.tokens()).toEqual(['Bearer old', 'Bearer new']);
    expect(tokens.forced).toBe(1);
  });

  test('and there is no other: no retry, and the 401 with its body', async () => {
    const tokens = new ScriptedTokens('old');
    const { callee, send, told } = await rig(tokens);
    const response = await send(callee.origin);
    expect([response.status, await response.json()]).toEqual([401, { refused: true }]);
    expect(callee.arrivals).toHaveLength(1);
    expect(told).toMatchObject([{ outcome: 'no-newer-token' }]);
  });

  test('and the broker is down: the 401 with its body', async () => {
    const down = new Error('down');
    const { callee, send, told } = await rig(new ScriptedTokens('old', down));
    const response = await send(callee.origin);
    expect([response.status, await response.json()]).toEqual([401, { refused: true }]);
    expect(told).toEqual([{ origin: callee.origin, outcome: 'refresh-failed', error: down }]);
  });

  test('and somebody else has got another since: nothing is forced', async () => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, send } = await rig(tokens, async (arrival) => {
      if (arrival.authorization[0] === 'Bearer old') await tokens.getToken({ force: true });
      return acceptingOnly('new')(arrival);
    });
    expect((await send(callee.origin)).status).toBe(200);
    expect(tokens.forced).toBe(1);
  });

  test.each<[string, (url: string) => [string | Request, AuthorizedRequestInit?]]>([
    ['a stream', (url) => [url, streamed()]],
    ['the body of a Request', (url) => [new Request(url, { method: 'POST', body: 'content' })]],
    ['a stream in a Request', (url) => [new Request(url, streamed())]],
  ])('and the body is used up: %s', async (_name, argumentsFor) => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, send, told } = await rig(tokens);
    const response = await send(...argumentsFor(callee.origin));
    expect([response.status, await response.json()]).toEqual([401, { refused: true }]);
    expect(callee.arrivals).toMatchObject([{ body: 'content' }]);
    expect(told).toMatchObject([{ outcome: 'not-repeatable' }]);
    // The next request gets the token that was found.
    expect((await send(callee.origin)).status).toBe(200);
    expect(tokens.forced).toBe(1);
  });

  test('and the Request has no body, or another one in its place', async () => {
    const { callee, send } = await rig(new ScriptedTokens('old', 'new'));
    const request = new Request(callee.origin, { method: 'POST', body: 'content' });
    expect((await send(new Request(callee.origin))).status).toBe(200);
    expect((await send(request, { body: 'other' })).status).toBe(200);
  });

  test('and the caller gives up while it is refreshed', async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    const old = new ScriptedTokens('old');
    const callee = await startCallee(always401);
    const send = createAuthorizedFetch({
      tokens: {
        getToken: (demand) => {
          if (demand?.force !== true) return old.getToken();
          controller.abort(reason);
          return new Promise(() => undefined);
        },
      },
      outsideCalls: 'service',
      origins: [{ origin: callee.origin }],
    });
    await expect(send(callee.origin, { signal: controller.signal })).rejects.toBe(reason);
    expect(callee.arrivals).toHaveLength(1);
  });

  test('leaves no connection behind, however long the refusal is', async () => {
    const long = 'x'.repeat(4_000_000);
    const callee = await startCallee((arrival) => ({
      ...acceptingOnly('new')(arrival),
      body: long,
    }));
    for (let round = 0; round < 10; round += 1) {
      const send = createAuthorizedFetch({
        tokens: new ScriptedTokens('old', 'new'),
        outsideCalls: 'service',
        origins: [{ origin: callee.origin }],
      });
      const response = await send(callee.origin);
      expect((await response.text()).length).toBe(long.length);
    }
    // The other side learns a moment later that a connection was given up.
    while ((await callee.connections()) > 1) await pause();
  });

  test('a mistake in onRefused does not break the request, and is seen', async () => {
    const callee = await startCallee(acceptingOnly('new'));
    const send = createAuthorizedFetch({
      tokens: new ScriptedTokens('old', 'new'),
      outsideCalls: 'service',
      origins: [{ origin: callee.origin }],
      onRefused: () => {
        throw new Error('a mistake of the observer');
      },
    });
    const warn = jest.spyOn(process, 'emitWarning').mockReturnValue();
    try {
      expect((await send(callee.origin)).status).toBe(200);
      expect(String(warn.mock.calls[0]?.[0])).toBe('Error: a mistake of the observer');
    } finally {
      warn.mockRestore();
    }
  });
});

describe('a 401 that is not about our service token', () => {
  test('a customer’s token is never replaced', async () => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, send, told } = await rig(tokens, always401);
    const response = await runInCallContext(CUSTOMER_CALL, () => send(callee.origin));
    expect(response.status).toBe(401);
    expect(callee.tokens()).toEqual([`Bearer ${CUSTOMER_TOKEN}`]);
    expect([tokens.forced, told]).toEqual([0, []]);
  });

  test('nor is the caller’s own', async () => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, send } = await rig(tokens);
    const response = await send(callee.origin, { headers: { authorization: 'Bearer own' } });
    expect(response.status).toBe(401);
    expect([tokens.forced, callee.tokens()]).toEqual([0, ['Bearer own']]);
  });

  test('nor is one that was not sent: the refusal of whom a redirect led to', async () => {
    const elsewhere = await startCallee(always401);
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, send } = await rig(tokens, () => ({
      status: 302,
      headers: { location: elsewhere.origin },
    }));
    expect((await send(callee.origin)).status).toBe(401);
    expect([tokens.forced, callee.arrivals.length, elsewhere.tokens()]).toEqual([
      0,
      1,
      [undefined],
    ]);
  });

  test.each([400, 403, 429, 500])('nor is it after %d', async (status) => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, send } = await rig(tokens, () => ({ status }));
    expect((await send(callee.origin)).status).toBe(status);
    expect([tokens.forced, callee.arrivals.length]).toEqual([0, 1]);
  });
});

function streamed(): RequestInit {
  const body = new Blob(['content']).stream();
  return { method: 'POST', body, duplex: 'half' };
}
