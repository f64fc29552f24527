import { VerifierConfigError } from '../verification-errors.js';
import { isJsonObject, isObject, type JsonObject } from '../../tokens/json.js';

/**
 * Where a client's id is found: a claim's name, or a claim of a certain form. With `between`, the id is what stands
 * between the two texts; with `startsWith`, it is the whole claim. `otherwise` is a claim that counts only if no source
 * before it names a client.
 */
export type ClientIdSource =
  | string
  | { readonly otherwise: string }
  | { readonly claim: string; readonly between: readonly [before: string, after: string] }
  | { readonly claim: string; readonly startsWith: string };

/**
 * One thing a profile asks of the claims. Every form but `absent` is true only for own properties of the right type:
 * a missing claim, or a list where a string is due, makes it false, also in the forms that ask for a difference. A claim
 * that is `null` is missing. An `aud` that is a list of one is that one.
 */
export type Condition =
  /** The claim is a non-empty string, a finite number, `true`, or a list or object that is not empty. */
  | { readonly present: string }
  /** The claim is there, whatever it is: also an empty text, list or object. */
  | { readonly given: string }
  /** There is no such claim. */
  | { readonly absent: string }
  /** The claim is a list of strings, which may be empty. */
  | { readonly list: string }
  /** The header's `typ` is this, in lower case and without `application/`. */
  | { readonly headerType: string }
  | { readonly claim: string; readonly equals: string }
  | { readonly claim: string; readonly oneOf: readonly string[] }
  | { readonly claim: string; readonly startsWith: string; readonly endsWith?: string }
  | { readonly claim: string; readonly endsWith: string }
  | { readonly claim: string; readonly contains: string }
  /** Compared without regard to case, so that a capital letter does not get around it. */
  | { readonly claim: string; readonly notStartsWith: string }
  /** Equal to another claim, optionally behind a prefix, optionally without regard to case. */
  | {
      readonly claim: string;
      readonly sameAs: string;
      readonly prefix?: string;
      readonly ignoreCase?: true;
    }
  /** Both claims are strings, and they differ. */
  | { readonly claim: string; readonly differsFrom: string }
  /** The claim is a list of strings with this one in it. */
  | { readonly claim: string; readonly arrayIncludes: string }
  /** The claim is a list of strings without this one in it. */
  | { readonly claim: string; readonly arrayExcludes: string }
  /** `aud` is this string, or a list with it: for providers that give each kind an audience of its own. */
  | { readonly audienceIncludes: string }
  | { readonly anyOf: readonly Condition[] }
  | { readonly allOf: readonly Condition[] };

/**
 * How one provider marks its tokens, as data. A token is a service token when all of `service` holds, a customer token
 * when all of `customer` holds, and refused when both or neither do. The marks that any provider gives to machines speak
 * against a customer in every profile, those of persons against a service.
 *
 * @example
 * ```ts
 * import type { ClassificationProfile } from 'service-token-kit';
 *
 * const profile: ClassificationProfile = {
 *   name: 'our-provider',
 *   clientId: ['client_id'],
 *   service: [{ claim: 'kind', equals: 'machine' }, { absent: 'email' }],
 *   customer: [{ claim: 'kind', equals: 'person' }, { present: 'email' }],
 *   scopes: { service: ['scope'], customer: ['scope'] },
 * };
 * ```
 */
export interface ClassificationProfile {
  /** Short name for messages and metrics. */
  readonly name: string;
  /**
   * Where the client's id is found. All sources that are present must agree; a service token must have one.
   */
  readonly clientId: readonly ClientIdSource[];
  /** What makes a service token: all of it. */
  readonly service: readonly Condition[];
  /** What makes a customer token: all of it. `never` for an issuer that has none. */
  readonly customer: readonly Condition[] | 'never';
  /**
   * What its access tokens have and its ID tokens do not: all of it. Asked of a token whose audience is its own client,
   * and which has none of the usual signs (`scope`, `scp`, the type `at+jwt`). Default: such a token is refused.
   * Where it asks for nothing to be absent, a token that has all of it may have a `nonce` too.
   */
  readonly accessToken?: readonly Condition[];
  /** Claims that hold scopes, as space-separated text or as a list, for each kind. */
  readonly scopes: { readonly service: readonly string[]; readonly customer: readonly string[] };
  /**
   * `client-ids` where the provider's claims do not distinguish the kinds. Then a token is a service token only for a
   * client of the issuer's `serviceClientIds`, and a customer token only for one of its `customerClientIds`.
   * Default `claims`.
   */
  readonly decidedBy?: 'claims' | 'client-ids';
}

/**
 * Checks a profile that came from outside.
 *
 * @throws {VerifierConfigError} naming the member at fault. An empty list of conditions would be met by every token.
 */
