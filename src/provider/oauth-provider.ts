import type { Agent } from 'node:http';
import type { Exchange } from '../tokens/node-exchange.js';
import { systemClock, waitFor, type Clock, type DateReading } from '../tokens/time.js';
import { discover, MetadataCache, type DiscoveredServer } from './discovery.js';
import {
  type ProviderSettings,
  secretsOf,
  type ClientCredentials,
  requireUrl,
} from './client-credentials.js';
import { clientAuthenticators, decideClientAuthentication } from './client-authentication.js';
import type { AwsProofs } from './client-proofs.js';
import { exchangeWith, loadCertificate } from './mutual-tls.js';
import * as oauth from 'oauth4webapi';
import { isProviderError, ProviderError } from './provider-errors.js';
import { boundedFetch, type Budget, mayBeStaleMetadata, retrying } from './provider-http.js';
import { readTokenResponse, type TokenResponseContext } from './token-response.js';
import type { MintedToken, ProviderMetadata, TokenProvider } from './token-provider.js';

/** Options of {@link createOAuthProvider}. */
export interface OAuthProviderOptions {
  readonly clock: Clock;
  /** Milliseconds for one request, the body included. Default: 5000. */
  readonly timeoutMs?: number;
  /** How often one request is tried in all while the failure may pass. Default: 3. */
  readonly attempts?: number;
  /** Milliseconds for one call with all its requests and pauses. Default: 30000. */
  readonly deadlineMs?: number;
  /** Jitter: from 0 up to, but not including, 1. Default: `Math.random`. */
  readonly random?: () => number;
  /** Notified of the `Date` of each successful answer. */
  readonly onDate?: (reading: DateReading) => void;
  /** The port to AWS, made at the first mint that needs it. Without it, no KMS key signs and AWS gives no token. */
  readonly awsProofs?: () => Promise<AwsProofs>;
  /** Over mutual TLS: certificates of authorities, in PEM, trusted in place of Node's own and NODE_EXTRA_CA_CERTS. */
  readonly mutualTlsCa?: readonly string[];
  /** How servers are reached, where that is not directly: by a proxy, or with further authorities. */
  readonly network?: ProviderNetwork | undefined;
}

/** How the provider is reached. */
export interface ProviderNetwork {
  readonly fetch: typeof globalThis.fetch;
  /** The agent for requests over mutual TLS; it keeps no connection open. */
  readonly agentFor: (url: URL) => Agent;
}

/**
 * The {@link TokenProvider} for every provider that speaks OAuth 2.0, over `oauth4webapi`.
 *
 * Failures that may pass (no connection, time-out, 429, 5xx) are retried within the deadline, respecting `Retry-After`;
 * all others are thrown at once. Redirects are never followed. Its methods reject with a `ProviderError`, or with a
 * `CredentialsSecretError` for a private key that cannot be used, or with what {@link AwsProofs} says.
 */
export function createOAuthProvider(options: OAuthProviderOptions): TokenProvider {
  return new OAuthProvider(options);
}

class OAuthProvider implements TokenProvider {
  readonly #options: OAuthProviderOptions;
  readonly #discovered: MetadataCache;

  constructor(options: OAuthProviderOptions) {
    this.#options = options;
    this.#discovered = new MetadataCache(options.clock);
  }

  async metadata(settings: ProviderSettings, signal?: AbortSignal): Promise<ProviderMetadata> {
    const { issuer, tokenEndpoint, jwksUri } = settings;
    const explicit = tokenEndpoint !== undefined && jwksUri !== undefined;
    const server: DiscoveredServer = explicit ? { issuer } : await this.#discover(settings, signal);
    const { token_endpoint_auth_methods_supported: methods, mtls_token_endpoint: alias } = server;
    return {
      issuer,
      tokenEndpoint: endpoint(settings, tokenEndpoint, server.token_endpoint, 'token endpoint'),
      jwksUri: endpoint(settings, jwksUri, server.jwks_uri, 'JWKS URI'),
      ...(methods && { authenticationMethods: methods }),
      ...(alias !== undefined && { mtlsTokenEndpoint: alias }),
    };
  }

  async mint(
    settings: ProviderSettings,
    credentials: ClientCredentials,
    signal?: AbortSignal,
  ): Promise<MintedToken> {
    const budget = this.#budget(signal);
    const { awsProofs, mutualTlsCa, network } = this.#options;
    try {
      // An explicit token endpoint needs no discovery.
      const server: DiscoveredServer =
        settings.tokenEndpoint === undefined
          ? await this.#discover(settings, signal)
          : { issuer: settings.issuer };
      const tools = { ...budget, awsProofs, mutualTlsCa, network };
      return await grant(server, settings, credentials, tools);
    } catch (error) {
      if (mayBeStaleMetadata(error)) this.#discovered.forget(settings);
      throw error;
    }
  }

