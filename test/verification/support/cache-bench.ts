import {
  createTokenVerifier,
  type KeySet,
  type TokenVerifier,
} from '../../../src/verification/index.js';
import type { ManualClock } from './manual-clock.js';
import type { Signer } from './signer.js';
import { AUDIENCE, ISSUER } from './token-bench.js';

/** A verifier without any skew, with these keys; `null` for one that remembers no tokens. */
export const createVerifier = (
  keys: KeySet,
  clock: ManualClock,
  cache: { maxEntries: number } | null = { maxEntries: 100 },
): TokenVerifier =>
  createTokenVerifier({
    clock,
    clockSkewSeconds: 0,
    cache,
    issuers: [{ issuer: ISSUER, audiences: AUDIENCE, profile: 'rfc9068', keys }],
  });

/** A service token of a day, or of another life. */
export const sign = (
  signer: Signer,
  clock: ManualClock,
  header: Readonly<Record<string, unknown>> = {},
  lifeSeconds = 86_400,
): Promise<string> =>
  signer.sign(
    {
      iss: ISSUER,
      aud: AUDIENCE,
      sub: 'job',
      client_id: 'job',
      iat: clock.seconds,
      exp: clock.seconds + lifeSeconds,
    },
    header,
  );

/** The code of the error a verification fails with, or `accepted`. */
export const codeOf = (verifying: Promise<unknown>): Promise<string> =>
  verifying.then(
    () => 'accepted',
    (error: { code: string }) => error.code,
  );
