import type { EventEmitter } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isLoopbackHost } from '../tokens/loopback.js';
import { redactText } from '../tokens/redaction.js';
import { EmbeddedProviderError } from './embedded-provider-error.js';
import { type MintingOptions, providerConfiguration } from './embedded-provider-configuration.js';
import { registerCustomerGrant } from './embedded-provider-customers.js';
import { loadSigningKey } from './embedded-provider-key.js';
import { loadOidcProvider } from './embedded-provider-library.js';

/** Options of {@link startEmbeddedProvider}. */
export interface EmbeddedProviderOptions extends Omit<MintingOptions, 'accessTokenTtlSeconds'> {
  /** A loopback name or address: the provider speaks plain HTTP. Default: `127.0.0.1`. */
  readonly host?: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Where the signing key is kept; made if it does not exist. */
  readonly dataDir: string;
  /** Life of a token in seconds. Default: 86400, one day. */
  readonly accessTokenTtlSeconds?: number;
  /** Called with each minted service token; when it throws, the client gets a `server_error` in place of the token. */
  readonly onMint?: () => void;
  /** Called with what fails inside the provider; the client gets a plain `server_error`. Default: a process warning. */
  readonly onServerError?: (error: Error) => void;
}

/** A running embedded provider. */
export interface EmbeddedProvider {
  /** The issuer identifier: `http://HOST:PORT`. */
  readonly issuer: string;
  readonly port: number;
  /** How many service tokens were minted since the start. */
  readonly mintCount: number;
  /** Stops listening and closes every connection; resolves when the port is free. May be called again. */
  close(): Promise<void>;
}

/**
 * Starts the provider of dev mode: a real OAuth authorization server, `oidc-provider`, that mints RFC 9068 access
 * tokens: service tokens by the client-credentials grant, and with a `customerClient` customer tokens by
 * a grant of its own (`CUSTOMER_GRANT`), without any login. For development only: plain HTTP, and its key in a file.
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
  // The issuer contains the port, so that the provider can be made only once the port is known.
  const port = await listen(server, host, options.port);
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

// A client that goes away in the middle of a request is not a failure of the provider.
function isDisconnect(error: NodeJS.ErrnoException): boolean {
  return ['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'].includes(error.code ?? '');
}

function warn(error: Error): void {
  process.emitWarning(
    `The embedded provider failed: ${redactText(`${error.name}: ${error.message}`)}`,
  );
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
