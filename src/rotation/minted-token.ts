import { decodeJwt, type JWTPayload } from 'jose';
import { BrokerError } from '../tokens/errors.js';
import { scopeOf, scopeOfClaims, type ServiceToken } from '../tokens/service-token.js';

/**
 * What a minted JWT says about itself, as the service token that is kept. Nothing is verified here: testSecret does.
 *
 * @param expiresInSeconds the token response's `expires_in`; the earlier of it and `exp` counts.
 * @param now milliseconds since the Unix epoch.
 * @param scope what the token response says, or else what was asked for (RFC 6749 §5.1), when the token has no claim for it.
 * @throws {BrokerError} `MINTED_TOKEN_INVALID` (misconfigured) when a claim that is needed is missing, or when the token has
 *   expired already, naming the member that says so.
 */
export function serviceTokenOf(
  accessToken: string,
  expiresInSeconds: number | undefined,
  now: number,
  scope?: string,
): ServiceToken {
  const claims = readClaims(accessToken);
  const { iss, exp } = claims;
  if (typeof iss !== 'string' || iss === '') throw invalid('it has no issuer ("iss")');
  // RFC 7519 §2: a NumericDate may have a fraction.
  if (typeof exp !== 'number' || !(Math.abs(exp) <= MAX_INSTANT)) {
    throw invalid('it never expires: its "exp" is missing, or is not a date');
  }
  const ends = Math.floor(exp * 1000);
  if (expiresInSeconds !== undefined && expiresInSeconds <= 0) {
    throw invalid(
      `the provider says that it has expired already: "expires_in" is ${expiresInSeconds}`,
      LIFETIME,
    );
  }
  if (ends <= now) {
    throw invalid(
      `it has expired already: its "exp" is ${new Date(ends).toISOString()}, and it is ${new Date(now).toISOString()} here`,
      `Compare this machine's clock with the provider's. ${LIFETIME}`,
    );
  }
  const promised =
    expiresInSeconds === undefined ? Infinity : now + Math.floor(expiresInSeconds * 1000);
  const scopes = scopeOfClaims(claims) ?? scopeOf(scope);
  return {
    accessToken,
    tokenType: 'Bearer',
    expiresAt: Math.min(ends, promised),
    generatedAt: now,
    issuer: iss,
    audience: audienceOf(claims),
    ...(scopes !== undefined && { scope: scopes }),
  };
}

/** The last instant that can be written as a date, in seconds. */
const MAX_INSTANT = 8_640_000_000_000;

const LIFETIME = "Raise the token lifetime in the provider's settings for this client or this API.";

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

function invalid(
  what: string,
  todo = "Check the token format in the provider's settings for this client.",
): BrokerError {
  return new BrokerError(
    'MINTED_TOKEN_INVALID',
    'misconfigured',
    `The provider minted a token that cannot be kept: ${what}. ${todo}`,
  );
}
