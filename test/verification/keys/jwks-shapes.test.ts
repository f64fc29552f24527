import { beforeAll, describe, expect, test } from '@jest/globals';
import { createStaticKeySet } from '../../../src/verification/index.js';
import type { SignatureAlgorithm } from '../../../src/verification/keys/usable-keys.js';
import { fc } from '../../support/properties.js';
import { codeOf, createVerifier, sign } from '../support/cache-bench.js';
import { useKeyBench } from '../support/key-bench.js';
import { ManualClock } from '../support/manual-clock.js';
import { createSigner, type Signer } from '../support/signer.js';

type Key = Readonly<Record<string, unknown>>;

const bench = useKeyBench();
const signers = {} as Record<'rsa' | 'otherRsa' | 'ec' | 'otherEc' | 'p384' | 'ed', Signer>;
/** Their public keys, without `kid`, `alg` and `use`. */
const bare = {} as Record<keyof typeof signers, Key>;

beforeAll(async () => {
  const wanted: [keyof typeof signers, SignatureAlgorithm, ('one' | 'other')?][] = [
    ['rsa', 'RS256', 'one'],
    ['otherRsa', 'RS256', 'other'],
    ['ec', 'ES256'],
    ['otherEc', 'ES256'],
    ['p384', 'ES384'],
    ['ed', 'EdDSA'],
  ];
  for (const [name, alg, rsa] of wanted) {
    signers[name] = await createSigner('k', alg, rsa);
    const { kid: _kid, alg: _alg, use: _use, ...members } = signers[name].jwk;
    bare[name] = members;
  }
});

/** Base64 with padding, in the alphabet of base64. */
const padded = (value: unknown): string =>
  Buffer.from(value as string, 'base64url').toString('base64');
/** Base64url with padding. */
const paddedUrl = (value: unknown): string =>
  padded(value).replaceAll('+', '-').replaceAll('/', '_');
const behindZeros = (value: unknown, count: number): string =>
  Buffer.concat([Buffer.alloc(count), Buffer.from(value as string, 'base64url')]).toString(
    'base64url',
  );
const listed = (key: Key, members: object = {}): Key => ({ ...key, kid: 'k', ...members });
const CERTIFICATE = { x5c: ['MIIBszCCARygAwIBAgIE'], x5t: 'nothing-like-a-thumbprint' };
/** As serializers write keys whose optional members are fields. */
const NULLS = {
  use: null,
  key_ops: [],
  alg: null,
  crv: null,
  d: null,
  p: null,
  q: null,
  dp: null,
  dq: null,
  qi: null,
  oth: null,
  k: null,
  x5c: [],
  x5t: null,
  x5u: '',
};

