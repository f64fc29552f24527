import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import axios, { type AxiosError, type AxiosRequestConfig } from 'axios';
import {
  attachAuthorization,
  runInCallContext,
  type RefusedServiceToken,
} from '../../../src/client/index.js';
import { assertNoCanary, CANARIES } from '../../support/canaries.js';
import { acceptingOnly, startCallee, type Arrival, type Reply } from './support/callee.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN } from './support/principals.js';
import { ScriptedTokens } from './support/scripted-tokens.js';
import { pause } from '../../support/pause.js';

const always401 = (): Reply => ({ status: 401, body: '{"refused":true}' });

describe.each(['http', 'fetch'])('with the %s adapter, a 401', (adapter) => {
  async function rig(
    tokens: ScriptedTokens,
    answer: (arrival: Arrival) => Reply | Promise<Reply> = acceptingOnly('new'),
  ) {
    const callee = await startCallee(answer);
    const told: RefusedServiceToken[] = [];
    const http = axios.create({ adapter });
    attachAuthorization(http, {
      tokens,
      outsideCalls: 'service',
      origins: [{ origin: callee.origin, acceptsCustomers: true }],
      onRefused: (refusal) => told.push(refusal),
    });
    return { callee, http, told };
  }

  const failure = (answer: Promise<unknown>): Promise<AxiosError> =>
    answer.then(
      () => {
        throw new Error('it succeeded');
      },
      (error: AxiosError) => error,
    );

  test.each<[string, unknown, string]>([
    ['an object', { a: 1 }, '{"a":1}'],
    ['text', 'text', 'text'],
    ['bytes', Buffer.from('bytes'), 'bytes'],
    ['parameters', new URLSearchParams('a=1'), 'a=1'],
  ])('is followed by one retry with the same body: %s', async (_name, data, body) => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, http, told } = await rig(tokens);
    let requests = 0;
    http.interceptors.request.use((config) => {
      requests += 1;
      return config;
    });
    const { status, data: answer } = await http.post<unknown>(`${callee.origin}/orders?a=1`, data);
    expect([status, answer, requests, tokens.forced]).toEqual([200, { accepted: true }, 1, 1]);
    expect(
      callee.arrivals.map((arrival) => [arrival.url, arrival.body, ...arrival.authorization]),
    ).toEqual([
      ['/orders?a=1', body, 'Bearer old'],
      ['/orders?a=1', body, 'Bearer new'],
    ]);
    expect(told).toEqual([{ origin: callee.origin, outcome: 'retried', error: undefined }]);
  });

  test('is followed by one retry with form data', async () => {
    const { callee, http } = await rig(new ScriptedTokens('old', 'new'));
    const form = new FormData();
    form.set('file', new Blob(['content']), 'file.txt');
    expect((await http.post(callee.origin, form)).status).toBe(200);
    for (const { body } of callee.arrivals) expect(body).toContain('content');
  });

  test('that comes again is axios’ error, as without us', async () => {
    const tokens = new ScriptedTokens('old', CANARIES.jwt, 'newest');
    const { callee, http } = await rig(tokens, always401);
    const error = await failure(http.get(callee.origin));
    expect(error).toBeInstanceOf(axios.AxiosError);
    expect(error).toMatchObject({
      code: 'ERR_BAD_REQUEST',
      status: 401,
      response: { status: 401, data: { refused: true } },
    });
    expect(callee.tokens()).toEqual(['Bearer old', `Bearer ${CANARIES.jwt}`]);
    expect(tokens.forced).toBe(1);
    assertNoCanary(inspect(error, { depth: 12 }));
  });

  test('is retried too when it counts as an answer', async () => {
    const { callee, http } = await rig(new ScriptedTokens('old', 'new'));
    const validateStatus = (): boolean => true;
    expect((await http.get(callee.origin, { validateStatus })).status).toBe(200);
    const refused = await rig(new ScriptedTokens('old', 'new'), always401);
    expect((await refused.http.get(refused.callee.origin, { validateStatus })).status).toBe(401);
    expect([callee, refused.callee].map(({ arrivals }) => arrivals.length)).toEqual([2, 2]);
  });

  test('is the answer when there is no other token', async () => {
    const down = new Error('down');
    for (const [tokens, outcome] of [
      [new ScriptedTokens('old'), 'no-newer-token'],
      [new ScriptedTokens('old', down), 'refresh-failed'],
    ] as const) {
      const { callee, http, told } = await rig(tokens);
      const error = await failure(http.get(callee.origin));
      expect(error.response).toMatchObject({ status: 401, data: { refused: true } });
      expect([callee.arrivals.length, tokens.forced]).toEqual([1, 1]);
      expect(told).toMatchObject([{ outcome }]);
    }
  });

  test.each<[string, () => unknown]>([
    ['a stream', () => Readable.from(['content'])],
    ['form data that is a stream', () => axios.toFormData({ file: 'content' })],
  ])('is the answer when the body is used up: %s', async (_name, body) => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, http, told } = await rig(tokens);
    const error = await failure(http.post(callee.origin, body()));
    expect(error.response).toMatchObject({ status: 401, data: { refused: true } });
    expect(callee.arrivals).toHaveLength(1);
    expect(told).toMatchObject([{ outcome: 'not-repeatable' }]);
    expect((await http.get(callee.origin)).status).toBe(200);
    expect(tokens.forced).toBe(1);
  });

  test('about a customer’s token, or the caller’s own, is left alone', async () => {
    const tokens = new ScriptedTokens('old', 'new');
    const { callee, http, told } = await rig(tokens, always401);
    await runInCallContext(CUSTOMER_CALL, () => failure(http.get(callee.origin)));
    await failure(http.get(callee.origin, { headers: { authorization: 'Own' } }));
    expect(callee.tokens()).toEqual([`Bearer ${CUSTOMER_TOKEN}`, 'Own']);
    expect([tokens.forced, told]).toEqual([0, []]);
  });

  test('in the form of a stream leaves no connection behind', async () => {
    const long = 'x'.repeat(4_000_000);
    const { callee, http } = await rig(new ScriptedTokens('old'), (arrival) => ({
      ...acceptingOnly('new')(arrival),
      body: long,
    }));
    const config: AxiosRequestConfig = { responseType: 'stream' };
    // Not retried: the stream is the caller's.
    const { response } = await failure(http.get(callee.origin, config));
    expect((await text(response?.data)).length).toBe(long.length);
    for (let round = 0; round < 10; round += 1) {
      const again = axios.create({ adapter });
      const tokens = new ScriptedTokens('old', 'new');
      attachAuthorization(again, {
        tokens,
        outsideCalls: 'service',
        origins: [{ origin: callee.origin }],
      });
      const { data } = await again.get<unknown>(callee.origin, config);
      expect((await text(data)).length).toBe(long.length);
    }
    // The other side learns a moment later that a connection was given up.
    while ((await callee.connections()) > 1) await pause();
  });

  test('is not retried when the caller gives up meanwhile', async () => {
    const controller = new AbortController();
    const callee = await startCallee(always401);
    const http = axios.create({ adapter });
    const old = new ScriptedTokens('old');
    attachAuthorization(http, {
      tokens: {
        getToken: (demand) => {
          if (demand?.force !== true) return old.getToken();
          controller.abort();
          return new Promise(() => undefined);
        },
      },
      outsideCalls: 'service',
      origins: [{ origin: callee.origin }],
    });
    const error = await failure(http.get(callee.origin, { signal: controller.signal }));
    expect([error.code, callee.arrivals.length]).toEqual(['ERR_CANCELED', 1]);
  });
});

test('the refusal of whom a redirect led to is not about our token', async () => {
  const elsewhere = await startCallee(always401);
  const callee = await startCallee(() => ({
    status: 302,
    headers: { location: elsewhere.origin },
  }));
  const tokens = new ScriptedTokens('old', 'new');
  const http = axios.create({ adapter: 'http', validateStatus: null });
  attachAuthorization(http, {
    tokens,
    outsideCalls: 'service',
    origins: [{ origin: callee.origin }],
  });
  expect((await http.get(callee.origin)).status).toBe(401);
  expect([tokens.forced, callee.arrivals.length, elsewhere.tokens()]).toEqual([0, 1, [undefined]]);
});

async function text(stream: unknown): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
