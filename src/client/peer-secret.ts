import { bareError, systemCode } from '../tokens/connection-failure.js';
import { withDeadline } from '../tokens/waiting.js';
import { TokenRequestError } from './errors.js';
import type { ClientSettings } from './options.js';

/**
 * The peer's secret as it is now, without the white space and the byte-order mark that files begin and end with: `trim`
 * takes both off.
 *
 * @param timeoutMs milliseconds that a function may take to give it.
 * @throws {TokenRequestError} `PEER_SECRET_UNREADABLE`, `PEER_SECRET_INVALID`.
 */
export async function readPeerSecret(
  { clock, readSecret }: Pick<ClientSettings, 'clock' | 'readSecret'>,
  timeoutMs: number,
): Promise<string> {
  let secret: unknown;
  try {
    secret = await withDeadline(
      clock,
      timeoutMs,
      async () => readSecret(),
      () => unreadable(`gave none within ${Math.ceil(timeoutMs / 100) / 10} s`),
    );
  } catch (error) {
    if (error instanceof TokenRequestError) throw error;
    // What it threw may quote the secret, as the error of a JSON parser does.
    const cause = bareError(error);
    throw unreadable(`failed (${systemCode(error) ?? cause.message})`, cause);
  }
  if (typeof secret === 'string' && secret.trim() !== '') return secret.trim();
  throw new TokenRequestError(
    'PEER_SECRET_INVALID',
    "The function that gives the peer's secret gave none: it must give a text that is not empty.",
  );
}

function unreadable(why: string, cause?: Error): TokenRequestError {
  return new TokenRequestError(
    'PEER_SECRET_UNREADABLE',
    `The function that gives the peer's secret ${why}.`,
    { cause },
  );
}
