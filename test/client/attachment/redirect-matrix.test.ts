import { createRequire } from 'node:module';
import { createServer } from 'node:http2';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import axios, { type AxiosAdapter, type AxiosRequestConfig } from 'axios';
import {
  asService,
  attachAuthorization,
  createAuthorizedFetch,
  type AuthorizedFetchOptions,
  type RefusedServiceToken,
} from '../../../src/client/index.js';
import { startCallee, type Arrival, type Callee, type Reply } from './support/callee.js';
import { ScriptedTokens } from './support/scripted-tokens.js';

// What each origin receives, whatever sends the request, and wherever it is led to. Two rules have no exception: a token reaches
// no origin but the one that was checked, and no request that was redirected to another one, or may have changed something
// before it was redirected, is sent twice.

const METHODS = ['GET', 'POST', 'PUT', 'DELETE'] as const;
const STATUSES = [301, 302, 303, 307, 308] as const;
const ANSWERS = [200, 401] as const;

/** Where a redirect leads to: nowhere, to the same origin, to another one, to that and back. */
const PLACES = ['nowhere', 'within', 'to itself', 'elsewhere', 'there and back'] as const;
type Place = (typeof PLACES)[number];

type Sender = (
  tokens: ScriptedTokens,
  origin: string,
  told: (refusal: RefusedServiceToken) => void,
) => (url: string, method: string) => Promise<number>;

const require = createRequire(import.meta.url);
const commonJsAxios = require('axios') as typeof axios;
/** By which axios follows redirects. */
const followRedirects = require('follow-redirects') as { readonly http: object };

function byAxios(config: object, library = axios): Sender {
  return (tokens, origin, onRefused) => {
    const http = library.create({ validateStatus: null, ...config });
    attachAuthorization(http, { tokens, origins: [{ origin }], onRefused });
    return async (url, method) => {
      const data = method === 'GET' || method === 'DELETE' ? undefined : 'content';
      return (await http.request({ ...asService, url, method, data })).status;
    };
  };
}

function byFetch(fetch?: AuthorizedFetchOptions['fetch']): Sender {
  return (tokens, origin, onRefused) => {
    const options = { tokens, origins: [{ origin }], onRefused, ...(fetch && { fetch }) };
    const send = createAuthorizedFetch(options);
    return async (url, method) => {
      const body = method === 'GET' || method === 'DELETE' ? undefined : 'content';
      return (await send(url, { as: 'service', method, ...(body && { body }) })).status;
    };
  };
}

/** Adapters of users: they follow redirects as they like, and show what they like. */
function ownAdapter(show: (response: Response) => unknown): AxiosAdapter {
  return async (config) => {
    const { url = '', method = 'get', data } = config as { data?: string } & AxiosRequestConfig;
    const headers = new Headers(config.headers.toJSON());
    const response = await fetch(url, { method, headers, ...(data && { body: data }) });
    return {
      config,
      data: await response.text(),
      headers: {},
      request: show(response),
      status: response.status,
      statusText: response.statusText,
    };
  };
}

/** Follows redirects itself, as the Fetch standard does, and shows the last response alone. */
async function byHand(input: string | Request, init?: RequestInit): Promise<Response> {
  const start = new Request(input, init);
  let { method, url } = start;
  let body = method === 'GET' || method === 'DELETE' ? null : await start.text();
  const headers = new Headers(start.headers);
  for (;;) {
    const response = await fetch(url, { method, headers, body, redirect: 'manual' });
    const location = response.headers.get('location');
    if (location === null) return response;
    const { status } = response;
    if (status === 303 || (status < 303 && method === 'POST')) [method, body] = ['GET', null];
    const next = new URL(location, url);
    if (next.origin !== new URL(url).origin) headers.delete('authorization');
    url = next.href;
  }
}

/**
 * By what is known of the way to the answer: `all` of it, that there `may` have been a redirect, or `none` of it.
 */
const SENDERS: readonly (readonly [string, Sender, 'all' | 'may' | 'none'])[] = [
  ['the http adapter', byAxios({ adapter: 'http' }), 'all'],
  ['the fetch adapter', byAxios({ adapter: 'fetch' }), 'may'],
  ['the adapter that axios chooses', byAxios({}), 'all'],
  ['a list of adapters', byAxios({ adapter: ['xhr', 'fetch', 'http'] }), 'may'],
  ['the http adapter as a function', byAxios({ adapter: axios.getAdapter('http') }), 'all'],
  ['the fetch adapter as a function', byAxios({ adapter: axios.getAdapter('fetch') }), 'may'],
  [
    'a function around the http adapter',
    byAxios({ adapter: (config: never) => axios.getAdapter('http')(config) }),
    'all',
  ],
  [
    'a function around it that takes beforeRedirect away',
    byAxios({
      adapter: (config: object) =>
        axios.getAdapter('http')({ ...config, beforeRedirect: undefined } as never),
    }),
    'may',
  ],
  [
    'the fetch adapter with a fetch of its own',
    byAxios({ adapter: 'fetch', env: { fetch: (...all: never) => fetch(...(all as [string])) } }),
    'may',
  ],
  ['axios of CommonJS', byAxios({}, commonJsAxios), 'all'],
  ['the fetch adapter of CommonJS', byAxios({ adapter: 'fetch' }, commonJsAxios), 'may'],
  [
    'the http adapter with a transport of its own',
    byAxios({ adapter: 'http', transport: followRedirects.http }),
    'may',
  ],
  [
    'an adapter like XMLHttpRequest',
    byAxios({ adapter: ownAdapter(({ url }) => ({ responseURL: url })) }),
    'none',
  ],
  ['an adapter that shows nothing', byAxios({ adapter: ownAdapter(() => undefined) }), 'none'],
  ['fetch', byFetch(), 'may'],
  ['a fetch of its own', byFetch((input, init) => fetch(input, init)), 'may'],
  // Response.url alone tells of its redirects: it must not be the same as before.
  ['a fetch that follows redirects itself', byFetch(byHand), 'may'],
  [
    'a fetch that copies responses',
    byFetch(async (input, init) => {
      const { body, status } = await fetch(input, init);
      return new Response(body, { status });
    }),
    'none',
  ],
];

