import { parseCredentialsSecret, type ClientCredentials } from '../provider/client-credentials.js';
import { resolveProviderSettings, type ProviderSettings } from '../provider/provider-settings.js';
import type { TokenProvider } from '../provider/token-provider.js';
import { isStoreError } from '../secrets/secret-store-error.js';
import type { SecretStore } from '../secrets/secret-store.js';
import type { Clock } from '../tokens/clock.js';
import { BrokerError } from '../tokens/errors.js';
import type { ServiceToken } from '../tokens/service-token.js';
import type { TokenVerifier } from '../verification/verifier.js';
import { serviceTokenOf } from './minted-token.js';

/** What {@link TokenSource} works with. */
export interface TokenSourceOptions {
  readonly store: SecretStore;
  readonly credentialsSecretId: string;
  readonly provider: TokenProvider;
  /** What the configuration says of the provider; it wins over the credentials secret. */
  readonly configured: Partial<ProviderSettings>;
  /** Makes the verifier for a provider: the same that receivers use. Called again when the settings change. */
  readonly createVerifier: (settings: ProviderSettings) => TokenVerifier;
  readonly clock: Clock;
}

/** The credentials secret as it stands, merged with the configuration. */
export interface ProviderAccess {
  readonly settings: ProviderSettings;
  readonly credentials: ClientCredentials;
}

/**
 * Where service tokens come from, and how they are judged: the credentials secret, the provider, and the verifier that
 * receivers use. The credentials secret is read anew for every mint, so that people may edit it at any time.
 */
export class TokenSource {
  #verifier: { readonly key: string; readonly verifier: TokenVerifier } | undefined;

  constructor(private readonly options: TokenSourceOptions) {}

  /** Mints a service token, until the signal is aborted. @throws {BrokerError} */
  async mint(signal?: AbortSignal): Promise<ServiceToken> {
    const { provider, clock } = this.options;
    const { settings, credentials } = await this.access();
    const minted = await provider.mint(settings, credentials, signal);
    const { accessToken, expiresInSeconds, scope = settings.scope } = minted;
    return serviceTokenOf(accessToken, expiresInSeconds, clock.now(), scope);
  }

  /**
   * Verifies a token as receivers do, and that it speaks for a service.
   *
   * @throws {BrokerError} of kind `rejected` for a token that receivers refuse, `retry` when the keys cannot be had.
   */
  async verify(token: ServiceToken): Promise<void> {
    const settings = await this.#judgingSettings();
    const { principal } = await this.verifierFor(settings).verify(token.accessToken);
    if (principal.kind !== 'service') {
      throw new BrokerError(
        'TOKEN_NOT_A_SERVICE',
        'rejected',
        'the token speaks for a customer, not for a service. Check BROKER_PROFILE, and which client the provider minted it for.',
      );
    }
  }

  /**
   * The settings that tokens are judged by. A broker that only serves and watches may not be allowed to read the client
   * credentials, and need not where the configuration says everything that counts here.
   */
  async #judgingSettings(): Promise<ProviderSettings> {
    const { issuer, audience, jwksUri, tokenEndpoint } = this.options.configured;
    const isComplete =
      issuer !== undefined &&
      audience !== undefined &&
      // Given alone, the keys' address counts with a token endpoint from the secret; see `providerKeys`.
      (jwksUri === undefined || tokenEndpoint !== undefined);
    return isComplete
      ? resolveProviderSettings(this.options.configured, {})
      : (await this.access()).settings;
  }

  /** The verifier for these settings; kept while they stay the same, because it keeps the provider's keys. */
  verifierFor(settings: ProviderSettings): TokenVerifier {
    const key = JSON.stringify(settings);
    if (this.#verifier?.key !== key) {
      this.#verifier = { key, verifier: this.options.createVerifier(settings) };
    }
    return this.#verifier.verifier;
  }

  /** Reads the credentials secret. @throws {BrokerError} `CREDENTIALS_SECRET_EMPTY`, or what the store says. */
  async access(): Promise<ProviderAccess> {
    const { store, credentialsSecretId, configured } = this.options;
    let text: string;
    try {
      text = (await store.read(credentialsSecretId)).value;
    } catch (error) {
      if (!isStoreError(error, 'VERSION_NOT_FOUND', 'SECRET_NOT_FOUND')) throw error;
      throw new BrokerError(
        'CREDENTIALS_SECRET_EMPTY',
        'misconfigured',
        `The credentials secret "${credentialsSecretId}" does not exist or has no value. Write the provider's client credentials into it, as JSON with "client_id" and "client_secret".`,
        { cause: error },
      );
    }
    const { credentials, settings } = parseCredentialsSecret(text);
    return { credentials, settings: resolveProviderSettings(configured, settings) };
  }
}
