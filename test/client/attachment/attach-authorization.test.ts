import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import axios, { type AxiosError, type CreateAxiosDefaults } from 'axios';
import {
  asCustomer,
  asService,
  attachAuthorization,
  runAsService,
  runInCallContext,
  type AttachmentOptions,
} from '../../../src/client/index.js';
import { runInFrame } from '../../../src/context/call-context.js';
import { assertNoCanary } from '../../support/canaries.js';
import { startCallee, type Arrival, type Callee, type Reply } from './support/callee.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN, SERVICE_CALL } from './support/principals.js';
import { ScriptedTokens } from './support/scripted-tokens.js';

const TOKEN = 'service.token.1';
const SERVICE = `Bearer ${TOKEN}`;
const CUSTOMER = `Bearer ${CUSTOMER_TOKEN}`;

/** The build that CommonJS applications load: another copy of axios, with classes of its own. */
const commonJsAxios = createRequire(import.meta.url)('axios') as typeof axios;

/** Node's stream, or the web's with the fetch adapter. */
type Streamed = Readable | ReadableStream;

function only({ arrivals }: Callee): Arrival {
  expect(arrivals).toHaveLength(1);
  return arrivals[0]!;
}

describe.each([
  ['the http adapter', axios, { adapter: 'http' }],
  ['the fetch adapter', axios, { adapter: 'fetch' }],
  ['the adapter that axios chooses', axios, {}],
  ['an adapter that is a function', axios, { adapter: axios.getAdapter('http') }],
  ['axios of CommonJS', commonJsAxios, {}],
] as const)('with %s', (_name, library, defaults) => {
  async function rig(
    options: Partial<AttachmentOptions> = {},
    more: CreateAxiosDefaults = {},
    answer?: (arrival: Arrival) => Reply,
  ) {
    const callee = await startCallee(answer);
    const http = library.create({ ...(defaults as CreateAxiosDefaults), ...more });
    const detach = attachAuthorization(http, {
      tokens: new ScriptedTokens(TOKEN),
      outsideCalls: 'service',
      origins: [{ origin: callee.origin, acceptsCustomers: true }],
      ...options,
    });
    return { callee, http, detach };
  }

  test('the token is that of the call context', async () => {
    const { callee, http } = await rig();
    await http.get(callee.origin);
    await runInCallContext(SERVICE_CALL, () => http.get(callee.origin));
    await runInCallContext(CUSTOMER_CALL, async () => {
      await http.get(callee.origin);
      await http.get(callee.origin, asCustomer);
      await http.post(callee.origin, { a: 1 }, { ...asService, timeout: 60_000 });
      await runAsService(() => http.get(callee.origin));
    });
    expect(callee.tokens()).toEqual([SERVICE, SERVICE, CUSTOMER, CUSTOMER, SERVICE, SERVICE]);
    expect(callee.arrivals[4]?.body).toBe('{"a":1}');
  });

  test('nothing is sent when there is no right one', async () => {
    const { callee, http } = await rig();
    const ledger = await startCallee();
    const narrow = library.create(defaults as CreateAxiosDefaults);
    attachAuthorization(narrow, {
      tokens: new ScriptedTokens(TOKEN),
      outsideCalls: 'service',
      origins: [{ origin: ledger.origin }],
    });
    await runInCallContext(CUSTOMER_CALL, () =>
      expect(narrow.get(ledger.origin)).rejects.toMatchObject({ code: 'CUSTOMER_NOT_ACCEPTED' }),
    );
    await expect(narrow.get(callee.origin)).rejects.toMatchObject({ code: 'ORIGIN_NOT_LISTED' });
    await expect(http.get(callee.origin, asCustomer)).rejects.toMatchObject({
      code: 'CUSTOMER_REQUIRED',
    });
    await expect(http.get('/relative')).rejects.toMatchObject({ code: 'ORIGIN_NOT_LISTED' });
    const down = new Error('the broker is down');
    const broken = await rig({ tokens: new ScriptedTokens(down) });
    await expect(broken.http.get(broken.callee.origin)).rejects.toBe(down);
    expect([callee, ledger, broken.callee].map(({ arrivals }) => arrivals.length)).toEqual([
      0, 0, 0,
    ]);
  });

  test('it goes where axios goes: baseURL, relative, absolute, URL, params', async () => {
    const { callee, http } = await rig();
    const { origin: baseURL } = callee;
    const unused = 'https://unused.example';
    await http.get('/a', { baseURL: `${baseURL}/v1/` });
    await http.get('b', { baseURL, params: { q: 'x y' } });
    await http.get(`${baseURL}/c`, { baseURL: unused });
    await http.request({ url: new URL('/d', baseURL) as unknown as string });
    await http.request({ baseURL });
    expect(callee.arrivals.map(({ url }) => url)).toEqual(['/v1/a', '/b?q=x+y', '/c', '/d', '/']);
    expect(new Set(callee.tokens())).toEqual(new Set([SERVICE]));

    for (const url of ['//unused.example/a', `${unused}/a`, 'http:unused.example']) {
      await expect(http.get(url, { baseURL: unused })).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:ORIGIN_NOT_LISTED|ERR_INVALID_URL)$/),
      });
    }
  });

  test('an absolute URL that is combined with baseURL goes where it was decided', async () => {
    const { callee, http } = await rig();
    const stranger = await startCallee();
    const config = { baseURL: callee.origin, allowAbsoluteUrls: false };
    await http.get(`${stranger.origin}/a`, config);
    expect(only(callee)).toMatchObject({ url: `/${stranger.origin}/a`, authorization: [SERVICE] });
    expect(stranger.arrivals).toEqual([]);
  });

  test('what interceptors change counts, whenever they were added', async () => {
    const callee = await startCallee();
    const stranger = await startCallee();
    const http = library.create(defaults as CreateAxiosDefaults);
    const turnTo = (origin: string) => {
      http.interceptors.request.use(async (config) => {
        await Promise.resolve();
        return { ...config, baseURL: origin };
      });
    };
    // axios runs the interceptors that were added first last.
    turnTo(stranger.origin);
    attachAuthorization(http, {
      tokens: new ScriptedTokens(TOKEN),
      outsideCalls: 'service',
      origins: [{ origin: callee.origin }],
    });
    turnTo(callee.origin);
    await expect(http.get('/a')).rejects.toMatchObject({ code: 'ORIGIN_NOT_LISTED' });
    expect([callee.arrivals, stranger.arrivals]).toEqual([[], []]);
  });

  test('an Authorization of the caller is left alone, in every form', async () => {
    const { callee, http } = await rig();
    const basic = `Basic ${Buffer.from('own:word').toString('base64')}`;
    await runInCallContext(CUSTOMER_CALL, async () => {
      await http.get(callee.origin, { headers: { AUTHORIZATION: 'Own' } });
      await http.get(callee.origin, { auth: { username: 'own', password: 'word' } });
      await http.get(callee.origin.replace('//', '//own:word@'));
      await http.get(callee.origin, { headers: { Authorization: false } });
    });
    expect(callee.tokens()).toEqual(['Own', basic, basic, undefined]);
  });

  test('requests to other origins pass unchanged with otherOrigins: send-without-token', async () => {
    const { http } = await rig({ otherOrigins: 'send-without-token' });
    const stranger = await startCallee();
    await runInCallContext(CUSTOMER_CALL, () => http.get('/a', { baseURL: stranger.origin }));
    expect(only(stranger)).toMatchObject({ url: '/a', authorization: [] });
    await expect(http.get(stranger.origin, asService)).rejects.toMatchObject({
      code: 'ORIGIN_NOT_LISTED',
    });
  });

  test('the correlation of the call that is handled goes along', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const correlation = { traceparent, tracestate: 'a=1', requestId: 'r-1' };
    const { callee, http } = await rig({ otherOrigins: 'send-without-token' });
    const stranger = await startCallee();
    await runInFrame({ behalf: 'service', correlation }, async () => {
      await http.get(callee.origin);
      await http.get(callee.origin, { headers: { authorization: 'Own', traceparent: 'own' } });
      await http.get(stranger.origin);
    });
    const carried = [...callee.arrivals, ...stranger.arrivals].map(({ headers }) => [
      headers['traceparent'],
      headers['tracestate'],
      headers['x-request-id'],
    ]);
    expect(carried).toEqual([
      [traceparent, 'a=1', 'r-1'],
      ['own', undefined, 'r-1'],
      [undefined, undefined, undefined],
    ]);
  });

  test('answers and errors are axios’ own, and show no token', async () => {
    const { callee, http } = await rig({}, {}, ({ url }) => ({
      status: url === '/fine' ? 200 : 500,
    }));
    await runInCallContext(CUSTOMER_CALL, async () => {
      const answer = await http.get(`${callee.origin}/fine`, { headers: { own: '1' } });
      expect(answer).toMatchObject({ status: 200, data: {}, config: { headers: { own: '1' } } });
      const error = (await http
        .get(`${callee.origin}/broken`)
        .catch((reason: unknown) => reason)) as AxiosError;
      expect(error).toBeInstanceOf(library.AxiosError);
      expect(error).toMatchObject({
        code: 'ERR_BAD_RESPONSE',
        response: { status: 500, data: {} },
      });
      expect(error.request).toBeDefined();
      const refused = (await http
        .get(callee.origin, { transformResponse: () => JSON.parse('{') as unknown })
        .catch((reason: unknown) => reason)) as AxiosError;
      for (const shown of [answer, error, refused]) {
        assertNoCanary(inspect(shown, { depth: 12 }));
        assertNoCanary(JSON.stringify([shown.config, (shown as Partial<AxiosError>).toJSON?.()]));
      }
      expect(callee.tokens()).toEqual([CUSTOMER, CUSTOMER, CUSTOMER]);
    });
  });

  test('an answer that comes as a stream shows none either', async () => {
    const { callee, http } = await rig({}, {}, ({ url }) => ({
      status: url === '/fine' ? 200 : 500,
    }));
    const responseType = 'stream';
    await runInCallContext(CUSTOMER_CALL, async () => {
      const answer = await http.get<Streamed>(`${callee.origin}/fine`, { responseType });
      const error = (await http
        .get(`${callee.origin}/broken`, { responseType })
        .catch((reason: unknown) => reason)) as AxiosError<Streamed>;
      for (const shown of [answer, answer.data, error, error.response, error.response?.data]) {
        assertNoCanary(inspect(shown, { depth: 12 }));
      }
      await expect(text(answer.data)).resolves.toBe('{}');
      await text(error.response!.data);
    });
    expect(callee.tokens()).toEqual([CUSTOMER, CUSTOMER]);
  });

  test('data that an adapter of the caller’s own answers with is left as it is', async () => {
    const data = Object.freeze({ client: { id: 7 }, socket: 'a', total: 3 });
    const { callee, http } = await rig(
      {},
      {
        adapter: (config) =>
          Promise.resolve({ data, status: 200, statusText: 'OK', headers: {}, config }),
      },
    );
    const answer = await http.get<unknown>(callee.origin);
    expect(Object.keys(answer.data as object)).toEqual(['client', 'socket', 'total']);
  });

  test('a failure to connect shows none either', async () => {
    const { http } = await rig({
      outsideCalls: 'service',
      origins: [{ origin: 'http://127.0.0.1:1', acceptsCustomers: true }],
    });
    const error = (await runInCallContext(CUSTOMER_CALL, () =>
      http.get('http://127.0.0.1:1/').catch((reason: unknown) => reason),
    )) as AxiosError;
    expect(error).toBeInstanceOf(library.AxiosError);
    assertNoCanary(inspect(error, { depth: 12 }));
    assertNoCanary(JSON.stringify(error.toJSON()));
  });

  test('a request that was cancelled ends as in axios, and is not sent', async () => {
    const { callee, http } = await rig();
    const waiting = await rig({ tokens: { getToken: () => new Promise(() => undefined) } });
    const isCanceled = { code: 'ERR_CANCELED', name: 'CanceledError' };

    const late = new AbortController();
    const source = library.CancelToken.source();
    const byBoth = { signal: late.signal, cancelToken: source.token };
    const answers = [
      waiting.http.get(waiting.callee.origin, { signal: late.signal }),
      waiting.http.get(waiting.callee.origin, { cancelToken: source.token }),
      waiting.http.get(waiting.callee.origin, byBoth),
    ];
    await new Promise((resolve) => setImmediate(resolve));
    late.abort();
    source.cancel();
    for (const answer of answers) await expect(answer).rejects.toMatchObject(isCanceled);
    await expect(http.get(callee.origin, byBoth)).rejects.toMatchObject(isCanceled);
    expect([callee.arrivals, waiting.callee.arrivals]).toEqual([[], []]);
  });

  test('nor is it sent when it is cancelled in the very moment in which the token comes', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const supplied = new ScriptedTokens(TOKEN).getToken();
    const { callee, http } = await rig({
      tokens: {
        getToken: () => {
          void supplied.then(() => controller.abort());
          return supplied;
        },
      },
    });
    await expect(http.get(callee.origin, { signal })).rejects.toMatchObject({
      code: 'ERR_CANCELED',
    });
    // What arrives later than this would have arrived before it.
    await http.get(`${callee.origin}/next`);
    expect(callee.arrivals).toMatchObject([{ url: '/next' }]);
  });

  test('a request that is sent again gets its token anew', async () => {
    const tokens = new ScriptedTokens('first', 'second');
    const { callee, http } = await rig({ tokens });
    const { config } = await http.get(callee.origin);
    await tokens.getToken({ force: true });
    await http.request(config);
    expect(callee.tokens()).toEqual(['Bearer first', 'Bearer second']);
  });

  test('a stream is sent as it is', async () => {
    const { callee, http } = await rig();
    await http.post(callee.origin, Readable.from(['a', 'b']));
    expect(only(callee)).toMatchObject({ body: 'ab', authorization: [SERVICE] });
  });

  test('it ends when it is taken off', async () => {
    const { callee, http, detach } = await rig();
    detach();
    detach();
    await http.get(callee.origin);
    expect(only(callee).authorization).toEqual([]);
  });
});