/** How a JWKS lists keys, and what becomes of a token that names the key `k`, or the id in brackets. */
const SHAPES: readonly (readonly [
  name: string,
  keys: () => readonly unknown[],
  tokens: Partial<Record<keyof typeof signers, string>>,
  kid?: string | undefined,
])[] = [
  [
    'the same key again',
    () => [
      { ...bare.rsa, kid: 'k', alg: 'RS256' },
      { alg: 'RS256', kid: 'k', ...bare.rsa },
    ],
    { rsa: 'accepted', otherRsa: 'TOKEN_SIGNATURE_INVALID' },
  ],
  [
    'the same key for each algorithm',
    () => ['RS256', 'RS512', 'PS256'].map((alg) => listed(bare.rsa, { alg, use: 'sig' })),
    { rsa: 'accepted', ec: 'TOKEN_ALGORITHM_REFUSED' },
  ],
  [
    'the same key for an algorithm, and for whatever it can',
    () => [
      { ...bare.rsa, kid: 'k', alg: 'PS256' },
      { ...bare.rsa, kid: 'k' },
    ],
    { rsa: 'accepted' },
  ],
  [
    'the same key with and without its certificate',
    () => [
      { ...bare.rsa, kid: 'k', ...CERTIFICATE },
      { ...bare.rsa, kid: 'k' },
    ],
    { rsa: 'accepted' },
  ],
  [
    'the same key, written in three ways',
    () => [
      { ...bare.rsa, kid: 'k' },
      { ...bare.rsa, kid: 'k', n: padded(bare.rsa['n']) },
      { ...bare.rsa, kid: 'k', n: behindZeros(bare.rsa['n'], 1), e: behindZeros('AQAB', 1) },
    ],
    { rsa: 'accepted' },
  ],
  [
    'the same key for signatures and for encryption',
    () => [
      { ...bare.rsa, kid: 'k', use: 'enc', alg: 'RSA-OAEP' },
      { ...bare.rsa, kid: 'k', use: 'sig', alg: 'RS256' },
    ],
    { rsa: 'accepted' },
  ],
  [
    'RSA and EC with one id (RFC 7517 §4.5)',
    () => [
      { ...bare.rsa, kid: 'k' },
      { ...bare.ec, kid: 'k' },
    ],
    { rsa: 'accepted', ec: 'accepted', otherEc: 'TOKEN_SIGNATURE_INVALID' },
  ],
  [
    'every type with one id',
    () => [bare.rsa, bare.ec, bare.p384, bare.ed].map((key) => listed(key)),
    { rsa: 'accepted', ec: 'accepted', p384: 'accepted', ed: 'accepted' },
  ],
  [
    'different RSA keys with one id, for different algorithms',
    () => [
      { ...bare.rsa, kid: 'k', alg: 'RS256' },
      { ...bare.otherRsa, kid: 'k', alg: 'PS256' },
    ],
    { rsa: 'accepted', otherRsa: 'TOKEN_SIGNATURE_INVALID' },
  ],
  [
    'a conflict of EC keys does not touch the RSA key with that id',
    () => [
      { ...bare.ec, kid: 'k' },
      { ...bare.otherEc, kid: 'k' },
      { ...bare.rsa, kid: 'k' },
    ],
    { rsa: 'accepted', ec: 'TOKEN_ALGORITHM_REFUSED', otherEc: 'TOKEN_ALGORITHM_REFUSED' },
  ],
  [
    'a conflict in one algorithm leaves the others',
    () => [
      { ...bare.rsa, kid: 'k' },
      { ...bare.otherRsa, kid: 'k', alg: 'PS256' },
    ],
    { rsa: 'accepted' },
  ],
  [
    'keys that truly conflict are not used',
    () => [
      { ...bare.ec, kid: 'k' },
      { ...bare.otherEc, kid: 'k' },
    ],
    { ec: 'TOKEN_KEY_UNKNOWN', otherEc: 'TOKEN_KEY_UNKNOWN' },
  ],
  [
    'a namesake that is no key',
    () => [
      { ...bare.ec, kid: 'k', y: behindZeros('Bw', 31) },
      { ...bare.ec, kid: 'k' },
    ],
    { ec: 'accepted' },
  ],
  [
    'a private and a symmetric namesake',
    () => [
      { ...bare.otherEc, kid: 'k', d: 'AAAA' },
      { kty: 'oct', kid: 'k', k: 'AAAA', alg: 'ES256' },
      { ...bare.ec, kid: 'k' },
    ],
    { ec: 'accepted', otherEc: 'TOKEN_SIGNATURE_INVALID' },
  ],
  [
    'base64 with padding',
    () => [{ ...bare.rsa, kid: 'k', n: padded(bare.rsa['n']), e: padded(bare.rsa['e']) }],
    { rsa: 'accepted' },
  ],
  [
    'base64url with padding',
    () => [
      { ...bare.ec, kid: 'k', x: paddedUrl(bare.ec['x']), y: paddedUrl(bare.ec['y']) },
      { ...bare.ed, kid: 'k', x: paddedUrl(bare.ed['x']) },
    ],
    { ec: 'accepted', ed: 'accepted' },
  ],
  [
    'a modulus and coordinates behind a zero byte',
    () => [
      { ...bare.rsa, kid: 'k', n: behindZeros(bare.rsa['n'], 1) },
      { ...bare.ec, kid: 'k', x: behindZeros(bare.ec['x'], 1), y: behindZeros(bare.ec['y'], 1) },
    ],
    { rsa: 'accepted', ec: 'accepted' },
  ],
  ['a numeric id', () => [{ ...bare.ec, kid: 20 }], { ec: 'accepted' }, '20'],
  [
    'members that are null or empty',
    () => [
      { ...NULLS, ...bare.rsa, kid: 'k' },
      { ...NULLS, ...bare.ec, kid: 'k' },
    ],
    { rsa: 'accepted', ec: 'accepted' },
  ],
  [
    'operations besides verify',
    () => [{ ...bare.ec, kid: 'k', key_ops: ['verify', 'encrypt', 'https://x.example/', 7] }],
    { ec: 'accepted' },
  ],
  [
    'both names of Ed25519 (RFC 9864 §2.2)',
    () => [{ ...bare.ed, kid: 'k', alg: 'Ed25519' }],
    { ed: 'accepted' },
  ],
  [
    'junk in between',
    () => [
      null,
      'key',
      7,
      true,
      [],
      [[[[{}]]]],
      {},
      { kid: 'k' },
      { kty: null, kid: 'k' },
      { ...bare.ec, kid: { a: 1 } },
      { ...bare.rsa, n: 7, kid: 'k' },
      { ...bare.ec, kid: 'k' },
      { ...bare.otherEc, kid: 'k', x: 'AAAA' },
    ],
    { ec: 'accepted' },
  ],
  [
    'no id, with an id that is null or empty: the only key that fits',
    () => [{ ...bare.ec, kid: null }, { ...bare.rsa, kid: '' }, bare.p384],
    { ec: 'accepted', rsa: 'accepted', p384: 'accepted' },
    undefined,
  ],
  [
    'no id in the token, and the same key with several',
    () => [{ ...bare.ec, kid: 'a' }, { ...bare.ec, kid: 'b' }, bare.ec],
    { ec: 'accepted' },
    undefined,
  ],
  [
    'no id in the token, and several keys that fit',
    () => [
      { ...bare.ec, kid: 'a' },
      { ...bare.otherEc, kid: 'b' },
    ],
    { ec: 'TOKEN_KEY_UNKNOWN' },
    undefined,
  ],
];

