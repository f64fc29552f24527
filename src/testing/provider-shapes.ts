import type { ProfileName } from '../verification/index.js';

/** Claims of a token. `undefined` leaves one out. */
export type TestClaims = Readonly<Record<string, unknown>>;

/** What claims are made of. */
export interface TokenFacts {
  readonly clientId: string;
  /** The person's id; for a service, the machine's id where the provider has one beside the client id. */
  readonly subject: string;
  readonly scopes: readonly string[];
  /** Different for each token of an issuer. */
  readonly tokenId: string;
  /** Seconds since the Unix epoch. */
  readonly now: number;
}

/** A provider's tokens, without issuer, audience and times. */
interface ProviderShape {
  /** The header's `typ`; `undefined` where the provider sends none. */
  readonly typ?: 'JWT' | 'at+jwt';
  /** Cognito's access tokens have no `aud`. Default true. */
  readonly hasAudience?: boolean;
  readonly service: (facts: TokenFacts) => TestClaims;
  /** `never` for a provider without persons. */
  readonly customer: ((facts: TokenFacts) => TestClaims) | 'never';
}

const TENANT = '8f1d2c3b-0a4e-4d57-9b66-2e7f1a3c5d90';
const MACHINE_ACCOUNT = 'system:serviceaccount:';

const scopeText = ({ scopes }: TokenFacts): string | undefined =>
  scopes.length === 0 ? undefined : scopes.join(' ');
const prefixed = (prefix: string, text: string): string =>
  text.startsWith(prefix) ? text : `${prefix}${text}`;

/** Each built-in profile's tokens, as the providers document them. */
export const PROVIDER_SHAPES: Readonly<Record<ProfileName, ProviderShape>> = {
  rfc9068: {
    typ: 'at+jwt',
    service: (facts) => ({ sub: facts.clientId, ...standard(facts) }),
    customer: (facts) => ({ sub: facts.subject, auth_time: facts.now, ...standard(facts) }),
  },
  auth0: {
    typ: 'JWT',
    service: (facts) => ({
      sub: `${facts.clientId}@clients`,
      azp: facts.clientId,
      gty: 'client-credentials',
      scope: scopeText(facts),
    }),
    customer: (facts) => ({
      sub: facts.subject.includes('|') ? facts.subject : `auth0|${facts.subject}`,
      azp: facts.clientId,
      scope: scopeText(facts),
    }),
  },
  okta: {
    service: (facts) => ({ sub: facts.clientId, ...oktaCommon(facts) }),
    customer: (facts) => ({
      sub: facts.subject,
      uid: prefixed('00u', facts.subject),
      auth_time: facts.now,
      ...oktaCommon(facts),
    }),
  },
  entra: {
    typ: 'JWT',
    service: (facts) => ({
      sub: facts.subject,
      oid: facts.subject,
      idtyp: 'app',
      azpacr: '1',
      roles: facts.scopes,
      ...entraCommon(facts),
    }),
    customer: (facts) => ({
      sub: facts.subject,
      oid: `${facts.subject}-object`,
      idtyp: 'user',
      azpacr: '0',
      // Entra never sends a person's token without a scope.
      scp: scopeText(facts) ?? 'access_as_user',
      ...entraCommon(facts),
    }),
  },
  cognito: {
    hasAudience: false,
    service: (facts) => ({ sub: facts.clientId, ...cognitoCommon(facts) }),
    customer: (facts) => ({
      sub: facts.subject,
      username: facts.subject,
      auth_time: facts.now,
      ...cognitoCommon(facts),
    }),
  },
  keycloak: {
    typ: 'JWT',
    service: (facts) => ({
      sub: facts.subject,
      client_id: facts.clientId,
      preferred_username: `service-account-${facts.clientId.toLowerCase()}`,
      clientHost: '127.0.0.1',
      clientAddress: '127.0.0.1',
      ...keycloakCommon(facts, 'trrtcc'),
    }),
    customer: (facts) => ({
      sub: facts.subject,
      preferred_username: facts.subject,
      sid: `session-of-${facts.subject}`,
      ...keycloakCommon(facts, 'onrtac'),
    }),
  },
  'ping-am': {
    typ: 'JWT',
    service: (facts) => ({
      sub: `(age!${facts.clientId})`,
      grant_type: 'client_credentials',
      ...pingAmCommon(facts),
    }),
    customer: (facts) => ({
      sub: `(usr!${facts.subject})`,
      grant_type: 'authorization_code',
      ...pingAmCommon(facts),
    }),
  },
  pingone: {
    typ: 'JWT',
    service: (facts) => ({ ...standard(facts) }),
    customer: (facts) => ({
      sub: facts.subject,
      sid: `session-of-${facts.subject}`,
      auth_time: facts.now,
      acr: 'Single_Factor',
      ...standard(facts),
    }),
  },
  workos: {
    service: ({ clientId, tokenId }) => ({
      sub: prefixed('client_', clientId),
      org_id: 'org_1',
      jti: tokenId,
    }),
    customer: ({ subject, tokenId }) => ({
      sub: prefixed('user_', subject),
      sid: `session_${subject}`,
      org_id: 'org_1',
      jti: tokenId,
    }),
  },
  hydra: {
    typ: 'JWT',
    service: (facts) => ({ sub: facts.clientId, ...hydraCommon(facts) }),
    customer: (facts) => ({ sub: facts.subject, ...hydraCommon(facts) }),
  },
  spring: {
    typ: 'at+jwt',
    service: (facts) => ({ sub: facts.clientId, ...springCommon(facts, facts.scopes) }),
    customer: (facts) => ({
      sub: facts.subject,
      // A login has a scope.
      ...springCommon(facts, facts.scopes.length === 0 ? ['openid'] : facts.scopes),
    }),
  },
  duende: {
    typ: 'at+jwt',
    service: ({ clientId, scopes, tokenId }) => ({
      client_id: clientId,
      scope: scopes,
      jti: tokenId,
    }),
    customer: ({ clientId, scopes, subject, tokenId, now }) => ({
      sub: subject,
      client_id: clientId,
      idp: 'local',
      amr: ['pwd'],
      auth_time: now,
      sid: `session-of-${subject}`,
      scope: scopes,
      jti: tokenId,
    }),
  },
  kinde: {
    typ: 'JWT',
    service: ({ clientId, scopes, tokenId }) => ({
      azp: clientId,
      gty: ['client_credentials'],
      scp: scopes,
      jti: tokenId,
    }),
    customer: ({ clientId, scopes, subject, tokenId }) => ({
      sub: prefixed('kp_', subject),
      azp: clientId,
      scp: scopes,
      jti: tokenId,
    }),
  },
  kubernetes: {
    service: ({ clientId, tokenId }) => {
      const sub = clientId.startsWith(MACHINE_ACCOUNT)
        ? clientId
        : `${MACHINE_ACCOUNT}default:${clientId}`;
      const [namespace, name] = sub.slice(MACHINE_ACCOUNT.length).split(':');
      return { sub, 'kubernetes.io': { namespace, serviceaccount: { name } }, jti: tokenId };
    },
    customer: 'never',
  },
  zitadel: {
    service: (facts) => ({ sub: facts.subject, ...standard(facts) }),
    customer: (facts) => ({ sub: facts.subject, ...standard(facts) }),
  },
  authentik: {
    typ: 'JWT',
    service: (facts) => ({ sub: facts.subject, ...authentikCommon(facts) }),
    customer: (facts) => ({ sub: facts.subject, ...authentikCommon(facts) }),
  },
};

