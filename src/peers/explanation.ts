import { nameOfIdentity } from './certificate-names.js';
import { IAM, type ConfiguredPeer, type TrustedIssuer } from './identities.js';
import type { Peers } from './peers.js';
import { decideAccess, type Access, type Grants } from './policy.js';

/** What is known of peers: those of the peers secrets, and those of the configuration file. */
export interface KnownPeers {
  readonly secrets: Peers;
  readonly configured: readonly ConfiguredPeer[];
  readonly issuers: readonly TrustedIssuer[];
  /** The names of the configured tokens. */
  readonly tokenNames: readonly string[];
}

/** One way in which a peer proves who it is, and what it has then. */
export interface ExplainedIdentity {
  readonly kind: 'secret' | 'workload_token' | 'iam' | 'certificate';
  /** In words; no value of a secret. */
  readonly proof: string;
  readonly enabled: boolean;
  readonly roles: readonly string[];
  readonly tokens: readonly string[];
  /** What is decided about the token that was asked about; absent when none was. */
  readonly access?: Access | 'disabled';
}

/** A peer, explained. */
export interface PeerExplanation {
  readonly id: string;
  readonly identities: readonly ExplainedIdentity[];
  /** What is wrong with its entry in a peers secret; absent when nothing is. */
  readonly malformed?: string;
  /** Whether any identity has the token that was asked about; absent when none was. */
  readonly allowed?: boolean;
  /** In words, a sentence or two each. */
  readonly lines: readonly string[];
}

/**
 * Says which identities a peer has, what was granted to each, and why it may have a token or not: by `decideAccess`, which
 * decides while the broker serves. Pure.
 *
 * @param now milliseconds since the Unix epoch: a previous secret is named while it works.
 */
export function explainPeer(
  { secrets, configured, issuers, tokenNames }: KnownPeers,
  id: string,
  now: number,
  token?: string,
): PeerExplanation {
  const identities: ExplainedIdentity[] = [];
  const add = (
    kind: ExplainedIdentity['kind'],
    proof: string,
    { roles, tokens, enabled }: Grants & { readonly enabled: boolean },
  ): void => {
    const access = enabled ? decideAccess({ roles, tokens }, { token: token ?? '' }) : 'disabled';
    const identity = { kind, proof, enabled, roles, tokens };
    identities.push(token === undefined ? identity : { ...identity, access });
  };
  const known = secrets.byId.get(id);
  if (known !== undefined) {
    const until = known.previousSecret?.notAfter ?? 0;
    const also = until > now ? `; the one before works until ${new Date(until).toISOString()}` : '';
    add('secret', `its secret, in the peers secret${also}`, known);
  }
  for (const peer of configured.filter((one) => one.id === id)) {
    for (const identity of peer.identities) {
      const certified = nameOfIdentity(identity);
      if (certified !== undefined) {
        const { kind, value } = certified;
        add('certificate', `a client certificate with the ${NAMES[kind]} ${value}`, peer);
        continue;
      }
      const { issuer: name, subject } = identity;
      if (name === IAM) {
        add('iam', `AWS IAM, as ${subject}, at the HTTP function on Lambda`, peer);
        continue;
      }
      const issuer = issuers.find((one) => one.name === name);
      add(
        'workload_token',
        `a token of "${name}" (${issuer?.kind}, ${issuer?.issuer}) for ${issuer?.audience}, with the subject ${subject}`,
        peer,
      );
    }
  }
  const malformed = secrets.malformed.get(id);
  const allowed = identities.some(({ access }) => access === 'granted');
  const explanation = {
    id,
    identities,
    ...(malformed !== undefined && { malformed }),
    ...(token !== undefined && { allowed }),
  };
  return { ...explanation, lines: linesOf(explanation, tokenNames, token) };
}

function linesOf(
  { id, identities, malformed }: Omit<PeerExplanation, 'lines'>,
  tokenNames: readonly string[],
  token: string | undefined,
): readonly string[] {
  const lines = identities.map(
    ({ proof, ...identity }) => `${id} proves who it is by ${proof}: ${grantsOf(identity)}.`,
  );
  if (malformed !== undefined) {
    lines.push(`Its entry in the peers secret is malformed, and opens nothing: ${malformed}.`);
  }
  if (lines.length === 0) lines.push(`There is no peer "${id}".`);
  if (token === undefined) return lines;
  const isConfigured = tokenNames.includes(token);
  if (!isConfigured) lines.push(`No token "${token}" is configured: nobody gets it.`);
  for (const { kind, access } of identities) {
    if (access !== undefined)
      lines.push(`By ${WAYS[kind]}: ${REASONS[access]} (token "${token}").`);
  }
  return lines;
}

function grantsOf({
  enabled,
  roles,
  tokens,
}: Pick<ExplainedIdentity, 'enabled' | 'roles' | 'tokens'>): string {
  if (!enabled) return 'it is disabled, and opens nothing';
  const others = roles.filter((role) => role !== 'token');
  const parts = [
    ...(roles.includes('token') && tokens.length > 0 ? [`the tokens ${tokens.join(', ')}`] : []),
    ...(others.length > 0 ? [`the roles ${others.join(', ')}`] : []),
  ];
  return parts.length === 0 ? 'nothing is granted to it' : `it has ${parts.join(' and ')}`;
}

const NAMES = { uri: 'URI', dns: 'DNS name' } as const;

const WAYS: Readonly<Record<ExplainedIdentity['kind'], string>> = {
  secret: 'its secret',
  workload_token: 'its workload token',
  iam: 'AWS IAM',
  certificate: 'its client certificate',
};

const REASONS: Readonly<Record<NonNullable<ExplainedIdentity['access']>, string>> = {
  granted: 'allowed, a grant names it',
  token_not_granted: 'refused, no grant names it',
  role_missing: 'refused, the role "token" is missing',
  disabled: 'refused, the peer is disabled',
};
