import * as z from 'zod/mini';
import { certificateIdentity } from '../peers/certificate-names.js';
import {
  findConflicts,
  IAM,
  ISSUER_KINDS,
  principalArn,
  subjectFault,
  type ConfiguredPeer,
  type IssuerKind,
  type TrustedIssuer,
  type WorkloadIdentity,
} from '../peers/identities.js';
import { isPeerId, isTokenName } from '../peers/peers.js';
import { SIGNATURE_ALGORITHMS } from '../verification/index.js';
import type { ConfigMistake } from './config-error.js';
import { iamPrincipal, isSecureOrLoopback, line, matching, url } from './values.js';

/** The sections `trusted_issuers:` and `peers:`, as parsed from the file. */
export interface PeerSections {
  /** The file's name in mistakes. */
  readonly path: string;
  readonly trusted_issuers?: unknown;
  readonly peers?: unknown;
}

/** What the sections are held against. */
export interface SectionContext {
  /** The audience of workload tokens, unless an issuer's entry names another. */
  readonly publicUrl: string | undefined;
  /** The names of the configured tokens. */
  readonly tokenNames: readonly string[];
}

/** Peers that prove who they are by the tokens of their platform. */
export interface IdentitiesConfig {
  readonly issuers: readonly TrustedIssuer[];
  readonly peers: readonly ConfiguredPeer[];
}

/** An hour: the longest life of a workload token, in seconds. */
const LONGEST_LIFE = 3_600;

/** What is known of a platform. */
interface Preset {
  readonly issuer?: string;
  readonly jwksUri?: (issuer: string) => string;
  /** What all subjects of the platform begin with. */
  readonly subject?: RegExp;
  /** How a subject looks, for the mistake. */
  readonly example: string;
  /** Audiences that its tokens have when nobody asked for one: other services get such tokens, too. */
  readonly commonAudience?: RegExp;
}

