import type { BrokerConfig } from '../config/broker-config.js';
import type { ProviderSettings } from '../provider/provider-settings.js';
import type { TokenProvider } from '../provider/token-provider.js';
import type { Clock } from '../tokens/clock.js';
import { fetchWithDates, type DateReading } from '../tokens/clock-offset.js';
import { BrokerError } from '../tokens/errors.js';
import {
  createRemoteKeySet,
  type RemoteKeySet,
  type TokenVerifierOptions,
} from '../verification/index.js';

/** What the configuration says of the provider. */
export function configuredSettings({ provider }: BrokerConfig): Partial<ProviderSettings> {
  const { resource, ...settings } = provider;
  // An empty list of resources says nothing; as a setting it would hide what the credentials secret says.
  return resource.length > 0 ? { ...settings, resource } : settings;
}

/** The provider's public keys, at the address that the provider tells. */
export function providerKeys(
  provider: TokenProvider,
  settings: ProviderSettings,
  clock: Clock,
  onDate?: (reading: DateReading) => void,
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
    ...(onDate && { fetch: fetchWithDates(clock, onDate) }),
    allowInsecureHttp: settings.allowInsecureHttp === true,
  });
}

/** How the provider's tokens are verified: the same way here and in every receiver. */
export function verifierOptionsOf(
  config: BrokerConfig,
  settings: ProviderSettings,
  keys: RemoteKeySet,
  clock: Clock,
): TokenVerifierOptions {
  const { profile, otherAudiences, typ, clockSkewSeconds } = config.verification;
  const { serviceClientIds, customerClientIds } = config.verification;
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
      },
    ],
    clock,
    clockSkewSeconds,
  };
}

/** What the service token must be for: what was asked for. Null where nothing was: then its audience is not checked. */
function expectedAudiences(settings: ProviderSettings): readonly string[] | null {
  const { audience, resource = [] } = settings;
  if (audience !== undefined) return [audience];
  return resource.length > 0 ? resource : null;
}

/** Only where the broker itself asks are there settings that make asking unnecessary, and only both together. */
function withWayOut(error: unknown, { tokenEndpoint, jwksUri }: ProviderSettings): unknown {
  const wasAsked = tokenEndpoint === undefined || jwksUri === undefined;
  if (!wasAsked || !(error instanceof BrokerError)) return error;
  const { code, kind, message, retryAfterSeconds } = error;
  // Whoever finds out that discovery does not work says what to set instead; and these two are not cured by not asking.
  if (
    ['PROVIDER_DISCOVERY_FAILED', 'PROVIDER_TLS_FAILED', 'PROVIDER_ISSUER_MISMATCH'].includes(code)
  ) {
    return error;
  }
  const told = `${message} Or set both BROKER_TOKEN_ENDPOINT and BROKER_JWKS_URI.`;
  return new BrokerError(code, kind, told, {
    cause: error,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}
