import { BrokerError } from '../tokens/errors.js';
import type { ServiceToken } from '../tokens/service-token.js';
import { peekToken } from '../verification/peek.js';

/**
 * Runs a check of a token that the broker has minted itself, and adds to a refusal what the token says of itself.
 *
 * The verifier never quotes what it refuses, because it judges strangers' tokens. What the provider has put into the
 * broker's own is no secret, and whoever has to mend the provider's settings needs to see it.
 *
 * @throws {BrokerError} with the code of what the check throws, which is the cause. It is no `TokenRejectedError`, since
 *   that one promises to quote no token.
 */
export async function withOwnClaims<R>(token: ServiceToken, check: () => Promise<R>): Promise<R> {
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof BrokerError) || error.kind !== 'rejected') throw error;
    const message = `${error.message} ${ownClaims(token.accessToken)} Which rules it is held to: service-token-broker doctor --mint`;
    throw new BrokerError(error.code, error.kind, message, { cause: error });
  }
}

function ownClaims(accessToken: string): string {
  const { iss, aud, typ } = peekToken(accessToken, 0);
  const said = [
    iss === undefined ? 'no "iss"' : `"iss" ${JSON.stringify(iss)}`,
    aud === undefined || aud.length === 0
      ? 'no "aud"'
      : `"aud" ${aud.map((name) => JSON.stringify(name)).join(', ')}`,
    typ === undefined ? 'no "typ"' : `"typ" ${JSON.stringify(typ)}`,
  ];
  return `The token has ${said.join(', ')}.`;
}
