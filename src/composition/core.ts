import { DEFAULT_NAME, type BrokerConfig, type TokenConfig } from '../config/broker-config.js';
import type { ClockSource } from '../operations/clock-watch.js';
import type { ProviderSettings } from '../provider/client-credentials.js';
import type { AwsProofs } from '../provider/client-proofs.js';
import { createOAuthProvider } from '../provider/oauth-provider.js';
import type { TokenProvider } from '../provider/token-provider.js';
import {
  checkCoverage,
  createSlots,
  spreadSlots,
  worstGap,
  type Coverage,
  type Slots,
  type WorstGap,
} from '../rotation/coverage.js';
import { rotationMode, type RotationObserver } from '../rotation/rotation.js';
import { Rotator } from '../rotation/rotator.js';
import { TokenSource } from '../rotation/token-source.js';
import type { FallbackObserver } from '../secrets/aws/fallback-store.js';
import type { SecretDescription, SecretStore, SecretStoreError } from '../secrets/secret-store.js';
import { traceStore } from '../secrets/traced-store.js';
import type { ServingOptions } from '../serving/serving.js';
import { BrokerError } from '../tokens/errors.js';
import type { ServiceToken } from '../tokens/service-token.js';
import { fetchWithDates, systemClock, type Clock, type DateReading } from '../tokens/time.js';
import {
  createRemoteKeySet,
  createTokenVerifier,
  type IssuerOptions,
  type KeySetState,
  type RemoteKeySet,
  type TokenVerifierOptions,
} from '../verification/index.js';
import { KeysUnavailableError } from '../verification/verification-errors.js';
import { networkOf, type Network } from './network.js';
import { openStore } from './open-store.js';
import { withOwnClaims } from './own-token.js';

/** What can be replaced in a {@link Core}; everything else follows from the configuration. */
export interface CoreOptions {
  /** Default: the store that the configuration names. */
  readonly store?: SecretStore;
  /** Default: the machine's. */
  readonly clock?: Clock;
  /** Default: an OAuth provider over HTTP. */
  readonly provider?: TokenProvider;
  /** Makes the observer of a token's rotations. */
  readonly observer?: (token: TokenConfig) => RotationObserver;
  /** Notified when another Region had to answer a read. */
  readonly storeObserver?: FallbackObserver;
  /** Called with the absolute path of the data folder when an embedded store was created in it. */
  readonly onNewStore?: (dataDir: string) => void;
  /** As of the store's options: waits for a key management service, instead of failing. */
  readonly onKeyDelay?: (error: SecretStoreError) => void;
  /** Notified of the `Date` of each answer of the provider and of Secrets Manager. */
  readonly onDate?: (source: ClockSource, reading: DateReading) => void;
}

/** The broker without HTTP: its tokens, over one store, one clock and one provider client. */
export interface Core {
  readonly config: BrokerConfig;
  readonly clock: Clock;
  readonly store: SecretStore;
  /** By name, in the order of the configuration; never empty. */
  readonly tokens: ReadonlyMap<string, TokenCore>;
  readonly close: () => Promise<void>;
}

/** One service token without HTTP: what every door needs to rotate and to examine it. */
export interface TokenCore extends Pick<Core, 'config' | 'clock' | 'store'> {
  readonly token: TokenConfig;
  readonly source: TokenSource;
  readonly rotator: Rotator;
  /** Verifies a token as receivers do. Rejects with a BrokerError of kind `rejected` for one that they would refuse. */
  readonly verify: (token: ServiceToken) => Promise<void>;
  readonly slots: Slots;
  /** How tokens of a provider are verified: the options of `createTokenVerifier`. */
  readonly verifierOptions: (settings: ProviderSettings) => TokenVerifierOptions;
  /** The rules of a receiver that the token is for, with the keys that all tokens of the provider share. */
  readonly receiver: () => Promise<readonly IssuerOptions[]>;
  /** State of the provider's keys; `undefined` until they were needed. */
  readonly keysState: () => KeySetState | undefined;
  /** Fetches the provider's keys when they are due. @returns a text that changes with the keys. */
  readonly freshKeys: () => Promise<string>;
}

