import type { MintedToken, TokenProvider } from '../../../src/provider/token-provider.js';
import type { ProviderSettings } from '../../../src/provider/client-credentials.js';
import { BrokerError } from '../../../src/tokens/errors.js';
import type { VerifiedToken } from '../../../src/verification/index.js';
import type { Life, World } from './world.js';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const ISSUER = 'https://provider.example';
export const AUDIENCE = 'https://api.example';

/** How long the provider's tokens live. */
export const LIFETIME = 25 * HOUR;
const SHORT_LIFETIME = 10 * MINUTE;
/** How long a mint may take at most. */
const MINT_TIMEOUT = 30_000;
/** Tolerated difference between two clocks. */
const SKEW = MINUTE;
const KEYS_AGE = 10 * MINUTE;

export const PROVIDER_STATES = ['well', 'down', 'wrong', 'short', 'unchanged'] as const;
/** `wrong`: receivers refuse its tokens. `short`: they live ten minutes. `unchanged`: it gives the same token while that lives. */
export type ProviderState = (typeof PROVIDER_STATES)[number];

/** What is known of an issued token. Instants in milliseconds since the Unix epoch. */
interface Issued {
  readonly key: string;
  readonly isForUs: boolean;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** Makes and checks the tokens' signatures. */
export interface Signatures {
  /** @returns the token for these claims. */
  sign(key: string, claims: Readonly<Record<string, unknown>>): Promise<string>;
  /** The receivers' check in one process. */
  receiver(life: Life, provider: ModelProvider): Receiver;
}

/** The receivers' check in one process, with the keys that this process has fetched. */
export interface Receiver {
  verify(accessToken: string): Promise<VerifiedToken>;
  /** Fetches the keys when they are due. @returns a text that changes with them. */
  freshKeys(): Promise<string>;
}

/** The authorization server of a run. */
export class ModelProvider {
  state: ProviderState = 'well';
  areKeysDown = false;
  signing = 'key-1';
  published: readonly string[] = ['key-1'];
  /** Every mint that took effect: each costs money. */
  mints = 0;
  readonly #issued = new Map<string, Issued>();
  #keys = 1;
  #last: { readonly minted: MintedToken; readonly expiresAt: number } | undefined;
  #serial = 0;

  constructor(
    private readonly world: World,
    private readonly signatures: Signatures,
  ) {}

  /** A token, for a process or for a person. */
  async issue(lifetime = LIFETIME, isForUs = true): Promise<MintedToken> {
    const { now } = this.world;
    this.#serial += 1;
    const iat = Math.floor(now / 1000);
    const exp = iat + lifetime / 1000;
    const accessToken = await this.signatures.sign(this.signing, {
      iss: ISSUER,
      aud: isForUs ? AUDIENCE : 'https://elsewhere.example',
      sub: 'broker',
      client_id: 'broker',
      jti: `token-${this.#serial}`,
      iat,
      exp,
    });
    this.#issued.set(accessToken, {
      key: this.signing,
      isForUs,
      issuedAt: iat * 1000,
      expiresAt: exp * 1000,
    });
    return { accessToken, expiresInSeconds: lifetime / 1000 };
  }

  async mint(): Promise<MintedToken> {
    const { state } = this;
    if (state === 'down') throw providerDown();
    this.mints += 1;
    if (
      state === 'unchanged' &&
      this.#last !== undefined &&
      this.#last.expiresAt > this.world.now
    ) {
      return this.#last.minted;
    }
    const lifetime = state === 'short' ? SHORT_LIFETIME : LIFETIME;
    const minted = await this.issue(lifetime, state !== 'wrong');
    this.#last = { minted, expiresAt: this.world.now + lifetime };
    return minted;
  }

  /** A new key signs from now on. @param withdraws whether the keys before are not published any more. */
  changeKey(withdraws: boolean): void {
    this.#keys += 1;
    this.signing = `key-${this.#keys}`;
    this.published = withdraws ? [this.signing] : [...this.published, this.signing];
    if (withdraws) this.#last = undefined;
  }

  heal(): void {
    this.state = 'well';
    this.areKeysDown = false;
  }

  issued(accessToken: string): Issued | undefined {
    return this.#issued.get(accessToken);
  }

  /** Whether receivers with a right clock and the newest keys accept it. */
  isAcceptable(accessToken: string): boolean {
    const token = this.#issued.get(accessToken);
    if (token === undefined || !token.isForUs) return false;
    return this.published.includes(token.key) && token.expiresAt > this.world.now;
  }
}

/** The provider as a process reaches it. @param onMint called when a mint takes effect. */
export function reach(life: Life, provider: ModelProvider, onMint: () => void): TokenProvider {
  return {
    mint: (_settings, _credentials, signal) =>
      life.call<MintedToken>({
        what: 'mint',
        run: async () => {
          const before = provider.mints;
          const minted = await provider.mint();
          if (provider.mints > before) onMint();
          return minted;
        },
        failure: providerDown,
        timeout: MINT_TIMEOUT,
        signal,
      }),
    metadata: (settings: ProviderSettings) =>
      Promise.resolve({
        issuer: settings.issuer ?? ISSUER,
        tokenEndpoint: `${ISSUER}/token`,
        jwksUri: `${ISSUER}/jwks`,
      }),
  };
}

/** Tokens without cryptography: their text is looked up at the provider, and the rules decide as the real ones do. */
export const LOOKED_UP: Signatures = {
  sign: async (key, claims) => {
    const part = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString('base64url');
    return `${part({ alg: 'ES256', kid: key })}.${part(claims)}.signature`;
  },
  receiver: (life, provider) => {
    let keys: readonly string[] | undefined;
    let fetchedAt = 0;
    const fetch = (): void => {
      if (provider.areKeysDown) throw keysDown();
      keys = provider.published;
      fetchedAt = life.world.now;
    };
    return {
      verify: async (accessToken) => {
        const token = provider.issued(accessToken);
        if (token === undefined) throw refused('TOKEN_MALFORMED');
        if (keys?.includes(token.key) !== true) fetch();
        if (keys?.includes(token.key) !== true) throw refused('TOKEN_KEY_UNKNOWN');
        const now = life.now();
        if (!token.isForUs) throw refused('TOKEN_AUDIENCE_WRONG');
        if (token.expiresAt + SKEW <= now) throw refused('TOKEN_EXPIRED');
        if (token.issuedAt - SKEW > now) throw refused('TOKEN_NOT_YET_VALID');
        return { principal: { kind: 'service' } } as VerifiedToken;
      },
      freshKeys: async () => {
        if (keys !== undefined && life.world.now - fetchedAt >= KEYS_AGE && !provider.areKeysDown) {
          fetch();
        }
        return String(keys);
      },
    };
  },
};

function refused(code: string): BrokerError {
  return new BrokerError(code, 'rejected', 'receivers refuse the token');
}

export function keysDown(): BrokerError {
  return new BrokerError('KEYS_UNAVAILABLE', 'retry', 'the keys are not available');
}

export function providerDown(): BrokerError {
  return new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'the provider does not answer');
}
