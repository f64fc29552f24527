import type { ReceiverSource } from '../serving/authorize-endpoint.js';
import { RefreshingCache } from '../tokens/refreshing-cache.js';
import { createReceivers, type Receivers } from '../verification/receivers.js';
import { TokenRejectedError } from '../verification/verification-errors.js';
import type { Core } from './core.js';

/**
 * The receivers of the configured tokens. Where the configuration does not say what a token is for, the credentials secret
 * is read, as seldom as the others. A token whose secret cannot be read is missing, and stops no other: only a token that
 * nobody else takes cannot be judged then.
 */
export function createReceiverSource(
  core: Pick<Core, 'config' | 'clock' | 'tokens'>,
): ReceiverSource {
  const { config, clock, tokens } = core;
  const skews = config.tokens.map(({ verification }) => verification.clockSkewSeconds);
  const options = { clock, clockSkewSeconds: Math.min(...skews) };
  let last: KnownReceivers | undefined;

  const read = async (): Promise<Receivers> => {
    const settled = await Promise.allSettled([...tokens.values()].map((one) => one.receiver()));
    const found = settled.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
    const failures = settled.flatMap((one): unknown[] =>
      one.status === 'rejected' ? [one.reason] : [],
    );
    if (found.length === 0) throw failures[0];
    // The same ones as before keep the tokens that they remember.
    const key = JSON.stringify([
      found.map((one) => ({ ...one, keys: undefined })),
      failures.length,
    ]);
    const keys = found.map((one) => one.keys);
    if (last?.key === key && keys.every((one, index) => one === last?.keys[index])) {
      return last.receivers;
    }
    const receivers = createReceivers({ receivers: found, ...options });
    const [failure] = failures;
    last = {
      key,
      keys,
      receivers: failures.length === 0 ? receivers : incomplete(receivers, failure),
    };
    return last.receivers;
  };

  const cache = new RefreshingCache({
    read,
    expiresAt: () => Number.MAX_SAFE_INTEGER,
    clock,
    ttlMs: config.cache.ttlSeconds * 1_000,
  });
  return {
    get: async () => (await cache.get()).value,
    peek: () => cache.peek()?.value,
  };
}

interface KnownReceivers {
  /** The rules of all, as text; the keys are apart. */
  readonly key: string;
  readonly keys: readonly unknown[];
  readonly receivers: Receivers;
}

/** Receivers of which some are not known: what the others refuse for its issuer or its audience cannot be judged. */
function incomplete(known: Receivers, failure: unknown): Receivers {
  return {
    // More audiences may be to come.
    needAudience: true,
    verify: async (token, audience) => {
      try {
        return await known.verify(token, audience);
      } catch (error) {
        throw isAboutReceivers(error) ? failure : error;
      }
    },
    peek: (token, audience) => known.peek(token, audience),
  };
}

function isAboutReceivers(error: unknown): boolean {
  return (
    error instanceof TokenRejectedError &&
    (error.code === 'TOKEN_ISSUER_UNKNOWN' || error.code === 'TOKEN_AUDIENCE_WRONG')
  );
}
