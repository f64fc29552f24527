import { IncomingMessage, ServerResponse } from 'node:http';
import {
  toEndpointRequest,
  writeAnswer,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
} from './http.js';

/** What Fastify and Express add to Node's request, as far as it is used here. */
export interface FrameworkRequest {
  /** Fastify's way to Node's request; Express's request is Node's itself. */
  readonly raw?: IncomingMessage;
  /** The caller's address, by the framework's own rules about proxies. */
  readonly ip?: string;
  /** Express: the URL before any router took its prefix off. */
  readonly originalUrl?: string;
  readonly body?: unknown;
}

/** What Fastify and Express add to Node's response, as far as it is used here. */
export interface FrameworkReply {
  readonly raw?: ServerResponse;
  /** Fastify: takes the reply out of the framework's hands. */
  hijack?(): unknown;
}

/**
 * Lets an endpoint answer a request that a framework received. The answer is written to Node's response itself, so that
 * it has the same bytes whatever the framework.
 */
export async function respond(
  endpoint: Endpoint,
  request: FrameworkRequest,
  reply: FrameworkReply,
): Promise<void> {
  send(await endpoint.answer(endpointRequest(request)), reply);
}

/** Writes an answer to a framework's reply. */
export function send(answer: EndpointAnswer, reply: FrameworkReply): void {
  const response = reply.raw ?? reply;
  if (!(response instanceof ServerResponse)) throw new TypeError('Not a response of node:http.');
  reply.hijack?.();
  // The peer may have gone while the store was read.
  if (response.headersSent || response.destroyed) return;
  writeAnswer(response, answer);
}

function endpointRequest(request: FrameworkRequest): EndpointRequest {
  const message = request.raw ?? request;
  if (!(message instanceof IncomingMessage)) throw new TypeError('Not a request of node:http.');
  return toEndpointRequest(message, {
    url: request.originalUrl,
    remoteAddress: request.ip,
    body: request.body,
  });
}
