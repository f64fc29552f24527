import { createHmac } from 'node:crypto';
import type { TokenRejectionCode } from '../verification/index.js';
import type { TestClaims } from './provider-shapes.js';
import type { SigningKey } from './signing-key.js';
import { override, writeToken, type TokenParts } from './token-text.js';

/**
 * Tokens that are wrong on purpose, and the code of the refusal. Every service should refuse all of them:
 *
 * | fault | what is wrong |
 * | --- | --- |
 * | `expired` | it expired an hour ago |
 * | `not-yet-valid` | it is valid from an hour ahead |
 * | `lives-too-long` | it lives ten years |
 * | `no-expiry` | it has no `exp` |
 * | `wrong-audience` | it is for another service |
 * | `further-audience` | it is for us, and for a stranger who could replay it |
 * | `wrong-issuer` | it names an issuer that nobody configured |
 * | `wrong-key` | another key signed it, under the id of the right one |
 * | `unknown-key` | another key signed it, under an id of its own |
 * | `embedded-key` | it brings the key along with which it was signed |
 * | `tampered` | its claims were changed after it was signed |
 * | `alg-none` | `alg` is `none`, and it has no signature |
 * | `alg-hmac` | signed with the public key as if it were a shared secret |
 * | `id-token` | an ID token: it tells a client who logged in, and opens nothing |
 * | `bound-to-key` | it is bound to a key (DPoP), of which a Bearer header proves nothing |
 *
 * @example
 * ```ts
 * import { startTestIssuer, TOKEN_FAULTS } from 'service-token-broker/testing';
 *
 * test.each(Object.keys(TOKEN_FAULTS) as TokenFault[])('%s is refused', async (fault) => {
 *   expect(await statusOf(issuer.customerToken({ fault }))).toBe(401);
 * });
 * ```
 */
export const TOKEN_FAULTS = {
  expired: 'TOKEN_EXPIRED',
  'not-yet-valid': 'TOKEN_NOT_YET_VALID',
  'lives-too-long': 'TOKEN_LIFETIME_TOO_LONG',
  'no-expiry': 'TOKEN_CLAIM_INVALID',
  'wrong-audience': 'TOKEN_AUDIENCE_WRONG',
  'further-audience': 'TOKEN_AUDIENCE_WRONG',
  'wrong-issuer': 'TOKEN_ISSUER_UNKNOWN',
  'wrong-key': 'TOKEN_SIGNATURE_INVALID',
  'unknown-key': 'TOKEN_KEY_UNKNOWN',
  'embedded-key': 'TOKEN_HEADER_REFUSED',
  tampered: 'TOKEN_SIGNATURE_INVALID',
  'alg-none': 'TOKEN_MALFORMED',
  'alg-hmac': 'TOKEN_ALGORITHM_REFUSED',
  'id-token': 'TOKEN_TYPE_WRONG',
  'bound-to-key': 'TOKEN_SENDER_CONSTRAINED',
} as const satisfies Record<string, TokenRejectionCode>;

/** One way in which a token is wrong. */
export type TokenFault = keyof typeof TOKEN_FAULTS;

/** A good token before it is signed, and the keys to sign it with. */
export interface FaultContext {
  readonly header: TestClaims;
  readonly claims: TestClaims;
  readonly key: SigningKey;
  /** A key that the issuer does not publish. */
  readonly stranger: SigningKey;
  /** Seconds since the Unix epoch. */
  readonly now: number;
}

const HOUR = 3600;
const TEN_YEARS = 315_360_000;
const STRANGER = 'https://stranger.example.test';

/** Makes the token of a fault. */
export function writeFaultyToken(fault: TokenFault, good: FaultContext): string {
  return WRITERS[fault](good);
}

const WRITERS: Readonly<Record<TokenFault, (good: FaultContext) => string>> = {
  expired: (good) => withClaims(good, { iat: good.now - 2 * HOUR, exp: good.now - HOUR }),
  'not-yet-valid': (good) => withClaims(good, { nbf: good.now + HOUR, exp: good.now + 2 * HOUR }),
  'lives-too-long': (good) => withClaims(good, { exp: good.now + TEN_YEARS }),
  'no-expiry': (good) => withClaims(good, { exp: undefined }),
  'wrong-audience': (good) => withClaims(good, { aud: STRANGER }),
  'further-audience': (good) => withClaims(good, { aud: [good.claims['aud'], STRANGER].flat() }),
  'wrong-issuer': (good) => withClaims(good, { iss: STRANGER }),
  'wrong-key': (good) => writeToken({ ...good, sign: good.stranger.sign }),
  'unknown-key': (good) => withHeader(good, { kid: good.stranger.kid }, good.stranger.sign),
  'embedded-key': (good) => withHeader(good, { jwk: good.stranger.jwk }, good.stranger.sign),
  tampered: (good) => {
    const signature =
      writeToken({ ...good, sign: good.key.sign })
        .split('.')
        .at(-1) ?? '';
    return writeToken({
      header: good.header,
      claims: override(good.claims, { admin: true }),
      sign: () => signature,
    });
  },
  'alg-none': (good) => withHeader(good, { alg: 'none' }, () => ''),
  'alg-hmac': (good) => withHeader(good, { alg: 'HS256' }, hmacWith(good.key.publicPem)),
  'id-token': (good) =>
    withClaims(good, { nonce: 'n-0S6_WzA2Mj', at_hash: '77QmUPtjPfzWtF2AnpK9RQ' }),
  'bound-to-key': (good) =>
    withClaims(good, { cnf: { jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' } }),
};

function withClaims({ header, claims, key }: FaultContext, changes: TestClaims): string {
  return writeToken({ header, claims: override(claims, changes), sign: key.sign });
}

function withHeader(
  { header, claims }: FaultContext,
  changes: TestClaims,
  sign: TokenParts['sign'],
): string {
  return writeToken({ header: override(header, changes), claims, sign });
}

function hmacWith(secret: string): (input: string) => string {
  return (input) => createHmac('sha256', secret).update(input).digest('base64url');
}
