import { decodeJwt, type JWTPayload } from 'jose';
import {
  configuredCredentials,
  parseCredentialsSecret,
  resolveProviderSettings,
  type ClientCredentials,
  type ProviderSettings,
} from '../provider/client-credentials.js';
import type { TokenProvider } from '../provider/token-provider.js';
import { isStoreError, type SecretStore } from '../secrets/secret-store.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import { isJsonObject } from '../tokens/json.js';
import { scopeOf, scopeOfClaims, type ServiceToken } from '../tokens/service-token.js';
import type { Clock } from '../tokens/time.js';
import type { TokenVerifier } from '../verification/verifier.js';

/**
 * The service token to keep, from the claims of a minted JWT. Nothing is verified here: testSecret does.
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

/** Some providers' client-credentials tokens have no audience, for example Cognito's. */
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

/** What {@link TokenSource} works with. */
interface TokenSourceOptions {
  readonly store: SecretStore;
  readonly credentialsSecretId: string;
  readonly provider: TokenProvider;
  /** The configured settings of the provider; they win over the credentials secret's. */
  readonly configured: Partial<ProviderSettings>;
  /** Makes the verifier for a provider: the same that receivers use. Called again when the settings change. */
  readonly createVerifier: (settings: ProviderSettings) => TokenVerifier;
  readonly clock: Clock;
}

/** What a token that is bound to the broker's client certificate (RFC 8705 §3) means here; `undefined` for other errors. */
function boundToCertificate(
  error: unknown,
  { accessToken }: ServiceToken,
): BrokerError | undefined {
  if (errorCode(error) !== 'TOKEN_SENDER_CONSTRAINED') return undefined;
  const { cnf } = readClaims(accessToken) as { readonly cnf?: unknown };
  if (!isJsonObject(cnf) || cnf['x5t#S256'] === undefined) return undefined;
  return new BrokerError(
    'TOKEN_SENDER_CONSTRAINED',
    'rejected',
    'the token is bound to the broker\'s client certificate ("cnf" with "x5t#S256"), so that no peer could use it. Switch certificate-bound access tokens off for this client at the provider; authenticating by mutual TLS does not need them.',
    { cause: error },
  );
}

/** The way out of a missing credentials secret where only the client id is wanted of it. */
function withoutSecret({ clientAuthentication: method }: Partial<ProviderSettings>): string {
  if (method === undefined || !/^(?:kms|workload_token|mtls)$/.test(method)) return '';
  return ` With BROKER_CLIENT_ID, ${method} needs no such secret.`;
}

/** For so many milliseconds after a mint its settings also judge tokens: the rotation verifies what it has minted. */
const JUST_MINTED = 10_000;

/** The credentials secret as it stands, merged with the configuration. */
interface ProviderAccess {
  readonly settings: ProviderSettings;
  readonly credentials: ClientCredentials;
}

/**
 * Where service tokens come from, and how they are judged: the credentials secret, the provider, and the verifier that
 * receivers use. Every mint reads the credentials secret again, so that people may edit it at any time.
 */
export class TokenSource {
  #verifier: { readonly key: string; readonly verifier: TokenVerifier } | undefined;
  /** The settings of the last mint, and when it ended, in milliseconds since the Unix epoch. */
  #minted: { readonly settings: ProviderSettings; readonly at: number } | undefined;

  constructor(private readonly options: TokenSourceOptions) {}

  /** Mints a service token, until the signal is aborted. @throws {BrokerError} */
  async mint(signal?: AbortSignal): Promise<ServiceToken> {
    const { provider, clock } = this.options;
    const { settings, credentials } = await this.access();
    const minted = await provider.mint(settings, credentials, signal);
    this.#minted = { settings, at: clock.now() };
    const { accessToken, expiresInSeconds, scope = settings.scope } = minted;
    return serviceTokenOf(accessToken, expiresInSeconds, clock.now(), scope);
  }

  /**
   * Verifies a token as receivers do, and that it speaks for a service.
   *
   * @throws {BrokerError} of kind `rejected` for a token that receivers refuse, `retry` when the keys are not available.
   */
  async verify(token: ServiceToken): Promise<void> {
    const settings = await this.settings();
    const verifying = this.verifierFor(settings).verify(token.accessToken);
    const { principal } = await verifying.catch((error: unknown) => {
      throw boundToCertificate(error, token) ?? error;
    });
    if (principal.kind !== 'service') {
      throw new BrokerError(
        'TOKEN_NOT_A_SERVICE',
        'rejected',
        'the token speaks for a customer, not for a service. Check BROKER_PROFILE, and which client the provider minted it for.',
      );
    }
  }

  /**
   * The settings that tokens are judged by. Where the configuration has all of them, the credentials secret is not read: a
   * broker that only serves and watches may not be allowed to.
   */
  async settings(): Promise<ProviderSettings> {
    const { issuer, audience, jwksUri, tokenEndpoint } = this.options.configured;
    const isComplete =
      issuer !== undefined &&
      audience !== undefined &&
      // Given alone, the keys' address counts with a token endpoint from the secret; see `providerKeys`.
      (jwksUri === undefined || tokenEndpoint !== undefined);
    if (isComplete) return resolveProviderSettings(this.options.configured, {});
    const { settings, at } = this.#minted ?? {};
    const age = this.options.clock.now() - (at ?? Number.NEGATIVE_INFINITY);
    return settings !== undefined && age >= 0 && age < JUST_MINTED
      ? settings
      : (await this.access()).settings;
  }

  /** The verifier for these settings; reused while they stay the same, because it holds the provider's keys. */
  verifierFor(settings: ProviderSettings): TokenVerifier {
    const key = JSON.stringify(settings);
    if (this.#verifier?.key !== key) {
      this.#verifier = { key, verifier: this.options.createVerifier(settings) };
    }
    return this.#verifier.verifier;
  }

  /**
   * Reads the credentials secret, unless the configuration has the whole client credentials.
   *
   * @throws {BrokerError} `CREDENTIALS_SECRET_EMPTY`, or what the store says.
   */
  async access(): Promise<ProviderAccess> {
    const { store, credentialsSecretId, configured } = this.options;
    const whole = configuredCredentials(configured);
    if (whole !== undefined) {
      return { credentials: whole, settings: resolveProviderSettings(configured, {}) };
    }
    let text: string;
    try {
      text = (await store.read(credentialsSecretId)).value;
    } catch (error) {
      if (!isStoreError(error, 'VERSION_NOT_FOUND', 'SECRET_NOT_FOUND')) throw error;
      throw new BrokerError(
        'CREDENTIALS_SECRET_EMPTY',
        'misconfigured',
        `The credentials secret "${credentialsSecretId}" does not exist or has no value. Write the provider's client credentials into it, as JSON with "client_id" and "client_secret", with service-token-broker credentials set.${withoutSecret(configured)}`,
        { cause: error },
      );
    }
    const { credentials, settings } = parseCredentialsSecret(text, configured);
    return { credentials, settings: resolveProviderSettings(configured, settings) };
  }
}
