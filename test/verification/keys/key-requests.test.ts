import { describe, expect, test } from '@jest/globals';
import { ProxyError } from '../../../src/tokens/proxy-error.js';
import {
  countsAsDown,
  failedFetch,
  fetchKeys,
  mayRetry,
  readKeysUri,
  type FetchedKeys,
} from '../../../src/verification/keys/fetch-keys.js';
import { KeyFetchError } from '../../../src/verification/verification-errors.js';
import { ManualClock } from '../support/manual-clock.js';

const ADDRESS = 'https://issuer.example/jwks';
const ASKED = `GET ${ADDRESS}`;
const clock = new ManualClock();

interface Change {
  readonly uri?: string;
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/** Asks for keys; `answer` stands for the provider, and sees what it is asked. */
const ask = (
  answer: (...asked: Parameters<typeof fetch>) => Response | Promise<Response>,
  { uri = ADDRESS, maxBytes = 1000, signal = new AbortController().signal }: Change = {},
): Promise<FetchedKeys> =>
  fetchKeys({
    uri: new URL(uri),
    fetch: async (...asked) => answer(...asked),
    maxBytes,
    clock,
    signal,
  });
const failureOf = (asking: Promise<unknown>): Promise<unknown> =>
  asking.then(
    () => 'no failure',
    (error: unknown) => error,
  );
const failing = (error: unknown, change?: Change): Promise<unknown> =>
  failureOf(
    ask(() => {
      throw error;
    }, change),
  );

test('what the provider is asked', async () => {
  const { signal } = new AbortController();
  let asked: unknown;
  await ask(
    (...all) => {
      asked = all;
      return Response.json({ keys: [] });
    },
    { signal },
  );
  const headers = { accept: 'application/json, application/jwk-set+json' };
  expect(asked).toEqual([new URL(ADDRESS), { headers, redirect: 'manual', signal }]);
});

describe('a status other than 200', () => {
  const moved = ' Redirects are not followed: configure the final address.';
  test.each([
    [204, ''],
    [299, ''],
    [300, moved],
    [399, moved],
    [400, ''],
    [503, ''],
  ])('%d', async (status, hint) => {
    expect(await failureOf(ask(() => new Response(null, { status })))).toMatchObject({
      code: 'KEYS_HTTP_STATUS',
      kind: 'retry',
      message: `The issuer's keys were answered with HTTP status ${status} instead of 200 (${ASKED}).${hint}`,
      retryAfterSeconds: undefined,
    });
  });

  test('when to ask again is kept, and the body is not read', async () => {
    let isCancelled = false;
    const body = new ReadableStream({ cancel: () => void (isCancelled = true) });
    const headers = { 'retry-after': '7' };
    const failure = await failureOf(ask(() => new Response(body, { status: 429, headers })));
    expect(failure).toMatchObject({ code: 'KEYS_HTTP_STATUS', retryAfterSeconds: 7 });
    expect(isCancelled).toBe(true);
  });
});

describe('a body that is no JWKS', () => {
  test.each<[string | Buffer, string]>([
    ['', 'it is empty. Something on the way may have lost it'],
    ['null', 'it is empty. Something on the way may have lost it'],
    ['{"keys":[{"kty"', 'it is cut short. Something on the way may have lost it'],
    [Buffer.from('{"keys":[],"x":"\u00ff"}', 'latin1'), 'it is not UTF-8'],
    ['<html>', 'it is not JSON'],
    ['[]', 'it must be an object with a list "keys"'],
    ['{"keys":{}}', 'it must be an object with a list "keys"'],
    ['{"keys":[],"keys":[]}', 'it has a member twice'],
  ])('%j: %s', async (body, what) => {
    expect(await failureOf(ask(() => new Response(body)))).toMatchObject({
      code: 'KEYS_INVALID',
      message: `What the issuer answered is not a JWKS: ${what}. Check that the address is its jwks_uri.`,
    });
  });

  test.each([
    '\u{feff}{"keys":[]}',
    ' {"keys":[]} ',
    '{"keys":[{"a":1,"a":2}]}',
    String.raw`{"\"keys\":":1,"keys":[],"k":"\\"}`,
  ])('but %s is one', async (body) => {
    expect((await ask(() => new Response(body))).document.usable).toEqual([]);
  });

  test('the largest body', async () => {
    const body = '{"keys":[]}';
    const maxBytes = body.length;
    expect((await ask(() => new Response(body), { maxBytes })).document.usable).toEqual([]);
    expect(await failureOf(ask(() => new Response(`${body} `), { maxBytes }))).toMatchObject({
      code: 'KEYS_TOO_LARGE',
      message: `The answer with the issuer's keys is larger than ${maxBytes} bytes.`,
    });
  });
});

test.each<[string | undefined, number | undefined]>([
  [undefined, undefined],
  ['public', undefined],
  ['max-age=120', 120],
  ['public, max-age=120', 120],
  ['public,max-age=120', 120],
  ['Max-Age = "120"', 120],
  ['max-age=0', 0],
  ['max-age=9999999999', 999_999_999],
  ['max-age=', undefined],
  ['max-age=-1', undefined],
  ['s-maxage=120', undefined],
  ['x-max-age=120', undefined],
  ['max-ages=120', undefined],
  ['no-store', 0],
  ['No-Cache', 0],
  ['max-age=120, no-cache', 0],
  ['max-age=120,no-store', 0],
  ['x-no-store, max-age=120', 120],
  ['no-stored, max-age=120', 120],
])('Cache-Control %j: kept for %j seconds', async (header, seconds) => {
  const headers: Record<string, string> = header === undefined ? {} : { 'cache-control': header };
  const { maxAgeSeconds } = await ask(() => Response.json({ keys: [] }, { headers }));
  expect(maxAgeSeconds).toBe(seconds);
});

describe('a provider that cannot be reached', () => {
  const refused = (code: string): Error =>
    new TypeError('fetch failed', { cause: Object.assign(new Error('canary'), { code }) });
  test.each([
    [refused('ECONNREFUSED'), 'the connection is refused (ECONNREFUSED).'],
    [
      refused('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION'),
      'no version of TLS, key or cipher is agreed on (ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION). The server must offer TLS 1.2 or later with keys and ciphers that Node.js takes.',
    ],
    [new Error('canary'), 'it failed in an unforeseen way.'],
    ['canary', 'it failed in an unforeseen way.'],
  ])('%p: %s', async (error, why) => {
    const failure = await failing(error, { uri: `${ADDRESS}?key=canary` });
    expect(failure).toMatchObject({
      code: 'KEYS_UNREACHABLE',
      kind: 'retry',
      message: `The issuer's keys cannot be reached: ${ASKED}: ${why}`,
      cause: error,
      retryAfterSeconds: undefined,
    });
  });

  test('a proxy that says when to ask again', async () => {
    const parts = { why: 'the proxy p:1 is busy', advice: 'Ask later.', retryAfterSeconds: 9 };
    const error = new ProxyError('PROXY_UNAVAILABLE', parts);
    expect(await failing(new TypeError('fetch failed', { cause: error }))).toMatchObject({
      code: 'KEYS_UNREACHABLE',
      message: `The issuer's keys cannot be reached: ${ASKED}: the proxy p:1 is busy. Ask later.`,
      retryAfterSeconds: 9,
    });
    expect(await failing(error)).toMatchObject({ code: 'KEYS_UNREACHABLE', cause: error });
  });

  test('a long address is cut', async () => {
    const uri = `${ADDRESS}/${'x'.repeat(300)}`;
    const { message } = (await failing(new Error('canary'), { uri })) as Error;
    expect(message).toBe(
      `The issuer's keys cannot be reached: ${`GET ${uri}`.slice(0, 200)}: it failed in an unforeseen way.`,
    );
  });

  test('a fetch that was given up fails with the reason for it, and an error of ours as it is', async () => {
    const reason = new Error('gave up');
    expect(await failing(new Error('canary'), { signal: AbortSignal.abort(reason) })).toBe(reason);
    const ours = new KeyFetchError('KEYS_TIMEOUT', 'late');
    expect(await failing(ours)).toBe(ours);
  });
});

describe('the address of the keys', () => {
  const refusal = (text: string, allowInsecureHttp = false): string => {
    try {
      return readKeysUri(text, allowInsecureHttp).href;
    } catch (error) {
      expect(error).toMatchObject({ code: 'KEYS_URI_REFUSED', kind: 'misconfigured' });
      return (error as Error).message;
    }
  };
  const because = (what: string): string => `The address of the issuer's keys is refused: ${what}.`;
  const NO_URL = because('it is not an absolute URL');
  const LOGIN = because('it carries a user or password');
  const INSECURE = because(
    'it must use https (plain http only to this machine, or with allowInsecureHttp)',
  );
  test.each([
    ['jwks', NO_URL, NO_URL],
    ['https://user@a.example/', LOGIN, LOGIN],
    ['https://:password@a.example/', LOGIN, LOGIN],
    ['http://a.example/', INSECURE, 'http://a.example/'],
    ['http://127.0.0.1:1/', 'http://127.0.0.1:1/', 'http://127.0.0.1:1/'],
    ['ftp://localhost/', INSECURE, INSECURE],
    ['https://a.example/', 'https://a.example/', 'https://a.example/'],
  ])('%s: %s; with allowInsecureHttp: %s', (text, strict, lenient) => {
    expect(refusal(text)).toBe(strict);
    expect(refusal(text, true)).toBe(lenient);
  });
});

describe('after a failure', () => {
  const failed = new KeyFetchError('KEYS_TIMEOUT', 'late');

  test('the next attempt is due after 1, 2, 4 … seconds, up to the longest pause', () => {
    let last = failedFetch(failed, undefined, 5000, 6000);
    expect(last).toEqual({
      error: failed,
      code: 'KEYS_TIMEOUT',
      at: 5000,
      retryAt: 6000,
      inARow: 1,
    });
    const pauses: number[] = [];
    for (let count = 2; count <= 5; count += 1) {
      last = failedFetch(failed, last, 5000, 6000);
      expect(last.inARow).toBe(count);
      pauses.push(last.retryAt - last.at);
    }
    expect(pauses).toEqual([2000, 4000, 6000, 6000]);
  });

  test.each([
    [0, 1],
    [1, 1],
    [2, 2],
    [300, 300],
    [301, 300],
  ])('a provider that asks for %d seconds gets %d', (retryAfterSeconds, seconds) => {
    const error = new KeyFetchError('KEYS_HTTP_STATUS', 'busy', { retryAfterSeconds });
    expect(failedFetch(error, undefined, 0, 6000).retryAt).toBe(seconds * 1000);
  });

  test('what is not foreseen is an outage', () => {
    const bug = new Error('canary');
    const { code, error } = failedFetch(bug, undefined, 0, 6000);
    expect([code, error.message, error.cause]).toEqual([
      'KEYS_UNREACHABLE',
      "The issuer's keys cannot be reached.",
      bug,
    ]);
  });

  test.each([
    // The clock was set back.
    [4999, true, false],
    [5000, false, true],
    [5999, false, true],
    [6000, true, true],
    [15_999, true, true],
    [16_000, true, false],
  ])('at %d a fetch may be tried: %p; the provider counts as down: %p', (now, may, isDown) => {
    const failure = failedFetch(failed, undefined, 5000, 6000);
    expect(mayRetry(failure, now)).toBe(may);
    expect(countsAsDown(failure, now, 10_000)).toBe(isDown);
    expect(mayRetry(undefined, now)).toBe(true);
    expect(countsAsDown(undefined, now, 10_000)).toBe(false);
  });
});
