import type { Actor } from '../principal.js';
import type { JsonObject } from '../parse/strict-json.js';
import { describeCondition, meets, own, textOf, type Condition } from './conditions.js';
import { readActor, readClientId, readScopes } from './facts.js';
import type { ClassificationProfile } from './profile.js';

/** Lists of client ids that narrow a profile. */
export interface ClassifyOptions {
  /** Clients that may have service tokens. Undefined: every client the profile takes for one. */
  readonly serviceClientIds?: readonly string[] | undefined;
  /** Clients that people use. Undefined: every client the profile takes for one. */
  readonly customerClientIds?: readonly string[] | undefined;
}

/** Why claims are neither a customer's nor a service's. */
export type ClassificationRefusal =
  'not-an-access-token' | 'neither-kind' | 'both-kinds' | 'client-not-allowed' | 'claims-malformed';

interface Decided {
  readonly subject: string;
  readonly scopes: readonly string[];
  readonly actor: Actor | undefined;
}

/** Who the claims speak for. */
export type Classification =
  | ({ readonly kind: 'customer'; readonly clientId: string | undefined } & Decided)
  | ({ readonly kind: 'service'; readonly clientId: string } & Decided)
  | { readonly kind: 'rejected'; readonly reason: ClassificationRefusal };

/** Claims of ID tokens (OpenID Connect Core §2, §3.3.2.11) and of security event tokens such as logout tokens (RFC 8417). */
const FOREIGN_CLAIMS = ['nonce', 'at_hash', 'c_hash', 's_hash', 'events'] as const;
/** Payload types of tokens that are not access tokens; Keycloak writes them. */
const FOREIGN_TYPES: ReadonlySet<unknown> = new Set(['ID', 'Refresh', 'Offline', 'Logout']);

/** Subjects that some provider gives to machines: never a customer, whatever the profile says. */
const MACHINE_SUBJECTS: readonly Condition[] = [
  { claim: 'sub', endsWith: '@clients' },
  { claim: 'sub', startsWith: '(age!' },
  { claim: 'sub', startsWith: 'system:serviceaccount:' },
  { claim: 'sub', startsWith: 'service-account-' },
];

/**
 * Decides who verified claims speak for. Fail-closed: signs of another kind of token, of both kinds or of neither are
 * refused. Call it only with claims whose signature, issuer, audience and times were checked, and with the profile that
 * belongs to that issuer.
 *
 * @param claims the token's claims.
 * @param profile how the issuer marks its tokens.
 * @param explanation is given what was asked and what came of it, in plain words and in order: names of claims, never their
 *   values. Without it no words are made.
 */
export function classify(
  claims: JsonObject,
  profile: ClassificationProfile,
  options: ClassifyOptions = {},
  explanation?: string[],
): Classification {
  const reject = (reason: ClassificationRefusal, why: string): Classification => {
    explanation?.push(why);
    return { kind: 'rejected', reason };
  };

  const foreign = signOfAnotherToken(claims);
  if (foreign !== undefined) return reject('not-an-access-token', foreign);

  const clientId = readClientId(claims, profile.clientId);
  if (!clientId.ok) return reject('claims-malformed', `refused: ${clientId.fault}`);
  const actor = readActor(claims);
  if (!actor.ok) return reject('claims-malformed', `refused: ${actor.fault}`);

  const asked: Question = { claims, clientId: clientId.value, profile, options, explanation };
  const isService = isServiceToken(asked);
  const isCustomer = isCustomerToken(asked);
  if (isService && isCustomer)
    return reject('both-kinds', 'refused: it has the marks of both kinds');
  if (!isService && !isCustomer) {
    return reject('neither-kind', 'refused: it has the marks of neither kind');
  }
  const kind = isService ? 'service' : 'customer';
  if (!isListed(clientId.value, isService ? options.serviceClientIds : options.customerClientIds)) {
    return reject(
      'client-not-allowed',
      `refused: the client is not on the list for ${kind} tokens`,
    );
  }
  const scopes = readScopes(claims, profile.scopes[kind]);
  if (!scopes.ok) return reject('claims-malformed', `refused: ${scopes.fault}`);

  explanation?.push(`decided: a ${kind} token, by profile "${profile.name}"`);
  const subject = textOf(claims, 'sub') ?? clientId.value;
  const decided = { scopes: scopes.value, actor: actor.value };
  if (subject === undefined) return reject('claims-malformed', 'refused: it names no subject');
  if (!isService) return { kind: 'customer', subject, clientId: clientId.value, ...decided };
  // isServiceToken has made sure of it; asked again so that the type follows from the code.
  if (clientId.value === undefined) {
    return reject('claims-malformed', 'refused: it names no client');
  }
  return { kind: 'service', subject, clientId: clientId.value, ...decided };
}