/** Makes the broker's core. @throws {BrokerError} when the store cannot be opened. */
export async function createCore(config: BrokerConfig, options: CoreOptions = {}): Promise<Core> {
  const { clock = systemClock, observer, storeObserver, onNewStore, onKeyDelay, onDate } = options;
  const onProviderDate = onDate && ((reading: DateReading) => onDate('provider', reading));
  const network = await networkOf(config);
  const provider =
    options.provider ??
    createOAuthProvider({
      clock,
      awsProofs: lazyAwsProofs(network),
      network,
      ...(onProviderDate && { onDate: onProviderDate }),
    });
  const store = traceStore(
    options.store ??
      (await openStore(config, clock, {
        ...(storeObserver && { observer: storeObserver }),
        ...(onNewStore && { onNewStore }),
        ...(onKeyDelay && { onKeyDelay }),
        ...(onDate && { onDate: (reading) => onDate('store', reading) }),
      })),
  );
  const fetch = onProviderDate
    ? fetchWithDates(clock, onProviderDate, network?.fetch)
    : network?.fetch;
  const keysOf = sharedKeys((settings) => providerKeys(provider, settings, clock, fetch));
  const shared = { config, clock, store, provider, keysOf, slotsOf: slotsOf(config) };
  const tokens = config.tokens.map((token): [string, TokenCore] => [
    token.name,
    createTokenCore(token, shared, observer?.(token)),
  ]);
  return { config, clock, store, tokens: new Map(tokens), close: () => store.close() };
}

/** The core of one token. @throws {BrokerError} `TOKEN_NAME_UNKNOWN` when none is configured by that name. */
export function coreOf({ tokens }: Pick<Core, 'tokens'>, name: string = DEFAULT_NAME): TokenCore {
  return byName(tokens, name);
}

/** What belongs to a token. @throws {BrokerError} `TOKEN_NAME_UNKNOWN` when none is configured by that name. */
export function byName<Value>(tokens: ReadonlyMap<string, Value>, name: string): Value {
  const found = tokens.get(name);
  if (found !== undefined) return found;
  const names = [...tokens.keys()];
  const others = names.length > 10 ? ` and ${names.length - 10} more` : '';
  throw new BrokerError(
    'TOKEN_NAME_UNKNOWN',
    'misconfigured',
    `No token is configured by the name "${name.slice(0, 64)}". Configured: ${names.slice(0, 10).join(', ')}${others}.`,
  );
}

/** The field of a line that is about another token than `default`. One named "token" would be redacted. */
export function tokenField(token: string | undefined): { readonly tokenName?: string } {
  return token === undefined || token === DEFAULT_NAME ? {} : { tokenName: token };
}

/** What all tokens have in common. */
interface SharedParts extends Pick<Core, 'config' | 'clock' | 'store'> {
  readonly provider: TokenProvider;
  readonly keysOf: (settings: ProviderSettings) => RemoteKeySet;
  readonly slotsOf: (token: TokenConfig) => Slots;
}

function createTokenCore(
  token: TokenConfig,
  { config, clock, store, provider, keysOf, slotsOf }: SharedParts,
  observer: RotationObserver | undefined,
): TokenCore {
  let keys: RemoteKeySet | undefined;
  let keySets = 0;
  let rules: TokenVerifierOptions | undefined;

  const verifierOptions = (settings: ProviderSettings): TokenVerifierOptions => {
    keys = keysOf(settings);
    keySets += 1;
    rules = verifierOptionsOf(token, settings, keys, clock);
    return rules;
  };

  const source = new TokenSource({
    store,
    credentialsSecretId: token.credentialsSecretId,
    provider,
    configured: configuredSettings(token),
    createVerifier: (settings) => createTokenVerifier(verifierOptions(settings)),
    clock,
  });
  const verify = (served: ServiceToken): Promise<void> =>
    withOwnClaims(
      served,
      () => source.verify(served),
      () => rules?.issuers[0],
    );
  const rotator = new Rotator({
    store,
    tokenSecretId: token.secretId,
    tokenName: token.name,
    mint: (signal) => source.mint(signal),
    verify: (minted) =>
      withFreshKeys(
        () => verify(minted),
        () => keys?.refresh(),
      ),
    minimumLife: token.rotation.minRemainingSeconds * 1000,
    manualInterval: token.rotation.manualIntervalSeconds * 1000,
    clock,
    ...(observer && { observer }),
  });
  return {
    config,
    clock,
    store,
    token,
    source,
    rotator,
    verify,
    slots: slotsOf(token),
    verifierOptions,
    receiver: async () => {
      const settings = await source.settings();
      return verifierOptionsOf(token, settings, keysOf(settings), clock).issuers;
    },
    keysState: () => keys?.state(),
    freshKeys: async () => {
      await keys?.refreshWhenDue();
      return `${keySets} ${keys?.state().changes ?? 0}`;
    },
  };
}