export function checkProfile(profile: ClassificationProfile): void {
  const at = `Profile "${profile.name}"`;
  const { clientId, scopes } = profile;
  if (!Array.isArray(clientId) || clientId.length === 0) {
    throw new VerifierConfigError(`${at}: "clientId" must name at least one claim.`);
  }
  if (!Array.isArray(scopes?.service) || !Array.isArray(scopes.customer)) {
    throw new VerifierConfigError(`${at}: "scopes" must list the claims for each kind.`);
  }
  checkConditions(`${at}: "service"`, profile.service);
  if (profile.customer !== 'never') checkConditions(`${at}: "customer"`, profile.customer);
  if (profile.accessToken !== undefined) {
    checkConditions(`${at}: "accessToken"`, profile.accessToken);
  }
}

const FORMS = [
  'present',
  'given',
  'absent',
  'list',
  'headerType',
  'equals',
  'oneOf',
  'startsWith',
  'endsWith',
  'contains',
  'notStartsWith',
  'sameAs',
  'differsFrom',
  'arrayIncludes',
  'arrayExcludes',
  'audienceIncludes',
  'anyOf',
  'allOf',
] as const;

/** Forms that name their claim themselves, or none. */
const CLAIMLESS_FORMS = [
  'present',
  'given',
  'absent',
  'list',
  'headerType',
  'audienceIncludes',
] as const;

function checkConditions(at: string, conditions: readonly Condition[]): void {
  if (!Array.isArray(conditions) || conditions.length === 0) {
    throw new VerifierConfigError(`${at} must have at least one condition.`);
  }
  for (const condition of conditions as readonly Condition[]) checkCondition(at, condition);
}

function checkCondition(at: string, condition: Condition): void {
  const forms = isJsonObject(condition)
    ? FORMS.filter((form) => Object.hasOwn(condition, form))
    : [];
  const isBothEnds = forms.join() === 'startsWith,endsWith';
  if (forms.length !== 1 && !isBothEnds) {
    throw new VerifierConfigError(`${at} has a condition that is not one of: ${FORMS.join(', ')}.`);
  }
  if ('anyOf' in condition) checkConditions(`${at}, "anyOf"`, condition.anyOf);
  else if ('allOf' in condition) checkConditions(`${at}, "allOf"`, condition.allOf);
  else if (!CLAIMLESS_FORMS.some((form) => form in condition)) {
    const { claim } = condition as { readonly claim?: unknown };
    if (typeof claim !== 'string' || claim === '') {
      throw new VerifierConfigError(`${at} has a condition without a "claim".`);
    }
  }
}

/**
 * Whether the claims meet the condition.
 *
 * @param headerType the header's `typ`, in lower case and without `application/`.
 */
export function meets(claims: JsonObject, condition: Condition, headerType?: string): boolean {
  if ('anyOf' in condition) return condition.anyOf.some((part) => meets(claims, part, headerType));
  if ('allOf' in condition) return condition.allOf.every((part) => meets(claims, part, headerType));
  if ('present' in condition) return isPresent(own(claims, condition.present));
  if ('given' in condition) return own(claims, condition.given) !== undefined;
  if ('absent' in condition) return own(claims, condition.absent) === undefined;
  if ('list' in condition) return stringList(own(claims, condition.list)) !== undefined;
  if ('headerType' in condition) return headerType === condition.headerType;
  if ('audienceIncludes' in condition) {
    const audience = own(claims, 'aud');
    return (
      audience === condition.audienceIncludes ||
      (stringList(audience)?.includes(condition.audienceIncludes) ?? false)
    );
  }
  if ('arrayIncludes' in condition) {
    return stringList(own(claims, condition.claim))?.includes(condition.arrayIncludes) ?? false;
  }
  if ('arrayExcludes' in condition) {
    const list = stringList(own(claims, condition.claim));
    return list !== undefined && !list.includes(condition.arrayExcludes);
  }
  const text = textOf(claims, condition.claim);
  return text !== undefined && textMeets(text, claims, condition);
}

type TextCondition = Exclude<
  Extract<Condition, { claim: string }>,
  { arrayIncludes: string } | { arrayExcludes: string }
>;

