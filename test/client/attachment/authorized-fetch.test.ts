import { Readable } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import {
  attachAuthorization,
  createAuthorizedFetch,
  runAsService,
  runInCallContext,
  type AuthorizedFetchOptions,
  type ClientConfigError,
  type AuthorizedRequestInit,
} from '../../../src/client/index.js';
import { runInFrame } from '../../../src/context/call-context.js';
import { assertNoCanary } from '../../support/canaries.js';
import { startCallee, type Callee, redirectingTo } from './support/callee.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN, SERVICE_CALL } from './support/principals.js';
import { ScriptedTokens } from './support/scripted-tokens.js';

const TOKEN = 'service.token.1';

async function rig(options: Partial<AuthorizedFetchOptions> = {}) {
  const callee = await startCallee();
  const send = createAuthorizedFetch({
    tokens: new ScriptedTokens(TOKEN),
    outsideCalls: 'service',
    origins: [{ origin: callee.origin, acceptsCustomers: true }],
    ...options,
  });
  return { callee, send };
}

/** What arrived in the one request that did. */
function only({ arrivals }: Callee) {
  expect(arrivals).toHaveLength(1);
  return arrivals[0]!;
}

describe('the token', () => {
  test('is the service’s own for nobody, and for a service that called us', async () => {
    const { callee, send } = await rig();
    await send(callee.origin);
    await runInCallContext(SERVICE_CALL, () => send(callee.origin));
    expect(callee.tokens()).toEqual([`Bearer ${TOKEN}`, `Bearer ${TOKEN}`]);
  });

  test('is the customer’s for a customer, unless the request is the service’s', async () => {
    const { callee, send } = await rig();
    await runInCallContext(CUSTOMER_CALL, async () => {
      await send(callee.origin);
      await send(callee.origin, { as: 'customer' });
      await send(callee.origin, { as: 'service' });
      await runAsService(() => send(callee.origin));
    });
    const customers = `Bearer ${CUSTOMER_TOKEN}`;
    const services = `Bearer ${TOKEN}`;
    expect(callee.tokens()).toEqual([customers, customers, services, services]);
  });

  test('is not sent, and nothing is, when there is no right one', async () => {
    const { callee, send } = await rig();
    const ledger = await startCallee();
    const narrow = createAuthorizedFetch({
      tokens: new ScriptedTokens(TOKEN),
      outsideCalls: 'service',
      origins: [{ origin: ledger.origin }],
    });
    await runInCallContext(CUSTOMER_CALL, async () => {
      await expect(narrow(`${ledger.origin}/entries?secret=1`)).rejects.toMatchObject({
        code: 'CUSTOMER_NOT_ACCEPTED',
        message: expect.not.stringContaining('entries'),
      });
    });
    await expect(narrow(callee.origin)).rejects.toMatchObject({ code: 'ORIGIN_NOT_LISTED' });
    await expect(send(callee.origin, { as: 'customer' })).rejects.toMatchObject({
      code: 'CUSTOMER_REQUIRED',
    });
    await expect(send('/relative')).rejects.toMatchObject({ code: 'ORIGIN_NOT_LISTED' });
    expect([callee.arrivals, ledger.arrivals]).toEqual([[], []]);
  });

  test('is not sent when it is not a bearer token; nor is it shown', async () => {
    const { callee, send } = await rig({ tokens: new ScriptedTokens(`x\r\n${CUSTOMER_TOKEN}`) });
    const error: unknown = await send(callee.origin).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'TOKEN_NOT_SENDABLE' });
    assertNoCanary(String((error as Error).stack));
    expect(callee.arrivals).toEqual([]);
  });

  test('is unavailable: the source’s own error, and nothing is sent', async () => {
    const down = new Error('the broker is down');
    const { callee, send } = await rig({ tokens: new ScriptedTokens(down) });
    await expect(send(callee.origin)).rejects.toBe(down);
    expect(callee.arrivals).toEqual([]);
  });

  test('goes to no other origin, even with otherOrigins: send-without-token', async () => {
    const stranger = await startCallee();
    const { send } = await rig({ otherOrigins: 'send-without-token' });
    await runInCallContext(CUSTOMER_CALL, () => send(stranger.origin, { headers: { a: '1' } }));
    expect(only(stranger)).toMatchObject({ authorization: [], headers: { a: '1' } });
    await expect(send(stranger.origin, { as: 'service' })).rejects.toMatchObject({
      code: 'ORIGIN_NOT_LISTED',
    });
    await expect(send('/relative')).rejects.toMatchObject({ name: 'TypeError' });
  });

  test.each<[string, AuthorizedRequestInit]>([
    ['a record', { headers: { AUTHORIZATION: 'Basic own' } }],
    ['a list', { headers: [['Authorization', 'Basic own']] }],
    ['Headers', { headers: new Headers({ authorization: 'Basic own' }) }],
    ['with as', { headers: { authorization: 'Basic own' }, as: 'service' }],
  ])('is left alone when it is the caller’s own: %s', async (_name, init) => {
    const { callee, send } = await rig();
    await runInCallContext(CUSTOMER_CALL, () => send(callee.origin, init));
    expect(only(callee).authorization).toEqual(['Basic own']);
  });
});

