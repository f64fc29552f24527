import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { finished } from 'node:stream';
import { type Clock, systemClock } from '../tokens/time.js';
import {
  createRemoteKeySet,
  createStaticKeySet,
  PROFILES,
  type ClassificationProfile,
  type IssuerOptions,
  type KeySet,
  type RemoteKeySetOptions,
  type TokenVerifierOptions,
  isProfileName,
  PROFILE_NAMES,
  type ProfileName,
} from '../verification/index.js';
import {
  IssuerTokens,
  type MintSettings,
  DEFAULT_CLIENT_IDS,
  type TestAlgorithm,
  TestKitError,
  type TokenOverrides,
} from './test-tokens.js';
import { PROVIDER_SHAPES, type TestClaims } from './provider-shapes.js';
import type { JsonWebKey as JWK } from 'node:crypto';

/** Options of {@link startTestIssuer} and {@link createOfflineTestIssuer}. */
export interface TestIssuerOptions {
  /** Whose tokens its tokens look like. Default `rfc9068`. */
  readonly profile?: ProfileName;
  /** The `aud` of its tokens: the service under test. Default `https://api.example.test`. */
  readonly audience?: string;
  /** The `iss` of its tokens. Default: its own address, or `https://issuer.example.test` offline. */
  readonly issuer?: string;
  /** Most providers use `RS256`, whose keys are slow to make. Default `ES256`. */
  readonly algorithm?: TestAlgorithm;
  /** For its tokens, and the verifiers made from its options. Default: the clock of the machine. */
  readonly clock?: Clock;
}

/** Changes to the defaults of `verifierOptions`. */
export interface VerifierChanges
  extends
    Partial<Omit<IssuerOptions, 'issuer' | 'audiences'>>,
    Omit<TokenVerifierOptions, 'issuers' | 'clock'> {
  /** Who the service under test is. Default: the issuer's audience; `null` for Cognito, whose tokens have none. */
  readonly audience?: IssuerOptions['audiences'];
  /** How keys are fetched: cooldown, age, time-out. Without effect offline. */
  readonly keyFetching?: Omit<RemoteKeySetOptions, 'jwksUri' | 'clock'>;
}

/** A response in place of the issuer's. */
export interface EndpointAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: empty. */
  readonly body?: string;
}

/** An issuer for tests, without network. */
export interface OfflineTestIssuer {
  /** The `iss` of its tokens. */
  readonly issuer: string;
  /** The `aud` of its tokens, by default. */
  readonly audience: string;
  readonly profile: ProfileName;
  /** The id of the key that signs: `test-key-1`, after a rotation `test-key-2`, and so on. */
  readonly keyId: string;
  /** The public keys (RFC 7517 §5). */
  jwks(): { readonly keys: readonly JWK[] };
  /**
   * A person's token, as the provider of the profile mints it.
   *
   * @throws {TestKitError} for `kubernetes`, which has no customer tokens.
   */
  customerToken(overrides?: TokenOverrides): string;
  /** A service's token, as the provider of the profile mints it. */
  serviceToken(overrides?: TokenOverrides): string;
  /**
   * Signs claims as they are: nothing is added. A text is signed unchanged, JSON or not (`'{"exp":1e400}'`).
   *
   * @param header members to replace or add; `undefined` removes one.
   */
  sign(claims: TestClaims | string, header?: TestClaims): string;
  /**
   * Signs with a new key from now on. The previous key is withdrawn, unless `keepPrevious`. Offline, options made before
   * keep their keys.
   */
  rotateKeys(options?: { readonly keepPrevious?: boolean }): Promise<void>;
  /** Options for `createTokenVerifier` and `JwtGuardModule.forRoot` that accept its tokens. */
  verifierOptions(changes?: VerifierChanges): TokenVerifierOptions;
}

