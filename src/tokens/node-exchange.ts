import { request as httpRequest } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { Readable } from 'node:stream';

/** Sends one request. Follows no redirect. */
export type Exchange = (
  url: string | URL,
  init: {
    readonly method: string;
    readonly headers: Record<string, string>;
    readonly body?: unknown;
    readonly signal?: AbortSignal | undefined;
  },
) => Promise<Response>;

/** Statuses whose responses have no body (Fetch standard: "null body status"). */
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * An exchange over `node:https` (or `node:http`), for what `fetch` cannot do without a further package: client
 * certificates, authorities, proxies.
 *
 * @param optionsFor Node's options for a request to a URL: an agent, certificates. `agent: false` ends the connection with
 *   the response.
 */
export function exchangeOverNode(optionsFor: (url: URL) => RequestOptions): Exchange {
  return (target, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const url = new URL(target);
      const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
      const options = { ...optionsFor(url), method, headers, ...(signal && { signal }) };
      const sent = send(url, options, (answer) => {
        const { statusCode: status = 0 } = answer;
        const received = new Headers();
        for (let index = 0; index < answer.rawHeaders.length; index += 2) {
          received.append(answer.rawHeaders[index] ?? '', answer.rawHeaders[index + 1] ?? '');
        }
        const isEmpty = WITHOUT_BODY.has(status);
        if (isEmpty) answer.resume();
        const content = isEmpty ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>);
        try {
          resolve(new Response(content, { status, headers: received }));
        } catch (error) {
          // A status or a header that no response has.
          answer.destroy();
          reject(error instanceof Error ? error : new Error('unusable response'));
        }
      });
      sent.once('error', reject);
      sent.end(body instanceof URLSearchParams ? body.toString() : (body as string | undefined));
    });
}
