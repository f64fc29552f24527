import type { ClassificationProfile } from './profile.js';
import {
  absent,
  anyPresent,
  either,
  PERSON_CLAIMS,
  SCOPE,
  SCOPE_OR_SCP,
  SCP,
} from './vocabulary.js';

// Providers whose machine tokens are known by the subject and by what is absent, or not at all.

/**
 * RFC 9068 §2.2: without a person `sub` is the client. The default for providers that follow it (oidc-provider among
 * them). A customer token must carry at least one claim about a person or their login.
 */
export const rfc9068 = {
  name: 'rfc9068',
  clientId: ['client_id'],
  service: [{ claim: 'sub', sameAs: 'client_id' }, ...absent(...PERSON_CLAIMS)],
  customer: [{ claim: 'sub', differsFrom: 'client_id' }, anyPresent(...PERSON_CLAIMS)],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/** Okta custom authorization servers. */
export const okta = {
  name: 'okta',
  clientId: ['cid'],
  service: [{ claim: 'sub', sameAs: 'cid' }, ...absent('uid', 'auth_time')],
  customer: [{ present: 'uid' }, { claim: 'sub', differsFrom: 'cid' }],
  scopes: SCP,
} as const satisfies ClassificationProfile;

/** PingOne: a machine's token has no login, and no `sub` unless one is mapped. */
export const pingone = {
  name: 'pingone',
  clientId: ['client_id'],
  service: [
    { present: 'client_id' },
    either({ absent: 'sub' }, { claim: 'sub', sameAs: 'client_id' }),
    ...absent(...PERSON_CLAIMS),
  ],
  customer: [{ claim: 'sub', differsFrom: 'client_id' }, anyPresent('auth_time', 'acr')],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/**
 * Ory Hydra. Its tokens have no claim about a person. With the jwt-bearer grant, `sub` comes from the assertion and may
 * name a machine: name the clients that people use in `customerClientIds` when that grant is allowed.
 */
export const hydra = {
  name: 'hydra',
  clientId: ['client_id'],
  service: [{ claim: 'sub', sameAs: 'client_id' }, ...absent(...PERSON_CLAIMS)],
  customer: [{ claim: 'sub', differsFrom: 'client_id' }],
  scopes: SCOPE_OR_SCP,
} as const satisfies ClassificationProfile;

/** Duende IdentityServer: a machine's token has no `sub`; a person's tells of the login. */
export const duende = {
  name: 'duende',
  clientId: ['client_id'],
  service: [{ present: 'client_id' }, ...absent('sub', 'idp', ...PERSON_CLAIMS)],
  customer: [
    { claim: 'sub', differsFrom: 'client_id' },
    anyPresent('auth_time', 'idp', 'amr', 'sid'),
  ],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/** Zitadel: machines are users like any other, so the lists of client ids decide. */
export const zitadel = {
  name: 'zitadel',
  clientId: ['client_id', 'azp'],
  service: [{ present: 'sub' }],
  customer: [{ present: 'sub' }],
  scopes: SCOPE,
  decidedBy: 'client-ids',
} as const satisfies ClassificationProfile;

/** authentik: one provider mints both kinds for one client id, so each kind needs a provider of its own and the lists decide. */
export const authentik = {
  name: 'authentik',
  clientId: ['azp', 'client_id'],
  service: [{ present: 'sub' }],
  customer: [{ present: 'sub' }],
  scopes: SCOPE,
  decidedBy: 'client-ids',
} as const satisfies ClassificationProfile;
