import type { Condition, ClassificationProfile } from './profile.js';

/** Claims that only a person's token has, where the provider sends them. */
const PERSON_CLAIMS = [
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
const absent = (...names: readonly string[]): readonly Condition[] =>
  names.map((name) => ({ absent: name }));
/** At least one of the claims is there. */
const anyPresent = (...names: readonly string[]): Condition => ({
  anyOf: names.map((name) => ({ present: name })),
});
/** At least one of the conditions holds. */
const either = (...anyOf: readonly Condition[]): Condition => ({ anyOf });

/** Scopes stand in `scope` (RFC 9068 §2.2.3). */
const SCOPE = { service: ['scope'], customer: ['scope'] } as const;
/** Scopes stand in `scp`. */
const SCP = { service: ['scp'], customer: ['scp'] } as const;
/** Scopes stand in either of the two. */
const SCOPE_OR_SCP = { service: ['scope', 'scp'], customer: ['scope', 'scp'] } as const;

// Providers that mark a machine's token positively.

/**
 * Auth0, with its own access token profile (`gty`, `azp`) or RFC 9068 (`client_id`, `jti`). A person's `sub` always
 * has the form connection|id. `permissions` are not read as scopes unless the issuer's `scopeClaims` says so: they
 * list what the person may do, not what the client was granted.
 */
const auth0 = {
  name: 'auth0',
  clientId: ['azp', 'client_id', { claim: 'sub', between: ['', '@clients'] }],
  service: [
    { claim: 'sub', endsWith: '@clients' },
    either(
      { claim: 'gty', equals: 'client-credentials' },
      { allOf: [{ absent: 'gty' }, { present: 'client_id' }, { present: 'jti' }] },
    ),
  ],
  customer: [
    { claim: 'sub', contains: '|' },
    // Its ID tokens name no client but as audience.
    anyPresent('azp', 'client_id'),
    either(
      { absent: 'gty' },
      { claim: 'gty', notStartsWith: 'client-credentials' },
      { claim: 'gty', arrayExcludes: 'client-credentials' },
    ),
  ],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/**
 * Entra ID, both token versions. Request the optional claim `idtyp`; without it `oid === sub` decides. `appidacr` and
 * `azpacr` say how the client authenticated, and `roles` is in tokens of both kinds: neither is asked.
 */
const entra = {
  name: 'entra',
  clientId: ['azp', 'appid'],
  service: [
    { absent: 'scp' },
    either(
      { claim: 'idtyp', equals: 'app' },
      {
        allOf: [
          { claim: 'oid', sameAs: 'sub' },
          ...absent('idtyp', 'name', 'preferred_username', 'upn', 'unique_name'),
        ],
      },
    ),
  ],
  customer: [
    { present: 'scp' },
    either({ absent: 'idtyp' }, { claim: 'idtyp', equals: 'user' }),
    either({ absent: 'oid' }, { claim: 'oid', differsFrom: 'sub' }),
  ],
  scopes: { service: ['roles'], customer: ['scp'] },
} as const satisfies ClassificationProfile;

/** Cognito user pools. Access tokens have no `aud`: set the issuer's audiences to `null`, and list the client ids. */
const cognito = {
  name: 'cognito',
  clientId: ['client_id'],
  service: [
    { claim: 'token_use', equals: 'access' },
    { claim: 'sub', sameAs: 'client_id' },
    ...absent('username', 'cognito:groups', 'cognito:username'),
  ],
  customer: [
    { claim: 'token_use', equals: 'access' },
    { present: 'username' },
    { claim: 'sub', differsFrom: 'client_id' },
  ],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/** What the payload calls an access token; a client's setting makes it lower case. */
const ACCESS_TYPE: Condition = { claim: 'typ', oneOf: ['Bearer', 'bearer', 'DPoP', 'dpop'] };

/**
 * Keycloak. A machine is a user of its own, so `sub` says nothing. The name alone is not enough either: a person may
 * register as service-account-something, but only the client-credentials grant adds the client's id as `client_id`
 * (`clientId` in older versions). User names are kept in lower case there, client ids are not.
 */
const keycloak = {
  name: 'keycloak',
  clientId: ['azp', 'client_id', 'clientId'],
  service: [
    {
      claim: 'preferred_username',
      sameAs: 'azp',
      prefix: 'service-account-',
      ignoreCase: true,
    },
    either({ claim: 'client_id', sameAs: 'azp' }, { claim: 'clientId', sameAs: 'azp' }),
    either({ absent: 'typ' }, ACCESS_TYPE),
  ],
  customer: [{ claim: 'preferred_username', notStartsWith: 'service-account-' }, ACCESS_TYPE],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/** PingAM and ForgeRock: the subject says what it is, since version 7. `auth_time` is in both kinds. */
const pingAm = {
  name: 'ping-am',
  clientId: ['client_id', { claim: 'sub', between: ['(age!', ')'] }],
  service: [
    { claim: 'sub', startsWith: '(age!', endsWith: ')' },
    either({ absent: 'tokenName' }, { claim: 'tokenName', equals: 'access_token' }),
  ],
  customer: [
    { claim: 'sub', startsWith: '(usr!', endsWith: ')' },
    either({ absent: 'tokenName' }, { claim: 'tokenName', equals: 'access_token' }),
  ],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/** WorkOS Connect: the subject is the client, or the user with a session. */
const workos = {
  name: 'workos',
  clientId: ['client_id', { claim: 'sub', startsWith: 'client_' }],
  service: [{ claim: 'sub', startsWith: 'client_' }, ...absent(...PERSON_CLAIMS)],
  customer: [{ claim: 'sub', startsWith: 'user_' }, { present: 'sid' }],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/** Kinde. A person's id begins with `kp_`; ID tokens have no `scp`. */
const kinde = {
  name: 'kinde',
  clientId: ['azp'],
  service: [{ claim: 'gty', arrayIncludes: 'client_credentials' }, { absent: 'sub' }],
  customer: [
    { claim: 'sub', startsWith: 'kp_' },
    either(
      { allOf: [{ list: 'scp' }, { absent: 'gty' }] },
      { claim: 'gty', arrayExcludes: 'client_credentials' },
    ),
  ],
  scopes: SCOPE_OR_SCP,
} as const satisfies ClassificationProfile;

/** Kubernetes service accounts: always a machine. The client id is the whole subject. */
const kubernetes = {
  name: 'kubernetes',
  clientId: [{ claim: 'sub', startsWith: 'system:serviceaccount:' }],
  service: [{ claim: 'sub', startsWith: 'system:serviceaccount:' }],
  customer: 'never',
  scopes: { service: [], customer: [] },
} as const satisfies ClassificationProfile;

// Providers whose machine tokens are known by the subject and by what is absent, or not at all.

/**
 * RFC 9068 §2.2: without a person `sub` is the client. The default for providers that follow it (oidc-provider among
 * them). Claims about the login are optional there (§2.2.1), so that another `sub` is enough where the token says that it
 * follows the RFC: the header's type, and every claim that it requires. Otherwise at least one claim about a person or
 * their login is needed.
 */
const rfc9068 = {
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
const spring = {
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
const okta = {
  name: 'okta',
  clientId: ['cid'],
  service: [{ claim: 'sub', sameAs: 'cid' }, ...absent('uid', 'auth_time')],
  customer: [{ present: 'uid' }, { claim: 'sub', differsFrom: 'cid' }],
  scopes: SCP,
} as const satisfies ClassificationProfile;

/** PingOne: a machine's token has no login, and no `sub` unless one is mapped. */
const pingone = {
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
const hydra = {
  name: 'hydra',
  clientId: ['client_id'],
  service: [{ claim: 'sub', sameAs: 'client_id' }, ...absent(...PERSON_CLAIMS)],
  // All of its tokens have these; `sub` alone would fit machines of other providers.
  customer: [{ claim: 'sub', differsFrom: 'client_id' }, either({ list: 'scp' }, { given: 'ext' })],
  scopes: SCOPE_OR_SCP,
} as const satisfies ClassificationProfile;

/** Duende IdentityServer: a machine's token has no `sub`; a person's describes the login. */
const duende = {
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
const zitadel = {
  name: 'zitadel',
  clientId: ['client_id', 'azp'],
  // A machine has no session, and did not log in.
  service: [{ present: 'sub' }, ...absent('sid', 'amr')],
  customer: [{ present: 'sub' }],
  accessToken: [{ present: 'jti' }, { absent: 'azp' }],
  scopes: SCOPE,
  decidedBy: 'client-ids',
} as const satisfies ClassificationProfile;

/**
 * authentik: one provider mints both kinds for one client id, so each kind needs a provider of its own and the lists decide.
 * Its access token is the ID token, `nonce` included, with `azp` and `uid` added. A mapping may add a `uid` to both.
 */
const authentik = {
  name: 'authentik',
  clientId: ['azp', 'client_id'],
  // A machine has no session, and did not log in.
  service: [{ present: 'sub' }, ...absent('sid', 'amr')],
  customer: [{ present: 'sub' }],
  accessToken: [{ present: 'uid' }, { present: 'azp' }],
  scopes: SCOPE,
  decidedBy: 'client-ids',
} as const satisfies ClassificationProfile;

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
