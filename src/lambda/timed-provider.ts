import type { TokenProvider } from '../provider/token-provider.js';
import { currentInvocation } from './invocation.js';

/** A provider whose calls end before the invocation that made them: what is minted can still be staged then. */
export function timedProvider(provider: TokenProvider): TokenProvider {
  return {
    mint: (settings, credentials, signal) =>
      provider.mint(settings, credentials, withInvocation(signal)),
    metadata: (settings, signal) => provider.metadata(settings, withInvocation(signal)),
  };
}

function withInvocation(signal: AbortSignal | undefined): AbortSignal | undefined {
  const limit = currentInvocation()?.providerSignal;
  return signal && limit ? AbortSignal.any([signal, limit]) : (signal ?? limit);
}
