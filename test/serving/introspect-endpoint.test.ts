import { describe, expect, jest, test } from '@jest/globals';
import {
  headerOf,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from '../../src/serving/endpoint.js';
import { IntrospectEndpoint } from '../../src/serving/introspect-endpoint.js';
import { createOfflineTestIssuer, TOKEN_FAULTS, type TokenFault } from '../../src/testing/index.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { createStaticKeySet } from '../../src/verification/keys/key-set.js';
import { createReceivers, type Receivers } from '../../src/verification/receivers.js';
import { KeysUnavailableError } from '../../src/verification/verification-errors.js';
import { basic, createBroker, peerEntry, PEERS_SECRET, SECRETS } from './broker.js';

const A = 'https://a.example';
const B = 'https://b.example';
const issuer = await createOfflineTestIssuer({ audience: A });
const keys = createStaticKeySet(issuer.jwks());
const receivers = createReceivers({
  receivers: [A, B].map((audiences) => ({
    issuer: issuer.issuer,
    profile: 'rfc9068',
    keys,
    audiences,
  })),
});

const SECRET = 'gateway-secret-0123456789abcdefghijklmnopqrs';

function endpointFor(
  observer: ServingObserver = {},
  change: Partial<Receivers> = {},
): IntrospectEndpoint {
  const { serving, store } = createBroker();
  store.edit(
    PEERS_SECRET,
    JSON.stringify({
      peers: {
        gateway: peerEntry(SECRET, ['introspect']),
        orders: peerEntry(SECRETS.orders, ['token', 'admin']),
      },
    }),
  );
  const changed = { ...receivers, ...change };
  return new IntrospectEndpoint({
    login: serving.login,
    receivers: { get: () => Promise.resolve(changed), peek: () => changed },
    observer,
  });
}

function requestOf(
  form: Record<string, unknown>,
  change: Partial<EndpointRequest> = {},
): EndpointRequest {
  return {
    method: 'POST',
    url: '/oauth2/introspect',
    headers: {
      'content-type': ['application/x-www-form-urlencoded'],
      authorization: [basic('gateway', SECRET)],
    },
    remoteAddress: '127.0.0.1',
    encrypted: false,
    body: form,
    ...change,
  };
}

const introspect = (
  form: Record<string, unknown>,
  endpoint = endpointFor(),
): Promise<EndpointAnswer> => endpoint.answer(requestOf(form));
const jsonOf = (answer: EndpointAnswer): Record<string, unknown> =>
  JSON.parse(answer.body.toString());

const service = issuer.serviceToken({ clientId: 'billing', scopes: ['read', 'write'] });

describe('POST /oauth2/introspect', () => {
  test('tells what a service token is', async () => {
    const answer = await introspect({ token: service, token_type_hint: 'access_token' });
    expect([answer.status, headerOf(answer, 'Cache-Control')]).toEqual([200, 'no-store']);
    const told = jsonOf(answer);
    expect(told).toMatchObject({
      active: true,
      kind: 'service',
      client_id: 'billing',
      iss: issuer.issuer,
      aud: A,
      scope: 'read write',
      token_type: 'Bearer',
    });
    expect(Object.keys(told)).toEqual(expect.arrayContaining(['exp', 'iat', 'sub']));
  });

  test('and a customer token', async () => {
    const token = issuer.customerToken({ subject: 'anna', clientId: 'web', audience: B });
    expect(jsonOf(await introspect({ token }))).toMatchObject({
      active: true,
      kind: 'customer',
      sub: 'anna',
      client_id: 'web',
      aud: B,
    });
  });

  test('claims cannot stand in for what the broker says', async () => {
    const token = issuer.customerToken({
      subject: 'anna',
      claims: { active: false, kind: 'service', token_type: 'N_A' },
    });
    expect(jsonOf(await introspect({ token }))).toMatchObject({
      active: true,
      kind: 'customer',
      token_type: 'Bearer',
    });
  });

  test.each(Object.entries(TOKEN_FAULTS) as [TokenFault, string][])(
    'a token with the fault %s is only inactive',
    async (fault, reason) => {
      const introspected = jest.fn();
      const answer = await introspect(
        { token: issuer.serviceToken({ fault }) },
        endpointFor({ introspected }),
      );
      expect([answer.status, answer.body.toString()]).toEqual([200, '{"active":false}']);
      expect(introspected).toHaveBeenCalledWith(
        'gateway',
        { outcome: 'refused', reason },
        expect.anything(),
      );
    },
  );

  test('with an audience, a token for another one is inactive', async () => {
    expect(jsonOf(await introspect({ token: service, audience: A }))['active']).toBe(true);
    const other = await introspect({ token: service, audience: B });
    expect(other.body.toString()).toBe('{"active":false}');
    expect((await introspect({ token: service, audience: [A, B] })).status).toBe(400);
  });

  test('only for peers with the role', async () => {
    const endpoint = endpointFor();
    const as = async (authorization: string | undefined): Promise<readonly unknown[]> => {
      const headers = {
        'content-type': ['application/x-www-form-urlencoded'],
        ...(authorization !== undefined && { authorization: [authorization] }),
      };
      const answer = await endpoint.answer(requestOf({ token: service }, { headers }));
      return [answer.status, jsonOf(answer)['error']];
    };
    expect(await as(undefined)).toEqual([401, 'invalid_client']);
    expect(await as(basic('gateway', 'wrong'))).toEqual([401, 'invalid_client']);
    expect(await as(basic('orders', SECRETS.orders))).toEqual([403, 'unauthorized_client']);
    // RFC 7662 §2.1: the token that is introspected is no credential.
    expect(await as(`Bearer ${service}`)).toEqual([401, 'invalid_client']);
  });

  test('the peer may log in with the form', async () => {
    const headers = { 'content-type': ['application/x-www-form-urlencoded'] };
    const form = { token: service, client_id: 'gateway', client_secret: SECRET };
    const answer = await endpointFor().answer(requestOf(form, { headers }));
    expect(jsonOf(answer)['active']).toBe(true);
  });

  test.each([
    [{}, {}, 400],
    [{ token: '' }, {}, 400],
    [{ token: [service, service] }, {}, 400],
    // RFC 6749 §2.3: it is logged in as another peer.
    [{ token: service, client_id: 'orders' }, {}, 400],
    [{ token: service, client_id: 'gateway' }, {}, 200],
    [{ token: service }, { method: 'GET' }, 405],
    [{ token: service }, { url: `/oauth2/introspect?token=x` }, 400],
    [{ token: service }, { headers: { authorization: [basic('gateway', SECRET)] } }, 400],
  ])('%#: a malformed request, or not', async (form, change, status) => {
    expect((await endpointFor().answer(requestOf(form, change))).status).toBe(status);
  });

  test.each([
    [new KeysUnavailableError('secret words', { retryAfterSeconds: 7.2 }), 503, '8'],
    [new BrokerError('STORE_DOWN', 'retry', 'secret words'), 503, '5'],
  ])('%s is not "inactive"', async (error, status, retryAfter) => {
    const introspected = jest.fn();
    const verify = async (): Promise<never> => {
      throw error;
    };
    const endpoint = endpointFor({ introspected }, { verify });
    const answer = await introspect({ token: service }, endpoint);
    expect([answer.status, headerOf(answer, 'Retry-After')]).toEqual([status, retryAfter]);
    expect(answer.body.toString()).not.toContain('secret words');
    expect(introspected).toHaveBeenCalledWith(
      'gateway',
      { outcome: 'unavailable', reason: error.code },
      expect.anything(),
    );
  });
});
