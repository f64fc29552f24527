import {
  auth0,
  cognito,
  entra,
  keycloak,
  kinde,
  kubernetes,
  pingAm,
  workos,
} from './marked-providers.js';
import type { ClassificationProfile } from './profile.js';
import {
  authentik,
  duende,
  hydra,
  okta,
  pingone,
  rfc9068,
  spring,
  zitadel,
} from './unmarked-providers.js';

/** The built-in profiles by name. */
export const PROFILES = {
  rfc9068,
  auth0,
  okta,
  entra,
  cognito,
  keycloak,
  'ping-am': pingAm,
  pingone,
  workos,
  hydra,
  spring,
  duende,
  kinde,
  kubernetes,
  zitadel,
  authentik,
} as const satisfies Record<string, ClassificationProfile>;

/** The name of a built-in profile. */
export type ProfileName = keyof typeof PROFILES;

/** The names of all built-in profiles. */
export const PROFILE_NAMES: readonly ProfileName[] = Object.keys(PROFILES) as ProfileName[];

/** True for the name of a built-in profile. */
export function isProfileName(name: string): name is ProfileName {
  return Object.hasOwn(PROFILES, name);
}
