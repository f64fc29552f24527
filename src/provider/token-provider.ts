import type { ClientCredentials } from './client-credentials.js';

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
  /** Allows `http:` for hosts other than loopback ones. Default: false. */
  readonly allowInsecureHttp?: boolean;
}

/** What the provider answered to a client-credentials grant (RFC 6749 §5.1). Its signature is not verified yet. */
export interface MintedToken {
  /** A JWT in JWS compact form. */
  readonly accessToken: string;
  /** `expires_in`: seconds from now; `undefined` when the provider does not say. */
  readonly expiresInSeconds?: number;
  /** Which of the ordered client secrets the provider accepted, counted from 0; `undefined` for a private key. */
  readonly secretIndex?: number;
}

/** The provider's own word on itself (RFC 8414 §2), with explicit settings in place of what they override. */
export interface ProviderMetadata {
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly jwksUri: string;
}

/** Who mints service tokens. Both methods reject with a `BrokerError`, or with the signal's reason once it is aborted. */
export interface TokenProvider {
  /** Mints one token by the client-credentials grant (RFC 6749 §4.4). Every call costs a token at the provider. */
  mint(
    settings: ProviderSettings,
    credentials: ClientCredentials,
    signal?: AbortSignal,
  ): Promise<MintedToken>;

  /** Where the provider's endpoints are; discovered once in a while, and remembered. */
  metadata(settings: ProviderSettings, signal?: AbortSignal): Promise<ProviderMetadata>;
}

/** Nest's injection token for the {@link TokenProvider} in use. */
export const TokenProvider = Symbol('TokenProvider');
