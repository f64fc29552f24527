import { describe, expect, jest, test } from '@jest/globals';
import {
  AuthorizeEndpoint,
  gatewayTarget,
  principalHeaders,
  type ReceiverSource,
} from '../../src/serving/authorize-endpoint.js';
import {
  headerOf,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from '../../src/serving/endpoint.js';
import { createOfflineTestIssuer, TOKEN_FAULTS, type TokenFault } from '../../src/testing/index.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { createStaticKeySet } from '../../src/verification/keys/key-set.js';
import { createReceivers, type Receivers } from '../../src/verification/receivers.js';
import { KeysUnavailableError } from '../../src/verification/verification-errors.js';
import type { Principal } from '../../src/verification/principal.js';
import { character, fc } from '../support/properties.js';

const A = 'https://a.example';
const B = 'https://b.example';
const issuer = await createOfflineTestIssuer({ audience: A });
const keys = createStaticKeySet(issuer.jwks());
const receiversOf = (...audiences: readonly string[]): Receivers =>
  createReceivers({
    receivers: audiences.map((audience) => ({
      issuer: issuer.issuer,
      profile: 'rfc9068',
      keys,
      audiences: audience,
    })),
  });
const sourceOf = (receivers: Receivers): ReceiverSource => ({
  get: () => Promise.resolve(receivers),
  peek: () => receivers,
});

function endpointFor(
  source: ReceiverSource = sourceOf(receiversOf(A)),
  observer: ServingObserver = {},
): AuthorizeEndpoint {
  return new AuthorizeEndpoint({ receivers: source, observer });
}

function requestOf(
  url: string,
  authorization: string | readonly string[] | undefined,
  method = 'GET',
): EndpointRequest {
  const values = typeof authorization === 'string' ? [authorization] : authorization;
  return {
    method,
    url,
    headers: values === undefined ? {} : { authorization: [...values] },
    remoteAddress: '127.0.0.1',
    encrypted: false,
  };
}

const ask = (
  query: string,
  token: string | undefined,
  endpoint = endpointFor(),
): Promise<EndpointAnswer> =>
  endpoint.answer(
    requestOf(`/v1/authorize${query}`, token === undefined ? token : `Bearer ${token}`),
  );

const principalOf = (answer: EndpointAnswer): readonly (string | undefined)[] =>
  ['Kind', 'Subject', 'Client', 'Issuer'].map((name) => headerOf(answer, `X-Principal-${name}`));

const service = issuer.serviceToken({ clientId: 'billing', scopes: ['read', 'write'] });
const customer = issuer.customerToken({ subject: 'anna', clientId: 'web', scopes: ['read'] });

describe('GET /v1/authorize', () => {
  test('says who calls', async () => {
    const passed = await ask('?allow=service', service);
    expect([passed.status, passed.body.length]).toEqual([200, 0]);
    const [kind, subject, client, from] = principalOf(passed);
    expect([kind, client, from]).toEqual(['service', 'billing', issuer.issuer]);
    expect(subject).toBeDefined();
    expect(headerOf(passed, 'Cache-Control')).toBe('no-store');
    expect(headerOf(passed, 'Content-Length')).toBe('0');
    const person = await ask('?allow=service&allow=customer', customer);
    expect(principalOf(person)).toEqual(['customer', 'anna', 'web', issuer.issuer]);
  });

  test.each([
    ['?allow=customer', service, 403, 'insufficient_scope'],
    ['?allow=service', customer, 403, 'insufficient_scope'],
    ['?allow=customer&scope=write', customer, 403, 'insufficient_scope'],
    ['?allow=service&scope=read&scope=delete', service, 403, 'insufficient_scope'],
    ['?allow=service', 'nonsense', 401, 'invalid_token'],
  ])('%s refuses', async (query, token, status, error) => {
    const answer = await ask(query, token);
    expect(answer.status).toBe(status);
    expect(headerOf(answer, 'WWW-Authenticate')).toContain(`error="${error}"`);
    expect(JSON.parse(answer.body.toString())).toMatchObject({ error });
    expect(principalOf(answer)).toEqual([undefined, undefined, undefined, undefined]);
  });

  test.each(['?allow=service&scope=read%20write', '?allow=service&scope=read&scope=write'])(
    '%s passes a token with both scopes',
    async (query) => expect((await ask(query, service)).status).toBe(200),
  );

  test('names the scopes that are required', async () => {
    const answer = await ask('?allow=customer&scope=read%20write', customer);
    expect(headerOf(answer, 'WWW-Authenticate')).toContain('scope="read write"');
  });

  test('without "allow" nobody passes, and no token is read', async () => {
    const authorized = jest.fn();
    for (const query of ['', '?scope=read', '/']) {
      const answer = await ask(query, service, endpointFor(undefined, { authorized }));
      expect([answer.status, headerOf(answer, 'WWW-Authenticate')]).toEqual([403, undefined]);
    }
    expect(authorized).toHaveBeenCalledWith(
      { outcome: 'refused', reason: 'NOT_DECLARED', verified: undefined },
      expect.anything(),
    );
  });

  test.each(['?allow=all', '?allow=', '?allow=service&role=admin', '?allow=service&scope=a%22b'])(
    '%s is a mistake of the gateway',
    async (query) => expect((await ask(query, service)).status).toBe(400),
  );

  test.each([
    [undefined, 'Bearer'],
    ['Basic YTpi', 'Bearer'],
    [['Bearer a', 'Bearer b'], 'Bearer error="invalid_request"'],
    [`Bearer ${service}, Bearer ${service}`, 'Bearer error="invalid_request"'],
    ['Bearer', 'Bearer error="invalid_request"'],
  ])('credentials %j: 401', async (authorization, challenge) => {
    const answer = await endpointFor().answer(
      requestOf('/v1/authorize?allow=service&allow=customer', authorization),
    );
    expect(answer.status).toBe(401);
    expect(headerOf(answer, 'WWW-Authenticate')?.startsWith(challenge)).toBe(true);
    expect(answer.body.toString()).not.toContain('Bearer e');
  });

  test.each(Object.keys(TOKEN_FAULTS) as TokenFault[])(
    'a token with the fault %s is refused',
    async (fault) => {
      for (const token of [issuer.serviceToken({ fault }), issuer.customerToken({ fault })]) {
        const answer = await ask('?allow=service&allow=customer', token);
        expect(answer.status).toBe(401);
        expect(JSON.stringify(answer.headers) + answer.body.toString()).not.toContain(token);
      }
    },
  );

  describe('with tokens for two audiences', () => {
    const endpoint = endpointFor(sourceOf(receiversOf(A, B)));
    test('the audience is required, and a token for one does not pass at the other', async () => {
      expect((await ask('?allow=service', service, endpoint)).status).toBe(400);
      const at = (audience: string): Promise<EndpointAnswer> =>
        ask(`?allow=service&audience=${encodeURIComponent(audience)}`, service, endpoint);
      expect((await at(A)).status).toBe(200);
      expect((await at(B)).status).toBe(401);
      expect((await at('https://c.example')).status).toBe(401);
      // Remembered now, and judged the same.
      expect((await at(B)).status).toBe(401);
    });
  });

  test('the policy may be the next segment: what follows is not read', async () => {
    expect((await ask('/allow=service/orders?allow=customer', service)).status).toBe(200);
    expect((await ask('/allow=service/orders?allow=customer', customer)).status).toBe(403);
    expect((await ask('/allow=service/../allow=customer', customer)).status).toBe(403);
    expect((await ask('/allow=service', service)).status).toBe(200);
    expect((await ask('/allow=service&scope=read%20write/', service)).status).toBe(200);
    expect((await ask('//orders?allow=service', service)).status).toBe(400);
    expect((await ask('/orders?allow=service', service)).status).toBe(400);
    // "OPTIONS *" behind a prefix.
    expect((await ask('/allow=service*', service)).status).toBe(400);
    expect((await ask('s/allow=service', service)).status).toBe(400);
  });

  test.each([
    ['/v1/authorize/allow=service/%zz?%', '/v1/authorize/allow=service'],
    ['/v1/authorize/allow=service?token=1', '/v1/authorize/allow=service'],
    ['/v1/authorize/allow=service', '/v1/authorize/allow=service'],
    ['/v1/authorize?allow=service', '/v1/authorize?allow=service'],
    ['/v1/authorize//orders', '/v1/authorize//orders'],
    ['/v1/token?min_ttl=1', '/v1/token?min_ttl=1'],
    ['/x/v1/authorize/allow=service/orders', '/x/v1/authorize/allow=service/orders'],
  ])('%s: what the framework reads is %s', (url, target) => {
    expect(gatewayTarget(url)).toBe(target);
  });

  test('any method is answered the same', async () => {
    const endpoint = endpointFor();
    for (const method of ['GET', 'POST', 'DELETE', 'OPTIONS', 'PROPFIND']) {
      const answer = await endpoint.answer(
        requestOf('/v1/authorize?allow=service', `Bearer ${service}`, method),
      );
      expect(answer.status).toBe(200);
    }
  });

  test('keys, or settings, that are unavailable are 503', async () => {
    const keysDown = await ask(
      '?allow=service',
      service,
      endpointFor(
        sourceOf({
          ...receiversOf(A),
          verify: async () => {
            throw new KeysUnavailableError('down', { retryAfterSeconds: 2.5 });
          },
        }),
      ),
    );
    expect([keysDown.status, headerOf(keysDown, 'Retry-After')]).toEqual([503, '3']);
    const storeDown = await ask(
      '?allow=service',
      service,
      endpointFor({
        get: async () => {
          throw new BrokerError('STORE_DOWN', 'retry', 'secret words');
        },
        peek: () => undefined,
      }),
    );
    expect([storeDown.status, headerOf(storeDown, 'Retry-After')]).toEqual([503, '5']);
    expect(storeDown.body.toString()).not.toContain('secret words');
  });

  test.each([
    ['misconfigured', undefined, '15'],
    ['retry', 60, '15'],
    ['retry', 2, '2'],
  ] as const)(
    'a secret that cannot be read (%s, %s): again in %s s',
    async (kind, after, seconds) => {
      const source: ReceiverSource = {
        get: async () => {
          throw new BrokerError(
            'X',
            kind,
            'x',
            after === undefined ? {} : { retryAfterSeconds: after },
          );
        },
        peek: () => undefined,
      };
      const answer = await ask('?allow=service', service, endpointFor(source));
      expect([answer.status, headerOf(answer, 'Retry-After')]).toEqual([503, seconds]);
    },
  );

  describe('while not all audiences are known', () => {
    const withMore = (known: Receivers, complete: () => Promise<Receivers>): AuthorizeEndpoint =>
      endpointFor({ get: async () => ({ ...known, complete }), peek: () => undefined });

    test('a gateway that names none waits for them', async () => {
      const alone = withMore(receiversOf(A), async () => receiversOf(A));
      expect((await ask('?allow=service', service, alone)).status).toBe(200);
      const others = withMore(receiversOf(A), async () => receiversOf(A, B));
      expect((await ask('?allow=service', service, others)).status).toBe(400);
      const down = withMore(receiversOf(A), async () => {
        throw new BrokerError('STORE_DOWN', 'retry', 'x');
      });
      const answer = await ask('?allow=service', service, down);
      expect([answer.status, headerOf(answer, 'Retry-After')]).toEqual([503, '5']);
    });

    test('no other one does', async () => {
      const complete = jest.fn<() => Promise<Receivers>>();
      const named = `?allow=service&audience=${encodeURIComponent(A)}`;
      expect((await ask(named, service, withMore(receiversOf(A), complete))).status).toBe(200);
      // More than one is more than one, whatever is to come.
      const several = withMore(receiversOf(A, B), complete);
      expect((await ask('?allow=service', service, several)).status).toBe(400);
      expect(complete).not.toHaveBeenCalled();
    });
  });

  test('at once, for a token that was verified before and may pass', async () => {
    const decisions: unknown[] = [];
    const endpoint = endpointFor(undefined, {
      authorized: ({ outcome }) => decisions.push(outcome),
    });
    const url = '/v1/authorize?allow=service';
    const now = (token: string, at = url): EndpointAnswer | undefined =>
      endpoint.answerNow(at, `Bearer ${token}`, { remoteAddress: '' });
    expect(now(service)).toBeUndefined();
    const slow = await ask('?allow=service', service, endpoint);
    expect(now(service)).toEqual(slow);
    expect(decisions).toEqual(['service', 'service']);
    expect(now(`${service} `)).toBeUndefined();
    // Another policy, another token, one that may not pass: not here.
    expect(now(service, '/v1/authorize')).toBeUndefined();
    await ask('?allow=customer', service, endpoint);
    expect(now(service, '/v1/authorize?allow=customer')).toBeUndefined();
    expect(now(customer)).toBeUndefined();
  });

  test('many policies are not kept', async () => {
    const endpoint = endpointFor();
    for (let index = 0; index < 1_100; index += 1) {
      await ask(`?allow=service&scope=s${index}`, service, endpoint);
    }
    await ask('?allow=service', service, endpoint);
    expect(
      endpoint.answerNow('/v1/authorize?allow=service', `Bearer ${service}`, { remoteAddress: '' }),
    ).toBeDefined();
  });
});

describe('principalHeaders', () => {
  const principal = (subject: string): Principal => ({
    kind: 'customer',
    subject,
    clientId: undefined,
    issuer: 'https://i.example',
    scopes: [],
    actor: undefined,
    claims: {},
  });

  test('plain values stay as they are; a missing client is empty', () => {
    expect(principalHeaders(principal('auth0|123'))).toEqual([
      'X-Principal-Kind',
      'customer',
      'X-Principal-Subject',
      'auth0|123',
      'X-Principal-Client',
      '',
      'X-Principal-Issuer',
      'https://i.example',
    ]);
  });

  test('every value is visible ASCII, and decodes to what it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 60 }), (subject) => {
        const written = principalHeaders(principal(subject))?.[3];
        expect(written).toMatch(/^[\x21-\x2b\x2d-\x7e]*$/);
        expect(decodeURIComponent(written ?? '')).toBe(subject);
      }),
    );
  });

  test('what has no UTF-8, or is too long, is refused', () => {
    expect(principalHeaders(principal('a\ud800b'))).toBeUndefined();
    expect(principalHeaders(principal('é'.repeat(200)))).toBeUndefined();
    expect(principalHeaders(principal('a'.repeat(1_024)))).toBeDefined();
  });
});

test('a subject that cannot be a header is refused', async () => {
  const token = issuer.customerToken({ subject: 'x'.repeat(2_000) });
  expect((await ask('?allow=customer', token)).status).toBe(401);
  const smuggler = issuer.customerToken({ subject: 'anna\r\nX-Principal-Kind: service' });
  const answer = await ask('?allow=customer', smuggler);
  expect(headerOf(answer, 'X-Principal-Subject')).toBe('anna%0D%0AX-Principal-Kind:%20service');
});