/** One key set for each place that keys are at: a thousand tokens of one provider do not fetch them a thousand times. */
function sharedKeys(
  create: (settings: ProviderSettings) => RemoteKeySet,
): (settings: ProviderSettings) => RemoteKeySet {
  const known = new Map<string, RemoteKeySet>();
  return (settings) => {
    const { issuer, tokenEndpoint, jwksUri, allowInsecureHttp } = settings;
    const place = JSON.stringify([issuer, tokenEndpoint, jwksUri, allowInsecureHttp]);
    const keys = known.get(place) ?? create(settings);
    known.set(place, keys);
    return keys;
  };
}

/** The slots of each token: one schedule for each expression, spread where there are several tokens. */
function slotsOf({ tokens }: BrokerConfig): (token: TokenConfig) => Slots {
  const known = new Map<string, Slots>();
  return ({ name, rotation: { cron, timeZone } }) => {
    const schedule = `${timeZone} ${cron}`;
    const slots = known.get(schedule) ?? createSlots(cron, timeZone);
    known.set(schedule, slots);
    return tokens.length === 1 || name === DEFAULT_NAME ? slots : spreadSlots(slots, name);
  };
}

/**
 * Runs a verification for a rotation. Rotations are rare, so keys that are unavailable are fetched without waiting for
 * their backoff, unless the provider has asked to wait.
 */
async function withFreshKeys(
  verify: () => Promise<void>,
  refresh: () => Promise<void> | undefined,
): Promise<void> {
  try {
    await verify();
  } catch (error) {
    if (!(error instanceof KeysUnavailableError) || isAskedToWait(error)) throw error;
    try {
      await refresh();
      await verify();
    } catch (again) {
      if (!(again instanceof KeysUnavailableError) || isAskedToWait(again)) throw again;
      // Without the backoff, which would be taken for the provider's Retry-After.
      throw new BrokerError(again.code, again.kind, again.message, { cause: again });
    }
  }
}

function isAskedToWait({ cause }: KeysUnavailableError): boolean {
  return cause instanceof BrokerError && cause.retryAfterSeconds !== undefined;
}

/** The provider's port to AWS, made once, at the first call: only a KMS key or a token of AWS loads the SDK for it. */
export function lazyAwsProofs(network: Network | undefined): () => Promise<AwsProofs> {
  let made: Promise<AwsProofs> | undefined;
  return () => {
    made ??= import('../secrets/aws/aws-client-proofs.js').then(
      ({ AwsClientProofs }) => new AwsClientProofs(network && { agents: network.awsAgents }),
    );
    return made;
  };
}

/** What serving takes from a core: its store, its settings, and its tokens. */
export function servingOptionsOf({ config, store, clock, tokens }: Core): ServingOptions {
  const { secrets, cache, http } = config;
  return {
    store,
    peersSecretId: secrets.peersSecretId,
    morePeersSecretIds: secrets.morePeersSecretIds,
    clock,
    ttlMs: cache.ttlSeconds * 1000,
    ...(http.publicUrl !== undefined && { publicUrl: http.publicUrl }),
    tokens: [...tokens.values()].map(({ token, rotator }) => {
      const { scope, audience, resource } = token.provider;
      return {
        name: token.name,
        secretId: token.secretId,
        skewMs: token.verification.clockSkewSeconds * 1000,
        targets: audience === undefined ? resource : [audience, ...resource],
        scope,
        rotator,
      };
    }),
  };
}

/** The provider's settings from the configuration. */
export function configuredSettings({ provider }: TokenConfig): Partial<ProviderSettings> {
  const { resource, ...settings } = provider;
  // An empty list of resources would override that of the credentials secret.
  return resource.length > 0 ? { ...settings, resource } : settings;
}