/** RFC 9068 §2.2. */
function standard(facts: TokenFacts): TestClaims {
  return { client_id: facts.clientId, scope: scopeText(facts), jti: facts.tokenId };
}

function oktaCommon({ clientId, scopes, tokenId }: TokenFacts): TestClaims {
  return { ver: 1, cid: clientId, scp: scopes, jti: tokenId };
}

function entraCommon({ clientId, tokenId }: TokenFacts): TestClaims {
  return { ver: '2.0', tid: TENANT, azp: clientId, uti: tokenId };
}

function cognitoCommon(facts: TokenFacts): TestClaims {
  return { token_use: 'access', version: 2, ...standard(facts) };
}

/** As of version 26. @param context what `jti` begins with: the kinds of session and token, and the grant. */
function keycloakCommon(facts: TokenFacts, context: string): TestClaims {
  const { clientId, tokenId } = facts;
  const scope = scopeText(facts);
  return { typ: 'Bearer', azp: clientId, acr: '1', scope, jti: `${context}:${tokenId}` };
}

function pingAmCommon({ clientId, scopes, tokenId, now }: TokenFacts): TestClaims {
  return {
    client_id: clientId,
    tokenName: 'access_token',
    auth_time: now,
    scope: scopes,
    jti: tokenId,
  };
}

function hydraCommon({ clientId, scopes, tokenId }: TokenFacts): TestClaims {
  return { client_id: clientId, scp: scopes, ext: {}, jti: tokenId };
}

/** With the token customizer of docs/guard.md. An empty list of scopes is left out. */
function springCommon(
  { clientId, tokenId, now }: TokenFacts,
  scopes: readonly string[],
): TestClaims {
  const scope = scopes.length === 0 ? undefined : scopes;
  return { client_id: clientId, nbf: now, scope, jti: tokenId };
}

function authentikCommon(facts: TokenFacts): TestClaims {
  const { clientId, subject, tokenId } = facts;
  return { azp: clientId, uid: subject, scope: scopeText(facts), jti: tokenId };
}
