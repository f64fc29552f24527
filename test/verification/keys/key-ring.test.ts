import { beforeAll, expect, test } from '@jest/globals';
import { createStaticKeySet, KeyRing } from '../../../src/verification/keys/key-set.js';
import { readKeyDocument, type KeyDocument } from '../../../src/verification/keys/usable-keys.js';
import { createSigner } from '../support/signer.js';

type Key = Readonly<Record<string, unknown>>;

let first: Key;
let second: Key;
/** Of the first key's id, and not on the curve. */
let broken: Key;
beforeAll(async () => {
  const [{ jwk: one }, { jwk: other }] = [
    await createSigner('first'),
    await createSigner('second'),
  ];
  [first, second] = [{ ...one }, { ...other }];
  broken = { ...one, y: Buffer.alloc(32, 7).toString('base64url') };
});

const WANTED = { kid: 'first', alg: 'ES256' } as const;
const documentOf = (...keys: readonly Key[]): KeyDocument => {
  const document = readKeyDocument({ keys });
  if (document === undefined) throw new Error('no JWKS');
  return document;
};
const nameless = (key: Key): Key => ({ ...key, kid: undefined });

test('newer keys: what has not changed stays the same key, and what is gone is not trusted', async () => {
  const before = await KeyRing.import(documentOf(first));
  expect(await KeyRing.import(documentOf(first), before)).toBe(before);
  const more = await KeyRing.import(documentOf(second, first), before);
  expect(more).not.toBe(before);
  expect(more.match(WANTED)).toBe(before.match(WANTED));
  const again = await KeyRing.import(documentOf(first), more);
  expect(again.match(WANTED)).toBe(before.match(WANTED));
  const other = await KeyRing.import(documentOf(second), again);
  expect(other.match(WANTED)).toBe('unknown');
  // The same key under another id is another key.
  const renamed = await KeyRing.import(documentOf({ ...first, kid: 'new' }), before);
  expect(renamed.match({ kid: 'new', alg: 'ES256' })).not.toBe(before.match(WANTED));
});

test('a token without an id: the only key that fits, under the first of its ids', async () => {
  const ring = await KeyRing.import(documentOf(first, { ...first, kid: 'again' }));
  expect(ring.match({ kid: undefined, alg: 'ES256' })).toMatchObject({ keyId: 'first' });
  expect(ring.match({ kid: undefined, alg: 'RS256' })).toBe('unknown');
  const two = await KeyRing.import(documentOf(first, second));
  expect(two.match({ kid: undefined, alg: 'ES256' })).toBe('ambiguous');
});

test('a key without an id is no id of the set', async () => {
  const keys = createStaticKeySet({ keys: [nameless(first), second, { ...second }] });
  expect(keys.state().keyIds).toEqual(['second']);
  await keys.find({ kid: 'second', alg: 'ES256' });
  expect(keys.state().keyIds).toEqual(['second']);
  await expect(keys.find({ kid: undefined, alg: 'RS256' })).rejects.toMatchObject({
    code: 'TOKEN_KEY_UNKNOWN',
    message: 'The issuer publishes no key that fits the token\'s "kid" and "alg".',
  });
});

test('a key that is none does not take the id of another, and is told', () => {
  const { usable, ignored } = documentOf(broken, first);
  expect(usable.map(({ keyId }) => keyId)).toEqual(['first']);
  expect(ignored).toEqual([{ keyId: 'first', reason: 'malformed' }]);
});

test('a key that is none, without an id, leaves the others as they are', async () => {
  const ring = await KeyRing.import(documentOf(nameless(broken), nameless(first)));
  expect(ring.ignored).toEqual([{ keyId: undefined, reason: 'malformed' }]);
  expect(ring.match({ kid: undefined, alg: 'ES256' })).toMatchObject({ alg: 'ES256' });
});
