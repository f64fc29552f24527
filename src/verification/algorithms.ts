/** What a signature algorithm asks of its key (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2). */
export interface AlgorithmKey {
  readonly kty: 'RSA' | 'EC' | 'OKP';
  readonly crv?: string;
}

const ALGORITHM_KEYS = {
  RS256: { kty: 'RSA' },
  RS384: { kty: 'RSA' },
  RS512: { kty: 'RSA' },
  PS256: { kty: 'RSA' },
  PS384: { kty: 'RSA' },
  PS512: { kty: 'RSA' },
  ES256: { kty: 'EC', crv: 'P-256' },
  ES384: { kty: 'EC', crv: 'P-384' },
  ES512: { kty: 'EC', crv: 'P-521' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  Ed25519: { kty: 'OKP', crv: 'Ed25519' },
} as const satisfies Record<string, AlgorithmKey>;

/** A signature algorithm that a verifier may allow. Asymmetric ones only: a shared key would let the verifier sign. */
export type SignatureAlgorithm = keyof typeof ALGORITHM_KEYS;

/** Every {@link SignatureAlgorithm}; also what an issuer allows by default. */
export const SIGNATURE_ALGORITHMS: readonly SignatureAlgorithm[] = Object.keys(
  ALGORITHM_KEYS,
) as SignatureAlgorithm[];

/** True for the name of an algorithm that a verifier may allow; names are compared as they are (RFC 7515 §4.1.1). */
export function isSignatureAlgorithm(name: unknown): name is SignatureAlgorithm {
  return typeof name === 'string' && Object.hasOwn(ALGORITHM_KEYS, name);
}

/** The algorithms that a key of this type and curve can verify; none for a key that nobody should sign with. */
export function algorithmsForKey(kty: unknown, crv: unknown): readonly SignatureAlgorithm[] {
  return SIGNATURE_ALGORITHMS.filter((name) => {
    const wanted: AlgorithmKey = ALGORITHM_KEYS[name];
    return wanted.kty === kty && (wanted.crv === undefined || wanted.crv === crv);
  });
}