describe.each(SHAPES)('%s', (_, keys, tokens, ...rest) => {
  const kid = rest.length === 0 ? 'k' : rest[0];
  test.each(Object.entries(tokens) as [keyof typeof signers, string][])(
    'a token of %s: %s',
    async (name, outcome) => {
      bench().server.behaviour = {
        kind: 'answer',
        status: 200,
        body: JSON.stringify({ keys: keys() }),
      };
      const token = await sign(signers[name], bench().clock, { kid });
      const verifier = createVerifier(bench().create(), bench().clock);
      expect(await codeOf(verifier.verify(token))).toBe(outcome);
      // Remembered or judged anew: the same.
      expect(await codeOf(verifier.verify(token))).toBe(outcome);
      if (outcome !== 'accepted') return;
      const fixed = createStaticKeySet({ keys: keys() as object[] });
      expect(await codeOf(createVerifier(fixed, bench().clock).verify(token))).toBe(outcome);
    },
  );
});

describe('documents', () => {
  const at = (body: string | Buffer): Promise<string> => {
    bench().server.behaviour = { kind: 'answer', status: 200, body };
    const { clock } = bench();
    return sign(signers.ec, clock).then((token) =>
      codeOf(createVerifier(bench().create(), clock).verify(token)),
    );
  };
  const key = (): string => JSON.stringify({ ...bare.ec, kid: 'k' });

  test.each<[string, (good: string) => string]>([
    ['a byte-order mark', (good) => `\u{feff}{"keys":[${good}]}`],
    ['white space around', (good) => `\r\n\t {"keys": [ ${good} ] } \n`],
    ['a key with the same member twice', (good) => `{"keys":[{"kty":"EC","kty":"RSA"},${good}]}`],
    ['a key with a member "__proto__"', (good) => `{"keys":[{"__proto__":{"a":1}},${good}]}`],
    ['a key of deep nesting', (good) => `{"keys":[${'['.repeat(999)}${']'.repeat(999)},${good}]}`],
    ['strings that look like members', (good) => `{"a\\":":"{:\\\\","keys":[${good},":{[\\""]}`],
    ['further members', (good) => `{"issuer":{"keys":[],"keys":[]},"keys":[${good}],"x":null}`],
  ])('%s', async (_, body) => {
    expect(await at(body(key()))).toBe('accepted');
  });

  test.each<[string, (good: string) => string]>([
    ['keys twice', (good) => `{"keys":[],"keys":[${good}]}`],
    ['keys twice, once with escapes', (good) => `{"keys":[${good}],"\\u006beys":[${good}]}`],
    ['a mark in the wrong place', (good) => `{\u{feff}"keys":[${good}]}`],
    ['two documents', (good) => `{"keys":[${good}]}{"keys":[]}`],
  ])('refused: %s', async (_, body) => {
    expect(await at(body(key()))).toBe('KEYS_UNAVAILABLE');
  });

  test('a member called __proto__ lends nothing to a key', async () => {
    const body = `{"keys":[{"kid":"k","__proto__":${key()}}]}`;
    expect(await at(body)).toBe('TOKEN_KEY_UNKNOWN');
  });
});

test('more than a hundred keys', async () => {
  const { clock } = bench();
  const many = Array.from({ length: 150 }, (_, index) => ({ ...bare.rsa, kid: `other-${index}` }));
  const keys = createStaticKeySet({ keys: [...many, { ...bare.ec, kid: 'k' }] });
  const verifier = createVerifier(keys, clock);
  expect(await codeOf(verifier.verify(await sign(signers.ec, clock)))).toBe('accepted');
});

