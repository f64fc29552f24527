import type { Actor } from '../principal.js';
import { isJsonObject, type JsonObject } from '../../tokens/json.js';
import {
  asksForAbsence,
  own,
  stringList,
  textOf,
  type ClientIdSource,
  describeCondition,
  meets,
  missingClaims,
  type Condition,
  type ClassificationProfile,
} from './profile.js';
import {
  clientAsSubject,
  foreignMark,
  isMarkedAsAccessToken,
  isMeantForItsClient,
  isSenderConstrained,
  machineMark,
  personMark,
} from './marks.js';

/** The issuer's client lists, and the token's header type. */
export interface ClassifyOptions {
  /** Clients that may have service tokens. Default: every client that the profile allows and the other list does not name. */
  readonly serviceClientIds?: readonly string[] | undefined;
  /** Clients that people use. Default: every client that the profile allows and the other list does not name. */
  readonly customerClientIds?: readonly string[] | undefined;
  /** `null` also accepts tokens that are bound to a key. Default: they are rejected. */
  readonly senderConstraint?: null | undefined;
  /** Claims that hold scopes, in place of those that the profile names. */
  readonly scopeClaims?: readonly string[] | undefined;
  /** The header's `typ`, in lower case and without `application/`. */
  readonly headerType?: string | undefined;
}

/** Why claims are neither a customer's nor a service's. */
export type ClassificationRefusal =
  | 'not-an-access-token'
  | 'sender-constrained'
  | 'neither-kind'
  | 'both-kinds'
  | 'client-not-allowed'
  | 'claims-malformed';

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

/**
 * Decides who verified claims speak for. Fail-closed: marks of another kind of token, of both kinds or of neither are
 * rejected. Call it only with claims whose signature, issuer, audience and times were checked, and with that issuer's
 * profile.
 *
 * @param claims the token's claims.
 * @param profile how the issuer marks its tokens.
 * @param explanation receives the questions and their answers, in plain words and in order: names of claims, never their
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

  const foreign = foreignMark(claims, hasOwnMark(claims, profile, options.headerType));
  if (foreign !== undefined) return reject('not-an-access-token', `refused: ${foreign}`);
  if (options.senderConstraint !== null && isSenderConstrained(claims)) {
    return reject(
      'sender-constrained',
      'refused: it is bound to a key, which is not verified here',
    );
  }

  const clientId = readClientId(claims, profile.clientId);
  if (!clientId.ok) return reject('claims-malformed', `refused: ${clientId.fault}`);
  if (!isAccessToken(claims, clientId.value, profile, options.headerType)) {
    const why = 'refused: its audience is its own client, as in an ID token';
    return reject('not-an-access-token', why);
  }
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
  const barrier = barrierOfLists(clientId.value, kind, options);
  if (barrier !== undefined) return reject('client-not-allowed', `refused: ${barrier}`);
  const scopes = readScopes(claims, options.scopeClaims ?? profile.scopes[kind]);
  if (!scopes.ok) return reject('claims-malformed', `refused: ${scopes.fault}`);
  if (options.scopeClaims !== undefined) {
    const names = options.scopeClaims.map((name) => `"${name}"`).join(' and ');
    explanation?.push(`scopes: read from ${names}`);
  }

  explanation?.push(`decided: a ${kind} token, by profile "${profile.name}"`);
  const subject = textOf(claims, 'sub') ?? clientId.value;
  const decided = { scopes: scopes.value, actor: actor.value };
  if (subject === undefined) return reject('claims-malformed', 'refused: it names no subject');
  if (!isService) return { kind: 'customer', subject, clientId: clientId.value, ...decided };
  // isServiceToken requires it; checked again for the type.
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

/** An ID token is meant for the client that it names; an access token may be, if it is marked as one. */
function isAccessToken(
  claims: JsonObject,
  clientId: string | undefined,
  { accessToken }: ClassificationProfile,
  headerType: string | undefined,
): boolean {
  if (!isMeantForItsClient(claims, clientId)) return true;
  if (isMarkedAsAccessToken(claims, headerType)) return true;
  return accessToken?.every((condition) => meets(claims, condition, headerType)) ?? false;
}

