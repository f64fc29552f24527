import { webcrypto } from 'node:crypto';
import type { SignatureAlgorithm } from './algorithms.js';
import type { VerificationKey } from './keys/key-set.js';
import type { ParsedToken } from './parse/token.js';

type SigningParameters = Parameters<typeof webcrypto.subtle.verify>[0];

/** What the platform needs to know besides the key; the hash of RSA keys was fixed at their import (RFC 7518 §3). */
const PARAMETERS: Readonly<Record<SignatureAlgorithm, SigningParameters>> = {
  RS256: { name: 'RSASSA-PKCS1-v1_5' },
  RS384: { name: 'RSASSA-PKCS1-v1_5' },
  RS512: { name: 'RSASSA-PKCS1-v1_5' },
  PS256: { name: 'RSA-PSS', saltLength: 32 },
  PS384: { name: 'RSA-PSS', saltLength: 48 },
  PS512: { name: 'RSA-PSS', saltLength: 64 },
  ES256: { name: 'ECDSA', hash: 'SHA-256' },
  ES384: { name: 'ECDSA', hash: 'SHA-384' },
  ES512: { name: 'ECDSA', hash: 'SHA-512' },
  EdDSA: { name: 'Ed25519' },
  Ed25519: { name: 'Ed25519' },
};

/**
 * Whether the key made the signature (RFC 7515 §5.2, step 8). The strict parse has done the other steps, so that calling
 * the platform directly saves parsing the token once more.
 */
export function isSignedWith(key: VerificationKey, token: ParsedToken): Promise<boolean> {
  return webcrypto.subtle.verify(
    PARAMETERS[key.alg],
    key.key,
    Buffer.from(token.signature, 'base64url'),
    Buffer.from(token.signingInput, 'latin1'),
  );
}