test('whatever stands beside a good key, in whatever order: its tokens are accepted, and no others', async () => {
  const clock = new ManualClock();
  const good = await sign(signers.ec, clock);
  const foreign = await sign(signers.otherEc, clock);
  // Namesakes of other types and uses, and keys that are none.
  const beside = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.record({
      kty: fc.constantFrom('RSA', 'OKP', 'oct', 'XYZ', null, 7),
      kid: fc.constantFrom('k', 'other', 7, null),
      n: fc.base64String(),
      x: fc.base64String(),
      crv: fc.constantFrom('P-256', 'Ed25519', 'secp256k1', null),
    }),
    fc
      .record(
        {
          use: fc.constantFrom('sig', 'enc', null, 7),
          alg: fc.constantFrom('ES256', 'RS256', 'none', null, 7),
          key_ops: fc.constantFrom([], ['verify'], ['sign'], null, 7),
          d: fc.constantFrom(null, 'AAAA'),
        },
        { requiredKeys: [] },
      )
      .map((members) => listed(bare.ec, members)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(beside, { maxLength: 6 }), fc.nat(6), async (others, place) => {
      const list = others.toSpliced(place, 0, { ...bare.ec, kid: 'k' }) as object[];
      const verifier = createVerifier(createStaticKeySet({ keys: list }), clock);
      expect(await codeOf(verifier.verify(good))).toBe('accepted');
      expect(await codeOf(verifier.verify(foreign))).toBe('TOKEN_SIGNATURE_INVALID');
    }),
    { numRuns: 300 },
  );
});

describe.each<[string, string | undefined]>([
  ['under the same id', 'k'],
  ['without any id', undefined],
])('a key that is replaced %s', (_, kid) => {
  const publish = (key: Key): void => {
    const body = JSON.stringify({ keys: [{ ...key, kid }] });
    bench().server.behaviour = { kind: 'answer', status: 200, body };
  };

  test('tokens of the new key are accepted once the keys are older than the cooldown', async () => {
    const { clock, server } = bench();
    const verifier = createVerifier(bench().create(), clock);
    publish(bare.ec);
    const [before, after] = [
      await sign(signers.ec, clock, { kid }),
      await sign(signers.otherEc, clock, { kid }),
    ];
    expect(await codeOf(verifier.verify(before))).toBe('accepted');
    publish(bare.otherEc);
    expect(await codeOf(verifier.verify(after))).toBe('TOKEN_SIGNATURE_INVALID');
    clock.advance(30_000);
    expect(await codeOf(verifier.verify(after))).toBe('accepted');
    expect(await codeOf(verifier.verify(before))).toBe('TOKEN_SIGNATURE_INVALID');
    expect(server.requests).toBe(2);
  });

  test('a flood of bad signatures: a fetch per cooldown, and new keys are still found at once', async () => {
    const { clock, server } = bench();
    const verifier = createVerifier(bench().create(), clock);
    publish(bare.ec);
    const good = await sign(signers.ec, clock, { kid });
    const bad = await sign(signers.otherEc, clock, { kid });
    await verifier.verify(good);
    for (let second = 0; second < 600; second += 1) {
      clock.advance(1000);
      expect(await codeOf(verifier.verify(bad))).toBe('TOKEN_SIGNATURE_INVALID');
    }
    expect(server.requests).toBe(1 + 20);
    const other = [1, 2, 3].map((count) => sign(signers.ec, clock, { kid: `new-${count}` }));
    for (const token of await Promise.all(other)) {
      expect(await codeOf(verifier.verify(token))).toBe('TOKEN_KEY_UNKNOWN');
    }
    expect(await codeOf(verifier.verify(good))).toBe('accepted');
  });

  test('while the provider is down a bad signature is refused, and waits for nothing', async () => {
    const { clock, server } = bench();
    const verifier = createVerifier(bench().create(), clock);
    publish(bare.ec);
    const good = await sign(signers.ec, clock, { kid });
    const bad = await sign(signers.otherEc, clock, { kid });
    await verifier.verify(good);
    server.behaviour = { kind: 'break' };
    clock.advance(60_000);
    for (let count = 0; count < 10; count += 1) {
      expect(await codeOf(verifier.verify(bad))).toBe('TOKEN_SIGNATURE_INVALID');
    }
    expect(server.requests).toBe(2);
    expect(await codeOf(verifier.verify(good))).toBe('accepted');
  });
});
