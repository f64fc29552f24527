import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach } from '@jest/globals';
import { MAX_WAIT_MEMBER } from '../../src/client/token-follower.js';
import { rig, type Rig } from './client-fixture.js';

interface Seen {
  readonly url: string;
  readonly authorization: string | undefined;
  readonly prefer: string | undefined;
  readonly condition: string | undefined;
}

/** A broker whose waits are ended by the test. */
export class WaitingBroker {
  readonly seen: Seen[] = [];
  /** The requests that wait. */
  readonly held: ServerResponse[] = [];
  offer: unknown = 300;
  /** `expires_in` of the tokens. */
  life = 86_400;
  version = 1;
  /** Replaces the answer to `GET /v1/token`, when it returns true. */
  script: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  readonly #server: Server = createServer((request, response) => this.#answer(request, response));

  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    brokers.push(this);
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get etag(): string {
    return `"v${this.version}"`;
  }

  /** The access token of a version: a JWT that says when it was issued. */
  static token(version: number): string {
    const part = (value: object): string =>
      Buffer.from(JSON.stringify(value)).toString('base64url');
    return `${part({ alg: 'none' })}.${part({ iat: 1_000 + version })}.x`;
  }

  /** Requests for a path. */
  to(path: string): Seen[] {
    return this.seen.filter(({ url }) => url === path);
  }

  /** Ends every wait: with the new version when it has changed, else because the time is over. */
  release(): void {
    for (const response of this.held.splice(0)) this.token(response);
  }

  rotate(): void {
    this.version += 1;
    this.release();
  }

  token(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json', etag: this.etag });
    response.end(JSON.stringify(this.grant()));
  }

  timeIsOver(): void {
    for (const response of this.held.splice(0)) {
      response.writeHead(304, { etag: this.etag, 'preference-applied': 'wait=300' });
      response.end();
    }
  }

  grant(): object {
    const access_token = WaitingBroker.token(this.version);
    return { access_token, token_type: 'Bearer', expires_in: this.life };
  }

  /** Resolves when something was received, as often as it takes for the condition to hold. */
  async until(isSo: () => boolean): Promise<void> {
    await until(isSo);
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { url = '', headers } = request;
    const [prefer] = [headers['prefer']].flat();
    const { authorization, 'if-none-match': condition } = headers;
    this.seen.push({ url, authorization, prefer, condition });
    request.resume();
    if (this.script?.(request, response) !== true) this.#ordinary(url, condition, response);
  }

  #ordinary(url: string, condition: string | undefined, response: ServerResponse): void {
    if (url === '/oauth2/token') {
      response.writeHead(200, { 'content-location': '../v1/tokens/ledger' });
      response.end(JSON.stringify(this.grant()));
    } else if (url === '/.well-known/oauth-authorization-server') {
      response.end(JSON.stringify({ issuer: this.url, [MAX_WAIT_MEMBER]: this.offer }));
    } else if (url === '/held') {
      response.end(String(this.held.length));
    } else if (condition === this.etag) {
      this.held.push(response);
    } else {
      this.token(response);
    }
  }
}

const brokers: WaitingBroker[] = [];
const rigs: Rig[] = [];
afterEach(async () => {
  for (const { client } of rigs.splice(0)) client.close();
  await Promise.all(brokers.splice(0).map((broker) => broker.close()));
});

export type Scene = Rig & { readonly broker: WaitingBroker };

export async function scene(options: Parameters<typeof rig>[0] = {}): Promise<Scene> {
  const broker = await new WaitingBroker().listen();
  const made = await rig({ brokers: broker.url, ...options }, 0);
  rigs.push(made);
  return { ...made, broker };
}

/** Lets what was sent be received. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits for something that needs no time but that of the sockets. */
export async function until(isSo: () => boolean): Promise<void> {
  for (let turn = 0; !isSo(); turn += 1) {
    if (turn > 20_000) throw new Error('it did not happen');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Gets a token, and uses the client until a request waits. */
export async function waiting(options: Parameters<typeof rig>[0] = {}): Promise<Scene> {
  const made = await scene(options);
  await made.client.getToken();
  void made.client.getToken();
  await made.broker.until(() => made.broker.held.length > 0);
  return made;
}

/** Until the client returns the token of a version. */
export async function untilToken({ client }: Scene, version: number): Promise<void> {
  const wanted = WaitingBroker.token(version);
  let current = '';
  await until(() => {
    void client.getToken().then(({ accessToken }) => (current = accessToken));
    return current === wanted;
  });
}

/** An answer without a body worth reading. */
export const end =
  (status: number, headers: Record<string, string> = {}, body = '') =>
  (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(status, headers);
    response.end(body);
  };
