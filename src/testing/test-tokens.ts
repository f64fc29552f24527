import {
  generateKeyPair,
  sign as signBytes,
  type JsonWebKey,
  type KeyObject,
  type SignKeyObjectInput,
  createHmac,
} from 'node:crypto';
import { promisify } from 'node:util';
import type { JsonWebKey as JWK } from 'node:crypto';
import { BrokerError } from '../tokens/errors.js';
import { type TestClaims, PROVIDER_SHAPES, type TokenFacts } from './provider-shapes.js';
import type { TokenRejectionCode, ProfileName } from '../verification/index.js';
import type { Clock } from '../tokens/time.js';

/** What a test issuer signs with. An `ES256` key is made in a millisecond, an `RS256` key in some hundred. */
export type TestAlgorithm = 'ES256' | 'RS256';

/** Changes to one token. */
export interface TokenOverrides {
  /** The person, or the machine's id where the provider has one beside the client id. Default `customer-1` or `machine-1`. */
  readonly subject?: string;
  /** The client. Default `billing-job` for service tokens, `web-shop` for customer tokens. */
  readonly clientId?: string;
  /** In the provider's claim; WorkOS and Kubernetes have none. Default: none. */
  readonly scopes?: readonly string[];
  /** The `aud`. Default: the issuer's. */
  readonly audience?: string | readonly string[];
  /** From now until it expires, in seconds; negative for an expired one. Default 3600. */
  readonly expiresInSeconds?: number;
  /** Claims to replace or add, after everything above; `undefined` removes one. */
  readonly claims?: TestClaims;
  /** Members of the header to replace or add; `undefined` removes one. The signature stays that of the issuer's key. */
  readonly header?: TestClaims;
  /** Makes the token wrong in one way. */
  readonly fault?: TokenFault;
}

/**
 * Tokens that are wrong on purpose, with the code of the error. Every service should reject all of them:
 *
 * | fault | what is wrong |
 * | --- | --- |
 * | `expired` | it expired an hour ago |
 * | `not-yet-valid` | it is valid from an hour ahead |
 * | `lives-too-long` | it lives ten years |
 * | `no-expiry` | it has no `exp` |
 * | `wrong-audience` | it is for another service |
 * | `further-audience` | it is for us, and for a stranger who could replay it |
 * | `wrong-issuer` | its issuer is not configured |
 * | `wrong-key` | another key signed it, under the id of the right one |
 * | `unknown-key` | another key signed it, under another id |
 * | `embedded-key` | its header holds the key that signed it |
 * | `tampered` | its claims were changed after it was signed |
 * | `alg-none` | `alg` is `none`, and it has no signature |
 * | `alg-hmac` | signed with the public key as if it were a shared secret |
 * | `id-token` | an ID token, which tells a client who logged in |
 * | `bound-to-key` | it is bound to a key (DPoP), whose possession a Bearer header does not prove |
 *
 * @example
 * ```ts
 * import { startTestIssuer, TOKEN_FAULTS } from 'service-token-kit/testing';
 *
 * test.each(Object.keys(TOKEN_FAULTS) as TokenFault[])('%s is refused', async (fault) => {
 *   expect(await statusOf(issuer.customerToken({ fault }))).toBe(401);
 * });
 * ```
 */
export const TOKEN_FAULTS = {
  expired: 'TOKEN_EXPIRED',
  'not-yet-valid': 'TOKEN_NOT_YET_VALID',
  'lives-too-long': 'TOKEN_LIFETIME_TOO_LONG',
  'no-expiry': 'TOKEN_CLAIM_INVALID',
  'wrong-audience': 'TOKEN_AUDIENCE_WRONG',
  'further-audience': 'TOKEN_AUDIENCE_WRONG',
  'wrong-issuer': 'TOKEN_ISSUER_UNKNOWN',
  'wrong-key': 'TOKEN_SIGNATURE_INVALID',
  'unknown-key': 'TOKEN_KEY_UNKNOWN',
  'embedded-key': 'TOKEN_HEADER_REFUSED',
  tampered: 'TOKEN_SIGNATURE_INVALID',
  'alg-none': 'TOKEN_MALFORMED',
  'alg-hmac': 'TOKEN_ALGORITHM_REFUSED',
  'id-token': 'TOKEN_TYPE_WRONG',
  'bound-to-key': 'TOKEN_SENDER_CONSTRAINED',
} as const satisfies Record<string, TokenRejectionCode>;

/** One way in which a token is wrong. */
export type TokenFault = keyof typeof TOKEN_FAULTS;

/** The test kit was asked for something impossible, so that the test would prove nothing. */
export class TestKitError extends BrokerError {
  declare readonly code: 'TEST_KIT_MISUSED';

  constructor(message: string) {
    super('TEST_KIT_MISUSED', 'misconfigured', message);
  }
}

