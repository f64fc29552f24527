import { request as httpRequest, type Agent, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Readable } from 'node:stream';

/** A request for {@link fetchDirectly}. */
interface DirectInit {
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Whose connections are used. */
  readonly agent: Agent | undefined;
  /** Milliseconds without a byte after which the request is given up. Default: none. */
  readonly idleTimeoutMs?: number;
  /** True for a request that nobody waits for: it does not keep the process alive. Default: false. */
  readonly isBackground?: boolean;
}

/** Statuses whose responses have no body (RFC 9110 §6.4.1). */
const BODYLESS = new Set([204, 205, 304]);

/**
 * A `fetch` over `node:http` and `node:https`, for what the platform's own cannot do without the package undici: present a
 * client certificate, and wait without keeping the process alive. Follows no redirect, uses no proxy, and asks for no compression. Errors have the system's code.
 */
export function fetchDirectly(url: string, init: DirectInit): Promise<Response> {
  const { method, headers, body, signal, agent, idleTimeoutMs, isBackground = false } = init;
  const send = url.startsWith('https:') ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const outgoing = send(url, {
      method,
      agent,
      headers:
        body === undefined ? headers : { ...headers, 'content-length': Buffer.byteLength(body) },
      signal,
      timeout: idleTimeoutMs,
    });
    outgoing.on('error', reject);
    outgoing.on('timeout', () =>
      outgoing.destroy(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })),
    );
    if (isBackground) outgoing.on('socket', (socket) => socket.unref());
    outgoing.on('response', (message) => {
      try {
        resolve(toResponse(message));
      } catch (error) {
        message.destroy();
        reject(error);
      }
    });
    outgoing.end(body);
  });
}

function toResponse(message: IncomingMessage): Response {
  const { rawHeaders, statusCode = 0 } = message;
  const headers = new Headers();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    headers.append(rawHeaders[index] ?? '', rawHeaders[index + 1] ?? '');
  }
  // HTTP has three digits, and a Response takes those up to 599.
  const status = Math.min(Math.max(statusCode, 200), 599);
  if (BODYLESS.has(status)) {
    message.resume();
    return new Response(null, { status, headers });
  }
  return new Response(Readable.toWeb(message) as ReadableStream<Uint8Array>, { status, headers });
}
