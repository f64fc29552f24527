import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { KeyObject } from 'node:crypto';
import { exportJWK, importJWK, type JWK, jwtVerify, SignJWT } from 'jose';
import { type Answer, answers, type ReceivedRequest } from './provider-answers.js';
import { rsaKeyPair } from './rsa-key.js';

export { type Answer, answers, LOST, type ReceivedRequest } from './provider-answers.js';

/** The places that can be scripted. */
export type Route = 'openid' | 'oauth' | 'token' | 'jwks';

export interface ProviderServerOptions {
  /** Default: `broker`. */
  readonly clientId?: string;
  /** All of them are accepted. Default: one, `right-secret`. */
  readonly clientSecrets?: readonly string[];
  /** The public half of a key for private_key_jwt; without it no assertion is accepted. */
  readonly clientKey?: JWK;
  /** Default: `https://services.example.test`. */
  readonly audience?: string;
  /** Life of a token in seconds. Default: 86400. */
  readonly tokenLifeSeconds?: number;
  /** The time for tokens and assertions, in milliseconds since the Unix epoch. Default: the machine's. */
  readonly now?: () => number;
  /** A path in the issuer identifier, such as `/tenant`. Default: none. */
  readonly path?: string;
  /** How clients reach it, where something stands in front of it; without a path. Default: its own address. */
  readonly publicUrl?: string;
  /** Members that replace those of the metadata; `undefined` removes one. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** A real OAuth server on 127.0.0.1 that checks what it is sent, and can be told to misbehave. */
export class ProviderServer {
  readonly requests: ReceivedRequest[] = [];
  readonly clientId: string;
  readonly #options: ProviderServerOptions;
  readonly #server = createServer(
    (request, response) => void this.#receive(request, response).catch(() => response.destroy()),
  );
  readonly #next = new Map<Route, Answer[]>();
  readonly #always = new Map<Route, Answer>();
  #keys: Awaited<ReturnType<typeof signingKeys>> | undefined;
  #watchers: (() => void)[] = [];
  #port = 0;

  constructor(options: ProviderServerOptions = {}) {
    this.#options = options;
    this.clientId = options.clientId ?? 'broker';
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get #url(): string {
    return this.#options.publicUrl ?? this.origin;
  }

  get issuer(): string {
    return `${this.#url}${this.#options.path ?? ''}`;
  }

  get tokenEndpoint(): string {
    return `${this.#url}/token`;
  }

  get jwksUri(): string {
    return `${this.#url}/jwks`;
  }

  get tokenLifeSeconds(): number {
    return this.#options.tokenLifeSeconds ?? 86_400;
  }

  get metadata(): Readonly<Record<string, unknown>> {
    return {
      issuer: this.issuer,
      token_endpoint: this.tokenEndpoint,
      jwks_uri: this.jwksUri,
      ...this.#options.metadata,
    };
  }