/** The options of a test issuer, with their defaults. */
export interface MintSettings {
  readonly issuer: string;
  readonly audience: string;
  readonly profile: ProfileName;
  readonly algorithm: TestAlgorithm;
  readonly clock: Clock;
}

export const DEFAULT_CLIENT_IDS = { service: 'billing-job', customer: 'web-shop' } as const;
const DEFAULT_SUBJECTS = { service: 'machine-1', customer: 'customer-1' } as const;
const DEFAULT_LIFE_SECONDS = 3600;

/** The keys of a test issuer and the tokens it mints with them. */
export class IssuerTokens {
  readonly #settings: MintSettings;
  readonly #stranger: SigningKey;
  #keys: readonly [SigningKey, ...SigningKey[]];
  #madeKeys = 1;
  #minted = 0;

  static async create(settings: MintSettings): Promise<IssuerTokens> {
    const { algorithm } = settings;
    return new IssuerTokens(
      settings,
      await createSigningKey(algorithm, 'test-key-1'),
      await createSigningKey(algorithm, 'key-of-a-stranger'),
    );
  }

  private constructor(settings: MintSettings, key: SigningKey, stranger: SigningKey) {
    this.#settings = settings;
    this.#keys = [key];
    this.#stranger = stranger;
  }

  /** The key that signs. */
  get key(): SigningKey {
    return this.#keys[0];
  }

