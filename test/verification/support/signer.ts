import { exportJWK, generateKeyPair, importPKCS8, SignJWT, type CryptoKey, type JWK } from 'jose';
import type { SignatureAlgorithm } from '../../../src/verification/keys/usable-keys.js';
import { rsaKeyPair } from '../../support/rsa-key.js';

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

/**
 * Makes a key pair.
 *
 * @param rsa for an algorithm of RSA, takes one of the pairs that there are instead.
 */
export async function createSigner(
  kid: string,
  alg: SignatureAlgorithm = 'ES256',
  rsa?: 'one' | 'other',
): Promise<Signer> {
  const { publicKey, privateKey } =
    rsa !== undefined && /^[RP]S/.test(alg)
      ? await knownPair(alg, rsa)
      : await generateKeyPair(alg, { extractable: true });
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

async function knownPair(alg: string, which: 'one' | 'other') {
  const { privateKey, publicKey } = rsaKeyPair(which);
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { privateKey: await importPKCS8(pem, alg, { extractable: true }), publicKey };
}
