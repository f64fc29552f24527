import type { WebSocketAdapter } from '@nestjs/common';
import { authorizationOfRequest } from './header-values.js';
import { isRecord } from './shapes.js';

const kept = new WeakMap<object, readonly unknown[]>();

/**
 * Lets the guard see the `Authorization` header of a WebSocket's handshake. The `ws` package gives the handshake's
 * request to whoever handles the connection, and forgets it; without this, each message of such a connection is refused. An adapter
 * for socket.io does not need it, since its clients keep their handshake.
 *
 * @returns the same adapter.
 *
 * @example
 * ```ts
 * import { WsAdapter } from '@nestjs/platform-ws';
 * import { keepHandshakes } from 'service-token-broker/guard';
 *
 * app.useWebSocketAdapter(keepHandshakes(new WsAdapter(app)));
 * ```
 */
export function keepHandshakes<Adapter extends Pick<WebSocketAdapter, 'bindClientConnect'>>(
  adapter: Adapter,
): Adapter {
  const bindClientConnect = adapter.bindClientConnect.bind(adapter);
  adapter.bindClientConnect = (server: unknown, callback: (...args: unknown[]) => unknown) =>
    bindClientConnect(server, (...args: unknown[]) => {
      const [client, request] = args;
      // The values alone: the request would keep its socket's whole history alive as long as the connection.
      if (isRecord(client)) kept.set(client, authorizationOfRequest(request));
      return callback(...args);
    });
  return adapter;
}

/** Every value of the handshake's `Authorization` header: kept, or on the client itself (socket.io). */
export function authorizationOfHandshake(client: unknown): readonly unknown[] {
  if (!isRecord(client)) return [];
  const own = kept.get(client);
  if (own !== undefined) return own;
  return authorizationOfRequest(client['request'] ?? client['handshake']);
}