  async listen(): Promise<this> {
    this.#keys = await signingKeys();
    await new Promise<void>((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  /** Answers the next requests of a route with these, in order; afterwards as usual. */
  next(route: Route, ...given: readonly Answer[]): void {
    this.#next.set(route, [...(this.#next.get(route) ?? []), ...given]);
  }

  /** Answers every request of a route with this, until told otherwise. */
  always(route: Route, answer: Answer | undefined): void {
    if (answer === undefined) this.#always.delete(route);
    else this.#always.set(route, answer);
  }

  /** The requests that a route has had. */
  received(route: Route): readonly ReceivedRequest[] {
    return this.requests.filter((request) => this.#routeOf(request.path) === route);
  }

  /** Resolves once a route has had so many requests in all. */
  async reached(route: Route, count: number): Promise<void> {
    while (this.received(route).length < count) {
      await new Promise<void>((resolve) => {
        this.#watchers.push(resolve);
      });
    }
  }

  /** A service token of this server, with claims replaced or, by `undefined`, left out. */
  async token(claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const { privateKey, jwk } = this.#ready();
    const now = Math.floor(this.#now() / 1000);
    const payload = {
      iss: this.issuer,
      sub: this.clientId,
      client_id: this.clientId,
      aud: this.#options.audience ?? 'https://services.example.test',
      iat: now,
      exp: now + this.tokenLifeSeconds,
      jti: crypto.randomUUID(),
      ...claims,
    };
    return new SignJWT(payload)
      .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', kid: jwk.kid })
      .sign(privateKey);
  }

  async close(): Promise<void> {
    await new Promise((resolve) => {
      this.#server.close(resolve);
      this.#server.closeAllConnections();
    });
  }

  async #receive(raw: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of raw) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    const request: ReceivedRequest = {
      method: raw.method ?? '',
      path: raw.url ?? '',
      headers: raw.headers,
      body,
      form: new URLSearchParams(body),
    };
    this.requests.push(request);
    response.setHeader('date', new Date(this.#now()).toUTCString());
    for (const wake of this.#watchers.splice(0)) wake();
    const route = this.#routeOf(request.path);
    if (route === undefined) return answers.text(404, 'no such page')(response, request, this);
    const answer = this.#next.get(route)?.shift() ?? this.#always.get(route);
    return (answer ?? this.#usual(route))(response, request, this);
  }

  #routeOf(path: string): Route | undefined {
    const base = this.#options.path ?? '';
    const routes: Record<string, Route> = {
      [`${base}/.well-known/openid-configuration`]: 'openid',
      [`/.well-known/oauth-authorization-server${base}`]: 'oauth',
      '/token': 'token',
      // Where a broker has it: to its peers it is such a server as well.
      '/oauth2/token': 'token',
      '/jwks': 'jwks',
    };
    return Object.hasOwn(routes, path) ? routes[path] : undefined;
  }

  #usual(route: Route): Answer {
    if (route === 'token') return (response, request) => this.#grant(response, request);
    if (route === 'jwks') return answers.json(200, { keys: [this.#ready().jwk] });
    return answers.json(200, this.metadata);
  }

  async #grant(response: ServerResponse, request: ReceivedRequest): Promise<void> {
    const { form } = request;
    if (!(await this.#authenticated(request))) {
      const headers = { 'www-authenticate': 'Basic realm="provider"' };
      return answers.oauthError(
        401,
        'invalid_client',
        'unknown client',
        headers,
      )(response, request, this);
    }
    if (request.method !== 'POST' || form.get('grant_type') !== 'client_credentials') {
      return answers.oauthError(400, 'unsupported_grant_type')(response, request, this);
    }
    return answers.token()(response, request, this);
  }

  async #authenticated({ headers, form }: ReceivedRequest): Promise<boolean> {
    const secrets = this.#options.clientSecrets ?? ['right-secret'];
    const assertion = form.get('client_assertion');
    if (assertion !== null) return this.#assertionHolds(assertion);
    const [id, secret] = form.has('client_secret')
      ? [form.get('client_id'), form.get('client_secret')]
      : basicCredentials(headers.authorization ?? '');
    return id === this.clientId && typeof secret === 'string' && secrets.includes(secret);
  }

  async #assertionHolds(assertion: string): Promise<boolean> {
    const { clientKey } = this.#options;
    if (clientKey === undefined) return false;
    try {
      await jwtVerify(assertion, await importJWK(clientKey), {
        audience: this.issuer,
        issuer: this.clientId,
        subject: this.clientId,
        currentDate: new Date(this.#now()),
        requiredClaims: ['exp', 'iat', 'jti'],
      });
      return true;
    } catch {
      // Whatever is wrong with it, the client is not authenticated.
      return false;
    }
  }

  #ready(): Awaited<ReturnType<typeof signingKeys>> {
    if (this.#keys === undefined) throw new Error('call listen() first');
    return this.#keys;
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now();
  }
}

/** Starts a {@link ProviderServer} on a free port. */
export function startProviderServer(options?: ProviderServerOptions): Promise<ProviderServer> {
  return new ProviderServer(options).listen();
}

function basicCredentials(header: string): readonly (string | undefined)[] {
  const [scheme, encoded] = header.split(' ');
  if (scheme !== 'Basic' || encoded === undefined) return [];
  const pair = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  return [pair.slice(0, colon), pair.slice(colon + 1)].map(formDecode);
}

/** RFC 6749 §2.3.1: both halves are form-encoded. */
function formDecode(text: string): string | undefined {
  return new URLSearchParams(`v=${text}`).get('v') ?? undefined;
}

let keys: Promise<{ privateKey: KeyObject; jwk: JWK & { kid: string } }> | undefined;

function signingKeys(): NonNullable<typeof keys> {
  keys ??= (async () => {
    const { privateKey, publicKey } = rsaKeyPair();
    const jwk = await exportJWK(publicKey);
    return { privateKey, jwk: { ...jwk, kid: 'provider-1', alg: 'RS256', use: 'sig' } };
  })();
  return keys;
}