function textMeets(text: string, claims: JsonObject, condition: TextCondition): boolean {
  if ('equals' in condition) return text === condition.equals;
  if ('oneOf' in condition) return condition.oneOf.includes(text);
  if ('contains' in condition) return text.includes(condition.contains);
  if ('notStartsWith' in condition) {
    return !text.toLowerCase().startsWith(condition.notStartsWith.toLowerCase());
  }
  if ('sameAs' in condition) {
    const other = textOf(claims, condition.sameAs);
    if (other === undefined) return false;
    const wanted = `${condition.prefix ?? ''}${other}`;
    return condition.ignoreCase ? text.toLowerCase() === wanted.toLowerCase() : text === wanted;
  }
  if ('differsFrom' in condition) {
    const other = textOf(claims, condition.differsFrom);
    return other !== undefined && text !== other;
  }
  const { startsWith = '', endsWith = '' } = condition as {
    startsWith?: string;
    endsWith?: string;
  };
  // More than the affixes must be left, or "@clients" alone would name a client.
  return (
    text.length > startsWith.length + endsWith.length &&
    text.startsWith(startsWith) &&
    text.endsWith(endsWith)
  );
}

function isPresent(value: unknown): boolean {
  if (typeof value === 'string') return value !== '';
  if (typeof value === 'number') return Number.isFinite(value);
  if (isObject(value)) return Object.keys(value).length > 0;
  return value === true;
}

/** The condition in plain words, made of the profile's constants only. */
export function describeCondition(condition: Condition): string {
  if ('anyOf' in condition) return `(${condition.anyOf.map(describeCondition).join(' or ')})`;
  if ('allOf' in condition) return `(${condition.allOf.map(describeCondition).join(' and ')})`;
  if ('present' in condition) return `"${condition.present}" is present`;
  if ('given' in condition) return `"${condition.given}" is given`;
  if ('list' in condition) return `"${condition.list}" is a list`;
  if ('headerType' in condition) return `the header's "typ" is "${condition.headerType}"`;
  if ('absent' in condition) return `"${condition.absent}" is absent`;
  if ('audienceIncludes' in condition) return `"aud" names "${condition.audienceIncludes}"`;
  return `"${condition.claim}" ${describeDemand(condition)}`;
}

function describeDemand(condition: Extract<Condition, { claim: string }>): string {
  if ('equals' in condition) return `is "${condition.equals}"`;
  if ('oneOf' in condition) {
    return `is ${condition.oneOf.map((value) => `"${value}"`).join(' or ')}`;
  }
  if ('contains' in condition) return `contains "${condition.contains}"`;
  if ('notStartsWith' in condition) return `does not start with "${condition.notStartsWith}"`;
  if ('sameAs' in condition) {
    const prefix = condition.prefix === undefined ? '' : `"${condition.prefix}" followed by `;
    return `is ${prefix}the value of "${condition.sameAs}"`;
  }
  if ('differsFrom' in condition) return `differs from "${condition.differsFrom}"`;
  if ('arrayIncludes' in condition) return `is a list with "${condition.arrayIncludes}" in it`;
  if ('arrayExcludes' in condition) return `is a list without "${condition.arrayExcludes}" in it`;
  const { startsWith, endsWith } = condition as { startsWith?: string; endsWith?: string };
  const parts = [
    ...(startsWith === undefined ? [] : [`starts with "${startsWith}"`]),
    ...(endsWith === undefined ? [] : [`ends with "${endsWith}"`]),
  ];
  return parts.join(' and ');
}

/** Whether the condition, or a part of it, is that a claim is absent. */
export function asksForAbsence(condition: Condition): boolean {
  if ('anyOf' in condition) return condition.anyOf.some(asksForAbsence);
  if ('allOf' in condition) return condition.allOf.some(asksForAbsence);
  return 'absent' in condition;
}

/**
 * The claims that a condition compares and that are absent: without them it cannot hold, and its own words would mislead.
 * Forms that ask whether a claim is present say so.
 */
export function missingClaims(claims: JsonObject, condition: Condition): readonly string[] {
  const parts = 'anyOf' in condition ? condition.anyOf : 'allOf' in condition && condition.allOf;
  if (parts) return [...new Set(parts.flatMap((part) => missingClaims(claims, part)))];
  const compared = [
    ...('claim' in condition ? [condition.claim] : []),
    ...('sameAs' in condition ? [condition.sameAs] : []),
    ...('differsFrom' in condition ? [condition.differsFrom] : []),
    ...('audienceIncludes' in condition ? ['aud'] : []),
    ...('list' in condition ? [condition.list] : []),
  ];
  return compared.filter((name) => own(claims, name) === undefined);
}

/** A claim as an own property; `undefined` for everything inherited, and for `null`. */
export function own(claims: JsonObject, name: string): unknown {
  return Object.hasOwn(claims, name) ? (claims[name] ?? undefined) : undefined;
}

/** A claim that is a non-empty string. An audience may stand alone in a list (RFC 7519 §4.1.3). */
export function textOf(claims: JsonObject, name: string): string | undefined {
  let value = own(claims, name);
  if (name === 'aud' && Array.isArray(value) && value.length === 1) [value] = value as unknown[];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** A value that is a list of strings only. */
export function stringList(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
    ? value
    : undefined;
}
