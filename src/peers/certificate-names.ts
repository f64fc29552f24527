import type { WorkloadIdentity } from './identities.js';

/** The names of a certificate by which a peer may be known: `uniformResourceIdentifier` and `dNSName` (RFC 5280 §4.2.1.6). */
export type NameKind = 'uri' | 'dns';

/** One subject alternative name of a certificate. */
export interface CertificateName {
  readonly kind: NameKind;
  /** As the certificate has it. Nothing of it can be trusted. */
  readonly value: string;
}

/** Why a client certificate opens nothing: a stable word for metrics and logs, never for the caller. */
export type CertificateRefusal =
  | 'certificate_untrusted'
  | 'certificate_expired'
  | 'certificate_malformed'
  | 'certificate_unknown'
  | 'certificate_ambiguous'
  | 'proxy_untrusted'
  | 'other_client_id';

/**
 * The URIs and DNS names among the subject alternative names of a certificate, from the text that Node.js makes of them: a list
 * in which a value that could be mistaken for several stands as a JSON string (CVE-2021-44532).
 *
 * @param text `subjectAltName` of `X509Certificate`; `undefined` when the certificate has none.
 * @returns `undefined` when the text has another form: no name of such a certificate counts.
 *
 * @example
 * ```ts
 * alternativeNames('URI:spiffe://prod.example.com/a, IP Address:10.0.0.1, DNS:"a, DNS:b"');
 * // [{ kind: 'uri', value: 'spiffe://prod.example.com/a' }, { kind: 'dns', value: 'a, DNS:b' }]
 * ```
 */
export function alternativeNames(text: string | undefined): readonly CertificateName[] | undefined {
  if (text === undefined) return [];
  const names: CertificateName[] = [];
  let rest = 0;
  for (;;) {
    ENTRY.lastIndex = rest;
    const [entry, type = '', quoted, plain = ''] = ENTRY.exec(text) ?? [];
    if (entry === undefined) return undefined;
    const kind = KINDS.get(type);
    const value = quoted === undefined ? plain : unquote(quoted);
    if (value === undefined) return undefined;
    if (kind !== undefined) names.push({ kind, value });
    rest += entry.length;
    if (rest === text.length) return names;
    if (!text.startsWith(', ', rest)) return undefined;
    rest += 2;
  }
}

/** `TYPE:"JSON string"` or `TYPE:text`. Neither a comma nor a quote stands in plain text. */
const ENTRY = /((?:othername:)?[A-Za-z0-9 ]+):(?:("(?:[^"\\]|\\.)*")|([^",]*))/y;

const KINDS: ReadonlyMap<string, NameKind> = new Map([
  ['URI', 'uri'],
  ['DNS', 'dns'],
]);

function unquote(quoted: string): string | undefined {
  try {
    return String(JSON.parse(quoted));
  } catch {
    // Not what Node.js writes.
    return undefined;
  }
}

/** A certificate's name as {@link WorkloadIdentity}: by which issuer and subject `IdentityTable` finds the peer. */
export interface NameProof {
  readonly issuer: string;
  readonly subject: string;
}

/** In place of a trusted issuer's name, which has no colon. */
const ISSUERS = { uri: 'certificate:uri', dns: 'certificate:dns' } as const;

/** Scheme, authority, and segments of a path: no escapes, no query, no fragment, nothing empty. */
const URI = /^([a-z][a-z0-9+.-]{0,30}:\/\/)([a-z0-9._-]+(?::\d{1,5})?)((?:\/[A-Za-z0-9._~-]+)*)$/;
const DNS = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;
const LONGEST_URI = 2_048;
const LONGEST_DNS = 253;

/**
 * What a certificate's name proves; `undefined` for a name that no peer can have. A URI is compared as it is: an escape, an empty
 * segment, `.` and `..`, an authority in capitals make it another name, that nobody has. A DNS name is compared in lower case
 * (RFC 4343), without a dot at its end.
 */
export function proofOfName({ kind, value }: CertificateName): NameProof | undefined {
  return isName(kind, value)
    ? { issuer: ISSUERS[kind], subject: subjectOf(kind, value) }
    : undefined;
}

function isName(kind: NameKind, value: string): boolean {
  // Only ASCII is made lower case: another letter may become an ASCII one.
  if (kind === 'dns')
    return value.length <= LONGEST_DNS && DNS.test(value.replaceAll(/[A-Z]/g, lower));
  return value.length <= LONGEST_URI && URI.test(value) && !/\/\.{1,2}(?:\/|$)/.test(value);
}

/** Subjects are compared in segments between slashes: the first label of a DNS name is one, and the others are another. */
function subjectOf(kind: NameKind, value: string): string {
  return kind === 'uri' ? value : value.replaceAll(/[A-Z]/g, lower).replace('.', '/');
}

const lower = (letter: string): string => letter.toLowerCase();

/**
 * The identity of a peer that is known by a certificate's name, as the configuration file has it: `{ uri }` or `{ dns }`.
 *
 * @returns the identity, or what is wrong with the name.
 */
export function certificateIdentity(kind: NameKind, name: string): WorkloadIdentity | string {
  const fault = kind === 'uri' ? uriFault(name) : dnsFault(name);
  return fault ?? { issuer: ISSUERS[kind], subject: subjectOf(kind, name) };
}

function uriFault(name: string): string | undefined {
  const [, origin = '', path = ''] = /^([^/]*\/\/[^/]*)(.*)$/.exec(name) ?? [];
  const isPart = (segment: string): boolean => segment !== '*' && segment.includes('*');
  if (origin.includes('*') || path.split('/').some(isPart)) {
    return '"*" stands only for a whole segment of the path';
  }
  return isName('uri', name.replaceAll('*', 'x'))
    ? undefined
    : 'it is not a URI such as spiffe://TRUST_DOMAIN/PATH, without escapes, query and empty segments';
}

function dnsFault(name: string): string | undefined {
  const isPattern = name.startsWith('*.');
  const rest = isPattern ? name.slice(2) : name;
  if (rest.includes('*')) return '"*" stands only for the whole first label';
  if (isPattern && !rest.includes('.')) return 'it would fit every host of a top-level domain';
  return isName('dns', rest) ? undefined : 'it is not a DNS name such as settle.shop.svc';
}

/** A certificate's name behind an identity, in words; `undefined` for an identity of another kind. */
export function nameOfIdentity({ issuer, subject }: WorkloadIdentity): CertificateName | undefined {
  if (issuer === ISSUERS.uri) return { kind: 'uri', value: subject };
  if (issuer === ISSUERS.dns) return { kind: 'dns', value: subject.replace('/', '.') };
  return undefined;
}