describe('what fetch is called with', () => {
  test('may be text, a URL, or a Request', async () => {
    const { callee, send } = await rig();
    await send(`${callee.origin}/text`);
    await send(new URL('/url', callee.origin));
    await send(new Request(`${callee.origin}/request`, { headers: { a: '1' } }));
    await send(new Request(`${callee.origin}/both`, { headers: { a: '1' } }), {
      method: 'PUT',
      body: 'content',
    });
    expect(
      callee.arrivals.map(({ method, url, body, headers }) => [method, url, body, headers['a']]),
    ).toEqual([
      ['GET', '/text', '', undefined],
      ['GET', '/url', '', undefined],
      ['GET', '/request', '', '1'],
      ['PUT', '/both', 'content', '1'],
    ]);
    expect(new Set(callee.tokens())).toEqual(new Set([`Bearer ${TOKEN}`]));
  });

  test('may be a Request as options', async () => {
    const { callee, send } = await rig();
    const request = new Request(`${callee.origin}/a`, { method: 'POST', body: 'content' });
    await send(`${callee.origin}/b`, request);
    expect(only(callee)).toMatchObject({
      method: 'POST',
      url: '/b',
      body: 'content',
      authorization: [`Bearer ${TOKEN}`],
    });
  });

  test('stays as it was', async () => {
    const { callee, send } = await rig();
    const headers = new Headers({ a: '1' });
    const init: AuthorizedRequestInit = Object.freeze({ headers, as: 'service' } as const);
    const request = new Request(callee.origin, { headers: { b: '1' } });
    await send(callee.origin, init);
    await send(request);
    await send(callee.origin, { headers: Object.freeze({ c: '1' }) });
    expect([...headers]).toEqual([['a', '1']]);
    expect([...request.headers]).toEqual([['b', '1']]);
    expect(request.bodyUsed).toBe(false);
  });

  test('is taken down at once: what the caller changes later changes nothing', async () => {
    const { callee, send } = await rig();
    const stranger = await startCallee();
    const url = new URL('/here', callee.origin);
    const headers = new Headers({ a: '1' });
    const answer = send(url, { headers });
    url.port = new URL(stranger.origin).port;
    headers.set('authorization', 'Basic late');
    await answer;
    expect(stranger.arrivals).toEqual([]);
    expect(only(callee)).toMatchObject({ url: '/here', authorization: [`Bearer ${TOKEN}`] });
  });

  describe('has one URL, whatever shows another', () => {
    /** Asks for the stranger in one view, and for the callee in the other. */
    const views: [string, (listed: string, other: string) => unknown][] = [
      [
        'a subclass of Request with a URL of its own',
        (listed, other) => {
          class Views extends Request {}
          Object.defineProperty(Views.prototype, 'url', { get: () => listed });
          return new Views(other);
        },
      ],
      [
        'a Request with a property in the place of its URL',
        (listed, other) => Object.defineProperty(new Request(other), 'url', { value: listed }),
      ],
      [
        'a Proxy around a Request',
        (listed, other) =>
          new Proxy(new Request(other), {
            get: (target, name) =>
              name === 'url' ? listed : (Reflect.get(target, name) as unknown),
          }),
      ],
      [
        'an object with a prototype of Request',
        (listed) => Object.create(Request.prototype, { url: { value: listed } }) as unknown,
      ],
      [
        'an object with url and toString',
        (listed, other) => ({ url: listed, toString: () => other }),
      ],
      [
        'an object that looks like a Request, with another toString',
        (listed, other) => ({ url: listed, headers: {}, method: 'GET', toString: () => other }),
      ],
      [
        'an object whose url changes',
        (listed, other) => {
          let reads = 0;
          return {
            headers: {},
            get url() {
              return (reads += 1) === 1 ? listed : other;
            },
          };
        },
      ],
      [
        'a subclass of URL',
        (listed, other) => {
          class Views extends URL {}
          for (const name of ['href', 'origin']) {
            Object.defineProperty(Views.prototype, name, { get: () => listed });
          }
          return new Views(other);
        },
      ],
      [
        'a String whose toString changes',
        (listed, other) => changing(new String(listed), listed, other),
      ],
      ['a URL whose toString changes', (listed, other) => changing(new URL(listed), listed, other)],
    ];
    const changing = (value: object, listed: string, other: string): unknown => {
      let reads = 0;
      return Object.assign(value, { toString: () => ((reads += 1) === 1 ? listed : other) });
    };

    test.each(views)('%s', async (_name, make) => {
      const stranger = await startCallee();
      // One that looks at the object itself, as wrappers do.
      const wrapped: AuthorizedFetchOptions['fetch'] = (input, init) =>
        fetch(typeof input === 'string' ? input : input.url, init);
      for (const options of [{}, { fetch: wrapped }]) {
        const { callee, send } = await rig(options);
        for (const [listed, other] of [
          [callee.origin, stranger.origin],
          [stranger.origin, callee.origin],
        ] as const) {
          const input = make(`${listed}/`, `${other}/`) as string;
          await send(input, { as: 'service' }).catch(() => undefined);
        }
        expect(stranger.tokens().filter(Boolean)).toEqual([]);
        expect(stranger.arrivals).toEqual([]);
      }
    });

    test('a Request of another implementation is sent as what it says', async () => {
      const { callee, send } = await rig();
      const foreign = {
        url: `${callee.origin}/a`,
        method: 'POST',
        headers: new Headers({ a: '1' }),
        body: 'content',
        redirect: 'follow',
        signal: undefined,
      };
      await send(foreign as unknown as Request, { as: 'service' });
      expect(only(callee)).toMatchObject({
        method: 'POST',
        url: '/a',
        body: 'content',
        headers: { a: '1' },
        authorization: [`Bearer ${TOKEN}`],
      });
    });

    test('a notation that parsers read in different ways is sent in the plain one', async () => {
      const seen: unknown[] = [];
      const { callee, send } = await rig({
        fetch: (input, init) => {
          seen.push(input);
          return fetch(input, init);
        },
      });
      const { host } = new URL(callee.origin);
      for (const url of [`http:\\\\${host}\\a`, `HTTP://${host}/a`, ` http:/\t/${host}/a`]) {
        await send(url, { as: 'service' });
      }
      expect(seen).toEqual(Array.from({ length: 3 }, () => `${callee.origin}/a`));
    });

    test('options are read once', async () => {
      const { callee, send } = await rig();
      let reads = 0;
      await runInCallContext(CUSTOMER_CALL, () =>
        send(callee.origin, {
          get as() {
            return (reads += 1) === 1 ? ('customer' as const) : ('service' as const);
          },
        }),
      );
      expect([reads, only(callee).authorization]).toEqual([1, [`Bearer ${CUSTOMER_TOKEN}`]]);
    });
  });

  test('may have a stream for a body', async () => {
    const { callee, send } = await rig();
    const body = Readable.toWeb(Readable.from(['a', 'b'])) as ReadableStream;
    // The types of Node 20 do not know `duplex`, which a stream needs.
    const init = { method: 'POST', body, duplex: 'half' };
    await send(callee.origin, init as RequestInit);
    expect(only(callee)).toMatchObject({ body: 'ab', authorization: [`Bearer ${TOKEN}`] });
  });

  test('ends as in fetch when it is aborted: before, and while it waits for the token', async () => {
    const reason = new Error('enough');
    const { callee, send } = await rig();
    await expect(send(callee.origin, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expect(
      send(new Request(callee.origin, { signal: AbortSignal.abort(reason) })),
    ).rejects.toBe(reason);

    const waiting = new AbortController();
    const never = createAuthorizedFetch({
      tokens: { getToken: () => new Promise(() => undefined) },
      outsideCalls: 'service',
      origins: [{ origin: callee.origin }],
    });
    const answer = never(callee.origin, { signal: waiting.signal });
    waiting.abort(reason);
    await expect(answer).rejects.toBe(reason);
    expect(callee.arrivals).toEqual([]);
  });

  test('goes through the fetch of the options', async () => {
    const seen: unknown[] = [];
    const { callee, send } = await rig({
      fetch: (input, init) => {
        seen.push([input, Object.keys(init ?? {}).toSorted()]);
        return fetch(input, init);
      },
    });
    await send(new URL(callee.origin), { as: 'service', method: 'GET' });
    expect(seen).toEqual([[`${callee.origin}/`, ['headers', 'method']]]);
  });
});

describe('the correlation of the call that is handled', () => {
  const correlation = {
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    tracestate: 'a=1',
    requestId: 'r-1',
  };
  const inCall = <Result>(run: () => Result): Result =>
    runInFrame({ behalf: CUSTOMER_CALL, correlation }, run);

  test('goes along, also with a header of the caller’s own', async () => {
    const { callee, send } = await rig();
    await inCall(() => send(callee.origin));
    await inCall(() => send(callee.origin, { headers: { authorization: 'Basic own' } }));
    for (const { headers } of callee.arrivals) {
      expect(headers).toMatchObject({
        traceparent: correlation.traceparent,
        tracestate: 'a=1',
        'x-request-id': 'r-1',
      });
    }
  });

  test('gives way to what the caller sets, and does not go elsewhere', async () => {
    const stranger = await startCallee();
    const { callee, send } = await rig({ otherOrigins: 'send-without-token' });
    await inCall(() => send(callee.origin, { headers: { 'X-Request-Id': 'own' } }));
    await inCall(() => send(stranger.origin));
    expect(only(callee).headers).toMatchObject({ 'x-request-id': 'own', tracestate: 'a=1' });
    expect(only(stranger).headers).not.toHaveProperty('traceparent');
    expect(only(stranger).headers).not.toHaveProperty('x-request-id');
  });
});

describe('the options', () => {
  const origins = [{ origin: 'https://a.internal' }];
  const tokens = new ScriptedTokens(TOKEN);
  test.each<[string, object, string]>([
    ['no tokens', { origins }, '"tokens"'],
    ['tokens without getToken', { origins, tokens: {} }, '"tokens"'],
    ['no origins', { tokens }, '"origins"'],
    ['others', { origins, tokens, otherOrigins: 'allow' }, '"otherOrigins"'],
    ['onRefused', { origins, tokens, onRefused: true }, '"onRefused"'],
    ['fetch', { origins, tokens, fetch: 'fetch' }, '"fetch"'],
    ['nothing', undefined as never, '"origins"'],
  ])('are refused: %s', (_name, options, message) => {
    expect(() => createAuthorizedFetch(options as AuthorizedFetchOptions)).toThrow(message);
  });

  test('are refused with all their mistakes at once, by axios too', () => {
    const options = {
      tokens: {},
      origins: [{ origin: 'ftp://a', acceptsCustomers: 1 }, undefined, 'https://b.internal'],
      otherOrigins: 'allow',
      onRefused: 1,
    } as never;
    const mistakes = (make: () => unknown): readonly string[] => {
      try {
        make();
      } catch (error) {
        return (error as ClientConfigError).mistakes.map((text) => text.split(' ', 1).join());
      }
      return [];
    };
    const common = [
      '"tokens"',
      '"otherOrigins"',
      '"onRefused"',
      '"origins[0].origin"',
      '"origins[0].acceptsCustomers"',
      '"origins[1].origin"',
      '"origins[2].origin"',
    ];
    expect(mistakes(() => createAuthorizedFetch(Object.assign({ fetch: 1 }, options)))).toEqual([
      ...common,
      '"fetch"',
    ]);
    expect(mistakes(() => attachAuthorization({} as never, options))).toEqual([
      ...common,
      'attachAuthorization',
    ]);
  });
});

/** Two callees that both are listed: the first one redirects. */
async function redirecting(target: (first: string, second: string) => string, status = 302) {
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
    const { first, send } = await redirecting(() => '/arrived');
    const response = await send(first.origin);
    expect([response.status, response.redirected]).toEqual([200, true]);
    expect(first.tokens()).toEqual(['Bearer token', 'Bearer token']);
  });

  test.each([301, 302, 303, 307, 308])(
    'to another origin, a listed one too, takes it off: %d',
    async (status) => {
      const { first, second, send } = await redirecting((_, other) => `${other}/arrived`, status);
      await send(first.origin, { method: 'POST', body: 'content' });
      expect(second.arrivals).toMatchObject([{ url: '/arrived', authorization: [] }]);
    },
  );

  test('takes a customer’s off as well', async () => {
    const { first, second, send } = await redirecting((_, other) => other);
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

  test('is not followed with redirect: manual or error', async () => {
    const { first, second, send } = await redirecting((_, other) => other);
    const response = await send(first.origin, { redirect: 'manual' });
    expect([response.status, response.headers.get('location')]).toEqual([302, second.origin]);
    await expect(send(first.origin, { redirect: 'error' })).rejects.toMatchObject({
      name: 'TypeError',
    });
    expect(second.arrivals).toEqual([]);
  });
});
