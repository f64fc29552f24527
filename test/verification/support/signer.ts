import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import type { SignatureAlgorithm } from '../../../src/verification/keys/usable-keys.js';

/** A real key pair of an issuer. */
export interface Signer {
  readonly alg: SignatureAlgorithm;
  readonly kid: string;
  readonly privateKey: CryptoKey;
  /** The public key as the JWKS has it. */
  readonly jwk: JWK;
  /** Signs claims; header members replace `alg`, `kid` and `typ`, and `undefined` removes one. */
  sign(claims: object, header?: Readonly<Record<string, unknown>>): Promise<string>;
}

/** Makes a key pair. */
export async function createSigner(
  kid: string,
  alg: SignatureAlgorithm = 'ES256',
): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk: JWK = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' };
  return {
    alg,
    kid,
    privateKey,
    jwk,
    sign: (claims, header = {}) => {
      const members = Object.entries({ alg, kid, typ: 'JWT', ...header });
      const used = Object.fromEntries(members.filter(([, value]) => value !== undefined));
      return new SignJWT({ ...claims }).setProtectedHeader({ ...used, alg }).sign(privateKey);
    },
  };
}