/** An issuer for tests that serves its keys over HTTP on this machine, and fails on demand. */
export interface TestIssuer extends OfflineTestIssuer {
  /** Where the keys are; also found by discovery (RFC 8414, OpenID Connect). */
  readonly jwksUri: string;
  /** Number of requests since the start, of any kind. */
  readonly requests: number;
  /** Works again, and answers hanging requests. */
  up(): void;
  /** Breaks every connection without an answer. */
  down(): void;
  /** Answers after so many milliseconds of the issuer's clock. */
  slow(milliseconds: number): void;
  /** Answers no request until it is {@link TestIssuer.up} again. */
  hang(): void;
  /** Answers everything with this: `{ status: 503, headers: { 'retry-after': '5' } }`, or HTML in place of keys. */
  answer(answer: EndpointAnswer): void;
  /** Stops listening and breaks every connection; may be called again. */
  close(): Promise<void>;
}

const AUDIENCE = 'https://api.example.test';
const OFFLINE_ISSUER = 'https://issuer.example.test';
const KEYS_PATH = '/jwks';
const DISCOVERY_PATHS: ReadonlySet<string> = new Set([
  '/.well-known/openid-configuration',
  '/.well-known/oauth-authorization-server',
]);

/**
 * Starts an issuer with its own keys on a free port of 127.0.0.1. Close it at the end.
 *
 * @example
 * ```ts
 * import { createTokenVerifier } from 'service-token-kit';
 * import { startTestIssuer } from 'service-token-kit/testing';
 *
 * const issuer = await startTestIssuer({ profile: 'auth0' });
 * const verifier = createTokenVerifier(issuer.verifierOptions());
 * const { principal } = await verifier.verify(issuer.customerToken({ subject: 'auth0|ann' }));
 * // principal.kind === 'customer'
 *
 * issuer.down();
 * await verifier.verify(issuer.serviceToken()); // still works: the keys are cached
 * await issuer.close();
 * ```
 */
export async function startTestIssuer(options: TestIssuerOptions = {}): Promise<TestIssuer> {
  const settings = readOptions(options);
  const endpoint = new KeyEndpoint(settings.clock);
  const url = await endpoint.listen();
  const jwksUri = `${url}${KEYS_PATH}`;
  const issuer = options.issuer ?? url;
  const tokens = await IssuerTokens.create({ ...settings, issuer });
  endpoint.serve((path) => {
    if (path === KEYS_PATH) return tokens.jwks();
    if (!DISCOVERY_PATHS.has(path)) return undefined;
    return { issuer, jwks_uri: jwksUri, response_types_supported: [] };
  });
  return {
    ...commonParts({ ...settings, issuer }, tokens, jwksUri),
    jwksUri,
    get keyId() {
      return tokens.key.kid;
    },
    get requests() {
      return endpoint.requests;
    },
    up: () => endpoint.behave({ kind: 'up' }),
    down: () => endpoint.behave({ kind: 'down' }),
    slow: (milliseconds) => endpoint.behave({ kind: 'slow', milliseconds }),
    hang: () => endpoint.behave({ kind: 'hang' }),
    answer: (answer) => endpoint.behave({ kind: 'answer', answer }),
    close: () => endpoint.close(),
  };
}

/**
 * Makes an issuer without network: verifiers receive its keys directly.
 *
 * @example
 * ```ts
 * import { createOfflineTestIssuer } from 'service-token-kit/testing';
 *
 * const issuer = await createOfflineTestIssuer({ profile: 'okta' });
 * const options = issuer.verifierOptions({ audience: 'https://orders.example.com' });
 * const token = issuer.serviceToken({ audience: 'https://orders.example.com' });
 * ```
 */
export async function createOfflineTestIssuer(
  options: TestIssuerOptions = {},
): Promise<OfflineTestIssuer> {
  const settings = readOptions(options);
  const tokens = await IssuerTokens.create(settings);
  return {
    ...commonParts(settings, tokens, undefined),
    get keyId() {
      return tokens.key.kid;
    },
  };
}