/** The provider's public keys, at the address from its metadata. @param fetch Default: the platform's. */
export function providerKeys(
  provider: TokenProvider,
  settings: ProviderSettings,
  clock: Clock,
  fetch?: typeof globalThis.fetch,
): RemoteKeySet {
  return createRemoteKeySet({
    jwksUri: async () => {
      try {
        return (await provider.metadata(settings)).jwksUri;
      } catch (error) {
        throw withWayOut(error, settings);
      }
    },
    clock,
    ...(fetch && { fetch }),
    allowInsecureHttp: settings.allowInsecureHttp === true,
  });
}

/** How the provider's tokens are verified: the same way here and in every receiver. */
export function verifierOptionsOf(
  { verification }: TokenConfig,
  settings: ProviderSettings,
  keys: RemoteKeySet,
  clock: Clock,
): TokenVerifierOptions {
  const { profile, otherAudiences, typ, clockSkewSeconds } = verification;
  const { serviceClientIds, customerClientIds, scopeClaims } = verification;
  return {
    issuers: [
      {
        issuer: settings.issuer,
        audiences: expectedAudiences(settings),
        otherAudiences,
        profile,
        keys,
        ...(typ && { typ }),
        ...(serviceClientIds && { serviceClientIds }),
        ...(customerClientIds && { customerClientIds }),
        ...(scopeClaims && { scopeClaims }),
      },
    ],
    clock,
    clockSkewSeconds,
  };
}

/** What the service token must be for: what was requested. Null when nothing was: then its audience is not checked. */
function expectedAudiences(settings: ProviderSettings): readonly string[] | null {
  const { audience, resource = [] } = settings;
  if (audience !== undefined) return [audience];
  return resource.length > 0 ? resource : null;
}

/** Adds to a failure of discovery the two settings that together make it unnecessary. */
function withWayOut(error: unknown, { tokenEndpoint, jwksUri }: ProviderSettings): unknown {
  const isDiscovered = tokenEndpoint === undefined || jwksUri === undefined;
  if (!isDiscovered || !(error instanceof BrokerError)) return error;
  const { code, kind, message, retryAfterSeconds } = error;
  // The first says so already; the others are not solved by skipping discovery.
  if (
    [
      'PROVIDER_DISCOVERY_FAILED',
      'PROVIDER_TLS_FAILED',
      'PROVIDER_PROXY_REFUSED',
      'PROVIDER_ISSUER_MISMATCH',
    ].includes(code)
  ) {
    return error;
  }
  const told = `${message} Or set both BROKER_TOKEN_ENDPOINT and BROKER_JWKS_URI.`;
  return new BrokerError(code, kind, told, {
    cause: error,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}

/** The coverage check for a token, with the configured times of caches and clocks. */
export function coverageOf(
  served: Pick<ServiceToken, 'generatedAt' | 'expiresAt'>,
  { period, window }: WorstGap,
  { config, token: { verification } }: Pick<TokenCore, 'config' | 'token'>,
): Coverage {
  return checkCoverage({
    tokenLifetime: served.expiresAt - served.generatedAt,
    period,
    window,
    cacheTtl: config.cache.ttlSeconds * 1000,
    skew: verification.clockSkewSeconds * 1000,
  });
}

/** The worst gap between two rotations, as far as this process knows. */
export interface GapWatch {
  /** False when somebody else rotates: then the broker's own slots mean nothing. */
  readonly ownSlotsCount: () => boolean;
  /** `undefined` when Secrets Manager rotates by a schedule that cannot be read. */
  readonly current: () => WorstGap | undefined;
  /** Takes in a new description of the token secret. */
  readonly learn: (description: SecretDescription) => void;
}

/** Assumes the broker's own schedule until the store says otherwise. */
export function createGapWatch(slots: Slots, clock: Clock): GapWatch {
  // Walking through a year of the schedule takes a moment: once, and before a peer waits.
  const own = { period: slots.longestPeriod(clock.now()), window: 0 };
  let gap: WorstGap | undefined = own;
  let learnt = '';
  let isOurs = true;
  return {
    ownSlotsCount: () => isOurs,
    current: () => gap,
    learn: (description) => {
      const { rotationEnabled, readOnlyReplica, storeRotation } = description;
      const { schedule, window } = storeRotation ?? {};
      const news = JSON.stringify([rotationEnabled, readOnlyReplica, schedule, window]);
      if (news !== learnt) gap = worstGap(description, slots, clock.now());
      learnt = news;
      isOurs = rotationMode(description) === 'broker';
    },
  };
}
