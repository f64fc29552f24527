import type { SignatureAlgorithm } from '../verification/index.js';
import type { Peer } from './peers.js';

/** The platforms whose workload tokens are known, and `oidc` for any other that publishes its keys. */
export const ISSUER_KINDS = ['kubernetes', 'spiffe', 'aws', 'github', 'gcp', 'oidc'] as const;

/** A platform. */
export type IssuerKind = (typeof ISSUER_KINDS)[number];

/** Who issues workload tokens: a cluster, a trust domain, an account, a CI system. Spans in seconds. */
export interface TrustedIssuer {
  /** By which identities name it. */
  readonly name: string;
  readonly kind: IssuerKind;
  /** Exactly as in its tokens' `iss` claim. */
  readonly issuer: string;
  /** Of SPIFFE: what its subjects begin with. */
  readonly trustDomain?: string;
  readonly jwksUri: string;
  /** Who the broker is to it: the only audience that its tokens may name. */
  readonly audience: string;
  readonly algorithms: readonly SignatureAlgorithm[];
  /** From `iat` to `exp`, at most an hour. */
  readonly maxLifetimeSeconds: number;
  /** A token is accepted once: it must have a `jti`, which no other login of this process has used. */
  readonly singleUse: boolean;
  /** Certificate authorities for the request for its keys, as PEM. `undefined`: those of Node.js. */
  readonly caFile: string | undefined;
  /** A Bearer token for the request for its keys; the file is read for each one. */
  readonly tokenFile: string | undefined;
}

/** What a workload token has to say for a peer: who issued it, and about whom. */
export interface WorkloadIdentity {
  /** The name of a trusted issuer, {@link IAM}, or what `certificateIdentity` puts in its place. */
  readonly issuer: string;
  /** `sub`, exactly; `*` stands for one whole segment between `/` and `:`. Of IAM: the principal of {@link principalArn}. */
  readonly subject: string;
}

/** What stands for the issuer in the identity of a peer that AWS IAM authenticates; no trusted issuer has the name. */
export const IAM = 'AWS IAM';

const ASSUMED_ROLE = /^(arn:aws[a-z-]*):sts::(\d{12}):assumed-role\/([^/]+)\/[^/]+$/;
const ROLE = /^(arn:aws[a-z-]*:iam::\d{12}:role)\/(?:.*\/)?([^/]+)$/;

/**
 * The principal of an ARN: the role of a session; a role without its path, which a session's ARN does not have and by
 * which no two roles of an account differ. Any other ARN is returned as it is. Pure.
 *
 * @example
 * ```ts
 * principalArn('arn:aws:sts::123456789012:assumed-role/orders/i-0abc'); // 'arn:aws:iam::123456789012:role/orders'
 * principalArn('arn:aws:iam::123456789012:role/services/orders'); // 'arn:aws:iam::123456789012:role/orders'
 * ```
 */
export function principalArn(arn: string): string {
  const [, partition, account, role] = ASSUMED_ROLE.exec(arn) ?? [];
  if (role !== undefined) return `${partition}:iam::${account}:role/${role}`;
  return arn.replace(ROLE, '$1/$2');
}

/** A peer that the configuration describes: how it proves who it is, and what was granted to it. */
export interface ConfiguredPeer extends Pick<Peer, 'id' | 'roles' | 'tokens' | 'enabled'> {
  readonly identities: readonly WorkloadIdentity[];
}

/** A subject in its parts: segments and separators in turn, so that every second one is `/` or `:`. */
function partsOf(subject: string): readonly string[] {
  return subject.split(/([/:])/);
}

const ANY = '*';

/** Whether `*` stands for a segment of the subject. */
export function isPattern(subject: string): boolean {
  return partsOf(subject).includes(ANY);
}

/**
 * What is wrong with a subject as somebody wrote it; `undefined` when nothing is. `*` is allowed as a whole segment, and
 * not for every segment: that would let in whatever the issuer issues tokens to.
 */
