import { isJsonObject, type JsonObject } from '../tokens/json.js';
import type { Principal } from './principal.js';
import { own } from './profiles/profile.js';

/** A value that a claim may be compared with. */
export type ClaimValue = string | number | boolean;

/**
 * What one claim must be. A missing claim, and one that is `null`, meets nothing. Values are compared exactly: type, case and
 * code points count, so that `1` is not `'1'`.
 *
 * - a value: the claim is this value. A list with it in it does not count: see `includes`.
 * - `oneOf`: the claim is one of these values.
 * - `includes`: the claim is a list with this value, or with all of these, in it.
 * - `includesAny`: the claim is a list with at least one of these in it.
 *
 * A list counts only if all of it are texts, numbers and booleans. A text with spaces is not a list.
 */
export type ClaimExpectation =
  | ClaimValue
  | { readonly oneOf: readonly ClaimValue[] }
  | { readonly includes: ClaimValue | readonly ClaimValue[] }
  | { readonly includesAny: readonly ClaimValue[] };

/** Claims of which `RequireClaims()` is not the judge: scopes have `RequireScopes()`, and times are judged already. */
type JudgedElsewhere = 'scope' | 'scp' | 'exp' | 'nbf' | 'iat';

/** What claims must be, by their names: all of it. */
export type RequiredClaims = { readonly [name: string]: ClaimExpectation } & {
  readonly [Name in JudgedElsewhere]?: never;
};

/**
 * A check of your own. Only `true` lets the call through: a check that throws, or returns a promise, refuses it.
 *
 * @param claims all claims of the token, as they came; frozen.
 */
export type ClaimCheck = (claims: JsonObject, principal: Principal) => boolean;

/** One thing that is required of the claims. */
export interface ClaimRequirement {
  /** What is required, for logs: the claim's name, or the author's words. Never a claim's value. */
  readonly words: string;
  readonly holds: ClaimCheck;
}

/** Requirements, or what is wrong with them. */
type RequirementsReading =
  { readonly requirements: readonly ClaimRequirement[] } | { readonly fault: string };

/** Reads what claims must be. The result does not change with the object it was read from. */
export function readRequiredClaims(required: unknown): RequirementsReading {
  if (!isPlainObject(required)) {
    return { fault: 'it takes an object of claims, such as { tenant: "acme" }, or a function' };
  }
  const names = Object.keys(required);
  if (names.length === 0) return { fault: 'it requires no claim' };
  const requirements: ClaimRequirement[] = [];
  for (const name of names) {
    const elsewhere = ELSEWHERE.get(name);
    if (elsewhere !== undefined) return { fault: `"${name}" is not for it: ${elsewhere}` };
    const meets = readExpectation(required[name]);
    if (typeof meets === 'string') return { fault: `"${name}" ${meets}` };
    requirements.push({
      words: `the claim "${name}"`,
      holds: (claims) => meets(own(claims, name)),
    });
  }
  return { requirements };
}

/** Reads a check of one's own. @param words what it requires, for logs. */
export function readClaimCheck(check: unknown, words: unknown): RequirementsReading {
  if (typeof check !== 'function') return { fault: 'the check must be a function' };
  if (typeof words !== 'string' || words.trim() === '') {
    return { fault: 'a function needs words beside it that say what it requires' };
  }
  return { requirements: [{ words, holds: check as ClaimCheck }] };
}

/** The first requirement that is not met; `undefined` when all are. @throws nothing: a check that fails is not met. */
export function unmetRequirement(
  requirements: readonly ClaimRequirement[],
  principal: Principal,
): { readonly words: string; readonly error: unknown } | undefined {
  for (const { words, holds } of requirements) {
    try {
      const answer: unknown = holds(principal.claims, principal);
      if (answer === true) continue;
      return { words, error: answer === false ? undefined : notBoolean(answer) };
    } catch (error) {
      return { words, error: error ?? new TypeError('The check threw nothing.') };
    }
  }
  return undefined;
}

function notBoolean(answer: unknown): TypeError {
  if (answer instanceof Promise) {
    // Its own failure adds nothing to the one that is reported, and must not end the process.
    answer.catch(() => undefined);
    return new TypeError('The check returned a promise. Only true or false can be judged.');
  }
  return new TypeError(`The check returned ${typeof answer}. Only true or false can be judged.`);
}

const TIMES = 'the guard judges times by itself.';
const SCOPES = 'require scopes by RequireScopes(), or "scopes".';
const ELSEWHERE: ReadonlyMap<string, string> = new Map<JudgedElsewhere, string>([
  ['scope', SCOPES],
  ['scp', SCOPES],
  ['exp', TIMES],
  ['nbf', TIMES],
  ['iat', TIMES],
]);

const FORMS =
  'must be a text, a number, a boolean, { oneOf: […] }, { includes: … } or { includesAny: […] }';

/** @returns the test, or what is wrong, as the second half of a sentence. */
function readExpectation(expected: unknown): ((value: unknown) => boolean) | string {
  if (isClaimValue(expected)) {
    return isUsable(expected) ? (value) => value === expected : EMPTY;
  }
  if (Array.isArray(expected)) {
    return 'is a list, which can mean two things: write { oneOf: […] } for one value out of several, or { includes: […] } for a list with all of them';
  }
  if (!isPlainObject(expected)) return FORMS;
  const [[form, given] = [], ...others] = Object.entries(expected);
  if (others.length > 0) return FORMS;
  const list: unknown = form === 'includes' && isClaimValue(given) ? [given] : given;
  // A copy has `undefined` in place of holes, which "every" passes over, and which a missing claim would meet.
  const values: unknown = Array.isArray(list) ? [...list] : list;
  if (form !== 'oneOf' && form !== 'includes' && form !== 'includesAny') return FORMS;
  if (!Array.isArray(values) || values.length === 0) return `needs at least one value in "${form}"`;
  if (!values.every(isClaimValue)) return `may have only texts, numbers and booleans in "${form}"`;
  if (!values.every(isUsable)) return EMPTY;
  const wanted = new Set<unknown>(values);
  if (form === 'oneOf') return (value) => wanted.has(value);
  return (value) => {
    if (!Array.isArray(value) || !value.every(isClaimValue)) return false;
    const present = new Set<unknown>(value);
    const isPresent = (one: unknown): boolean => present.has(one);
    return form === 'includes' ? [...wanted].every(isPresent) : [...wanted].some(isPresent);
  };
}

const EMPTY = 'is empty or not a number of JSON: a setting may be missing';

function isClaimValue(value: unknown): value is ClaimValue {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

/** An empty text, and a number that JSON has not, are mistakes: a variable of the environment that is not set. */
function isUsable(value: ClaimValue): boolean {
  return value !== '' && (typeof value !== 'number' || Number.isFinite(value));
}

/** A literal's `__proto__` replaces its prototype: such an object requires less than it says. */
function isPlainObject(value: unknown): value is JsonObject {
  if (!isJsonObject(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
