import type { TokenCache } from '../serving/token-cache.js';
import { createSuppliedToken } from '../tokens/supplied-token.js';
import type { ServiceTokenSource } from '../tokens/token-supply.js';

/** The service token for callers in the broker's own process: from the cache that peers are served from. */
export function createServiceTokenSource(cache: TokenCache): ServiceTokenSource {
  return {
    getToken: async (demand) => {
      const { accessToken, expiresAt } = (await cache.get(demand)).value.token;
      return createSuppliedToken(accessToken, expiresAt);
    },
  };
}
