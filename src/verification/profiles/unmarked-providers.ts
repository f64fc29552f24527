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
 * them). Claims about the login are optional there (§2.2.1), so that another `sub` is enough where the token says that it
 * follows the RFC: the header's type, and every claim that it requires. Otherwise at least one claim about a person or
 * their login is needed.
 */
export const rfc9068 = {
  name: 'rfc9068',
  clientId: ['client_id'],
  service: [{ claim: 'sub', sameAs: 'client_id' }, ...absent(...PERSON_CLAIMS)],
  customer: [
    { claim: 'sub', differsFrom: 'client_id' },
    either(anyPresent(...PERSON_CLAIMS), {
      allOf: [
        { headerType: 'at+jwt' },
        { given: 'aud' },
        { present: 'exp' },
        { present: 'iat' },
        { present: 'jti' },
      ],
    }),
  ],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/**
 * Spring Authorization Server. By default its tokens have no `client_id`, and the client's id is the audience; both are
 * understood with and without a token customizer. A person's name may be that of a client: name the clients that are
 * services in `serviceClientIds`.
 */
export const spring = {
  name: 'spring',
  clientId: ['client_id', { otherwise: 'aud' }],
  service: [
    either(
      { claim: 'sub', sameAs: 'client_id' },
      { allOf: [{ absent: 'client_id' }, { claim: 'sub', sameAs: 'aud' }] },
    ),
    ...absent('azp', ...PERSON_CLAIMS),
  ],
  customer: [
    either(
      { claim: 'sub', differsFrom: 'client_id' },
      { allOf: [{ absent: 'client_id' }, { claim: 'sub', differsFrom: 'aud' }] },
    ),
    // It writes scopes as a list, and no client into `azp` but in ID tokens.
    { list: 'scope' },
    ...absent('azp', 'typ', 'scp'),
  ],
  accessToken: [{ present: 'nbf' }, { absent: 'azp' }],
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
 * Ory Hydra. Its tokens have no claim about a person, and a person's `sub` is whatever the login application says, also
 * the id of a client: name the clients that are services in `serviceClientIds`. With the jwt-bearer grant, `sub` comes
 * from the assertion and may name a machine: name the clients that people use in `customerClientIds` when it is allowed.
 */
export const hydra = {
  name: 'hydra',
  clientId: ['client_id'],
  service: [{ claim: 'sub', sameAs: 'client_id' }, ...absent(...PERSON_CLAIMS)],
  // All of its tokens have these; `sub` alone would fit machines of other providers.
  customer: [{ claim: 'sub', differsFrom: 'client_id' }, either({ list: 'scp' }, { given: 'ext' })],
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

/** Zitadel: machines are users like any other, so the lists of client ids decide. Every token is for its own client, too. */
export const zitadel = {
  name: 'zitadel',
  clientId: ['client_id', 'azp'],
  // A machine has no session, and did not log in.
  service: [{ present: 'sub' }, ...absent('sid', 'amr')],
  customer: [{ present: 'sub' }],
  accessToken: [{ present: 'jti' }, { absent: 'azp' }],
  scopes: SCOPE,
  decidedBy: 'client-ids',
} as const satisfies ClassificationProfile;

/** authentik: one provider mints both kinds for one client id, so each kind needs a provider of its own and the lists decide. */
export const authentik = {
  name: 'authentik',
  clientId: ['azp', 'client_id'],
  // A machine has no session, and did not log in.
  service: [{ present: 'sub' }, ...absent('sid', 'amr')],
  customer: [{ present: 'sub' }],
  accessToken: [{ present: 'uid' }],
  scopes: SCOPE,
  decidedBy: 'client-ids',
} as const satisfies ClassificationProfile;
