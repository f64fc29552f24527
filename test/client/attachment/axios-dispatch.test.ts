import { describe, expect, test } from '@jest/globals';
import axios, { type AxiosRequestConfig, AxiosHeaders } from 'axios';
import { readAllowedOrigins } from '../../../src/client/attachment/attachment-rules.js';
import {
  destinationOf,
  type AxiosRequest,
  putAuthorization,
  removeAuthorization,
} from '../../../src/client/attachment/axios-dispatch.js';
import { fc } from '../../support/properties.js';

const A = 'https://a.internal';
const B = 'https://b.internal:8443';
const origins = readAllowedOrigins([{ origin: A }, { origin: B }]);
const bare = axios.create();

/** The destination, and whether axios was asked for the URL. */
function look(config: AxiosRequestConfig) {
  let asked = false;
  const destination = destinationOf(config as AxiosRequest, origins, () => {
    asked = true;
    return typeof config.baseURL === 'object' ? '' : bare.getUri(config);
  });
  return { ...destination, asked };
}

describe('where a request of axios goes', () => {
  test.each<[AxiosRequestConfig, string | undefined, boolean]>([
    [{ url: `${A}/orders` }, A, false],
    [{ url: `${B}/` }, B, false],
    [{ url: '/orders', baseURL: A }, A, false],
    [{ url: '/orders', baseURL: `${B}/v1/` }, B, false],
    [{ url: 'orders/1', baseURL: A }, A, false],
    [{ url: 'orders?open', baseURL: A }, A, false],
    [{ url: A }, A, true],
    [{ baseURL: A }, A, true],
    [{ url: '', baseURL: A }, A, true],
    [{ url: 'https://A.internal:443/' }, A, true],
    [{ url: `${A}/`, baseURL: B }, A, true],
    [{ url: `${A}:8443/` }, `${A}:8443`, true],
    [{ url: `${A}.evil.example/` }, `${A}.evil.example`, true],
    [{ url: '/', baseURL: `${A}.evil.example` }, `${A}.evil.example`, true],
    [{ url: '/', baseURL: `${A}@evil.example` }, 'https://evil.example', true],
    [{ url: '//evil.example/' }, undefined, true],
    [{ url: '/orders' }, undefined, true],
    [{ url: 'data:text/plain,a' }, undefined, true],
    [{ url: `${A}/`, socketPath: '/run/docker.sock' }, undefined, false],
  ])('%j', (config, origin, asked) => {
    expect(look(config)).toMatchObject({ origin, asked });
  });

  test('getters are read once, and so is what looks like a text', () => {
    const turns = { url: 0, baseURL: 0, text: 0 };
    const evil = 'https://evil.example/';
    const getters = {
      get url() {
        return (turns.url += 1) === 1 ? `${A}/` : evil;
      },
      get baseURL() {
        return (turns.baseURL += 1) === 1 ? A : evil;
      },
    };
    expect(look(getters).origin).toBe(A);
    expect(bare.getUri(getters)).toBe(`${A}/`);
    expect(turns).toEqual({ url: 1, baseURL: 1, text: 0 });

    const changing = { toString: () => ((turns.text += 1) === 1 ? A : evil) };
    expect(look({ url: '/orders', baseURL: changing as unknown as string })).toMatchObject({
      asked: true,
    });
  });

  test('credentials in the URL are seen', () => {
    expect(look({ url: 'https://user:word@a.internal/' })).toMatchObject({
      origin: A,
      hasCredentials: true,
    });
    expect(look({ url: '/@', baseURL: A })).toMatchObject({ hasCredentials: false });
  });

  test('what is plain to see is what axios makes of it', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        A,
        B,
        '/',
        '//',
        '\\',
        ':',
        '@',
        '?',
        '#',
        '.',
        '\t',
        '\n',
        ' ',
        'http:',
        'evil.example',
      ),
      fc.string({ maxLength: 4 }),
    );
    const text = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(''));
    const base = fc.oneof(fc.constantFrom(undefined, '', A, `${B}/v1`), text);
    fc.assert(
      fc.property(text, base, (url, baseURL) => {
        const config = { url, ...(baseURL !== undefined && { baseURL }) };
        // Axios itself refuses some of what it would be asked for.
        const { origin } = destinationOf(config as AxiosRequest, origins, () => '');
        if (origin === undefined) return;
        expect(new URL(bare.getUri(config)).origin).toBe(origin);
      }),
      { numRuns: 2_000 },
    );
  });
});

test('the header is there as if axios had set it, and removed afterwards, under any name', () => {
  const headers = new AxiosHeaders({ Accept: 'application/json', 'X-Own': '1' });
  putAuthorization(headers, 'Bearer a.b.c');
  expect(headers.get('authorization')).toBe('Bearer a.b.c');
  expect(headers.toJSON()).toEqual(
    new AxiosHeaders({ Accept: 'application/json', 'X-Own': '1' })
      .set('Authorization', 'Bearer a.b.c')
      .toJSON(),
  );
  headers.normalize(true);
  Object.assign(headers, { AUTHORIZATION: 'Bearer d.e.f' });
  removeAuthorization(headers);
  expect(headers.toJSON()).toEqual({ Accept: 'application/json', 'X-Own': '1' });
});

test('headers that are kept in another way are set in theirs', () => {
  const kept = new Map<string, string>();
  const headers = {
    has: (name: string) => kept.has(name),
    set: (name: string, value: string) => kept.set(name, value),
    delete: (name: string) => kept.delete(name),
  };
  putAuthorization(headers, 'Bearer a.b.c');
  expect([...kept]).toEqual([['Authorization', 'Bearer a.b.c']]);
  removeAuthorization(headers);
  expect(kept.size).toBe(0);
});