  jwks(): { readonly keys: readonly JWK[] } {
    return { keys: this.#keys.map(({ jwk }) => ({ ...jwk })) };
  }

  async rotateKeys(keepPrevious: boolean): Promise<void> {
    this.#madeKeys += 1;
    const key = await createSigningKey(this.#settings.algorithm, `test-key-${this.#madeKeys}`);
    this.#keys = keepPrevious ? [key, ...this.#keys] : [key];
  }

  mint(kind: 'customer' | 'service', overrides: TokenOverrides = {}): string {
    const { profile, clock } = this.#settings;
    const shape = PROVIDER_SHAPES[profile];
    const write = shape[kind];
    if (write === 'never') {
      throw new TestKitError(`The profile "${profile}" has no ${kind} tokens.`);
    }
    const now = Math.floor(clock.now() / 1000);
    this.#minted += 1;
    const facts: TokenFacts = {
      clientId: overrides.clientId ?? DEFAULT_CLIENT_IDS[kind],
      subject: overrides.subject ?? DEFAULT_SUBJECTS[kind],
      scopes: overrides.scopes ?? [],
      tokenId: `token-${this.#minted}`,
      now,
    };
    const claims = override(
      { ...this.#envelope(now, overrides), ...write(facts) },
      overrides.claims,
    );
    return this.#write(this.#header(overrides.header), claims, overrides, now);
  }

  /** Signs claims, or a text, as they are. */
  sign(claims: TestClaims | string, header?: TestClaims): string {
    return writeToken({ header: this.#header(header), claims, sign: this.key.sign });
  }

  #header(changes: TestClaims | undefined): TestClaims {
    const { alg, kid } = this.key;
    return override({ alg, kid, typ: PROVIDER_SHAPES[this.#settings.profile].typ }, changes);
  }

  #envelope(now: number, overrides: TokenOverrides): TestClaims {
    const { issuer, audience, profile } = this.#settings;
    const hasAudience = PROVIDER_SHAPES[profile].hasAudience !== false;
    return {
      iss: issuer,
      aud: overrides.audience ?? (hasAudience ? audience : undefined),
      iat: now,
      exp: now + (overrides.expiresInSeconds ?? DEFAULT_LIFE_SECONDS),
    };
  }

  #write(header: TestClaims, claims: TestClaims, { fault }: TokenOverrides, now: number): string {
    const { key } = this;
    if (fault === undefined) return writeToken({ header, claims, sign: key.sign });
    const isAboutAudience = fault === 'wrong-audience' || fault === 'further-audience';
    if (isAboutAudience && claims['aud'] === undefined) {
      throw new TestKitError(
        `A token without "aud" cannot have the fault "${fault}". For ${this.#settings.profile}, try another "clientId".`,
      );
    }
    return WRITERS[fault]({ header, claims, key, stranger: this.#stranger, now });
  }
}

/** A key pair of a test issuer. */
interface SigningKey {
  readonly alg: TestAlgorithm;
  readonly kid: string;
  /** The public key, as the JWKS has it. */
  readonly jwk: JWK;
  /** The public key as text (SPKI, PEM). */
  readonly publicPem: string;
  /** The signature in base64url (RFC 7515 §5.1). */
  readonly sign: (input: string) => string;
}

const generate = promisify(generateKeyPair);

/** Always a new key pair: a key in a package is not a secret. */
async function createSigningKey(alg: TestAlgorithm, kid: string): Promise<SigningKey> {
  const { publicKey, privateKey } = await (alg === 'ES256'
    ? generate('ec', { namedCurve: 'P-256' })
    : generate('rsa', { modulusLength: 2048 }));
  return {
    alg,
    kid,
    jwk: { ...jwkOf(publicKey), kid, alg, use: 'sig' },
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    sign: (input) =>
      signBytes('sha256', Buffer.from(input), signerFor(alg, privateKey)).toString('base64url'),
  };
}

/** RFC 7518 §3.4: the two numbers side by side, not DER. */
function signerFor(alg: TestAlgorithm, key: KeyObject): SignKeyObjectInput {
  return alg === 'ES256' ? { key, dsaEncoding: 'ieee-p1363' } : { key };
}

function jwkOf(key: KeyObject): JWK & { kty: string } {
  const { kty, ...members }: JsonWebKey = key.export({ format: 'jwk' });
  if (kty === undefined) throw new TypeError('An exported key has no type.');
  return { kty, ...members };
}

/** The three parts of a token before they are put together. */
interface TokenParts {
  readonly header: TestClaims;
  readonly claims: TestClaims | string;
  /** The signature of `header.payload`, in base64url. */
  readonly sign: (input: string) => string;
}

/**
 * Writes a token (RFC 7515 §7.1). Nothing is checked.
 *
 * @throws {TestKitError} for members that are not JSON.
 */
function writeToken({ header, claims, sign }: TokenParts): string {
  const payload = typeof claims === 'string' ? claims : jsonOf(claims);
  const input = `${base64url(jsonOf(header))}.${base64url(payload)}`;
  return `${input}.${sign(input)}`;
}

/** The members with some replaced; those that are `undefined` are left out. */
function override(members: TestClaims, changes: TestClaims = {}): TestClaims {
  return Object.fromEntries(
    Object.entries({ ...members, ...changes }).filter(([, value]) => value !== undefined),
  );
}

function jsonOf(members: TestClaims): string {
  for (const [name, value] of Object.entries(members)) {
    // JSON would turn it into null, and the test would test something else.
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw new TestKitError(
        `"${name}" is not a number that JSON can hold. To write one, give issuer.sign() the claims as text.`,
      );
    }
  }
  return JSON.stringify(members);
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}

/** A good token before it is signed, and the keys to sign it with. */
interface FaultContext {
  readonly header: TestClaims;
  readonly claims: TestClaims;
  readonly key: SigningKey;
  /** A key that the issuer does not publish. */
  readonly stranger: SigningKey;
  /** Seconds since the Unix epoch. */
  readonly now: number;
}

const HOUR = 3600;
const TEN_YEARS = 315_360_000;
const STRANGER = 'https://stranger.example.test';

const WRITERS: Readonly<Record<TokenFault, (good: FaultContext) => string>> = {
  expired: (good) => withClaims(good, { iat: good.now - 2 * HOUR, exp: good.now - HOUR }),
  'not-yet-valid': (good) => withClaims(good, { nbf: good.now + HOUR, exp: good.now + 2 * HOUR }),
  'lives-too-long': (good) => withClaims(good, { exp: good.now + TEN_YEARS }),
  'no-expiry': (good) => withClaims(good, { exp: undefined }),
  'wrong-audience': (good) => withClaims(good, { aud: STRANGER }),
  'further-audience': (good) => withClaims(good, { aud: [good.claims['aud'], STRANGER].flat() }),
  'wrong-issuer': (good) => withClaims(good, { iss: STRANGER }),
  'wrong-key': (good) => writeToken({ ...good, sign: good.stranger.sign }),
  'unknown-key': (good) => withHeader(good, { kid: good.stranger.kid }, good.stranger.sign),
  'embedded-key': (good) => withHeader(good, { jwk: good.stranger.jwk }, good.stranger.sign),
  tampered: (good) => {
    const signature =
      writeToken({ ...good, sign: good.key.sign })
        .split('.')
        .at(-1) ?? '';
    return writeToken({
      header: good.header,
      claims: override(good.claims, { admin: true }),
      sign: () => signature,
    });
  },
  'alg-none': (good) => withHeader(good, { alg: 'none' }, () => ''),
  'alg-hmac': (good) => withHeader(good, { alg: 'HS256' }, hmacWith(good.key.publicPem)),
  'id-token': (good) =>
    withClaims(good, { nonce: 'n-0S6_WzA2Mj', at_hash: '77QmUPtjPfzWtF2AnpK9RQ' }),
  'bound-to-key': (good) =>
    withClaims(good, { cnf: { jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' } }),
};

function withClaims({ header, claims, key }: FaultContext, changes: TestClaims): string {
  return writeToken({ header, claims: override(claims, changes), sign: key.sign });
}

function withHeader(
  { header, claims }: FaultContext,
  changes: TestClaims,
  sign: TokenParts['sign'],
): string {
  return writeToken({ header: override(header, changes), claims, sign });
}

function hmacWith(secret: string): (input: string) => string {
  return (input) => createHmac('sha256', secret).update(input).digest('base64url');
}