export function subjectFault(subject: string): string | undefined {
  const segments = partsOf(subject).filter((_, index) => index % 2 === 0);
  if (segments.some((segment) => segment !== ANY && segment.includes(ANY))) {
    return '"*" stands only for a whole segment between "/" and ":"';
  }
  if (segments.every((segment) => segment === ANY || segment === '')) {
    return 'it would fit every workload of the issuer';
  }
  return undefined;
}

/**
 * Whether a token's subject fits what an identity names. Segments are compared exactly; `*` fits any one that is not
 * empty. Nothing is decoded or normalized: `a%2Fb` and `..` are texts like any other.
 *
 * @example
 * ```ts
 * matchesSubject('repo:acme/orders:ref:refs/heads/*', 'repo:acme/orders:ref:refs/heads/main'); // true
 * matchesSubject('repo:acme/orders:ref:refs/heads/*', 'repo:acme/orders:ref:refs/heads/a/b'); // false
 * ```
 */
export function matchesSubject(pattern: string, subject: string): boolean {
  const wanted = partsOf(pattern);
  const given = partsOf(subject);
  return (
    wanted.length === given.length &&
    wanted.every((part, index) => (part === ANY ? given[index] !== '' : part === given[index]))
  );
}

/** Whether there is a subject that fits both, which have the same separators. */
function overlap(one: string, other: string): boolean {
  const others = partsOf(other);
  return partsOf(one).every((part, index) => {
    const counterpart = others[index];
    if (part === ANY) return counterpart !== '';
    return counterpart === ANY ? part !== '' : part === counterpart;
  });
}

/** Two peers that one proof would fit. */
export interface IdentityConflict {
  /** The later one in the list, and which of its identities. */
  readonly peer: string;
  readonly index: number;
  readonly other: string;
}

/** Subjects that may overlap, with their peers. */
interface Bucket {
  readonly exact: Map<string, string>;
  readonly patterns: (readonly [subject: string, peer: string])[];
}

/** Every pair of peers that one proof would fit: one proof has to mean one peer. */
export function findConflicts(peers: readonly ConfiguredPeer[]): readonly IdentityConflict[] {
  const conflicts: IdentityConflict[] = [];
  // Only subjects with the same separators can overlap, so that thousands of exact ones are compared by a look-up.
  const buckets = new Map<string, Bucket>();
  for (const { id, identities } of peers) {
    identities.forEach(({ issuer, subject }, index) => {
      const shape = `${issuer} ${subject.replaceAll(/[^/:]/g, '')}`;
      const bucket: Bucket = buckets.get(shape) ?? { exact: new Map(), patterns: [] };
      buckets.set(shape, bucket);
      const isExact = !isPattern(subject);
      const known = isExact ? bucket.exact.get(subject) : undefined;
      const others = [
        ...(known === undefined ? [] : [known]),
        ...bucket.patterns.flatMap(([text, owner]) => (overlap(text, subject) ? [owner] : [])),
        ...(isExact
          ? []
          : [...bucket.exact].flatMap(([text, owner]) => (overlap(text, subject) ? [owner] : []))),
      ];
      const other = others.find((owner) => owner !== id);
      if (other !== undefined) conflicts.push({ peer: id, index, other });
      if (isExact) bucket.exact.set(subject, known ?? id);
      else bucket.patterns.push([subject, id]);
    });
  }
  return conflicts;
}

/** Finds the peer of a proof. By {@link findConflicts} there is one at most. */
export class IdentityTable {
  readonly #exact = new Map<string, ConfiguredPeer>();
  readonly #patterns: (readonly [issuer: string, subject: string, peer: ConfiguredPeer])[] = [];

  constructor(peers: readonly ConfiguredPeer[]) {
    for (const peer of peers) {
      for (const { issuer, subject } of peer.identities) {
        if (isPattern(subject)) this.#patterns.push([issuer, subject, peer]);
        else this.#exact.set(`${issuer} ${subject}`, peer);
      }
    }
  }

  /** @param issuer the name of the trusted issuer, which has no spaces. */
  find(issuer: string, subject: string): ConfiguredPeer | undefined {
    const exact = this.#exact.get(`${issuer} ${subject}`);
    if (exact !== undefined) return exact;
    return this.#patterns.find(
      ([name, pattern]) => name === issuer && matchesSubject(pattern, subject),
    )?.[2];
  }
}
