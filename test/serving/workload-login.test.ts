import { beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { ConfiguredPeer, TrustedIssuer } from '../../src/peers/identities.js';
import { TokenUses, WorkloadTokens } from '../../src/peers/workload-tokens.js';
import { headerOf, type EndpointAnswer, type ServingObserver } from '../../src/serving/endpoint.js';
import { createOfflineTestIssuer, type OfflineTestIssuer } from '../../src/testing/index.js';
import {
  createStaticKeySet,
  KeysUnavailableError,
  type KeySet,
} from '../../src/verification/index.js';
import { VirtualClock } from '../support/virtual-clock.js';
import { basic, createBroker, SECRETS, START } from './broker.js';

const US = 'https://broker.example.com';
const ISSUER = 'https://kubernetes.default.svc';
const SUBJECT = 'system:serviceaccount:shop:orders';
const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const NOW = START / 1_000;

const trusted: TrustedIssuer = {
  name: 'cluster',
  kind: 'kubernetes',
  issuer: ISSUER,
  jwksUri: `${ISSUER}/openid/v1/jwks`,
  audience: US,
  algorithms: ['ES256'],
  maxLifetimeSeconds: 3_600,
  singleUse: false,
  caFile: undefined,
  tokenFile: undefined,
};
const peerOf = (
  id: string,
  subject: string,
  more: Partial<ConfiguredPeer> = {},
): ConfiguredPeer => ({
  id,
  roles: ['token'],
  tokens: ['default'],
  enabled: true,
  identities: [{ issuer: 'cluster', subject }],
  ...more,
});
const PEERS = [
  peerOf('orders-pod', SUBJECT),
  peerOf('batch', 'system:serviceaccount:batch:*'),
  peerOf('operator', 'system:serviceaccount:ops:operator', { roles: ['admin'], tokens: [] }),
  peerOf('ledger', 'system:serviceaccount:shop:ledger', { tokens: ['ledger'] }),
  peerOf('off', 'system:serviceaccount:shop:off', { enabled: false }),
];

let cluster: OfflineTestIssuer;
let stranger: OfflineTestIssuer;
beforeAll(async () => {
  cluster = await createOfflineTestIssuer({ issuer: ISSUER });
  stranger = await createOfflineTestIssuer({ issuer: ISSUER });
});

const claimsOf = (change: Record<string, unknown> = {}): Record<string, unknown> => ({
  iss: ISSUER,
  sub: SUBJECT,
  aud: [US],
  iat: NOW,
  nbf: NOW,
  exp: NOW + 3_600,
  ...change,
});
const tokenWith = (change?: Record<string, unknown>): string => cluster.sign(claimsOf(change));

function setUp(
  options: {
    issuer?: Partial<TrustedIssuer>;
    keys?: KeySet;
    observer?: ServingObserver;
    usesCapacity?: number;
  } = {},
) {
  const clock = new VirtualClock(START);
  const workloadTokens = new WorkloadTokens({
    issuers: [{ ...trusted, ...options.issuer }],
    peers: PEERS,
    keysOf: () => options.keys ?? createStaticKeySet(cluster.jwks()),
    clock,
    clockSkewSeconds: 60,
    ...(options.usesCapacity && { uses: new TokenUses(clock, 60, options.usesCapacity) }),
  });
  const loginFailed = jest.fn<NonNullable<ServingObserver['loginFailed']>>();
  const loggedIn = jest.fn<NonNullable<ServingObserver['loggedIn']>>();
  const { serving } = createBroker({
    clock,
    filePeers: { current: { workloadTokens } },
    observer: { loginFailed, loggedIn, ...options.observer },
  });
  let address = 0;
  const common = () => ({ remoteAddress: `10.0.0.${(address += 1)}`, encrypted: true });
  const get = (...authorization: string[]): Promise<EndpointAnswer> =>
    serving.token.answer({
      method: 'GET',
      url: '/v1/token',
      headers: { authorization },
      ...common(),
    });
  const post = (form: Record<string, string>, authorization?: string): Promise<EndpointAnswer> =>
    serving.oauth.answer({
      method: 'POST',
      url: '/oauth2/token',
      headers: {
        'content-type': ['application/x-www-form-urlencoded'],
        ...(authorization !== undefined && { authorization: [authorization] }),
      },
      body: { grant_type: 'client_credentials', ...form },
      ...common(),
    });
  const assert = (token: string, more: Record<string, string> = {}): Promise<EndpointAnswer> =>
    post({ client_assertion: token, client_assertion_type: JWT_BEARER, ...more });
  return { clock, serving, get, post, assert, loginFailed, loggedIn };
}

const errorOf = ({ body }: EndpointAnswer): unknown =>
  (JSON.parse(body.toString()) as { error?: unknown }).error;

describe('a workload token for us', () => {
  test('gets the token, as a Bearer and as a client assertion', async () => {
    const { get, assert, loggedIn } = setUp();
    const token = tokenWith();
    for (const answer of [
      await get(`Bearer ${token}`),
      await get(`bearer ${token}`),
      await assert(token),
      await assert(token, { client_id: 'orders-pod' }),
    ]) {
      expect([answer.status, answer.body.toString()]).toEqual([
        200,
        expect.stringContaining('access_token'),
      ]);
    }
    expect(loggedIn.mock.calls.map(([id]) => id)).toEqual(Array(4).fill('orders-pod'));
  });

  test('a secret works beside it', async () => {
    const { get } = setUp();
    expect((await get(basic('orders', SECRETS.orders))).status).toBe(200);
  });

  test('the second time the hot lane answers it, and never the first time', async () => {
    const { get, serving } = setUp();
    const token = `Bearer ${tokenWith()}`;
    expect((await get(basic('orders', SECRETS.orders))).status).toBe(200);
    expect(serving.token.answerNow(token)).toBeUndefined();
    const answer = await get(token);
    expect(serving.token.answerNow(token)).toEqual(answer);
    expect(serving.token.answerNow(`${token}x`)).toBeUndefined();
  });

  test('a pod’s token is replaced: old and new work, each until its own end and the skew', async () => {
    const { clock, get } = setUp();
    const [old, next] = [
      tokenWith(),
      tokenWith({ iat: NOW + 2_880, nbf: NOW + 2_880, exp: NOW + 6_480 }),
    ];
    expect((await get(`Bearer ${old}`)).status).toBe(200);
    // The issuer's clock may be a minute ahead of ours.
    clock.advance(2_820_000);
    expect((await get(`Bearer ${next}`)).status).toBe(200);
    clock.advance(839_000);
    expect((await get(`Bearer ${old}`)).status).toBe(200);
    clock.advance(2_000);
    expect((await get(`Bearer ${old}`)).status).toBe(401);
    expect((await get(`Bearer ${next}`)).status).toBe(200);
  });

  test('a pattern fits its namespace alone', async () => {
    const { get } = setUp();
    const statusFor = async (sub: string): Promise<number> =>
      (await get(`Bearer ${tokenWith({ sub })}`)).status;
    expect(await statusFor('system:serviceaccount:batch:nightly')).toBe(200);
    expect(await statusFor('system:serviceaccount:batch-evil:nightly')).toBe(401);
    expect(await statusFor('system:serviceaccount:batch:a:b')).toBe(401);
  });

  test('who may not have the token learns that after the login: 403 and 404', async () => {
    const { get } = setUp();
    const ask = (sub: string) => get(`Bearer ${tokenWith({ sub })}`);
    const operator = await ask('system:serviceaccount:ops:operator');
    expect([operator.status, errorOf(operator)]).toEqual([403, 'unauthorized_client']);
    const ledger = await ask('system:serviceaccount:shop:ledger');
    expect([ledger.status, errorOf(ledger)]).toEqual([404, 'invalid_target']);
  });
});

describe('what opens nothing: one answer, and the reason only for the operator', () => {
  const bad: readonly (readonly [string, () => string, string])[] = [
    [
      'another service’s audience',
      () => tokenWith({ aud: ['https://other.example.com'] }),
      'token_audience_wrong',
    ],
    ['ours among others', () => tokenWith({ aud: [US, ISSUER] }), 'token_audience_wrong'],
    [
      'the default audience of the cluster',
      () => tokenWith({ aud: [ISSUER] }),
      'token_audience_wrong',
    ],
    ['no audience', () => tokenWith({ aud: undefined }), 'token_audience_wrong'],
    [
      'an audience that only resembles',
      () => tokenWith({ aud: [`${US}/`] }),
      'token_audience_wrong',
    ],
    ['expired', () => tokenWith({ iat: NOW - 3_700, exp: NOW - 100 }), 'token_expired'],
    ['not valid yet', () => tokenWith({ nbf: NOW + 120 }), 'token_not_yet_valid'],
    [
      'a life of more than an hour',
      () => tokenWith({ exp: NOW + 3_601 }),
      'token_lifetime_too_long',
    ],
    ['no start', () => tokenWith({ iat: undefined }), 'token_kind_undecided'],
    [
      'an unknown issuer',
      () => tokenWith({ iss: 'https://evil.example.com' }),
      'token_issuer_unknown',
    ],
    [
      'an issuer that differs by a slash',
      () => tokenWith({ iss: `${ISSUER}/` }),
      'token_issuer_unknown',
    ],
    [
      'a subject that nobody is',
      () => tokenWith({ sub: 'system:serviceaccount:shop:evil' }),
      'subject_unknown',
    ],
    [
      'a subject in another case',
      () => tokenWith({ sub: SUBJECT.toUpperCase() }),
      'subject_unknown',
    ],
    ['no subject', () => tokenWith({ sub: undefined }), 'token_kind_undecided'],
    [
      'a disabled peer',
      () => tokenWith({ sub: 'system:serviceaccount:shop:off' }),
      'disabled_peer',
    ],
    ['bound to a key', () => tokenWith({ cnf: { jkt: 'x' } }), 'token_sender_constrained'],
    ['signed by a stranger', () => stranger.sign(claimsOf()), 'token_signature_invalid'],
    ['changed', () => `${tokenWith().slice(0, -4)}AAAA`, 'token_signature_invalid'],
    [
      'the algorithm none',
      () =>
        `${Buffer.from('{"alg":"none"}').toString('base64url')}.${tokenWith().split('.')[1]}.AAAA`,
      'token_algorithm_refused',
    ],
    ['no token', () => 'opaque', 'token_malformed'],
    ['empty', () => ' ', 'token_malformed'],
    ['huge', () => `${'a'.repeat(13_000)}.a.a`, 'token_malformed'],
    ['a client secret', () => SECRETS.orders, 'token_malformed'],
  ];

  test.each(bad)('%s', async (_what, make, reason) => {
    const { get, assert, loginFailed } = setUp();
    const usual = await get(basic('nobody', 'wrong'));
    const token = make();
    const answer = await get(`Bearer ${token}`);
    expect(answer).toEqual(usual);
    expect([answer.status, errorOf(answer)]).toEqual([401, 'invalid_client']);
    expect(loginFailed.mock.lastCall?.[0]).toBe(reason);
    expect(JSON.stringify(loginFailed.mock.calls)).not.toContain(
      token.slice(0, 30).trim() || 'none',
    );
    if (token.trim() !== '') expect(await assert(token)).toEqual(usual);
  });

  test('with workload tokens off, a Bearer is what it was: malformed', async () => {
    const loginFailed = jest.fn<NonNullable<ServingObserver['loginFailed']>>();
    const { serving } = createBroker({ observer: { loginFailed } });
    const answer = await serving.token.answer({
      method: 'GET',
      url: '/v1/token',
      headers: { authorization: [`Bearer ${tokenWith()}`] },
      remoteAddress: '10.0.0.1',
      encrypted: true,
    });
    expect(answer.status).toBe(401);
    expect(loginFailed.mock.lastCall?.[0]).toBe('malformed');
    expect(headerOf(answer, 'WWW-Authenticate')).not.toContain('Bearer');
  });

  test('many failures of one address are answered with 429', async () => {
    const { serving } = setUp();
    const statuses: number[] = [];
    for (let count = 0; count < 12; count += 1) {
      const answer = await serving.token.answer({
        method: 'GET',
        url: '/v1/token',
        headers: { authorization: ['Bearer opaque'] },
        remoteAddress: '10.0.0.1',
        encrypted: true,
      });
      statuses.push(answer.status);
    }
    expect(statuses).toEqual([...Array<number>(10).fill(401), 429, 429]);
  });
});

describe('two identities at once: 400, whichever of them would open', () => {
  const BASIC = basic('orders', SECRETS.orders);
  test.each<[string, (scene: ReturnType<typeof setUp>, token: string) => Promise<EndpointAnswer>]>([
    ['two headers', ({ get }, token) => get(BASIC, `Bearer ${token}`)],
    ['the same Bearer twice', ({ get }, token) => get(`Bearer ${token}`, `Bearer ${token}`)],
    [
      'a Bearer and an assertion',
      ({ post }, token) =>
        post({ client_assertion: token, client_assertion_type: JWT_BEARER }, `Bearer ${token}`),
    ],
    [
      'Basic and an assertion',
      ({ post }, token) =>
        post({ client_assertion: token, client_assertion_type: JWT_BEARER }, BASIC),
    ],
    ['a Bearer and a secret', ({ post }, token) => post({ client_secret: 'x' }, `Bearer ${token}`)],
    [
      'a secret and an assertion',
      ({ assert }, token) => assert(token, { client_id: 'orders', client_secret: SECRETS.orders }),
    ],
    [
      'an assertion of another type',
      ({ post }, token) =>
        post({
          client_assertion: token,
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer',
        }),
    ],
    ['an assertion without a type', ({ post }, token) => post({ client_assertion: token })],
    [
      'an assertion and the id of another',
      ({ assert }, token) => assert(token, { client_id: 'orders' }),
    ],
  ])('%s', async (_what, ask) => {
    const answer = await ask(setUp(), tokenWith());
    expect([answer.status, errorOf(answer)]).toEqual([400, 'invalid_request']);
  });
});

describe('an issuer whose tokens are for one use', () => {
  const issuer = { singleUse: true };

  test('a token opens once, by whichever way, and never from the hot lane', async () => {
    const { get, assert, serving, loginFailed } = setUp({ issuer });
    const token = tokenWith({ jti: 'one' });
    expect((await get(`Bearer ${token}`)).status).toBe(200);
    expect(serving.token.answerNow(`Bearer ${token}`)).toBeUndefined();
    for (const again of [await get(`Bearer ${token}`), await assert(token)]) {
      expect(again.status).toBe(401);
    }
    expect(loginFailed.mock.lastCall?.slice(0, 2)).toEqual(['token_replayed', 'orders-pod']);
    expect((await get(`Bearer ${tokenWith({ jti: 'two' })}`)).status).toBe(200);
    // The same id in another token is the same use.
    expect((await get(`Bearer ${tokenWith({ jti: 'two', exp: NOW + 60 })}`)).status).toBe(401);
  });

  test('of many requests at once with one token, one is let in', async () => {
    const { get } = setUp({ issuer });
    const token = tokenWith({ jti: 'one' });
    const answers = await Promise.all(Array.from({ length: 20 }, () => get(`Bearer ${token}`)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  });

  test('without "jti" it opens nothing', async () => {
    const { get } = setUp({ issuer });
    expect((await get(`Bearer ${tokenWith()}`)).status).toBe(401);
  });

  test('when no more uses can be remembered: 503, until some have expired', async () => {
    const { clock, get } = setUp({ issuer, usesCapacity: 2 });
    const ask = (jti: string, exp: number, iat = NOW) =>
      get(`Bearer ${tokenWith({ jti, exp, iat, nbf: iat })}`);
    expect((await ask('a', NOW + 60)).status).toBe(200);
    expect((await ask('b', NOW + 600)).status).toBe(200);
    const full = await ask('c', NOW + 60);
    expect([full.status, headerOf(full, 'Retry-After')]).toEqual([503, expect.any(String)]);
    clock.advance(121_000);
    expect((await ask('d', NOW + 600)).status).toBe(200);
    expect((await ask('b', NOW + 600)).status).toBe(401);
  });
});

test('keys that cannot be read: 503 with Retry-After, and not a failed login', async () => {
  const issuerUnavailable = jest.fn();
  const keys: KeySet = {
    ...createStaticKeySet(cluster.jwks()),
    atHand: () => undefined,
    find: () => Promise.reject(new KeysUnavailableError('down', { retryAfterSeconds: 7 })),
  };
  const { get, loginFailed } = setUp({ keys, observer: { issuerUnavailable } });
  const answer = await get(`Bearer ${tokenWith()}`);
  expect([answer.status, errorOf(answer), headerOf(answer, 'Retry-After')]).toEqual([
    503,
    'temporarily_unavailable',
    '7',
  ]);
  expect(issuerUnavailable).toHaveBeenCalledTimes(1);
  expect(loginFailed).not.toHaveBeenCalled();
  // What needs no keys is still refused at once.
  expect((await get(`Bearer ${tokenWith({ iss: 'https://evil.example.com' })}`)).status).toBe(401);
});
