import {
  createTokenVerifier,
  TokenRejectedError,
  type ClassificationProfile,
  type KeySet,
  type TokenRejectionCode,
  type TokenVerifier,
  type VerifiedToken,
} from '../verification/index.js';
import { BrokerError } from '../tokens/errors.js';
import type { Clock } from '../tokens/time.js';
import { IdentityTable, type ConfiguredPeer, type TrustedIssuer } from './identities.js';

/** What {@link WorkloadTokens} works with. */
export interface WorkloadTokensOptions {
  readonly issuers: readonly TrustedIssuer[];
  readonly peers: readonly ConfiguredPeer[];
  /** The keys of an issuer. */
  readonly keysOf: (issuer: TrustedIssuer) => KeySet;
  readonly clock: Clock;
  /** How far the issuers' clocks may be off, in seconds. */
  readonly clockSkewSeconds: number;
  /** The tokens that were used once. Default: none was. */
  readonly uses?: TokenUses;
}

/** Why a workload token opens nothing: a stable word for metrics and logs, never for the caller. */
export type WorkloadRefusal =
  Lowercase<TokenRejectionCode> | 'subject_unknown' | 'token_replayed' | 'disabled_peer';

/** What a workload token has proved. It holds as long as the issuer's entry and the identity stay as they are. */
export interface WorkloadProof {
  /** The entry itself, not one that is equal. */
  readonly issuer: TrustedIssuer;
  readonly subject: string;
}

/** Who presents a workload token. */
export type WorkloadAuthentication =
  | { readonly ok: true; readonly peer: ConfiguredPeer; readonly proof: WorkloadProof }
  | {
      readonly ok: false;
      readonly reason: WorkloadRefusal;
      readonly peer: Pick<ConfiguredPeer, 'id'> | undefined;
    };

/** Far more than any platform's tokens have, and less than a form may have. */
const MAX_TOKEN_LENGTH = 12_288;

/**
 * A workload token is known by its subject alone. `iat` is required, since the life of a token is counted from it; the
 * marks of ID tokens of a login, of persons and of tokens that are bound to a key refuse it, as in every profile.
 */
const WORKLOAD: ClassificationProfile = {
  name: 'workload',
  clientId: ['sub'],
  service: [{ present: 'sub' }, { present: 'iat' }],
  customer: 'never',
  scopes: { service: [], customer: [] },
};

/** Whose token it is. */
interface Found {
  readonly peer: ConfiguredPeer;
  readonly proof: WorkloadProof;
}

/**
 * Authenticates peers by the tokens of their platform: verified like any token, by the one issuer that it names, for the
 * broker as its only audience, with a life of an hour at most. A token that was verified before is recognized by its
 * fingerprint, and costs a fraction.
 */
export class WorkloadTokens {
  readonly #verifier: TokenVerifier;
  readonly #table: IdentityTable;
  /** By what their tokens have in `iss`. */
  readonly #issuers: ReadonlyMap<string, TrustedIssuer>;
  readonly #uses: TokenUses;
  /** Of tokens that are verified already: the verifier gives the same object again. */
  readonly #found = new WeakMap<VerifiedToken, Found>();

