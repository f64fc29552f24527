import type { BrokerConfig } from '../config/broker-config.js';
import { createOAuthProvider } from '../provider/oauth-provider.js';
import type { ProviderSettings } from '../provider/provider-settings.js';
import type { TokenProvider } from '../provider/token-provider.js';
import type { RotationObserver } from '../rotation/rotation-observer.js';
import { Rotator } from '../rotation/rotator.js';
import { createSlots, type Slots } from '../rotation/slots.js';
import { TokenSource } from '../rotation/token-source.js';
import type { FallbackObserver } from '../secrets/aws/fallback-store.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { systemClock, type Clock } from '../tokens/clock.js';
import type { ServiceToken } from '../tokens/service-token.js';
import {
  createTokenVerifier,
  type KeySetState,
  type RemoteKeySet,
  type TokenVerifierOptions,
} from '../verification/index.js';
import { openStore } from './open-store.js';
import { withOwnClaims } from './own-token.js';
import { configuredSettings, providerKeys, verifierOptionsOf } from './verifier-options.js';

/** What can be replaced when the broker is put together; everything else follows from the configuration. */
export interface CoreOptions {
  /** Default: the store that the configuration names. */
  readonly store?: SecretStore;
  /** Default: the machine's. */
  readonly clock?: Clock;
  /** Default: an OAuth provider over HTTP. */
  readonly provider?: TokenProvider;
  readonly observer?: RotationObserver;
  /** Told when another Region had to answer a read. */
  readonly storeObserver?: FallbackObserver;
  /** Told the absolute path of the data folder when an embedded store was made in it. */
  readonly onNewStore?: (dataDir: string) => void;
}

/** The broker without HTTP: what every door needs to rotate the service token and to look at it. */
export interface Core {
  readonly config: BrokerConfig;
  readonly clock: Clock;
  readonly store: SecretStore;
  readonly source: TokenSource;
  readonly rotator: Rotator;
  /** Verifies a token as receivers do. Rejects with a BrokerError of kind `rejected` for one that they refuse. */
  readonly verify: (token: ServiceToken) => Promise<void>;
  readonly slots: Slots;
  /** How tokens of a provider are verified: the options of `createTokenVerifier`. */
  readonly verifierOptions: (settings: ProviderSettings) => TokenVerifierOptions;
  /** State of the provider's keys; `undefined` until they were needed. */
  readonly keysState: () => KeySetState | undefined;
  /** Fetches the provider's keys when their age asks for it; another text than before says that others are in use. */
  readonly freshKeys: () => Promise<string>;
  readonly close: () => Promise<void>;
}

/** Puts the broker's core together. @throws {BrokerError} when the store cannot be opened. */
export async function createCore(config: BrokerConfig, options: CoreOptions = {}): Promise<Core> {
  const { clock = systemClock, provider = createOAuthProvider({ clock }), observer } = options;
  const { storeObserver, onNewStore } = options;
  const store =
    options.store ??
    (await openStore(config, clock, {
      ...(storeObserver && { observer: storeObserver }),
      ...(onNewStore && { onNewStore }),
    }));
  let keys: RemoteKeySet | undefined;
  let keySets = 0;
  let rules: TokenVerifierOptions | undefined;

  const verifierOptions = (settings: ProviderSettings): TokenVerifierOptions => {
    keys = providerKeys(provider, settings, clock);
    keySets += 1;
    rules = verifierOptionsOf(config, settings, keys, clock);
    return rules;
  };

  const source = new TokenSource({
    store,
    credentialsSecretId: config.secrets.credentialsSecretId,
    provider,
    configured: configuredSettings(config),
    createVerifier: (settings) => createTokenVerifier(verifierOptions(settings)),
    clock,
  });
  const verify = (token: ServiceToken): Promise<void> =>
    withOwnClaims(
      token,
      () => source.verify(token),
      () => rules?.issuers[0],
    );
  const rotator = new Rotator({
    store,
    tokenSecretId: config.secrets.tokenSecretId,
    mint: async () => {
      const minted = await source.mint();
      // The provider answers: keys that could not be fetched while it did not can be now, without waiting for their backoff.
      // If not, their state keeps the reason, and the verification tells it.
      if (keys?.state().lastError !== undefined) await keys.refresh().catch(() => undefined);
      return minted;
    },
    verify,
    minimumLife: config.rotation.minRemainingSeconds * 1000,
    clock,
    ...(observer && { observer }),
  });
  return {
    config,
    clock,
    store,
    source,
    rotator,
    verify,
    slots: createSlots(config.rotation.cron),
    verifierOptions,
    keysState: () => keys?.state(),
    freshKeys: async () => {
      await keys?.refreshWhenDue();
      return `${keySets} ${keys?.state().changes ?? 0}`;
    },
    close: () => store.close(),
  };
}
