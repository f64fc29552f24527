import { afterAll } from '@jest/globals';
import { createServer, request as forward, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Where in a request the connection ends: before it reaches the server, or after it has taken effect. */
export type CutPoint = 'before' | 'after';

const open = new Set<Gate>();

afterAll(async () => {
  for (const gate of open) await gate.close();
});

/** A proxy in front of a server that does something in the middle of a chosen request, and then never answers it. */
export class Gate {
  readonly #server: Server;
  readonly #target: URL;
  #cut: { left: number; readonly point: CutPoint; readonly act: () => void } | undefined;

  private constructor(server: Server, target: URL) {
    this.#server = server;
    this.#target = target;
    server.on('request', (incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        const cut = this.#countDown();
        if (cut?.point === 'before') return cut.act();
        const fail = (): void => void response.destroy();
        return this.#forward(incoming, Buffer.concat(chunks), fail, (answer, body) => {
          if (cut !== undefined) return cut.act();
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          return response.end(body);
        });
      });
    });
  }

  /** Opens a gate to a server on a free port of 127.0.0.1. */
  static async open(target: string): Promise<Gate> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const gate = new Gate(server, new URL(target));
    open.add(gate);
    return gate;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Acts at the n-th request from now on, counted from 1. @returns what undoes it, and tells whether it acted. */
  cutAt(nth: number, point: CutPoint, act: () => void): () => boolean {
    const cut = { left: nth, point, act };
    this.#cut = cut;
    return () => {
      if (this.#cut === cut) this.#cut = undefined;
      return cut.left <= 0;
    };
  }

  async close(): Promise<void> {
    open.delete(this);
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #countDown(): { readonly point: CutPoint; readonly act: () => void } | undefined {
    if (this.#cut === undefined) return undefined;
    this.#cut.left -= 1;
    return this.#cut.left === 0 ? this.#cut : undefined;
  }

  #forward(
    { method, headers, url }: IncomingMessage,
    body: Buffer,
    fail: () => void,
    then: (answer: IncomingMessage, body: Buffer) => void,
  ): void {
    const { hostname, port } = this.#target;
    const outgoing = forward({ hostname, port, method, headers, path: url }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => then(answer, Buffer.concat(chunks)));
    });
    // The AWS SDK tries again.
    outgoing.once('error', fail);
    outgoing.end(body);
  }
}
