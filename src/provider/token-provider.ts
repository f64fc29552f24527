import type { ClientCredentials, ProviderSettings } from './client-credentials.js';

/** What the provider answered to a client-credentials grant (RFC 6749 §5.1). Its signature is not verified yet. */
export interface MintedToken {
  /** A JWT in JWS compact form. */
  readonly accessToken: string;
  /** `expires_in`: seconds from now; `undefined` when the provider does not say. */
  readonly expiresInSeconds?: number;
  /** `scope`, separated by spaces; `undefined` when the provider does not say, because it is what was asked for (RFC 6749 §5.1). */
  readonly scope?: string;
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