const PRESETS: Readonly<Record<IssuerKind, Preset>> = {
  kubernetes: {
    subject: /^system:serviceaccount:/,
    example: 'system:serviceaccount:NAMESPACE:NAME',
    commonAudience: /^(?:https:\/\/)?kubernetes(?:\.default(?:\.svc.*)?)?\/?$|^api$|^k3s$/,
  },
  spiffe: { subject: /^spiffe:\/\//, example: 'spiffe://TRUST_DOMAIN/PATH' },
  aws: {
    jwksUri: (issuer) => `${issuer.replace(/\/$/, '')}/.well-known/jwks.json`,
    subject: /^arn:aws[a-z-]*:iam::\d{12}:/,
    example: 'arn:aws:iam::ACCOUNT:role/NAME',
    commonAudience: /^sts\.amazonaws\.com$/,
  },
  github: {
    issuer: 'https://token.actions.githubusercontent.com',
    jwksUri: (issuer) => `${issuer}/.well-known/jwks`,
    subject: /^repo:(?!\*)/,
    example: 'repo:OWNER/REPOSITORY:ref:refs/heads/main',
    commonAudience: /^https:\/\/github\.com\/|^sts\.amazonaws\.com$|^api:\/\/AzureADTokenExchange$/,
  },
  gcp: {
    issuer: 'https://accounts.google.com',
    jwksUri: () => 'https://www.googleapis.com/oauth2/v3/certs',
    subject: /^\d{5,30}$/,
    example: 'the unique id of the service account, a number',
  },
  oidc: { example: 'the exact "sub" of its tokens' },
};

const NAME = /^[a-z0-9-]{1,40}$/;

const issuerSchema = z.strictObject({
  kind: z.enum(ISSUER_KINDS),
  issuer: z.optional(line),
  trust_domain: z.optional(matching(/^[a-z0-9._-]{1,255}$/)),
  jwks_uri: z.optional(url({ query: true }).check(z.refine(isSecureOrLoopback))),
  audience: z.optional(line),
  algorithms: z.optional(z.array(z.enum(SIGNATURE_ALGORITHMS)).check(z.minLength(1))),
  max_lifetime_seconds: z._default(z.int().check(z.gte(1), z.lte(LONGEST_LIFE)), LONGEST_LIFE),
  single_use: z._default(z.boolean(), false),
  ca_file: z.optional(line),
  token_file: z.optional(line),
});

const workloadIdentity = z.strictObject({ issuer: line, subject: line });
const iamIdentity = z.strictObject({ iam: iamPrincipal });
const certificate = z.strictObject({
  certificate: z.strictObject({ uri: z.optional(line), dns: z.optional(line) }),
});

const peerSchema = z.strictObject({
  identities: z.array(z.unknown()).check(z.minLength(1)),
  tokens: z._default(z.array(z.string().check(z.refine(isTokenName))), []),
  roles: z._default(z.array(z.enum(['admin', 'introspect'])), []),
  enabled: z._default(z.boolean(), true),
});

/** What is allowed at a path, by its last member. */
const ALLOWED: Readonly<Record<string, string>> = {
  trusted_issuers: 'issuers by name, each with "kind" and what it needs',
  peers: 'peers by id, each with "identities" and "tokens" or "roles"',
  kind: `one of ${ISSUER_KINDS.join(', ')}`,
  issuer: 'the issuer: of a trusted issuer exactly as in its tokens, of an identity by its name',
  trust_domain: 'the name of a SPIFFE trust domain, without "spiffe://"',
  jwks_uri: 'an https URL; http only for this machine',
  audience: 'a text that no other service is known by, usually the public URL of the broker',
  algorithms: `a list of ${SIGNATURE_ALGORITHMS.join(', ')}`,
  max_lifetime_seconds: `whole seconds from 1 to ${LONGEST_LIFE}`,
  single_use: 'true or false',
  ca_file: 'the path of a PEM file',
  token_file: 'the path of a file',
  identities: 'a list of identities, each with "issuer" and "subject", "certificate" or "iam"',
  certificate: '"uri" or "dns", a subject alternative name; a common name does not count',
  uri: 'a URI such as spiffe://TRUST_DOMAIN/PATH; "*" only for a whole segment of the path',
  dns: 'a DNS name such as settle.shop.svc; "*" only for the whole first label',
  iam: 'the ARN of an IAM role or user, without wildcards',
  subject: 'the subject exactly as in the tokens; "*" only for a whole segment between "/" and ":"',
  tokens: 'a list of names of configured tokens',
  roles: 'a list of admin, introspect',
  enabled: 'true or false',
};

/**
 * Reads the sections `trusted_issuers:` and `peers:` of the configuration file. Pure.
 *
 * @returns every mistake, named by its path. With mistakes, nothing of the sections may be used.
 */
export function readPeerSections(
  sections: PeerSections,
  context: SectionContext,
): { readonly identities: IdentitiesConfig; readonly mistakes: readonly ConfigMistake[] } {
  const reader = new SectionReader(sections.path);
  const issuers = reader.entries('trusted_issuers', sections.trusted_issuers, (name, value) =>
    readIssuer(reader, name, value, context),
  );
  const peers = reader.entries('peers', sections.peers, (id, value) =>
    readPeer(reader, id, value, issuers, context),
  );
  for (const [index, { issuer, name }] of issuers.entries()) {
    const other = issuers.slice(0, index).find((one) => one.issuer === issuer);
    if (other !== undefined) {
      reader.wrong(['trusted_issuers', name, 'issuer'], `"${other.name}" is the same issuer`);
    }
  }
  for (const { peer, index, other } of findConflicts(peers)) {
    reader.wrong(
      ['peers', peer, 'identities', index],
      `the same proof would fit the peer "${other}": one proof has to mean one peer`,
    );
  }
  return { identities: { issuers, peers }, mistakes: reader.mistakes };
}

type Path = readonly PropertyKey[];

/** Collects mistakes by their paths. No message repeats a value. */
class SectionReader {
  readonly mistakes: ConfigMistake[] = [];

  constructor(private readonly file: string) {}

  wrong(path: Path, problem: string): void {
    const at = path.map(String).join('.').slice(0, 200);
    const named = path.findLast((part) => typeof part === 'string' && Object.hasOwn(ALLOWED, part));
    this.mistakes.push({
      name: 'BROKER_CONFIG',
      source: this.file,
      problem,
      sentence: `${at} in ${this.file}: ${problem}`,
      allowed: ALLOWED[String(named)] ?? 'what the documentation of identities lists',
    });
  }

  /** The entries of a section that are right, in its order. */
  entries<T>(
    section: string,
    value: unknown,
    read: (name: string, value: unknown) => T | undefined,
  ): readonly T[] {
    if (value === undefined || value === null) return [];
    if (typeof value !== 'object' || Array.isArray(value)) {
      this.wrong([section], 'it is not a list of names with entries');
      return [];
    }
    return Object.entries(value).flatMap(([name, entry]) => read(name, entry) ?? []);
  }

  parse<T>(schema: z.ZodMiniType<T>, value: unknown, at: Path): T | undefined {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    for (const issue of result.error.issues) {
      const path = [...at, ...issue.path];
      if (issue.code === 'unrecognized_keys') {
        for (const key of issue.keys) this.wrong([...path, key], 'this member is unknown');
      } else if (issue.code === 'invalid_type' && !isGiven(value, issue.path)) {
        this.wrong(path, 'it is missing');
      } else
        this.wrong(
          path,
          issue.code === 'custom' && issue.message !== 'Invalid input'
            ? issue.message
            : 'it is not valid',
        );
    }
    return undefined;
  }
}

function isGiven(value: unknown, path: Path): boolean {
  let current = value;
  for (const part of path) {
    if (typeof current !== 'object' || current === null) return false;
    current = (current as Record<PropertyKey, unknown>)[part];
  }
  return current !== undefined;
}

function readIssuer(
  reader: SectionReader,
  name: string,
  value: unknown,
  { publicUrl }: SectionContext,
): TrustedIssuer | undefined {
  const at: Path = ['trusted_issuers', name];
  if (!NAME.test(name)) {
    reader.wrong(at, 'a name has 1 to 40 lower-case letters, digits and hyphens');
    return undefined;
  }
  const given = reader.parse(issuerSchema, value, at);
  if (given === undefined) return undefined;
  const before = reader.mistakes.length;
  const preset = PRESETS[given.kind];
  const issuer = given.issuer ?? preset.issuer;
  const jwksUri = given.jwks_uri ?? (issuer === undefined ? undefined : preset.jwksUri?.(issuer));
  const audience = given.audience ?? publicUrl;
  if (issuer === undefined) {
    const hint = given.kind === 'spiffe' ? ' (in SPIRE: jwt_issuer)' : '';
    reader.wrong([...at, 'issuer'], `it is missing: "iss" of the tokens${hint}`);
  }
  if (jwksUri === undefined) reader.wrong([...at, 'jwks_uri'], 'it is missing');
  else if (!isSecureOrLoopback(jwksUri)) reader.wrong([...at, 'jwks_uri'], 'it is not https');
  if (audience === undefined) {
    reader.wrong([...at, 'audience'], 'it is missing, and BROKER_PUBLIC_URL is not set');
  } else if (audience === issuer || preset.commonAudience?.test(audience) === true) {
    reader.wrong([...at, 'audience'], 'tokens for other services have it, too');
  }
  if ((given.kind === 'spiffe') !== (given.trust_domain !== undefined)) {
    reader.wrong(
      [...at, 'trust_domain'],
      given.kind === 'spiffe' ? 'it is missing' : `"${given.kind}" has none`,
    );
  }
  if (issuer === undefined || jwksUri === undefined || audience === undefined) return undefined;
  if (reader.mistakes.length > before) return undefined;
  return {
    name,
    kind: given.kind,
    issuer,
    jwksUri,
    audience,
    ...(given.trust_domain !== undefined && { trustDomain: given.trust_domain }),
    algorithms: given.algorithms ?? SIGNATURE_ALGORITHMS,
    maxLifetimeSeconds: given.max_lifetime_seconds,
    singleUse: given.single_use,
    caFile: given.ca_file,
    tokenFile: given.token_file,
  };
}

function readPeer(
  reader: SectionReader,
  id: string,
  value: unknown,
  issuers: readonly TrustedIssuer[],
  { tokenNames }: SectionContext,
): ConfiguredPeer | undefined {
  const at: Path = ['peers', id];
  if (!isPeerId(id)) {
    reader.wrong(['peers'], 'a peer id has 1 to 64 letters, digits, ".", "_" and "-"');
    return undefined;
  }
  const given = reader.parse(peerSchema, value, at);
  if (given === undefined) return undefined;
  const { tokens, roles, enabled } = given;
  const read = given.identities.map((identity, index) =>
    readIdentity(reader, identity, [...at, 'identities', index], issuers),
  );
  tokens.forEach((name, index) => {
    if (!tokenNames.includes(name)) {
      reader.wrong([...at, 'tokens', index], 'no token of this name is configured');
    }
  });
  if (tokens.length + roles.length === 0) {
    reader.wrong(at, 'it has neither tokens nor roles: nothing is granted to it');
  }
  const identities = read.filter((identity) => identity !== undefined);
  if (identities.length < read.length) return undefined;
  return {
    id,
    identities,
    tokens,
    // Who may have a token may ask for one.
    roles: tokens.length > 0 ? ['token', ...roles] : roles,
    enabled,
  };
}

function readIdentity(
  reader: SectionReader,
  entry: unknown,
  place: Path,
  issuers: readonly TrustedIssuer[],
): WorkloadIdentity | undefined {
  if (typeof entry === 'object' && entry !== null && 'iam' in entry) {
    const found = reader.parse(iamIdentity, entry, place);
    return found && { issuer: IAM, subject: principalArn(found.iam) };
  }
  if (typeof entry === 'object' && entry !== null && 'certificate' in entry) {
    const found = reader.parse(certificate, entry, place);
    return found && readCertificate(reader, found.certificate, [...place, 'certificate']);
  }
  const found = reader.parse(workloadIdentity, entry, place);
  if (found === undefined) return undefined;
  const { issuer: name, subject } = found;
  const issuer = issuers.find((one) => one.name === name);
  if (issuer === undefined) {
    reader.wrong([...place, 'issuer'], 'no entry of trusted_issuers that is valid has this name');
    return found;
  }
  const problem = subjectFault(subject) ?? faultFor(issuer, subject);
  if (problem !== undefined) reader.wrong([...place, 'subject'], problem);
  return found;
}

function readCertificate(
  reader: SectionReader,
  { uri, dns }: { readonly uri?: string | undefined; readonly dns?: string | undefined },
  place: Path,
): WorkloadIdentity | undefined {
  if ((uri === undefined) === (dns === undefined)) {
    reader.wrong(place, 'it has to have either "uri" or "dns"');
    return undefined;
  }
  const kind = uri === undefined ? 'dns' : 'uri';
  const identity = certificateIdentity(kind, uri ?? dns ?? '');
  if (typeof identity !== 'string') return identity;
  reader.wrong([...place, kind], identity);
  return undefined;
}

function faultFor({ kind, trustDomain }: TrustedIssuer, subject: string): string | undefined {
  const { subject: form, example } = PRESETS[kind];
  if (form !== undefined && !form.test(subject)) {
    return `subjects of ${kind} have another form: ${example}`;
  }
  if (trustDomain !== undefined && !subject.startsWith(`spiffe://${trustDomain}/`)) {
    return 'it is of another trust domain than the issuer';
  }
  return undefined;
}
