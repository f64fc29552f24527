import { generateKeyPair } from 'jose';
import type { Judgement } from '../../../src/verification/judge.js';
import {
  type KeyMatch,
  type KeysAtHand,
  type KeySet,
  type VerificationKey,
  type WantedKey,
  KeyRing,
  requireKey,
} from '../../../src/verification/keys/key-set.js';
import {
  readVerifierOptions,
  type IssuerRules,
} from '../../../src/verification/verifier-options.js';
import { readKeyDocument } from '../../../src/verification/keys/usable-keys.js';
import { AUDIENCE, ISSUER } from './token-bench.js';

/** A key set whose keys a test replaces at once, also by none at hand. */
export class SwitchedKeySet implements KeySet {
  keys: KeysAtHand | undefined;
  /** What `find` says while no keys are at hand. */
  readonly outage = new Error('no keys');

  /** Publishes a JWKS, as a fetch would; keys that were there before stay the same objects. */
  async publish(...jwks: readonly object[]): Promise<void> {
    const document = readKeyDocument({ keys: jwks });
    if (document === undefined) throw new Error('not a JWKS');
    this.keys = await KeyRing.import(
      document,
      this.keys instanceof KeyRing ? this.keys : undefined,
    );
  }

  async find(wanted: WantedKey): Promise<VerificationKey> {
    if (this.keys === undefined) throw this.outage;
    return requireKey(this.keys.match(wanted));
  }

  atHand(): KeysAtHand | undefined {
    return this.keys;
  }

  state(): never {
    throw new Error('not asked for here');
  }
}

/** Keys with these ids, all different. */
export async function keysAtHand(...ids: readonly string[]): Promise<KeysAtHand> {
  const { publicKey } = await generateKeyPair('Ed25519');
  const byId = new Map<string | undefined, VerificationKey>(
    ids.map((keyId) => [keyId, { keyId, alg: 'Ed25519', key: publicKey }]),
  );
  return { match: ({ kid }): KeyMatch => byId.get(kid) ?? 'unknown' };
}

/** An issuer's rules with this key set. */
export function issuerRules(keys: KeySet, issuer = ISSUER): IssuerRules {
  const options = { issuer, audiences: AUDIENCE, profile: 'rfc9068', keys } as const;
  const rules = readVerifierOptions({ issuers: [options] }).issuers.get(issuer);
  if (rules === undefined) throw new Error('no rules');
  return rules;
}

/** A favourable judgement about a token that expires at `exp`, in seconds. */
export function judgement(
  issuer: IssuerRules,
  kid: string,
  exp: number,
  subject = 'job',
): Judgement {
  const wanted = { alg: 'Ed25519', kid } as const;
  const key = issuer.keys.atHand()?.match(wanted);
  if (typeof key !== 'object') throw new Error(`no key ${kid}`);
  const claims = { sub: subject };
  const base = { subject, issuer: issuer.issuer, scopes: [], actor: undefined, claims };
  return {
    verified: {
      principal: { kind: 'service', clientId: subject, ...base },
      claims,
      issuer: issuer.issuer,
      expiresAt: exp * 1000,
      keyId: kid,
    },
    issuer,
    claims: { iss: issuer.issuer, exp, nbf: undefined, iat: exp - 3600, aud: undefined },
    wanted,
    key,
  };
}
