import type { JWK } from 'jose';
import type { Clock } from '../tokens/clock.js';
import type { ProfileName } from '../verification/index.js';
import { PROVIDER_SHAPES, type TestClaims, type TokenFacts } from './provider-shapes.js';
import { createSigningKey, type SigningKey, type TestAlgorithm } from './signing-key.js';
import { TestKitError } from './test-kit-error.js';
import { writeFaultyToken } from './token-faults.js';
import {
  DEFAULT_CLIENT_IDS,
  DEFAULT_LIFE_SECONDS,
  DEFAULT_SUBJECTS,
  type TokenOverrides,
} from './token-overrides.js';
import { override, writeToken } from './token-text.js';

/** Who mints, for whom, and with what. */
export interface MintSettings {
  readonly issuer: string;
  readonly audience: string;
  readonly profile: ProfileName;
  readonly algorithm: TestAlgorithm;
  readonly clock: Clock;
}

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

  /** Signs claims as they are, a text too. */
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
    return writeFaultyToken(fault, { header, claims, key, stranger: this.#stranger, now });
  }
}
