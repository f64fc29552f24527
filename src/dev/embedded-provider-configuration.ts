import type { Configuration, ResourceServer } from 'oidc-provider';
import type { SigningKey } from './embedded-provider-key.js';
import type { OidcProviderLibrary } from './embedded-provider-library.js';

/** What the embedded provider mints, and for whom. */
export interface MintingOptions {
  readonly clientId: string;
  readonly clientSecret: string;
  /** The `aud` of every token. */
  readonly audience: string;
  /** Life of a token in seconds. */
  readonly accessTokenTtlSeconds: number;
}

/** Stands for the audience where it is not an absolute URI, which RFC 8707 §2 wants of a resource indicator. */
const DEFAULT_RESOURCE = 'urn:service-token-broker:dev-audience';

/**
 * `oidc-provider` as a small machine-token provider: one client, one resource server whose access tokens are JWTs
 * (RFC 9068). Every default that the library would announce on the terminal is set here.
 */
export function providerConfiguration(
  minting: MintingOptions,
  signingKey: SigningKey,
  { errors, adapter }: OidcProviderLibrary,
): Configuration {
  const resource = URL.canParse(minting.audience) ? minting.audience : DEFAULT_RESOURCE;
  return {
    ...(adapter === undefined ? {} : { adapter }),
    jwks: { keys: [signingKey] },
    clients: [
      {
        client_id: minting.clientId,
        client_secret: minting.clientSecret,
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
        token_endpoint_auth_method: 'client_secret_basic',
      },
    ],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
    responseTypes: ['none'],
    clientBasedCORS: () => false,
    ttl: { ClientCredentials: minting.accessTokenTtlSeconds },
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
          // Any scope that is asked for is granted: there is nothing behind it to protect.
          const asked = context.oidc.params?.['scope'];
          return {
            audience: minting.audience,
            scope: typeof asked === 'string' ? asked : '',
            accessTokenFormat: 'jwt',
            accessTokenTTL: minting.accessTokenTtlSeconds,
            jwt: { sign: { alg: 'RS256' } },
          };
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