  // The discovery is shared: one caller's signal must not end it for the others.
  async #discover(
    settings: ProviderSettings,
    signal: AbortSignal | undefined,
  ): Promise<DiscoveredServer> {
    signal?.throwIfAborted();
    const shared = this.#discovered.get(settings, () =>
      discover(settings, this.#budget(undefined)),
    );
    return waitFor(shared, signal);
  }

  #budget(signal: AbortSignal | undefined): Budget {
    const { clock, attempts = 3, timeoutMs = 5_000, deadlineMs = 30_000, onDate } = this.#options;
    const { random = Math.random, network } = this.#options;
    const deadline = clock.now() + deadlineMs;
    const fetch = network?.fetch;
    return { clock, deadline, attempts, timeoutMs, random, signal, onDate, fetch };
  }
}

/** The member of the metadata, and the setting that stands in for it. */
const NAMES_OF = {
  'token endpoint': { member: 'token_endpoint', setting: 'BROKER_TOKEN_ENDPOINT' },
  'JWKS URI': { member: 'jwks_uri', setting: 'BROKER_JWKS_URI' },
} as const;

function endpoint(
  settings: ProviderSettings,
  explicit: string | undefined,
  discovered: string | undefined,
  name: keyof typeof NAMES_OF,
): string {
  const text = explicit ?? discovered;
  if (text === undefined) {
    const { member, setting } = NAMES_OF[name];
    throw new ProviderError(
      'PROVIDER_DISCOVERY_FAILED',
      `The provider's metadata names no ${name}: "${member}" is missing, or not a text. Set ${setting}.`,
    );
  }
  requireUrl(text, name, settings);
  return text;
}

/** A grant's time, and what it proves the broker's identity with. */
type GrantTools = Budget & {
  readonly [Name in 'awsProofs' | 'mutualTlsCa' | 'network']: OAuthProviderOptions[Name];
};

/** What every request of a grant has in common. */
interface Grant extends TokenResponseContext {
  readonly tokenEndpoint: string;
  /** Over mutual TLS. */
  readonly exchange: Exchange | undefined;
}

async function grant(
  server: DiscoveredServer,
  settings: ProviderSettings,
  credentials: ClientCredentials,
  { awsProofs, mutualTlsCa, network, ...budget }: GrantTools,
): Promise<MintedToken> {
  const decision = decideClientAuthentication(settings, credentials.kind, server);
  const tokenEndpoint = endpoint(settings, undefined, decision.tokenEndpoint, 'token endpoint');
  const { method, assertionAudience } = decision;
  const { clock, signal } = budget;
  const authenticators = await clientAuthenticators(method, credentials, assertionAudience, {
    clock,
    signal,
    aws: awsProofs,
  });
  const exchange =
    credentials.kind === 'certificate'
      ? exchangeWith(
          await loadCertificate(credentials, clock.now()),
          mutualTlsCa,
          network?.agentFor,
        )
      : undefined;
  const context: Grant = { settings, credentials, method, tokenEndpoint, exchange };
  let refused: unknown;
  for (const authenticator of authenticators) {
    try {
      return await retrying(budget, (timeoutMs) =>
        requestToken(context, authenticator, { ...budget, timeoutMs }),
      );
    } catch (error) {
      if (!isProviderError(error, 'PROVIDER_INVALID_CLIENT')) throw error;
      refused = error;
    }
  }
  throw refused;
}

async function requestToken(
  context: Grant,
  authenticator: oauth.ClientAuth,
  { clock, timeoutMs, signal, onDate, fetch }: Budget,
): Promise<MintedToken> {
  const { settings, credentials, tokenEndpoint, exchange } = context;
  const client: oauth.Client = {
    client_id: credentials.clientId,
    // The library uses the machine's clock for client assertions.
    [oauth.clockSkew]: Math.round((clock.now() - systemClock.now()) / 1000),
  };
  const response = await oauth.clientCredentialsGrantRequest(
    { issuer: settings.issuer, token_endpoint: tokenEndpoint },
    client,
    authenticator,
    grantParameters(settings),
    {
      // Which plain-HTTP hosts are allowed was decided before, for each URL.
      [oauth.allowInsecureRequests]: true,
      [oauth.customFetch]: boundedFetch({
        clock,
        timeoutMs,
        signal,
        what: 'token endpoint',
        onDate,
        exchange,
        fetch,
        secrets: secretsOf(credentials),
      }),
    },
  );
  return readTokenResponse(response, context);
}

function grantParameters({ audience, scope, resource }: ProviderSettings): URLSearchParams {
  const parameters = new URLSearchParams();
  if (audience !== undefined) parameters.set('audience', audience);
  if (scope !== undefined) parameters.set('scope', scope);
  for (const indicator of resource ?? []) parameters.append('resource', indicator);
  return parameters;
}