/** The others are made of these: two statuses are enough, one that keeps the method and one that does not. */
const WHOLE = new Set(['the http adapter', 'the fetch adapter', 'fetch']);

/** Two origins, and what they answer at the moment: `/start` redirects, `/end` accepts the new token. */
async function world(place: Place) {
  const now = { status: 0, answer: 0, turn: 0 };
  const end = ({ authorization }: Arrival): Reply => ({
    status: authorization[0] === 'Bearer new' ? 200 : now.answer,
  });
  const redirect = (location: string): Reply => ({ status: now.status, headers: { location } });
  const first: Callee = await startCallee((arrival) => {
    if (arrival.url === '/end' || place === 'nowhere') return end(arrival);
    if (place === 'within') return redirect('/end');
    // Post, redirect, get: of the same URL, which answers the second time.
    if (place === 'to itself') return (now.turn += 1) % 2 ? redirect('/start') : end(arrival);
    return redirect(`${second.origin}/${place === 'elsewhere' ? 'end' : 'start'}`);
  });
  const second: Callee = await startCallee((arrival) =>
    arrival.url === '/end' ? end(arrival) : redirect(`${first.origin}/end`),
  );
  return { first, second, now };
}

/** How often a method arrives at `/start` in one turn: a redirect to itself may keep it. */
function perTurn(place: Place, method: string, status: number): number {
  const isKept = method === 'GET' || status > 303 || (status < 303 && method !== 'POST');
  return place === 'to itself' && isKept ? 2 : 1;
}

describe.each(SENDERS)('by %s', (name, sender, known) => {
  const places = name.includes('itself') ? PLACES.filter((one) => one !== 'to itself') : PLACES;
  test.each(places)('led %s', async (place) => {
    const { first, second, now } = await world(place);
    const statuses = WHOLE.has(name) ? STATUSES : ([303, 307] as const);
    for (const status of place === 'nowhere' ? [200] : statuses) {
      for (const [answer, method] of ANSWERS.flatMap((one) =>
        METHODS.map((other) => [one, other] as const),
      )) {
        Object.assign(now, { status, answer });
        const [asked, stray] = [first.arrivals.length, second.arrivals.length];
        const told: string[] = [];
        const tokens = new ScriptedTokens('old', 'new');
        const send = sender(tokens, first.origin, ({ outcome }) => told.push(outcome));
        const result = await send(`${first.origin}/start`, method);
        const strangers = second.arrivals.slice(stray);
        const starts = first.arrivals
          .slice(asked)
          .filter((arrival) => arrival.url === '/start' && arrival.method === method);

        const isLeft = place === 'elsewhere' || place === 'there and back';
        const isRepeated =
          answer === 401 &&
          (place === 'nowhere' ? known !== 'none' : !isLeft && method === 'GET' && known === 'all');
        const cell = { status, answer, method };
        expect({
          ...cell,
          result,
          // No token where it was not checked, and nobody there is asked twice.
          strangers: strangers.map(({ authorization }) => authorization),
          starts: starts.length,
          isRetried: told.includes('retried'),
        }).toEqual({
          ...cell,
          result: answer === 401 && !isRepeated ? 401 : 200,
          strangers: isLeft ? [[]] : [],
          starts: perTurn(place, method, status) * (isRepeated ? 2 : 1),
          isRetried: isRepeated,
        });
      }
    }
  });
});

test('HTTP/2 follows no redirect, and a 401 there is repeated once', async () => {
  const arrived: unknown[] = [];
  const server = createServer((request, response) => {
    arrived.push([request.method, request.url, request.headers.authorization]);
    const isNew = request.headers.authorization === 'Bearer new';
    if (request.url === '/away') response.writeHead(303, { location: 'http://stranger.example/' });
    else response.writeHead(isNew ? 200 : 401);
    response.end('{}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const http = axios.create({
    validateStatus: null,
    httpVersion: 2,
    http2Options: { sessionTimeout: 1 },
  } as object);
  attachAuthorization(http, { tokens: new ScriptedTokens('old', 'new'), origins: [{ origin }] });
  expect((await http.post(`${origin}/a`, 'a', { ...asService })).status).toBe(200);
  expect((await http.post(`${origin}/away`, 'a', { ...asService })).status).toBe(303);
  expect(arrived).toEqual([
    ['POST', '/a', 'Bearer old'],
    ['POST', '/a', 'Bearer new'],
    ['POST', '/away', 'Bearer new'],
  ]);
  server.close();
});
