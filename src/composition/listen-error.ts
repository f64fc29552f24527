import { createServer } from 'node:net';
import { BrokerError } from '../tokens/errors.js';

/** The settings of the broker's own port. */
const MAIN_PORT = { port: 'PORT', host: 'HOST' };

/**
 * Why a process cannot listen, with the way out. What is not about the address stays as it is.
 *
 * @param names the settings that say where.
 */
export function listenError(
  error: unknown,
  host: string,
  port: number,
  advice = '',
  names: { readonly port: string; readonly host: string } = MAIN_PORT,
): unknown {
  const code =
    typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') {
    return new BrokerError(
      'PORT_IN_USE',
      'misconfigured',
      `Port ${port} on ${host} is in use by another process. Set ${names.port} to a free one, or stop the other process.${advice}`,
      { cause: error },
    );
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return new BrokerError(
      'ADDRESS_UNUSABLE',
      'misconfigured',
      `This process cannot listen on ${host}, port ${port} (${code}). Check ${names.host} and ${names.port}.`,
      { cause: error },
    );
  }
  return error;
}

/**
 * Makes sure that a port can be listened on, for who has work to do before it listens itself.
 *
 * @param advice what to add when the port is taken.
 * @throws {BrokerError} `PORT_IN_USE`, `ADDRESS_UNUSABLE`.
 */
export async function requireFreePort(host: string, port: number, advice: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, host, port, advice)));
    server.listen({ host, port }, () => server.close(() => resolve()));
  });
}
