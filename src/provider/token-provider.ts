import type { ClientCredentials, ProviderSettings } from './client-credentials.js';

/** The token response to a client-credentials grant (RFC 6749 §5.1). Its signature is not verified yet. */
export interface MintedToken {
  /** A JWT in JWS compact form. */
  readonly accessToken: string;
  /** `expires_in`: seconds from now; `undefined` when the provider does not say. */
  readonly expiresInSeconds?: number;
  /** `scope`, separated by spaces; `undefined` when it is as requested (RFC 6749 §5.1). */
  readonly scope?: string;
}

/** The provider's metadata (RFC 8414 §2), overridden by explicit settings. */
export interface ProviderMetadata {
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly jwksUri: string;
  /** `token_endpoint_auth_methods_supported`; `undefined` when nothing was discovered, or it is not listed. */
  readonly authenticationMethods?: readonly string[];
  /** The token endpoint for mutual TLS, where it has an address of its own (RFC 8705 §5). */
  readonly mtlsTokenEndpoint?: string;
}

/** Mints service tokens. Both methods reject with a `BrokerError`, or with the signal's reason once it is aborted. */
export interface TokenProvider {
  /** Mints one token by the client-credentials grant (RFC 6749 §4.4). Every call costs a token at the provider. */
  mint(
    settings: ProviderSettings,
    credentials: ClientCredentials,
    signal?: AbortSignal,
  ): Promise<MintedToken>;

  /** Where the provider's endpoints are; discovered and cached for an hour. */
  metadata(settings: ProviderSettings, signal?: AbortSignal): Promise<ProviderMetadata>;
}