/** Whether the token has what the profile knows access tokens by. That something is absent proves nothing. */
function hasOwnMark(
  claims: JsonObject,
  { accessToken }: ClassificationProfile,
  headerType: string | undefined,
): boolean {
  return (
    accessToken?.every(
      (condition) => !asksForAbsence(condition) && meets(claims, condition, headerType),
    ) ?? false
  );
}

function isServiceToken(asked: Question): boolean {
  const { claims, clientId, options, profile } = asked;
  if (!holdsAll('service', profile.service, asked)) return false;
  if (!answer(asked, 'service', 'the claims name a client', clientId !== undefined)) return false;
  if (!isFreeOf(personMark(claims), 'service', 'it has no mark of a person', asked)) return false;
  return decidedByList('service', options.serviceClientIds, asked);
}

function isCustomerToken(asked: Question): boolean {
  const { claims, clientId, options, profile } = asked;
  if (profile.customer === 'never') {
    return answer(asked, 'customer', 'the issuer has customers', false);
  }
  if (!holdsAll('customer', profile.customer, asked)) return false;
  const subject = textOf(claims, 'sub');
  if (!answer(asked, 'customer', 'the claims name a subject', subject !== undefined)) return false;
  const client = clientAsSubject(claims) ?? subjectOnLists(subject, clientId, options);
  if (!isFreeOf(client, 'customer', '"sub" is not a client', asked)) return false;
  if (!isFreeOf(machineMark(claims), 'customer', 'it has no mark of a machine', asked)) {
    return false;
  }
  return decidedByList('customer', options.customerClientIds, asked);
}

/** A service's token may have been exchanged by another client: then `sub` is not the client that the token names. */
function subjectOnLists(
  subject: string | undefined,
  clientId: string | undefined,
  { serviceClientIds }: ClassifyOptions,
): string | undefined {
  if (subject === clientId) return '"sub" is the client';
  return serviceClientIds?.some((id) => id === subject)
    ? '"sub" is on the list for service tokens'
    : undefined;
}

function holdsAll(
  kind: 'service' | 'customer',
  conditions: readonly Condition[],
  asked: Question,
): boolean {
  return conditions.every((condition) =>
    answer(asked, kind, condition, meets(asked.claims, condition, asked.options.headerType)),
  );
}

/** @param mark what speaks against the kind. */
function isFreeOf(
  mark: string | undefined,
  kind: 'service' | 'customer',
  what: string,
  asked: Question,
): boolean {
  return answer(asked, kind, what, mark === undefined, mark === undefined ? 'yes' : `no, ${mark}`);
}

function decidedByList(
  kind: 'service' | 'customer',
  list: readonly string[] | undefined,
  asked: Question,
): boolean {
  if (asked.profile.decidedBy !== 'client-ids') return true;
  const isOnList = list?.some((id) => id === asked.clientId) ?? false;
  return answer(asked, kind, `the client is on the list for ${kind} tokens`, isOnList);
}

/** @param came the answer in words, if it is more than yes or no. */
function answer(
  { claims, explanation }: Question,
  kind: 'service' | 'customer',
  what: string | Condition,
  holds: boolean,
  came = holds ? 'yes' : 'no',
): boolean {
  if (explanation !== undefined) {
    explanation.push(
      typeof what === 'string'
        ? `${kind}: ${what}: ${came}`
        : `${kind}: ${describeCondition(what)}: ${holds ? came : refutation(claims, what)}`,
    );
  }
  return holds;
}

/** Why a condition does not hold; of an absent claim, only that it is absent. */
function refutation(claims: JsonObject, condition: Condition): string {
  const missing = missingClaims(claims, condition);
  if (missing.length === 0) return 'no';
  const names = missing.map((name) => `"${name}"`).join(' and ');
  const absence = `${names} ${missing.length === 1 ? 'is' : 'are'} absent`;
  return 'anyOf' in condition || 'allOf' in condition ? `no (${absence})` : absence;
}

