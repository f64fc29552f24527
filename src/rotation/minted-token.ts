import { decodeJwt, type JWTPayload } from 'jose';
import { BrokerError } from '../tokens/errors.js';
import type { ServiceToken } from '../tokens/service-token.js';

/**
 * What a minted JWT says about itself, as the service token that is kept. Nothing is verified here: testSecret does.
 *
 * @param expiresInSeconds the token response's `expires_in`; the earlier of it and `exp` counts.
 * @param now milliseconds since the Unix epoch.
 * @throws {BrokerError} `MINTED_TOKEN_INVALID` (misconfigured) when a claim that is needed is missing, naming it.
 */
export function serviceTokenOf(
  accessToken: string,
  expiresInSeconds: number | undefined,
  now: number,
): ServiceToken {
  const claims = readClaims(accessToken);
  const { iss, exp } = claims;
  if (typeof iss !== 'string' || iss === '') throw invalid('it has no issuer ("iss")');
  if (typeof exp !== 'number' || !Number.isSafeInteger(exp)) {
    throw invalid('it never expires, or its "exp" is not a whole number');
  }
  const promised = expiresInSeconds === undefined ? Infinity : now + expiresInSeconds * 1000;
  return {
    accessToken,
    tokenType: 'Bearer',
    expiresAt: Math.min(exp * 1000, promised),
    generatedAt: now,
    issuer: iss,
    audience: audienceOf(claims),
  };
}

function readClaims(accessToken: string): JWTPayload {
  try {
    return decodeJwt(accessToken);
  } catch {
    // The library's message may quote the token.
    throw invalid('it is not a JWT');
  }
}

/** Some providers' client-credentials tokens name no audience, Cognito's for example. */
function audienceOf({ aud }: JWTPayload): readonly string[] {
  const list = Array.isArray(aud) ? aud : [aud];
  return list.filter((name): name is string => typeof name === 'string' && name !== '');
}

function invalid(what: string): BrokerError {
  return new BrokerError(
    'MINTED_TOKEN_INVALID',
    'misconfigured',
    `The provider minted a token that cannot be kept: ${what}. Check the token format in the provider's settings for this client.`,
  );
}