interface Question {
  readonly claims: JsonObject;
  readonly clientId: string | undefined;
  readonly profile: ClassificationProfile;
  readonly options: ClassifyOptions;
  readonly explanation: string[] | undefined;
}

function signOfAnotherToken(claims: JsonObject): string | undefined {
  const claim = FOREIGN_CLAIMS.find((name) => Object.hasOwn(claims, name));
  if (claim !== undefined) {
    return `refused: "${claim}" belongs to an ID token or another token that is no access token`;
  }
  if (FOREIGN_TYPES.has(own(claims, 'typ'))) {
    return 'refused: the payload\'s "typ" names a token that is no access token';
  }
  const use = own(claims, 'token_use');
  if (use !== undefined && use !== 'access') return 'refused: "token_use" is not "access"';
  // RFC 7523 §3: whoever asserts itself is both issuer and subject.
  if (own(claims, 'sub') !== undefined && own(claims, 'sub') === own(claims, 'iss')) {
    return 'refused: "sub" is the issuer itself, as in a client assertion';
  }
  return undefined;
}

function isServiceToken(asked: Question): boolean {
  const { clientId, options, profile } = asked;
  if (!holdsAll('service', profile.service, asked)) return false;
  if (!answer(asked, 'service', 'the claims name a client', clientId !== undefined)) return false;
  return decidedByList('service', options.serviceClientIds, asked);
}

function isCustomerToken(asked: Question): boolean {
  const { claims, clientId, options, profile } = asked;
  if (profile.customer === 'never') {
    return answer(asked, 'customer', 'the issuer has customers', false);
  }
  if (!holdsAll('customer', profile.customer, asked)) return false;
  const subject = textOf(claims, 'sub');
  const isPerson =
    subject !== undefined &&
    subject !== clientId &&
    !MACHINE_SUBJECTS.some((pattern) => meets(claims, pattern));
  const what = '"sub" is neither the client nor a machine';
  if (!answer(asked, 'customer', what, isPerson)) return false;
  return decidedByList('customer', options.customerClientIds, asked);
}

function holdsAll(kind: string, conditions: readonly Condition[], asked: Question): boolean {
  return conditions.every((condition) =>
    answer(asked, kind, condition, meets(asked.claims, condition)),
  );
}

function decidedByList(
  kind: 'service' | 'customer',
  list: readonly string[] | undefined,
  asked: Question,
): boolean {
  if (asked.profile.decidedBy !== 'client-ids') return true;
  const isOnList = asked.clientId !== undefined && (list?.includes(asked.clientId) ?? false);
  return answer(asked, kind, `the client is on the list for ${kind} tokens`, isOnList);
}

function isListed(clientId: string | undefined, list: readonly string[] | undefined): boolean {
  return list === undefined || (clientId !== undefined && list.includes(clientId));
}

function answer(
  { explanation }: Question,
  kind: string,
  what: string | Condition,
  holds: boolean,
): boolean {
  if (explanation !== undefined) {
    const words = typeof what === 'string' ? what : describeCondition(what);
    explanation.push(`${kind}: ${words}: ${holds ? 'yes' : 'no'}`);
  }
  return holds;
}
