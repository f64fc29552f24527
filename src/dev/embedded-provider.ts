import { randomUUID } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type {
  AdapterFactory,
  ClientMetadata,
  Configuration,
  errors,
  Provider,
  ResourceServer,
  TokenEndpointGrantContext,
} from 'oidc-provider';
import { isLoopbackHost, parseUrl } from '../tokens/http.js';
import { redactText } from '../tokens/redaction.js';
import type { DevCredentials } from './dev-logins.js';
import { EmbeddedProviderError, loadSigningKey, type SigningKey } from './embedded-provider-key.js';

/**
 * The grant by which the embedded provider mints customer tokens: the client that has the secret names the person, and
 * nobody logs in. A real provider must never have such a grant.
 */
export const CUSTOMER_GRANT = 'urn:service-token-broker:dev-customer';

/** What the embedded provider mints, and for whom. */
interface MintingOptions {
  readonly clientId: string;
  readonly clientSecret: string;
  /** The client that gets customer tokens. Default: none. */
  readonly customerClient?: DevCredentials;
  /** The `aud` of every token. */
  readonly audience: string;
  /** Life of a token in seconds. */
  readonly accessTokenTtlSeconds: number;
}

/** Options of {@link startEmbeddedProvider}. */
interface EmbeddedProviderOptions extends Omit<MintingOptions, 'accessTokenTtlSeconds'> {
  /** A loopback name or address: the provider speaks plain HTTP. Default: `127.0.0.1`. */
  readonly host?: string;
  /** Where it listens, if not at `host`: in a container, whose own loopback nobody outside reaches. Default: `host`. */
  readonly listensAt?: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** The folder of the signing key, which is created if it does not exist. */
  readonly dataDir: string;
  /** Life of a token in seconds. Default: 86400, one day. */
  readonly accessTokenTtlSeconds?: number;
  /** Called for each minted service token; when it throws, the client gets a `server_error` in place of the token. */
  readonly onMint?: () => void;
  /** Called with an error inside the provider; the client gets a plain `server_error`. Default: a process warning. */
  readonly onServerError?: (error: Error) => void;
}

/** A running embedded provider. */
export interface EmbeddedProvider {
  /** The issuer identifier: `http://HOST:PORT`. */
  readonly issuer: string;
  readonly port: number;
  /** How many service tokens were minted since the start. */
  readonly mintCount: number;
  /** Stops listening and closes every connection; resolves when the port is free. May be called repeatedly. */
  close(): Promise<void>;
}

/**
 * Starts the provider of dev mode: a real OAuth authorization server, `oidc-provider`, that mints RFC 9068 access
 * tokens: service tokens by the client-credentials grant, and with a `customerClient` customer tokens by
 * {@link CUSTOMER_GRANT}, without any login. For development only: plain HTTP, and its key in a file.
 *
 * @throws {EmbeddedProviderError} `PORT_IN_USE`, `DEV_PROVIDER_ADDRESS_INVALID`, `DEV_PROVIDER_NOT_INSTALLED`,
 *   `DEV_PROVIDER_KEY_INVALID`.
 */
export async function startEmbeddedProvider(
  options: EmbeddedProviderOptions,
): Promise<EmbeddedProvider> {
  const host = options.host ?? '127.0.0.1';
  requireLoopback(host);
  const library = await loadOidcProvider();
  const signingKey = await loadSigningKey(options.dataDir);
  const server = createServer();
  // The issuer contains the port, which is known only once the server listens.
  const port = await listen(server, options.listensAt ?? host, options.port);
  const issuer = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  let mintCount = 0;
  try {
    const minting = { ...options, accessTokenTtlSeconds: options.accessTokenTtlSeconds ?? 86_400 };
    const provider = new library.Provider(
      issuer,
      providerConfiguration(minting, signingKey, library),
    );
    if (minting.customerClient !== undefined) registerCustomerGrant(provider, minting, library);
    provider.on('client_credentials.issued', () => {
      mintCount += 1;
      options.onMint?.();
    });
    const report = options.onServerError ?? warn;
    provider.on('server_error', (_context, error) => report(error));
    // Without a listener Koa prints the stack of every failed connection to the terminal.
    (provider as EventEmitter).on('error', (error: Error) => {
      if (!isDisconnect(error)) report(error);
    });
    const handle = provider.callback();
    server.on('request', (request, response) => {
      // Koa answers every failure itself; the promise never rejects.
      void handle(request, response);
    });
  } catch (error) {
    await close(server);
    throw error;
  }
  return {
    issuer,
    port,
    get mintCount() {
      return mintCount;
    },
    close: () => close(server),
  };
}

