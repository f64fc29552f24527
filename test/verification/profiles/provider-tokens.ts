import type { ClassifyOptions } from '../../../src/verification/profiles/classify.js';
import type { ProfileName } from '../../../src/verification/profiles/providers.js';

type Claims = Readonly<Record<string, unknown>>;

/** Claims in a provider's shape, without issuer, audience and times. */
export interface ProviderTokens {
  readonly profile: ProfileName;
  /** Lists that the profile cannot do without. */
  readonly options?: ClassifyOptions;
  readonly service: readonly (readonly [name: string, claims: Claims, clientId: string])[];
  readonly customer: readonly (readonly [name: string, claims: Claims])[];
  /** Neither, both, or contradictory. */
  readonly refused: readonly (readonly [name: string, claims: Claims])[];
}

const UUID = '5d0a4c3e-8f1b-4a57-9c55-1d2f6a7b8c9d';
const USER = '9b7c1f62-77aa-4b0e-8d1e-0f0c3a2b1d4e';
const lists = { serviceClientIds: ['job'], customerClientIds: ['web'] };

/** One row a provider; a test reads them as data. */
export const PROVIDER_TOKENS: readonly ProviderTokens[] = [
  {
    profile: 'rfc9068',
    service: [
      ['client credentials', { sub: 'job', client_id: 'job', jti: '1', scope: 'a b' }, 'job'],
      ['no value for a person', { sub: 'job', client_id: 'job', email: null, acr: null }, 'job'],
    ],
    customer: [
      ['with a login', { sub: USER, client_id: 'web', auth_time: 1_700_000_000, scope: 'a' }],
      ['with an address', { sub: USER, client_id: 'web', email: 'a@example.com' }],
    ],
    refused: [
      ['a client that calls itself a person', { sub: 'job', client_id: 'job', email: 'a@b.c' }],
      ['another subject and no sign of a person', { sub: USER, client_id: 'web' }],
      [
        'what RFC 9068 requires, without its type',
        { sub: USER, client_id: 'web', aud: 'api', exp: 2, iat: 1, jti: '1' },
      ],
      ['no client', { sub: USER, auth_time: 1_700_000_000 }],
      ['no subject', { client_id: 'job' }],
      ['the client as a list', { sub: 'job', client_id: ['job'] }],
      ['an empty sign of a person', { sub: USER, client_id: 'web', email: '' }],
    ],
  },
  {
    profile: 'auth0',
    service: [
      ['own profile', { sub: 'job@clients', azp: 'job', gty: 'client-credentials' }, 'job'],
      ['RFC 9068 profile', { sub: 'job@clients', client_id: 'job', jti: '1' }, 'job'],
    ],
    customer: [
      ['own profile', { sub: 'auth0|5f7c8ec7', azp: 'web', scope: 'openid read:a' }],
      ['RFC 9068 profile', { sub: 'google-oauth2|104', client_id: 'web', jti: '1' }],
      ['password grant', { sub: 'auth0|5f7c8ec7', azp: 'web', gty: 'password' }],
      ['delegation', { sub: 'auth0|5f7c8ec7', azp: 'web', act: { sub: 'agent-1' } }],
    ],
    refused: [
      ['gty without the subject', { sub: 'auth0|5', azp: 'job', gty: 'client-credentials' }],
      ['an agent by client credentials', { sub: 'agent-1', azp: 'job', gty: 'client-credentials' }],
      ['the subject without gty', { sub: 'job@clients', azp: 'job' }],
      [
        'another client in the subject',
        { sub: 'x@clients', azp: 'job', gty: 'client-credentials' },
      ],
      ['two clients', { sub: 'auth0|5', azp: 'web', client_id: 'other' }],
      ['no connection in the subject', { sub: 'somebody', azp: 'web' }],
      ['an ID token', { sub: 'auth0|5', aud: 'web', sid: 's', email: 'a@b.c' }],
      ['a person whose id ends like a machine', { sub: 'auth0|x@clients', azp: 'web' }],
      ['no name before @clients', { sub: '@clients', azp: 'job', gty: 'client-credentials' }],
      ['gty as a list', { sub: 'job@clients', azp: 'job', gty: ['client-credentials'] }],
    ],
  },
  {
    profile: 'okta',
    service: [
      ['client credentials', { sub: '0oa1', cid: '0oa1', scp: ['a'] }, '0oa1'],
      ['no value for a person', { sub: '0oa1', cid: '0oa1', uid: null }, '0oa1'],
    ],
    customer: [['a person', { sub: 'ann@example.com', cid: '0oa2', uid: '00u1', scp: ['a'] }]],
    refused: [
      ['a client with a uid', { sub: '0oa1', cid: '0oa1', uid: '00u1' }],
      ['another subject without uid', { sub: 'ann@example.com', cid: '0oa2' }],
      ['uid empty', { sub: 'ann@example.com', cid: '0oa2', uid: '' }],
      ['no client', { sub: 'ann@example.com', uid: '00u1' }],
    ],
  },
  {
    profile: 'entra',
    service: [
      ['version 2', { sub: UUID, oid: UUID, azp: 'job', idtyp: 'app', roles: ['A.Read'] }, 'job'],
      ['version 1', { sub: UUID, oid: UUID, appid: 'job', idtyp: 'app' }, 'job'],
      ['without the optional claim', { sub: UUID, oid: UUID, azp: 'job', azpacr: '1' }, 'job'],
    ],
    customer: [
      ['a person', { sub: 'pair-wise', oid: USER, azp: 'web', scp: 'a b', roles: ['Admin'] }],
      [
        'by a confidential client',
        { sub: 'pair-wise', oid: USER, azp: 'web', azpacr: '1', scp: 'a' },
      ],
      ['marked as a person', { sub: 'pair-wise', oid: USER, azp: 'web', scp: 'a', idtyp: 'user' }],
    ],
    refused: [
      ['app with scopes', { sub: UUID, oid: UUID, azp: 'job', idtyp: 'app', scp: 'a' }],
      ['app with scopes, no oid', { sub: UUID, azp: 'job', idtyp: 'app', scp: 'a' }],
      ['roles alone', { sub: 'pair-wise', oid: USER, azp: 'job', roles: ['A.Read'] }],
      ['oid alone', { oid: UUID, azp: 'job' }],
      ['neither oid nor idtyp', { sub: UUID, azp: 'job' }],
      ['scopes with oid === sub', { sub: UUID, oid: UUID, azp: 'web', scp: 'a' }],
      ['another idtyp', { sub: 'p', oid: USER, azp: 'web', scp: 'a', idtyp: 'device' }],
      ['a machine with a name', { sub: UUID, oid: UUID, azp: 'job', preferred_username: 'ann' }],
    ],
  },
  {
    profile: 'cognito',
    service: [['client credentials', { token_use: 'access', sub: 'job', client_id: 'job' }, 'job']],
    customer: [['a person', { token_use: 'access', sub: USER, client_id: 'web', username: 'ann' }]],
    refused: [
      ['an ID token', { token_use: 'id', sub: USER, client_id: 'web', username: 'ann' }],
      ['no token_use', { sub: 'job', client_id: 'job' }],
      [
        'a client with a user name',
        { token_use: 'access', sub: 'j', client_id: 'j', username: 'a' },
      ],
      ['another subject, no user name', { token_use: 'access', sub: USER, client_id: 'web' }],
      ['token_use as a list', { token_use: ['access'], sub: 'job', client_id: 'job' }],
    ],
  },
  {
    profile: 'keycloak',
    service: [
      [
        'client credentials',
        {
          sub: UUID,
          azp: 'Job',
          client_id: 'Job',
          preferred_username: 'service-account-job',
          typ: 'Bearer',
        },
        'Job',
      ],
      [
        'older versions',
        { sub: UUID, azp: 'job', clientId: 'job', preferred_username: 'service-account-job' },
        'job',
      ],
    ],
    customer: [
      ['a person', { sub: USER, azp: 'web', preferred_username: 'ann', sid: 's', typ: 'Bearer' }],
      [
        'the type in small letters, and a nonce as before version 25',
        { sub: USER, azp: 'web', preferred_username: 'ann', typ: 'bearer', nonce: 'n' },
      ],
    ],
    refused: [
      [
        'a person who took such a name',
        { sub: USER, azp: 'web', preferred_username: 'service-account-web' },
      ],
      [
        'the same in capitals',
        { sub: USER, azp: 'web', preferred_username: 'Service-Account-web' },
      ],
      [
        'the name of another client',
        { sub: UUID, azp: 'job', client_id: 'job', preferred_username: 'service-account-x' },
      ],
      ['a client without the name', { sub: UUID, azp: 'job', client_id: 'job' }],
      ['a refresh token', { sub: USER, azp: 'web', preferred_username: 'ann', typ: 'Refresh' }],
      ['an ID token', { sub: USER, azp: 'web', preferred_username: 'ann', typ: 'ID' }],
      ['an unknown type', { sub: USER, azp: 'web', preferred_username: 'ann', typ: 'Other' }],
      ['two clients', { sub: USER, azp: 'web', client_id: 'job', preferred_username: 'ann' }],
      ['no type', { sub: USER, azp: 'web', preferred_username: 'ann' }],
      ['bound to a key', { sub: USER, azp: 'web', preferred_username: 'ann', typ: 'DPoP' }],
    ],
  },
  {
    profile: 'ping-am',
    service: [
      ['client credentials', { sub: '(age!job)', tokenName: 'access_token', auth_time: 1 }, 'job'],
      ['with the client', { sub: '(age!job)', client_id: 'job' }, 'job'],
    ],
    customer: [['a person', { sub: '(usr!ann)', tokenName: 'access_token', client_id: 'web' }]],
    refused: [
      ['an older version without the form', { sub: 'job', grant_type: 'client_credentials' }],
      ['another client in the subject', { sub: '(age!job)', client_id: 'other' }],
      ['an ID token', { sub: '(usr!ann)', tokenName: 'id_token' }],
      ['an empty client', { sub: '(age!)' }],
      ['not closed', { sub: '(age!job' }],
    ],
  },
  {
    profile: 'pingone',
    service: [
      ['client credentials', { client_id: 'job', scope: 'a' }, 'job'],
      ['with a mapped subject', { client_id: 'job', sub: 'job' }, 'job'],
    ],
    customer: [
      ['a person', { client_id: 'web', sub: USER, sid: 's', auth_time: 1, acr: 'Single_Factor' }],
    ],
    refused: [
      ['a client with a login', { client_id: 'job', auth_time: 1 }],
      ['a client with a session', { client_id: 'job', sub: 'job', sid: 's' }],
      ['another subject without login', { client_id: 'web', sub: USER }],
      ['nothing', {}],
    ],
  },
  {
    profile: 'workos',
    service: [['machine', { sub: 'client_01HX', org_id: 'org_1' }, 'client_01HX']],
    customer: [['a person', { sub: 'user_01HX', sid: 'app_consent_1', org_id: 'org_1' }]],
    refused: [
      ['a client with a session', { sub: 'client_01HX', sid: 'session_1' }],
      ['a person without a session', { sub: 'user_01HX' }],
      ['another client', { sub: 'client_01HX', client_id: 'client_02HX' }],
      ['something else', { sub: 'profile_01HX', sid: 's' }],
    ],
  },
  {
    profile: 'hydra',
    service: [['client credentials', { sub: 'job', client_id: 'job', scp: ['a'], ext: {} }, 'job']],
    customer: [['a person', { sub: USER, client_id: 'web', scp: ['a'], ext: {} }]],
    refused: [
      ['no client', { sub: USER }],
      ['no subject', { client_id: 'job' }],
      ['a client with a name', { sub: 'job', client_id: 'job', email: 'a@b.c' }],
      ['a machine of another provider', { sub: USER, client_id: 'web', jti: '1' }],
      ['a person called like the client', { sub: 'web', client_id: 'web', scp: ['openid'] }],
      ['the same, with a refresh token', { sub: 'web', client_id: 'web', scp: ['offline'] }],
    ],
  },
  {
    profile: 'spring',
    service: [
      ['by default', { sub: 'job', aud: 'job', nbf: 1, scope: ['a'], jti: '1' }, 'job'],
      ['by default, no scopes', { sub: 'job', aud: 'job', nbf: 1, jti: '1' }, 'job'],
      ['customized', { sub: 'job', aud: 'https://api', client_id: 'job', nbf: 1 }, 'job'],
    ],
    customer: [
      ['by default', { sub: 'ann', aud: 'web', nbf: 1, scope: ['openid'], jti: '1' }],
      ['customized', { sub: 'ann', aud: 'https://api', client_id: 'web', nbf: 1, scope: ['a'] }],
    ],
    refused: [
      ['an ID token', { sub: 'ann', aud: 'web', azp: 'web', auth_time: 1, sid: 's', jti: '1' }],
      ['an ID token of a person called like the client', { sub: 'web', aud: 'web', azp: 'web' }],
      ['a person called like the client', { sub: 'web', aud: 'web', nbf: 1, scope: ['openid'] }],
      ['the same by the grant', { sub: 'w', client_id: 'w', nbf: 1, gty: 'authorization_code' }],
      ['no scopes and another subject', { sub: 'ann', aud: 'web', nbf: 1 }],
      ['two audiences and no client', { sub: 'ann', aud: ['web', 'x'], nbf: 1, scope: ['a'] }],
      ['scopes as a text', { sub: 'ann', client_id: 'web', nbf: 1, scope: 'a' }],
    ],
  },
  {
    profile: 'duende',
    service: [['client credentials', { client_id: 'job', scope: ['a', 'b'] }, 'job']],
    customer: [
      ['a person', { client_id: 'web', sub: USER, idp: 'local', auth_time: 1, amr: ['pwd'] }],
    ],
    refused: [
      ['a client with a subject', { client_id: 'job', sub: 'job' }],
      ['a subject without a login', { client_id: 'web', sub: USER }],
      ['a login without a subject', { client_id: 'web', auth_time: 1 }],
      ['no client', { scope: 'a' }],
    ],
  },
  {
    profile: 'kinde',
    service: [['machine', { azp: 'job', gty: ['client_credentials'], scp: ['a'] }, 'job']],
    customer: [
      ['a person', { azp: 'web', sub: 'kp_1', scp: ['openid'] }],
      ['a person, no scopes', { azp: 'web', sub: 'kp_1', scp: [] }],
      ['another grant', { azp: 'web', sub: 'kp_1', gty: ['authorization_code'] }],
    ],
    refused: [
      ['both', { azp: 'job', sub: 'kp_1', gty: ['client_credentials'] }],
      ['neither', { azp: 'job' }],
      ['an ID token', { azp: 'web', aud: ['web'], sub: 'kp_1', email: 'a@b.c' }],
      ['an ID token for another audience', { azp: 'web', aud: ['x'], sub: 'kp_1' }],
      ['the subject of another provider', { azp: 'web', sub: UUID, scp: ['a'] }],
      ['gty as a string', { azp: 'job', gty: 'client_credentials' }],
      ['a person with gty as a string', { azp: 'job', sub: 'kp_1', gty: 'client_credentials' }],
      ['no client', { gty: ['client_credentials'] }],
      ['gty with something else in it', { azp: 'job', gty: ['client_credentials', 1] }],
    ],
  },
  {
    profile: 'kubernetes',
    service: [
      [
        'a service account',
        { sub: 'system:serviceaccount:shop:orders', 'kubernetes.io': { namespace: 'shop' } },
        'system:serviceaccount:shop:orders',
      ],
    ],
    customer: [],
    refused: [
      ['a person', { sub: 'ann@example.com', email: 'ann@example.com' }],
      ['no name', { sub: 'system:serviceaccount:' }],
      ['another system user', { sub: 'system:node:n1' }],
    ],
  },
  {
    profile: 'zitadel',
    options: lists,
    service: [['on the list', { sub: '2834', client_id: 'job' }, 'job']],
    customer: [
      ['on the other list', { sub: '9876', client_id: 'web' }],
      ['for its own client, too', { sub: '9876', client_id: 'web', aud: ['web', 'x'], jti: '1' }],
    ],
    refused: [
      ['a machine on no list', { sub: '2834', client_id: 'new-job' }],
      ['no client', { sub: '2834' }],
      ['the client as the person', { sub: 'web', client_id: 'web' }],
      ['two clients', { sub: '2834', client_id: 'job', azp: 'web' }],
      ['an ID token', { sub: '9876', aud: ['web', 'x'], azp: 'web', client_id: 'web', jti: '1' }],
      ['an ID token of a machine', { sub: '2834', aud: ['job'], azp: 'job', client_id: 'job' }],
    ],
  },
  {
    profile: 'authentik',
    options: lists,
    service: [['on the list', { sub: 'a1b2', azp: 'job', uid: 'u' }, 'job']],
    customer: [
      ['on the other list', { sub: 'c3d4', azp: 'web', uid: 'u' }],
      ['for its own client', { sub: 'c3d4', azp: 'web', aud: 'web', uid: 'u' }],
    ],
    refused: [
      ['on no list', { sub: 'a1b2', azp: 'other' }],
      ['no subject', { azp: 'job' }],
      ['an ID token', { sub: 'c3d4', azp: 'web', aud: 'web', auth_time: 1 }],
      [
        'a machine of a shared client',
        { sub: 'a', azp: 'web', preferred_username: 'ak-x-client_credentials' },
      ],
    ],
  },
];