  constructor(options: WorkloadTokensOptions) {
    const { issuers, peers, keysOf, clock, clockSkewSeconds } = options;
    this.#verifier = createTokenVerifier({
      issuers: issuers.map((trusted) => ({
        issuer: trusted.issuer,
        audiences: trusted.audience,
        algorithms: trusted.algorithms,
        maxTokenLifetimeSeconds: trusted.maxLifetimeSeconds,
        profile: WORKLOAD,
        keys: keysOf(trusted),
      })),
      clock,
      clockSkewSeconds,
      maxTokenLength: MAX_TOKEN_LENGTH,
    });
    this.#table = new IdentityTable(peers);
    this.#issuers = new Map(issuers.map((trusted) => [trusted.issuer, trusted]));
    this.#uses = options.uses ?? new TokenUses(clock, clockSkewSeconds);
  }

  /**
   * Decides who presents the token. A token for one use counts as used from then on.
   *
   * @param isReplaced whether other peers or issuers apply by now. Then nothing is decided, and no use counts: `undefined`.
   *   Default: never.
   * @throws {KeysUnavailableError} when the issuer's keys are not available: answer 503 with `Retry-After`.
   * @throws {BrokerError} `TOKEN_USES_FULL` when no more tokens for one use can be remembered: answer 503.
   */
  async authenticate(
    token: string,
    isReplaced: () => boolean = () => false,
  ): Promise<WorkloadAuthentication | undefined> {
    let verified: VerifiedToken;
    try {
      verified = await this.#verifier.verify(token);
    } catch (error) {
      if (isReplaced()) return undefined;
      if (!(error instanceof TokenRejectedError)) throw error;
      const reason = error.code.toLowerCase() as Lowercase<TokenRejectionCode>;
      return { ok: false, reason, peer: undefined };
    }
    return isReplaced() ? undefined : this.#decide(verified);
  }

  /** The peer of a token that was verified before and may be used again; `undefined` for every other. */
  now(token: string): ConfiguredPeer | undefined {
    const verified = this.#verifier.peek?.(token);
    if (verified === undefined || this.#isSingleUse(verified)) return undefined;
    const peer = this.#find(verified)?.peer;
    return peer?.enabled === true ? peer : undefined;
  }

  /** Who has given the proof, by the peers and issuers as they are now; `undefined` when it does not hold any more. */
  holderOf({ issuer, subject }: WorkloadProof): ConfiguredPeer | undefined {
    if (this.#issuers.get(issuer.issuer) !== issuer) return undefined;
    const peer = this.#table.find(issuer.name, subject);
    return peer?.enabled === true ? peer : undefined;
  }

  #decide(verified: VerifiedToken): WorkloadAuthentication {
    const found = this.#find(verified);
    if (found === undefined) return { ok: false, reason: 'subject_unknown', peer: undefined };
    const { peer, proof } = found;
    if (!peer.enabled) return { ok: false, reason: 'disabled_peer', peer };
    if (this.#isSingleUse(verified)) {
      const refusal = this.#uses.take(verified);
      if (refusal !== undefined) return { ok: false, reason: refusal, peer };
    }
    return { ok: true, peer, proof };
  }

  #isSingleUse({ issuer }: VerifiedToken): boolean {
    return this.#issuers.get(issuer)?.singleUse !== false;
  }

  #find(verified: VerifiedToken): Found | undefined {
    const known = this.#found.get(verified);
    if (known !== undefined) return known;
    const issuer = this.#issuers.get(verified.issuer);
    const { sub } = verified.claims;
    if (issuer === undefined || typeof sub !== 'string') return undefined;
    const peer = this.#table.find(issuer.name, sub);
    if (peer === undefined) return undefined;
    const found = { peer, proof: { issuer, subject: sub } };
    this.#found.set(verified, found);
    return found;
  }
}

/** The tokens for one use that were used, by issuer and `jti`, until they have expired. */
export class TokenUses {
  readonly #until = new Map<string, number>();
  readonly #clock: Clock;
  readonly #skewMs: number;
  readonly #capacity: number;

  /**
   * @param skewSeconds how far the issuers' clocks may be off.
   * @param capacity how many are remembered.
   */
  constructor(clock: Clock, skewSeconds: number, capacity = 100_000) {
    this.#clock = clock;
    this.#skewMs = skewSeconds * 1_000;
    this.#capacity = capacity;
  }

  /**
   * Marks the token as used. @returns why it cannot be used.
   * @throws {BrokerError} `TOKEN_USES_FULL`: a use that is not remembered could be repeated.
   */
  take({ issuer, claims, expiresAt }: VerifiedToken): WorkloadRefusal | undefined {
    const { jti } = claims;
    if (typeof jti !== 'string') return 'token_claim_invalid';
    const key = JSON.stringify([issuer, jti]);
    if (this.#until.has(key)) return 'token_replayed';
    if (this.#until.size >= this.#capacity) this.#forgetExpired();
    if (this.#until.size >= this.#capacity) {
      throw new BrokerError(
        'TOKEN_USES_FULL',
        'retry',
        `${this.#capacity} tokens for one use are remembered, and none of them has expired yet.`,
      );
    }
    this.#until.set(key, expiresAt + this.#skewMs);
    return undefined;
  }

  #forgetExpired(): void {
    const now = this.#clock.now();
    for (const [key, until] of this.#until) if (until <= now) this.#until.delete(key);
  }
}