function requireLoopback(host: string): void {
  if (isLoopbackHost(host)) return;
  throw new EmbeddedProviderError(
    'DEV_PROVIDER_ADDRESS_INVALID',
    `The embedded provider speaks plain HTTP and only listens on this machine: ${JSON.stringify(host)} is not a loopback ` +
      'address. Use 127.0.0.1, localhost or ::1.',
  );
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(listenError(error, host, port));
    });
    server.listen({ host, port }, () => {
      server.removeAllListeners('error');
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function listenError(
  error: NodeJS.ErrnoException,
  host: string,
  port: number,
): EmbeddedProviderError {
  if (error.code === 'EADDRINUSE') {
    return new EmbeddedProviderError(
      'PORT_IN_USE',
      `Port ${port} on ${host}, for the embedded provider, is in use by another program. Stop that program, or set ` +
        'BROKER_DEV_PROVIDER_PORT to a free port.',
      { cause: error },
    );
  }
  return new EmbeddedProviderError(
    'DEV_PROVIDER_ADDRESS_INVALID',
    `The embedded provider cannot listen on ${host}, port ${port} (${error.code ?? error.message}). Set ` +
      'BROKER_DEV_PROVIDER_PORT to a port that this user may use.',
    { cause: error },
  );
}

function close(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    if (!server.listening) {
      resolve();
      return;
    }
    server.close((error) => (error === undefined ? resolve() : reject(error)));
    // A request that never ends would hold the server open.
    server.closeAllConnections();
  });
}

/** A client that leaves in the middle of a request is not an error of the provider. */
function isDisconnect(error: NodeJS.ErrnoException): boolean {
  return ['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'].includes(error.code ?? '');
}

function warn(error: Error): void {
  process.emitWarning(
    `The embedded provider failed: ${redactText(`${error.name}: ${error.message}`)}`,
  );
}

/**
 * One client for service tokens, perhaps one for customer tokens, and one resource server whose access tokens are JWTs
 * (RFC 9068). Every default that the library would announce on the terminal is set here.
 */
