import type { Condition } from './conditions.js';

/** Claims that only a person's token has, where the provider sends them. */
export const PERSON_CLAIMS = [
  'auth_time',
  'acr',
  'amr',
  'sid',
  'username',
  'preferred_username',
  'email',
  'name',
  'given_name',
  'family_name',
  'phone_number',
] as const;

/** None of the claims is there. */
export const absent = (...names: readonly string[]): readonly Condition[] =>
  names.map((name) => ({ absent: name }));
/** At least one of the claims is there. */
export const anyPresent = (...names: readonly string[]): Condition => ({
  anyOf: names.map((name) => ({ present: name })),
});
/** At least one of the conditions holds. */
export const either = (...anyOf: readonly Condition[]): Condition => ({ anyOf });

/** Scopes stand in `scope` (RFC 9068 §2.2.3). */
export const SCOPE = { service: ['scope'], customer: ['scope'] } as const;
/** Scopes stand in `scp`. */
export const SCP = { service: ['scp'], customer: ['scp'] } as const;
/** Scopes stand in either of the two. */
export const SCOPE_OR_SCP = { service: ['scope', 'scp'], customer: ['scope', 'scp'] } as const;
