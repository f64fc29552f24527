import type { Condition } from './conditions.js';
import type { ClassificationProfile } from './profile.js';
import { absent, anyPresent, either, PERSON_CLAIMS, SCOPE, SCOPE_OR_SCP } from './vocabulary.js';

// Providers that mark a machine's token positively.

/**
 * Auth0, with its own access token profile (`gty`, `azp`) or RFC 9068 (`client_id`, `jti`). A person's `sub` always
 * has the form connection|id. `permissions` are not read as scopes: they list what the person may do, not what the
 * client was granted.
 */
export const auth0 = {
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
 * `azpacr` tell how the client authenticated, and `roles` stands in tokens of both kinds: neither is asked.
 */
export const entra = {
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
export const cognito = {
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
 * Keycloak. A machine is a user of its own, so `sub` tells nothing. The name alone is not enough either: a person may
 * register as service-account-something, but only the client-credentials grant adds the client's id as `client_id`
 * (`clientId` in older versions). User names are kept in lower case there, client ids are not.
 */
export const keycloak = {
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
export const pingAm = {
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
export const workos = {
  name: 'workos',
  clientId: ['client_id', { claim: 'sub', startsWith: 'client_' }],
  service: [{ claim: 'sub', startsWith: 'client_' }, ...absent(...PERSON_CLAIMS)],
  customer: [{ claim: 'sub', startsWith: 'user_' }, { present: 'sid' }],
  scopes: SCOPE,
} as const satisfies ClassificationProfile;

/** Kinde. A person's id begins with `kp_`; ID tokens have no `scp`. */
export const kinde = {
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
export const kubernetes = {
  name: 'kubernetes',
  clientId: [{ claim: 'sub', startsWith: 'system:serviceaccount:' }],
  service: [{ claim: 'sub', startsWith: 'system:serviceaccount:' }],
  customer: 'never',
  scopes: { service: [], customer: [] },
} as const satisfies ClassificationProfile;
