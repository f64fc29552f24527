import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { readFileSync } from 'node:fs';

/** The two halves of an RSA key. */
export interface RsaKeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/**
 * An RSA key pair of 2048 bits, for tests that need one and do not care which: making one takes a quarter of a second.
 * It is the same in all test files; `bundle-programs.mjs`, beside this file, has made it.
 *
 * @param which there are two.
 */
export function rsaKeyPair(which: 'one' | 'other' = 'one'): RsaKeyPair {
  const folder = process.env['TEST_RSA_KEYS'];
  if (folder === undefined) return generateKeyPairSync('rsa', { modulusLength: 2048 });
  const privateKey = createPrivateKey(readFileSync(`${folder}/${which}.pem`));
  return { privateKey, publicKey: createPublicKey(privateKey) };
}
