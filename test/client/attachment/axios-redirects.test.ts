import { Agent } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import type { LookupFunction } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import axios, { type AxiosRequestConfig } from 'axios';
import { RedirectWatch } from '../../../src/client/attachment/send-attached.js';
import { attachAuthorization, runInCallContext } from '../../../src/client/index.js';
import { redirectingTo, startCallee, type Callee } from './support/callee.js';
import { selfSignedCertificate } from '../../support/certificates.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN } from './support/principals.js';
import { ScriptedTokens } from './support/scripted-tokens.js';

const TOKEN = 'Bearer token';

function client(origins: readonly string[], defaults: AxiosRequestConfig = {}) {
  const http = axios.create({ proxy: false, ...(defaults as object) });
  attachAuthorization(http, {
    tokens: new ScriptedTokens('token'),
    outsideCalls: 'service',
    origins: origins.map((origin) => ({ origin, acceptsCustomers: true, allowInsecureHttp: true })),
  });
  return http;
}

/** Every name leads to this machine. */
const lookup: LookupFunction = (_name, options, callback) => {
  if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
  else callback(null, '127.0.0.1', 4);
};

describe('what is taken off before a redirect', () => {
  const origin = 'https://billing.internal';
  const before = (href: unknown, headers: Record<string, string>): object => {
    const options = { href, headers: { ...headers } };
    const watch = new RedirectWatch(origin, TOKEN, undefined);
    watch.beforeRedirect(options, {}, {});
    return { ...options.headers, left: watch.hasLeft };
  };

  test.each<[unknown, boolean]>([
    ['https://billing.internal/other', false],
    ['https://BILLING.internal:443/', false],
    ['http://billing.internal/', true],
    ['https://billing.internal:8443/', true],
    ['https://evil.billing.internal/', true],
    ['https://internal/', true],
    ['https://billing.internal@evil.example/', true],
    ['nonsense', true],
    [undefined, true],
  ])('to %s', (href, left) => {
    const kept = left ? {} : { Authorization: TOKEN };
    expect(before(href, { Authorization: TOKEN, accept: 'a' })).toEqual({
      accept: 'a',
      ...kept,
      left,
    });
  });

  test('is ours alone, in any case', () => {
    const headers = { authorization: TOKEN, AUTHORIZATION: 'Basic own', other: TOKEN };
    expect(before('https://evil.example/', headers)).toEqual({
      AUTHORIZATION: 'Basic own',
      other: TOKEN,
      left: true,
    });
  });
});

describe.each(['http', 'fetch'])('a redirect, with the %s adapter', (adapter) => {
  async function rig(target: (first: string, second: string) => string, status = 302) {
    const second = await startCallee();
    const first = await startCallee(
      redirectingTo(() => target(first.origin, second.origin), status),
    );
    return { first, second, http: client([first.origin, second.origin], { adapter }) };
  }

  test('within the origin keeps the token', async () => {
    const { first, http } = await rig(() => '/arrived');
    expect((await http.get(first.origin)).data).toEqual({ arrived: true });
    expect(first.tokens()).toEqual([TOKEN, TOKEN]);
  });

  test.each([301, 302, 303, 307, 308])(
    'to another origin, a listed one too, takes it off: %d',
    async (status) => {
      const { first, second, http } = await rig((_, other) => `${other}/arrived`, status);
      await http.post(first.origin, 'content');
      expect(second.arrivals).toMatchObject([{ url: '/arrived', authorization: [] }]);
    },
  );

  test('takes a customer’s off as well', async () => {
    const { first, second, http } = await rig((_, other) => other);
    await runInCallContext(CUSTOMER_CALL, () => http.get(first.origin));
    expect(first.tokens()).toEqual([`Bearer ${CUSTOMER_TOKEN}`]);
    expect(second.tokens()).toEqual([undefined]);
  });

  test('there and back does not bring it back', async () => {
    const second = await startCallee(redirectingTo(() => `${first.origin}/arrived`));
    const first = await startCallee(redirectingTo(() => second.origin));
    const http = client([first.origin, second.origin], { adapter });
    await http.get(first.origin);
    expect([first.tokens(), second.tokens()]).toEqual([[TOKEN, undefined], [undefined]]);
  });

  test('is not followed with maxRedirects: 0', async () => {
    const { first, second, http } = await rig((_, other) => other);
    const config = { maxRedirects: 0, validateStatus: null };
    expect((await http.get(first.origin, config)).status).toBe(302);
    expect(second.arrivals).toEqual([]);
  });
});

describe('a redirect that the http adapter follows', () => {
  test('to a subdomain takes the token off', async () => {
    const callee = await startCallee(
      redirectingTo(() => `http://evil.billing.test:${port}/arrived`),
    );
    const { port } = new URL(callee.origin);
    const origin = `http://billing.test:${port}`;
    const http = client([origin], { httpAgent: new Agent({ lookup }) });
    await http.get(origin);
    expect(callee.tokens()).toEqual([TOKEN, undefined]);
  });

  test('from https to http takes it off; within https it stays', async () => {
    const tls = selfSignedCertificate();
    const plain = await startCallee();
    const callee = await startCallee(
      ({ url }) =>
        url === '/arrived'
          ? {}
          : { status: 302, headers: { location: url === '/down' ? plain.origin : '/arrived' } },
      tls,
    );
    const http = client([callee.origin], { httpsAgent: new TlsAgent({ ca: tls.cert }) });
    await http.get(`${callee.origin}/within`);
    await http.get(`${callee.origin}/down`);
    expect(callee.tokens()).toEqual([TOKEN, TOKEN, TOKEN]);
    expect(plain.tokens()).toEqual([undefined]);
  });

  /** What the user's own `beforeRedirect` does with the headers decides what arrives. */
  const arrivedWith = async (
    beforeRedirect: NonNullable<AxiosRequestConfig['beforeRedirect']>,
  ): Promise<Callee> => {
    const second = await startCallee();
    const first = await startCallee(redirectingTo(() => second.origin));
    await client([first.origin]).get(first.origin, { beforeRedirect });
    return second;
  };

  test('calls the user’s own beforeRedirect, which cannot put the token back', async () => {
    const seen: unknown[] = [];
    const second = await arrivedWith((options, response, request) => {
      seen.push([options['href'], response.statusCode, request.method]);
      options['headers'] = { ...request.headers, own: '1' };
    });
    expect(seen).toEqual([[`${second.origin}/`, 302, 'GET']]);
    expect(second.arrivals).toMatchObject([{ authorization: [], headers: { own: '1' } }]);
  });

  test('lets the user set another header for the other origin', async () => {
    const second = await arrivedWith((options) => {
      (options['headers'] as Record<string, string>)['authorization'] = 'Basic own';
    });
    expect(second.tokens()).toEqual(['Basic own']);
  });

  test('is refused by the user’s own beforeRedirect', async () => {
    const refusal = new Error('not there');
    const outcome = arrivedWith(() => {
      throw refusal;
    });
    await expect(outcome).rejects.toMatchObject({ message: expect.stringContaining('not there') });
  });
});
