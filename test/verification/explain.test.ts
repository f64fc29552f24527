import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  createRemoteKeySet,
  createStaticKeySet,
  createTokenVerifier,
  explainToken,
  type TokenVerifierOptions,
} from '../../src/verification/index.js';
import { peekToken } from '../../src/verification/explain.js';
import { JwksServer } from './support/jwks-server.js';
import { ManualClock } from './support/manual-clock.js';
import { createSigner, type Signer } from './support/signer.js';

const clock = new ManualClock();
let signer: Signer;
let options: TokenVerifierOptions;

beforeAll(async () => {
  signer = await createSigner('k1');
  options = {
    clock,
    issuers: [
      {
        issuer: 'https://issuer.example/',
        audiences: 'orders',
        profile: 'auth0',
        keys: createStaticKeySet({ keys: [signer.jwk] }),
      },
    ],
  };
});

const claims = (change: object = {}): object => ({
  iss: 'https://issuer.example/',
  aud: 'orders',
  sub: 'job@clients',
  azp: 'job',
  gty: 'client-credentials',
  iat: clock.seconds,
  exp: clock.seconds + 90,
  jti: 'canary-claim',
  ...change,
});

const ALL = ['parse', 'issuer', 'times', 'audience', 'key', 'signature', 'classification'];

test('an accepted token: every step, the rules, what was seen', async () => {
  const token = await signer.sign(claims());
  const explanation = await explainToken(token, options);
  expect(explanation).toMatchObject({
    accepted: true,
    kind: 'service',
    code: undefined,
    isRetryable: false,
  });
  expect(explanation.steps.map(({ step }) => step)).toEqual(ALL);
  expect(explanation.steps.every(({ outcome }) => outcome === 'ok')).toBe(true);
  expect(explanation.rules).toContain('service: "sub" ends with "@clients": yes');
  expect(explanation.rules.at(-1)).toBe('decided: a service token, by profile "auth0"');
  expect(explanation.seen).toEqual({
    alg: 'ES256',
    typ: 'JWT',
    kid: 'k1',
    iss: 'https://issuer.example/',
    aud: ['orders'],
    expiresAt: '2026-03-01T12:01:30.000Z',
    remainingSeconds: 90,
  });
});

describe('refused tokens', () => {
  const stranger = createSigner('k1');
  const cases: readonly [string, string, string, () => Promise<string>][] = [
    ['parse', 'white space', 'TOKEN_MALFORMED', async () => `${await signer.sign(claims())}\n`],
    [
      'parse',
      'without an end',
      'TOKEN_CLAIM_INVALID',
      () => signer.sign(claims({ exp: undefined })),
    ],
    [
      'issuer',
      'not configured; expected: "https://issuer.example/"',
      'TOKEN_ISSUER_UNKNOWN',
      () => signer.sign(claims({ iss: 'x' })),
    ],
    ['times', 'expired', 'TOKEN_EXPIRED', () => signer.sign(claims({ iat: 1, exp: 2 }))],
    [
      'audience',
      'another audience ("aud"); expected: "orders".',
      'TOKEN_AUDIENCE_WRONG',
      () => signer.sign(claims({ aud: 'billing' })),
    ],
    ['key', 'no key', 'TOKEN_KEY_UNKNOWN', () => signer.sign(claims(), { kid: 'k2' })],
    [
      'signature',
      'does not fit',
      'TOKEN_SIGNATURE_INVALID',
      async () => (await stranger).sign(claims()),
    ],
    [
      'classification',
      'neither',
      'TOKEN_KIND_UNDECIDED',
      () => signer.sign(claims({ sub: 'somebody' })),
    ],
  ];

  test.each(cases)('%s: %s', async (step, words, code, make) => {
    const token = await make();
    const explanation = await explainToken(token, options);
    expect(explanation).toMatchObject({
      accepted: false,
      kind: undefined,
      code,
      isRetryable: false,
    });
    const names = explanation.steps.map((each) => each.step as string);
    expect(names).toEqual(ALL.slice(0, ALL.indexOf(step) + 1));
    expect(explanation.steps.map(({ outcome }) => outcome)).toEqual(
      names.map((name) => (name === step ? 'failed' : 'ok')),
    );
    expect(explanation.steps.at(-1)?.words).toContain(words);
    expect(explanation.seen.alg).toBe('ES256');
    expect(explanation.rules.length > 0).toBe(step === 'classification');

    // The same judgement as the verifier's, and no part of the token in it.
    await expect(createTokenVerifier(options).verify(token)).rejects.toMatchObject({ code });
    const text = JSON.stringify(explanation);
    expect(text).not.toContain('canary-claim');
    for (const part of token.trim().split('.')) expect(text).not.toContain(part);
  });

  test('what is too long is shown all the same', async () => {
    const token = await signer.sign(claims({ filler: 'x'.repeat(20_000) }));
    const explanation = await explainToken(token, options);
    expect(explanation).toMatchObject({ accepted: false, code: 'TOKEN_MALFORMED' });
    expect(explanation.steps.at(-1)?.words).toContain('longer than 16384 characters');
    expect(explanation.seen).toMatchObject({ iss: 'https://issuer.example/', aud: ['orders'] });
  });

  test('of a claim that is absent nothing else is said', async () => {
    const [issuer] = options.issuers;
    const token = await signer.sign(claims({ gty: undefined, azp: undefined, sub: 'ann' }));
    const { rules } = await explainToken(token, {
      clock,
      issuers: issuer === undefined ? [] : [{ ...issuer, profile: 'rfc9068' }],
    });
    expect(rules).toEqual([
      'service: "sub" is the value of "client_id": "client_id" is absent',
      'customer: "sub" differs from "client_id": "client_id" is absent',
      'refused: it has the marks of neither kind',
    ]);
  });

  test('a mark that speaks against a kind is named', async () => {
    const [issuer] = options.issuers;
    const ask = async (change: object): Promise<readonly string[]> => {
      const token = await signer.sign(claims({ azp: undefined, gty: undefined, ...change }));
      const { rules } = await explainToken(token, {
        clock,
        issuers: issuer === undefined ? [] : [{ ...issuer, profile: 'rfc9068' }],
      });
      return rules;
    };
    expect(await ask({ sub: 'u', client_id: 'c', auth_time: 1, clientHost: 'h' })).toContain(
      'customer: it has no mark of a machine: no, "clientHost" is present',
    );
    expect(await ask({ sub: 'u', client_id: 'c', auth_time: 1, azp: 'u' })).toContain(
      'customer: "sub" is not a client: no, "sub" is the value of "azp"',
    );
    expect(await ask({ sub: 'c', client_id: 'c', scope: 'a openid' })).toContain(
      'service: it has no mark of a person: no, "scope" has the scope of a login',
    );
    expect(await ask({ sub: 'u', client_id: 'orders' })).toEqual([
      'refused: its audience is its own client, as in an ID token',
    ]);
    expect(await ask({ sub: 'c', client_id: 'c', cnf: { jkt: 'x' } })).toEqual([
      'refused: it is bound to a key, which is not verified here',
    ]);
  });

  test('keys that cannot be had are no refusal', async () => {
    const server = await JwksServer.start();
    server.behaviour = { kind: 'break' };
    const [issuer] = options.issuers;
    const keys = createRemoteKeySet({ jwksUri: server.uri, clock });
    const token = await signer.sign(claims());
    const explanation = await explainToken(token, {
      clock,
      issuers: issuer === undefined ? [] : [{ ...issuer, keys }],
    });
    await server.stop();
    expect(explanation).toMatchObject({
      accepted: false,
      code: 'KEYS_UNAVAILABLE',
      isRetryable: true,
    });
    expect(explanation.steps.at(-1)).toMatchObject({ step: 'key', outcome: 'failed' });
  });
});

