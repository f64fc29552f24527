import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { finished } from 'node:stream';
import type { Clock } from '../tokens/clock.js';

/** An answer in place of the issuer's own. */
export interface EndpointAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: empty. */
  readonly body?: string;
}

type Behaviour =
  | { readonly kind: 'up' }
  | { readonly kind: 'down' }
  | { readonly kind: 'hang' }
  | { readonly kind: 'slow'; readonly milliseconds: number }
  | { readonly kind: 'answer'; readonly answer: EndpointAnswer };

/** The HTTP side of a test issuer, on loopback: it serves documents, slowly, wrongly or not at all. */
export class KeyEndpoint {
  readonly #server: Server;
  readonly #clock: Clock;
  readonly #held = new Set<() => void>();
  #documents: (path: string) => object | undefined = () => undefined;
  #behaviour: Behaviour = { kind: 'up' };
  #requests = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#server = createServer((request, response) => {
      this.#requests += 1;
      this.#receive(request.url ?? '/', response);
    });
  }

  /** Takes a free port. @returns the address, without a slash at the end. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** @param documents what stands under a path; `undefined` for 404. */
  serve(documents: (path: string) => object | undefined): void {
    this.#documents = documents;
  }

  get requests(): number {
    return this.#requests;
  }

  /** Behaves in another way from now on. Requests that hang are answered when it is `up` again. */
  behave(behaviour: Behaviour): void {
    this.#behaviour = behaviour;
    if (behaviour.kind === 'up') for (const release of this.#held) release();
  }

  /** Stops listening and breaks every connection; may be called again. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #receive(path: string, response: ServerResponse): void {
    const behaviour = this.#behaviour;
    switch (behaviour.kind) {
      case 'up':
        this.#answer(path, response);
        break;
      case 'down':
        response.destroy();
        break;
      case 'hang':
        this.#hold(path, response);
        break;
      case 'slow':
        void this.#answerLater(path, response, behaviour.milliseconds);
        break;
      case 'answer':
        response
          .writeHead(behaviour.answer.status, behaviour.answer.headers)
          .end(behaviour.answer.body);
        break;
    }
  }

  #answer(path: string, response: ServerResponse): void {
    const document = this.#documents(path.split('?', 1)[0] ?? path);
    response.writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document ?? { error: 'not_found' }));
  }

  #hold(path: string, response: ServerResponse): void {
    const release = (): void => {
      this.#held.delete(release);
      this.#answer(path, response);
    };
    this.#held.add(release);
    response.once('close', () => this.#held.delete(release));
  }

  async #answerLater(path: string, response: ServerResponse, milliseconds: number): Promise<void> {
    const gone = new AbortController();
    finished(response, () => gone.abort());
    try {
      await this.#clock.sleep(milliseconds, gone.signal);
    } catch (error) {
      // The caller went away, or the issuer was closed: there is nobody to answer.
      if (gone.signal.aborted) return;
      throw error;
    }
    this.#answer(path, response);
  }
}
