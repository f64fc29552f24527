import { isLoopbackHost } from '../tokens/loopback.js';
import { ProviderError } from './provider-errors.js';
import { parseUrl } from '../tokens/parse-url.js';

/** How the broker proves its identity at the token endpoint (RFC 6749 §2.3.1, RFC 7523 §2.2). */
export type ClientAuthentication = 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt';

/** Where the provider is, and what to ask it for. */
export interface ProviderSettings {
  /** The issuer identifier, exactly as the provider writes it in `iss`; a trailing slash counts. */
  readonly issuer: string;
  /** Where tokens are minted. Default: what discovery says. */
  readonly tokenEndpoint?: string;
  /** Where the provider's public keys are. Default: what discovery says. */
  readonly jwksUri?: string;
  /** The `audience` parameter that Auth0 and others ask for. Default: not sent. */
  readonly audience?: string;
  /** The `scope` parameter, space-separated (RFC 6749 §3.3). Default: not sent. */
  readonly scope?: string;
  /** The `resource` parameters (RFC 8707 §2). Default: none. */
  readonly resource?: readonly string[];
  /**
   * Default: `private_key_jwt` for a private key, else what discovery lists (`client_secret_basic` when it lists both
   * or nothing, or when `tokenEndpoint` is given and nothing is discovered).
   */
  readonly clientAuthentication?: ClientAuthentication;
  /** The `aud` of client assertions (RFC 7523 §3): `issuer`, `token_endpoint`, or a URL as it is. Default: `issuer`. */
  readonly clientAssertionAudience?: string;
  /** Allows `http:` for hosts other than loopback ones. Default: false. */
  readonly allowInsecureHttp?: boolean;
}

/**
 * The settings to mint with: the configuration's where it has one, the credentials secret's otherwise.
 *
 * The issuer is needed even with explicit endpoints, because it is the `iss` that a minted token must carry.
 *
 * @throws {ProviderError} `PROVIDER_ISSUER_MISSING` when neither names an issuer.
 */
export function resolveProviderSettings(
  config: Partial<ProviderSettings>,
  fromSecret: Partial<ProviderSettings>,
): ProviderSettings {
  const merged = { ...withoutUndefined(fromSecret), ...withoutUndefined(config) };
  const { issuer } = merged;
  if (issuer === undefined) {
    throw new ProviderError(
      'PROVIDER_ISSUER_MISSING',
      'Nobody says who the provider is: set BROKER_ISSUER, or "issuer" in the credentials secret, to the exact ' +
        'issuer identifier that the provider writes into its tokens as "iss".',
    );
  }
  return { ...merged, issuer };
}

function withoutUndefined(settings: Partial<ProviderSettings>): Partial<ProviderSettings> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

/**
 * The URL of a setting or of discovered metadata, if it may be talked to: `https:`, or `http:` on a loopback host
 * (or anywhere, with `allowInsecureHttp`), without a user, password or fragment.
 *
 * @param name what the URL is, for the message.
 * @throws {ProviderError} `PROVIDER_SETTINGS_INVALID`, `PROVIDER_INSECURE`.
 */
export function requireUrl(
  text: string,
  name: string,
  settings: Pick<ProviderSettings, 'allowInsecureHttp'>,
): URL {
  const url = parseUrl(text);
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw invalidUrl(name, 'it must be an absolute https: URL');
  }
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    throw invalidUrl(name, 'it must have no user, password or fragment');
  }
  if (
    url.protocol === 'http:' &&
    !isLoopbackHost(url.hostname) &&
    settings.allowInsecureHttp !== true
  ) {
    throw new ProviderError(
      'PROVIDER_INSECURE',
      `The ${name} ${displayUrl(url)} is plain HTTP on another machine, which would show the client credentials to ` +
        'the network. Use https:.',
    );
  }
  return url;
}

/** A URL for messages: without its query, which may hold secrets, and not longer than a line. */
export function displayUrl(url: URL): string {
  return `${url.origin}${url.pathname}`.slice(0, 200);
}

function invalidUrl(name: string, why: string): ProviderError {
  return new ProviderError('PROVIDER_SETTINGS_INVALID', `The ${name} cannot be used: ${why}.`);
}
