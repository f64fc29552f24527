import type { ClientMetadata, Configuration, ResourceServer } from 'oidc-provider';
import type { DevCredentials } from './dev-credentials.js';
import type { SigningKey } from './embedded-provider-key.js';
import type { OidcProviderLibrary } from './embedded-provider-library.js';
import { parseUrl } from '../tokens/parse-url.js';

/** What the embedded provider mints, and for whom. */
export interface MintingOptions {
  readonly clientId: string;
  readonly clientSecret: string;
  /** The client that gets customer tokens; without one there are none. */
  readonly customerClient?: DevCredentials;
  /** The `aud` of every token. */
  readonly audience: string;
  /** Life of a token in seconds. */
  readonly accessTokenTtlSeconds: number;
}

/**
 * The grant by which the embedded provider mints customer tokens: whoever knows the customer client's secret names the
 * person, and nobody logs in. A real provider must never have such a grant.
 */
export const CUSTOMER_GRANT = 'urn:service-token-broker:dev-customer';

/** Stands for the audience where it is not an absolute URI, which RFC 8707 §2 wants of a resource indicator. */
const DEFAULT_RESOURCE = 'urn:service-token-broker:dev-audience';

/** The one resource indicator that the provider mints for. */
export function resourceIdentifier({ audience }: MintingOptions): string {
  return parseUrl(audience) === undefined ? DEFAULT_RESOURCE : audience;
}

/** The receiving services. Any scope that is asked for is granted: there is nothing behind it to protect. */
export function resourceServer(minting: MintingOptions, scope: unknown): ResourceServer {
  return {
    audience: minting.audience,
    scope: typeof scope === 'string' ? scope : '',
    accessTokenFormat: 'jwt',
    accessTokenTTL: minting.accessTokenTtlSeconds,
    jwt: { sign: { alg: 'RS256' } },
  };
}

/**
 * `oidc-provider` as a small provider: one client for service tokens, perhaps one for customer tokens, and one resource
 * server whose access tokens are JWTs (RFC 9068). Every default that the library would announce on the terminal is set here.
 */
export function providerConfiguration(
  minting: MintingOptions,
  signingKey: SigningKey,
  { errors, adapter }: OidcProviderLibrary,
): Configuration {
  const resource = resourceIdentifier(minting);
  return {
    ...(adapter === undefined ? {} : { adapter }),
    jwks: { keys: [signingKey] },
    clients: [
      registration(minting, 'client_credentials'),
      ...(minting.customerClient === undefined
        ? []
        : [registration(minting.customerClient, CUSTOMER_GRANT)]),
    ],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
    responseTypes: ['none'],
    clientBasedCORS: () => false,
    ttl: {
      ClientCredentials: minting.accessTokenTtlSeconds,
      AccessToken: () => minting.accessTokenTtlSeconds,
    },
    // A customer's token tells of a login (RFC 9068 §2.2.1); a service's never does.
    extraTokenClaims: (_context, token) =>
      token.kind === 'AccessToken' ? { auth_time: Math.floor(Date.now() / 1000) } : undefined,
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      userinfo: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        getResourceServerInfo: (context, indicator): ResourceServer => {
          if (indicator !== resource) {
            throw new errors.InvalidTarget(`this provider only mints for ${resource}`);
          }
          return resourceServer(minting, context.oidc.params?.['scope']);
        },
      },
    },
    // The library's own page is made for browsers, which have no business here.
    renderError: (context, out) => {
      context.type = 'json';
      context.body = JSON.stringify(out);
    },
  };
}

function registration({ clientId, clientSecret }: DevCredentials, grant: string): ClientMetadata {
  return {
    client_id: clientId,
    client_secret: clientSecret,
    grant_types: [grant],
    response_types: [],
    redirect_uris: [],
    token_endpoint_auth_method: 'client_secret_basic',
  };
}