function readOptions(options: TestIssuerOptions): MintSettings {
  const { profile = 'rfc9068', algorithm = 'ES256' } = options;
  // For JavaScript callers.
  if (!isProfileName(profile)) {
    throw new TestKitError(`"profile" must be one of ${PROFILE_NAMES.join(', ')}.`);
  }
  return {
    issuer: options.issuer ?? OFFLINE_ISSUER,
    audience: options.audience ?? AUDIENCE,
    profile,
    algorithm,
    clock: options.clock ?? systemClock,
  };
}

function commonParts(
  settings: MintSettings,
  tokens: IssuerTokens,
  jwksUri: string | undefined,
): Omit<OfflineTestIssuer, 'keyId'> {
  const { issuer, audience, profile } = settings;
  return {
    issuer,
    audience,
    profile,
    jwks: () => tokens.jwks(),
    customerToken: (overrides) => tokens.mint('customer', overrides),
    serviceToken: (overrides) => tokens.mint('service', overrides),
    sign: (claims, header) => tokens.sign(claims, header),
    rotateKeys: ({ keepPrevious = false } = {}) => tokens.rotateKeys(keepPrevious),
    verifierOptions: (changes = {}) => verifierOptionsFor(settings, tokens, jwksUri, changes),
  };
}

/** Options that fit the tokens of a test issuer. @param jwksUri `undefined` for keys that never change. */
function verifierOptionsFor(
  settings: MintSettings,
  tokens: IssuerTokens,
  jwksUri: string | undefined,
  changes: VerifierChanges,
): TokenVerifierOptions {
  const { issuer, profile, clock } = settings;
  const { audience, keyFetching, clockSkewSeconds, maxTokenLength, cache, ...own } = changes;
  const keys: KeySet =
    jwksUri === undefined
      ? createStaticKeySet(tokens.jwks())
      : createRemoteKeySet({ ...keyFetching, jwksUri, clock });
  const hasAudience = PROVIDER_SHAPES[profile].hasAudience !== false;
  const byDefault = hasAudience ? settings.audience : null;
  return {
    clock,
    ...(clockSkewSeconds === undefined ? {} : { clockSkewSeconds }),
    ...(maxTokenLength === undefined ? {} : { maxTokenLength }),
    ...(cache === undefined ? {} : { cache }),
    issuers: [
      {
        profile,
        keys,
        ...listsFor(settings),
        ...own,
        issuer,
        audiences: audience === undefined ? byDefault : audience,
      },
    ],
  };
}

/** The client ids decide where claims cannot, or where tokens have no audience. */
function listsFor({
  profile,
}: MintSettings): Pick<IssuerOptions, 'serviceClientIds' | 'customerClientIds'> {
  const { decidedBy }: ClassificationProfile = PROFILES[profile];
  if (decidedBy !== 'client-ids' && PROVIDER_SHAPES[profile].hasAudience !== false) return {};
  return {
    serviceClientIds: [DEFAULT_CLIENT_IDS.service],
    customerClientIds: [DEFAULT_CLIENT_IDS.customer],
  };
}

type Behaviour =
  | { readonly kind: 'up' }
  | { readonly kind: 'down' }
  | { readonly kind: 'hang' }
  | { readonly kind: 'slow'; readonly milliseconds: number }
  | { readonly kind: 'answer'; readonly answer: EndpointAnswer };

/** The HTTP side of a test issuer, on loopback: serves documents, slowly, wrongly or not at all. */
class KeyEndpoint {
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

  /** @param documents the document of a path; `undefined` for 404. */
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
    const closed = new AbortController();
    finished(response, () => closed.abort());
    try {
      await this.#clock.sleep(milliseconds, closed.signal);
    } catch (error) {
      // The caller has disconnected, or the issuer was closed.
      if (closed.signal.aborted) return;
      throw error;
    }
    this.#answer(path, response);
  }
}
