import { beforeAll, beforeEach } from '@jest/globals';
import {
  createStaticKeySet,
  createTokenVerifier,
  type IssuerOptions,
  type TokenVerifier,
} from '../../../src/verification/index.js';
import { ManualClock } from './manual-clock.js';
import { createSigner, type Signer } from './signer.js';

export const ISSUER = 'https://issuer.example/';
export const OTHER = 'https://other.example/';
export const AUDIENCE = 'https://orders.example';

type Claims = Record<string, unknown>;

/** Two issuers that use the same key id, and a clock that is new for each test. */
export interface TokenBench {
  readonly signer: Signer;
  readonly otherSigner: Signer;
  readonly clock: ManualClock;
  serviceClaims(change?: object): Claims;
  customerClaims(change?: object): Claims;
  /** A verifier for {@link ISSUER} with the profile `rfc9068`. */
  createVerifier(change?: Partial<IssuerOptions>, clockSkewSeconds?: number): TokenVerifier;
}

/** Sets up a {@link TokenBench} for each test of the file. */
export function useTokenBench(): () => TokenBench {
  let signers: readonly [Signer, Signer];
  let bench: TokenBench;
  beforeAll(async () => {
    signers = [await createSigner('k1'), await createSigner('k1')];
  });
  beforeEach(() => {
    const [signer, otherSigner] = signers;
    const clock = new ManualClock();
    const serviceClaims = (change: object = {}): Claims => ({
      iss: ISSUER,
      aud: AUDIENCE,
      sub: 'job',
      client_id: 'job',
      scope: 'read write',
      iat: clock.seconds,
      exp: clock.seconds + 3600,
      ...change,
    });
    bench = {
      signer,
      otherSigner,
      clock,
      serviceClaims,
      customerClaims: (change = {}) =>
        serviceClaims({ sub: 'ann', client_id: 'web', auth_time: clock.seconds, ...change }),
      createVerifier: (change = {}, clockSkewSeconds = 60) => {
        const keys = createStaticKeySet({ keys: [signer.jwk] });
        const issuer = { issuer: ISSUER, audiences: AUDIENCE, profile: 'rfc9068', keys } as const;
        return createTokenVerifier({
          clock,
          clockSkewSeconds,
          issuers: [{ ...issuer, ...change }],
        });
      },
    };
  });
  return () => bench;
}
