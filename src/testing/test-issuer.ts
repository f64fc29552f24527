import type { JWK } from 'jose';
import { systemClock, type Clock } from '../tokens/clock.js';
import {
  isProfileName,
  PROFILE_NAMES,
  type ProfileName,
  type TokenVerifierOptions,
} from '../verification/index.js';
import { IssuerTokens, type MintSettings } from './issuer-tokens.js';
import { KeyEndpoint, type EndpointAnswer } from './key-endpoint.js';
import type { TestClaims } from './provider-shapes.js';
import type { TestAlgorithm } from './signing-key.js';
import { TestKitError } from './test-kit-error.js';
import type { TokenOverrides } from './token-overrides.js';
import { verifierOptionsFor, type VerifierChanges } from './verifier-options.js';

/** What a test issuer is like. */
export interface TestIssuerOptions {
  /** Whose tokens its tokens look like. Default `rfc9068`. */
  readonly profile?: ProfileName;
  /** The `aud` of its tokens: the service under test. Default `https://api.example.test`. */
  readonly audience?: string;
  /** The `iss` of its tokens. Default: its own address, or `https://issuer.example.test` offline. */
  readonly issuer?: string;
  /** `RS256` is what most providers use, and slow to make keys for. Default `ES256`. */
  readonly algorithm?: TestAlgorithm;
  /** Dates its tokens, and the verifiers made from its options. Default: the clock of the machine. */
  readonly clock?: Clock;
}

/** An issuer for tests without any network. */
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
   * @throws {TestKitError} for `kubernetes`, which has none.
   */
  customerToken(overrides?: TokenOverrides): string;
  /** A service's token, as the provider of the profile mints it. */
  serviceToken(overrides?: TokenOverrides): string;
  /**
   * Signs claims as they are: nothing is added. A text is signed as it stands, JSON or not (`'{"exp":1e400}'`).
   *
   * @param header members to replace or add; `undefined` removes one.
   */
  sign(claims: TestClaims | string, header?: TestClaims): string;
  /**
   * Signs with a new key from now on. The key before is withdrawn, unless `keepPrevious`. Offline, options that were
   * made before keep their keys.
   */
  rotateKeys(options?: { readonly keepPrevious?: boolean }): Promise<void>;
  /** Options for `createTokenVerifier` and `JwtGuardModule.forRoot` that accept its tokens. */
  verifierOptions(changes?: VerifierChanges): TokenVerifierOptions;
}

/** An issuer for tests that serves its keys over HTTP on this machine, and can be made to fail. */
export interface TestIssuer extends OfflineTestIssuer {
  /** Where the keys are. Discovery (RFC 8414, OpenID Connect) leads here too. */
  readonly jwksUri: string;
  /** Requests since the start, of any kind. */
  readonly requests: number;
  /** Works again, and answers what hangs. */
  up(): void;
  /** Breaks every connection without an answer. */
  down(): void;
  /** Answers after so many milliseconds of the issuer's clock. */
  slow(milliseconds: number): void;
  /** Takes requests and answers none, until it is {@link TestIssuer.up} again. */
  hang(): void;
  /** Answers everything in this way: `{ status: 503, headers: { 'retry-after': '5' } }`, or HTML in place of keys. */
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
 * Starts an issuer with keys of its own on a free port of 127.0.0.1. Close it at the end.
 *
 * @example
 * ```ts
 * import { createTokenVerifier } from 'service-token-broker';
 * import { startTestIssuer } from 'service-token-broker/testing';
 *
 * const issuer = await startTestIssuer({ profile: 'auth0' });
 * const verifier = createTokenVerifier(issuer.verifierOptions());
 * const { principal } = await verifier.verify(issuer.customerToken({ subject: 'auth0|ann' }));
 * // principal.kind === 'customer'
 *
 * issuer.down();
 * await verifier.verify(issuer.serviceToken()); // the keys are known: it goes on working
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
 * Makes an issuer without any network: verifiers get its keys as they are.
 *
 * @example
 * ```ts
 * import { createOfflineTestIssuer } from 'service-token-broker/testing';
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
  // Callers without TypeScript get a word about it, too.
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