function providerConfiguration(
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
    // A customer's token has the time of a login (RFC 9068 §2.2.1); a service's never has.
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
    // The library's own page is for browsers.
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

/** Stands for an audience that is not an absolute URI, as a resource indicator has to be (RFC 8707 §2). */
const DEFAULT_RESOURCE = 'urn:service-token-broker:dev-audience';

/** The one resource indicator that the provider mints for. */
function resourceIdentifier({ audience }: MintingOptions): string {
  return parseUrl(audience) === undefined ? DEFAULT_RESOURCE : audience;
}

/** The receiving services. Any requested scope is granted: there is nothing behind it to protect. */
function resourceServer(minting: MintingOptions, scope: unknown): ResourceServer {
  return {
    audience: minting.audience,
    scope: typeof scope === 'string' ? scope : '',
    accessTokenFormat: 'jwt',
    accessTokenTTL: minting.accessTokenTtlSeconds,
    jwt: { sign: { alg: 'RS256' } },
  };
}

/** One to 255 printable ASCII characters, as OpenID Connect Core §2 limits `sub`; no space at either end. */
const SUBJECT = /^[!-~](?:[ -~]{0,253}[!-~])?$/;

/** Lets the provider mint customer tokens for the client whose registration has the grant. */
function registerCustomerGrant(
  provider: Provider,
  minting: MintingOptions,
  { errors }: OidcProviderLibrary,
): void {
  const grant = async (
    context: TokenEndpointGrantContext<{ subject?: unknown }>,
  ): Promise<void> => {
    const { client, params } = context.oidc;
    const { subject } = params;
    if (typeof subject !== 'string' || !SUBJECT.test(subject)) {
      throw new errors.InvalidRequest('subject must be 1 to 255 printable ASCII characters');
    }
    // RFC 9700 §4.15: no person may look like a client.
    if ([minting.clientId, client.clientId].includes(subject)) {
      throw new errors.InvalidRequest('subject must not be the id of a client');
    }
    const token = new provider.AccessToken({
      client,
      accountId: subject,
      gty: CUSTOMER_GRANT,
      grantId: randomUUID(),
      scope: params.scope === '' ? undefined : params.scope,
      resourceServer: new provider.ResourceServer(
        resourceIdentifier(minting),
        resourceServer(minting, params.scope),
      ),
    });
    const value = await token.save();
    context.body = {
      access_token: value,
      expires_in: token.expiration,
      token_type: token.tokenType,
      ...(token.scope === undefined ? {} : { scope: token.scope }),
    };
  };
  provider.registerGrantType<{ subject?: unknown }>(CUSTOMER_GRANT, grant, ['subject', 'scope']);
}

/** What the embedded provider uses of `oidc-provider`. */
interface OidcProviderLibrary {
  readonly Provider: typeof Provider;
  readonly errors: typeof errors;
  /** In-memory storage; `undefined` leaves the library's default, which is the same with a warning. */
  readonly adapter: AdapterFactory | undefined;
}

type Import = (specifier: string) => Promise<Record<string, unknown>>;

const importModule: Import = (specifier) => import(specifier) as Promise<Record<string, unknown>>;

/**
 * Loads the optional package `oidc-provider`.
 *
 * Its entry point prints a warning on every Node.js before 22, with no switch for it, and re-exports the modules that
 * are loaded here. A version that has these modules elsewhere is loaded by its entry point, with the warning.
 *
 * @throws {EmbeddedProviderError} `DEV_PROVIDER_NOT_INSTALLED`.
 */
export async function loadOidcProvider(load: Import = importModule): Promise<OidcProviderLibrary> {
  try {
    return await loadParts(load);
  } catch (error) {
    if (!isMissing(error)) throw notInstalled(error);
  }
  try {
    const entry = (await load('oidc-provider')) as unknown as OidcProviderLibrary;
    return { Provider: entry.Provider, errors: entry.errors, adapter: undefined };
  } catch (error) {
    throw notInstalled(error);
  }
}

async function loadParts(load: Import): Promise<OidcProviderLibrary> {
  const [provider, errorClasses, memory] = await Promise.all([
    load('oidc-provider/lib/provider.js'),
    load('oidc-provider/lib/helpers/errors.js'),
    load('oidc-provider/lib/adapters/memory_adapter.js'),
  ]);
  const MemoryAdapter = memory['default'] as new (name: string) => ReturnType<AdapterFactory>;
  return {
    Provider: provider['Provider'] as typeof Provider,
    errors: errorClasses as unknown as typeof errors,
    adapter: (name) => new MemoryAdapter(name),
  };
}

function isMissing(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : '';
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED';
}

function notInstalled(cause: unknown): EmbeddedProviderError {
  return new EmbeddedProviderError(
    'DEV_PROVIDER_NOT_INSTALLED',
    'Dev mode mints its tokens with the package "oidc-provider", which cannot be loaded. Install it: npm install oidc-provider@9',
    { cause },
  );
}
