import { VerifierConfigError } from '../errors.js';
import { isJsonObject } from '../parse/strict-json.js';
import type { Condition } from './conditions.js';

/**
 * Where a client's id is found: a claim's name, or a claim that has a certain form. With `between`, the id is what
 * stands between the two texts; with `startsWith`, it is the whole claim. `otherwise` is a claim that counts only where no
 * source before it names a client.
 */
export type ClientIdSource =
  | string
  | { readonly otherwise: string }
  | { readonly claim: string; readonly between: readonly [before: string, after: string] }
  | { readonly claim: string; readonly startsWith: string };

/**
 * How one provider marks its tokens, as data. A token is a service token when all of `service` holds, a customer token
 * when all of `customer` holds, and refused when both or neither do. The marks that any provider gives to machines speak
 * against a customer in every profile, those of persons against a service.
 *
 * @example
 * ```ts
 * import type { ClassificationProfile } from 'service-token-broker';
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
   * Where the client's id is found. All sources that are there must agree; a service token must have one.
   */
  readonly clientId: readonly ClientIdSource[];
  /** What makes a service token: all of it. */
  readonly service: readonly Condition[];
  /** What makes a customer token: all of it. `never` for an issuer that has none. */
  readonly customer: readonly Condition[] | 'never';
  /**
   * What its access tokens have and its ID tokens do not: all of it. Asked of a token whose audience is its own client,
   * and which has none of the usual signs (`scope`, `scp`, the type `at+jwt`). Default: such a token is refused.
   */
  readonly accessToken?: readonly Condition[];
  /** Claims that hold scopes, as a text with spaces or as a list, for each kind. */
  readonly scopes: { readonly service: readonly string[]; readonly customer: readonly string[] };
  /**
   * `client-ids` where the provider's claims cannot tell the kinds apart. Then a token is a service token only for a
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
