import {
  generateKeyPair,
  sign as signBytes,
  type JsonWebKey,
  type KeyObject,
  type SignKeyObjectInput,
} from 'node:crypto';
import { promisify } from 'node:util';
import type { JWK } from 'jose';

/** What a test issuer signs with: `ES256` is made in a millisecond, `RS256` in some hundred. */
export type TestAlgorithm = 'ES256' | 'RS256';

/** A key pair of a test issuer. */
export interface SigningKey {
  readonly alg: TestAlgorithm;
  readonly kid: string;
  /** The public key, as the JWKS has it. */
  readonly jwk: JWK;
  /** The public key as text (SPKI, PEM). */
  readonly publicPem: string;
  /** The signature in base64url (RFC 7515 §5.1). */
  readonly sign: (input: string) => string;
}

const generate = promisify(generateKeyPair);

/** Makes a key pair that nothing else has: a key that stands in a package is no secret. */
export async function createSigningKey(alg: TestAlgorithm, kid: string): Promise<SigningKey> {
  const { publicKey, privateKey } = await (alg === 'ES256'
    ? generate('ec', { namedCurve: 'P-256' })
    : generate('rsa', { modulusLength: 2048 }));
  return {
    alg,
    kid,
    jwk: { ...jwkOf(publicKey), kid, alg, use: 'sig' },
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    sign: (input) =>
      signBytes('sha256', Buffer.from(input), signerFor(alg, privateKey)).toString('base64url'),
  };
}

/** RFC 7518 §3.4: the two numbers side by side, and not DER. */
function signerFor(alg: TestAlgorithm, key: KeyObject): SignKeyObjectInput {
  return alg === 'ES256' ? { key, dsaEncoding: 'ieee-p1363' } : { key };
}

function jwkOf(key: KeyObject): JWK & { kty: string } {
  const { kty, ...members }: JsonWebKey = key.export({ format: 'jwk' });
  if (kty === undefined) throw new TypeError('An exported key has no type.');
  return { kty, ...members };
}