test('what says nothing about the token is thrown', async () => {
  const [issuer] = options.issuers;
  if (issuer === undefined) throw new Error('no issuer');
  const bug = new Error('a bug of the key set');
  const keys = { ...issuer.keys, find: () => Promise.reject(bug) };
  const token = await signer.sign(claims());
  await expect(explainToken(token, { clock, issuers: [{ ...issuer, keys }] })).rejects.toBe(bug);
});

describe('what is seen', () => {
  const NOTHING = {
    alg: undefined,
    typ: undefined,
    kid: undefined,
    iss: undefined,
    aud: undefined,
    expiresAt: undefined,
    remainingSeconds: undefined,
  };
  const make = (header: unknown, payload: unknown): string =>
    [header, payload]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');

  test.each([
    ['opaque', 'a1b2c3'],
    ['empty', ''],
    ['no string', 7],
    ['a list', ['a.b']],
    ['too long', 'x'.repeat(101)],
    ['other types', make({ alg: 1, kid: {} }, { iss: [], exp: '1' })],
    ['lists', make([], null)],
  ])('%s: nothing', (_, token) => {
    expect(peekToken(token, 0, 100)).toEqual(NOTHING);
  });

  test('up to the length that is given, white space around it included', () => {
    const token = ` ${make({ alg: 'ES256' }, { iss: 'a' })}\n`;
    const seen = { ...NOTHING, alg: 'ES256', iss: 'a' };
    expect(peekToken(token, 0, token.length)).toEqual(seen);
    expect(peekToken(token, 0, token.length - 1)).toEqual(NOTHING);
    expect(peekToken(token, 0)).toEqual(seen);
  });

  test.each([
    ['a', ['a']],
    [7, []],
    [
      ['a', 7, null, 'b'],
      ['a', 'b'],
    ],
    [Array.from({ length: 21 }, () => 'a'), Array.from({ length: 20 }, () => 'a')],
  ])('of the audience %j: %j', (aud, seen) => {
    expect(peekToken(make({}, { aud }), 0).aud).toEqual(seen);
  });

  test('the first and the last instant of the calendar', () => {
    const instantOf = (exp: number) => peekToken(make({}, { exp }), 0).expiresAt;
    expect(instantOf(8_640_000_000_000)).toBe('+275760-09-13T00:00:00.000Z');
    expect(instantOf(-8_640_000_000_000)).toBe('-271821-04-20T00:00:00.000Z');
    expect(instantOf(8_640_000_000_001)).toBeUndefined();
  });

  test('an expired token tells since when', () => {
    const seen = peekToken(make({}, { exp: 10 }), 25_500, 100);
    expect(seen).toEqual({
      ...NOTHING,
      expiresAt: '1970-01-01T00:00:10.000Z',
      remainingSeconds: -16,
    });
  });

  test('dates that no calendar has are left out', () => {
    for (const exp of [1e300, -1e300]) {
      expect(peekToken(make({}, { exp }), 0, 100).expiresAt).toBeUndefined();
    }
  });

  test('texts are made harmless for terminals, and short', () => {
    const kid = 'a\u{1b}[31m\r\u{202e}b\u{2028}';
    const seen = peekToken(make({ kid }, { iss: 'x'.repeat(1000) }), 0, 10_000);
    expect(seen.kid).toBe('a\u{fffd}[31m\u{fffd}\u{fffd}b\u{fffd}');
    expect(seen.iss).toBe(`${'x'.repeat(200)}…`);
    const iss = 'x'.repeat(200);
    expect(peekToken(make({}, { iss }), 0).iss).toBe(iss);
  });
});