/** Why the lists exclude the client. A client that only the other kind's list names is not of this kind. */
function barrierOfLists(
  clientId: string | undefined,
  kind: 'service' | 'customer',
  { serviceClientIds, customerClientIds }: ClassifyOptions,
): string | undefined {
  const isService = kind === 'service';
  const [own, other] = isService
    ? [serviceClientIds, customerClientIds]
    : [customerClientIds, serviceClientIds];
  const isOn = (list: readonly string[]): boolean => list.some((id) => id === clientId);
  if (own !== undefined) {
    return isOn(own) ? undefined : `the client is not on the list for ${kind} tokens`;
  }
  return other !== undefined && isOn(other)
    ? `the client is only on the list for ${isService ? 'customer' : 'service'} tokens`
    : undefined;
}

/** A fact read from the claims, or `malformed` when they contradict themselves or have a wrong type. */
type Fact<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: string };

const fact = <T>(value: T): Fact<T> => ({ ok: true, value });
const fault = (text: string): Fact<never> => ({ ok: false, fault: text });

/**
 * The client's id. Sources that are there must agree: two ids would let one pass a list made for the other. A source of
 * last resort (`otherwise`) is asked only when those before it name none.
 */
function readClientId(
  claims: JsonObject,
  sources: readonly ClientIdSource[],
): Fact<string | undefined> {
  let found: string | undefined;
  for (const source of sources) {
    if (typeof source !== 'string' && 'otherwise' in source) {
      found ??= textOf(claims, source.otherwise);
      continue;
    }
    const name = typeof source === 'string' ? source : source.claim;
    const text = textOf(claims, name);
    if (text === undefined) {
      if (own(claims, name) !== undefined) {
        return fault(`"${name}" must be a non-empty string`);
      }
      continue;
    }
    const id = extractId(text, source);
    if (id === undefined) continue;
    if (found !== undefined && found !== id) return fault('the claims name two different clients');
    found = id;
  }
  return fact(found);
}

function extractId(
  text: string,
  source: Exclude<ClientIdSource, { otherwise: string }>,
): string | undefined {
  if (typeof source === 'string') return text;
  if ('startsWith' in source) return text.startsWith(source.startsWith) ? text : undefined;
  const [before, after] = source.between;
  const isFramed = text.startsWith(before) && text.endsWith(after);
  return isFramed && text.length > before.length + after.length
    ? text.slice(before.length, text.length - after.length)
    : undefined;
}

/** The scopes in the named claims: texts with spaces, or lists of texts. */
function readScopes(claims: JsonObject, names: readonly string[]): Fact<readonly string[]> {
  const scopes = new Set<string>();
  for (const name of names) {
    const value = own(claims, name);
    if (value === undefined) continue;
    const list = typeof value === 'string' ? value.split(' ') : stringList(value);
    if (list === undefined) return fault(`"${name}" must be a string or a list of strings`);
    for (const scope of list) if (scope !== '') scopes.add(scope);
  }
  return fact([...scopes]);
}

/** The actor in `act` (RFC 8693 §4.1). The depth of the chain is bounded by that of the claims. */
function readActor(claims: JsonObject): Fact<Actor | undefined> {
  const value = own(claims, 'act');
  if (value === undefined) return fact(undefined);
  const subject = isJsonObject(value) ? textOf(value, 'sub') : undefined;
  if (!isJsonObject(value) || subject === undefined) {
    return fault('"act" must be an object with a non-empty "sub"');
  }
  const issuer = own(value, 'iss');
  if (issuer !== undefined && typeof issuer !== 'string')
    return fault('"act.iss" must be a string');
  const before = readActor(value);
  return before.ok ? fact({ subject, issuer, actor: before.value }) : before;
}
