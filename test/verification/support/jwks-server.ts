import { createServer, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { JWK } from 'jose';

/** How the server answers: with the keys, with anything else, or not until it is released. */
export type Behaviour =
  | { readonly kind: 'keys'; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: 'hang' }
  | { readonly kind: 'break' }
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body: string | Buffer;
    };

/** A real JWKS endpoint on 127.0.0.1 that can be slow, down or wrong, and can rotate its keys. */
export class JwksServer {
  readonly #server: Server;
  readonly #held: ServerResponse[] = [];
  #waiting: (() => void)[] = [];
  keys: readonly JWK[];
  behaviour: Behaviour = { kind: 'keys' };
  requests = 0;

  private constructor(keys: readonly JWK[]) {
    this.keys = keys;
    this.#server = createServer((_, response) => this.#answer(response));
  }

  static async start(...keys: readonly JWK[]): Promise<JwksServer> {
    const server = new JwksServer(keys);
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get uri(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/jwks`;
  }

  /** Resolves when the n-th request has arrived. */
  async requestArrived(nth: number): Promise<void> {
    while (this.requests < nth) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  /** Answers every request that hangs, with the keys. */
  release(): void {
    this.behaviour = { kind: 'keys' };
    for (const response of this.#held.splice(0)) this.#answerKeys(response, {});
  }

  /** Stops listening and breaks every connection. */
  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  #answer(response: ServerResponse): void {
    this.requests += 1;
    for (const wake of this.#waiting.splice(0)) wake();
    const { behaviour } = this;
    switch (behaviour.kind) {
      case 'keys':
        this.#answerKeys(response, behaviour.headers ?? {});
        break;
      case 'hang':
        this.#held.push(response);
        break;
      case 'break':
        response.socket?.destroy();
        break;
      case 'answer':
        response.writeHead(behaviour.status, behaviour.headers).end(behaviour.body);
        break;
    }
  }

  #answerKeys(response: ServerResponse, headers: Readonly<Record<string, string>>): void {
    response.writeHead(200, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify({ keys: this.keys }));
  }
}