test('a Unix socket is no origin, whatever the URL says', async () => {
  const callee = await startCallee();
  const http = axios.create({ socketPath: '/nowhere' });
  attachAuthorization(http, {
    tokens: new ScriptedTokens(TOKEN),
    outsideCalls: 'service',
    origins: [{ origin: callee.origin }],
  });
  await expect(http.get(callee.origin)).rejects.toMatchObject({ code: 'ORIGIN_NOT_LISTED' });
});

test('two attachments share an instance when each lets the other’s origins pass', async () => {
  const callees = [await startCallee(), await startCallee()];
  const http = axios.create();
  for (const [index, { origin }] of callees.entries()) {
    attachAuthorization(http, {
      tokens: new ScriptedTokens(`token.${index}`),
      outsideCalls: 'service',
      origins: [{ origin }],
      otherOrigins: 'send-without-token',
    });
  }
  for (const { origin } of callees) await http.get(origin);
  expect(callees.map((callee) => callee.tokens())).toEqual([
    ['Bearer token.0'],
    ['Bearer token.1'],
  ]);
});

test.each([undefined, {}, { interceptors: {} }])('%j is no instance of axios', (instance) => {
  const options = {
    tokens: new ScriptedTokens(TOKEN),
    origins: [{ origin: 'https://a.internal' }],
  };
  expect(() => attachAuthorization(instance as never, options)).toThrow('axios.create');
});
