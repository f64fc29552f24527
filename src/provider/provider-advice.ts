import type {
  ClientCredentials,
  ClientAuthentication,
  ProviderSettings,
} from './client-credentials.js';
import {
  safeText,
  withoutCommonplaces,
  type Complaint,
  type ProviderErrorCode,
} from './provider-errors.js';

/** What the token was requested with, so that no advice is to set what is set. */
export interface Asked {
  readonly settings: ProviderSettings;
  readonly kind: ClientCredentials['kind'];
  readonly method: ClientAuthentication;
}

/** What a refusal of the token endpoint means. */
interface Advice {
  readonly error: ProviderErrorCode;
  /** What to do, in whole sentences; empty when unknown. */
  readonly todo: string;
}

/**
 * What a complaint of the token endpoint means and what to do about it, given what was asked for. Pure.
 *
 * @param complaint raw, as it came; nothing of it is in the result.
 */
export function adviseOn(status: number, complaint: Complaint, asked: Asked): Advice {
  const { code = '', description = '' } = complaint;
  const words = `${code} ${withoutCommonplaces(description)}`;
  const row = ROWS.find(
    (candidate) =>
      (candidate.status?.includes(status) ?? true) &&
      (candidate.code?.test(code) ?? true) &&
      (candidate.words?.test(words) ?? true) &&
      (candidate.kind?.includes(asked.kind) ?? true),
  );
  if (row === undefined) return { error: 'PROVIDER_REFUSED', todo: '' };
  const { error, todo } = row;
  return { error, todo: typeof todo === 'string' ? todo : todo(asked, words) };
}

/** What to do about a token that is not a signed JWT. Pure. */
export function adviseOnFormat({ audience, resource }: ProviderSettings): string {
  const jwt = 'token format JWT (Hydra: "access_token_strategy": "jwt"; Spring: "self-contained")';
  return audience === undefined && resource === undefined
    ? 'Most often the audience is missing: set BROKER_AUDIENCE (Auth0: the identifier of your API; Okta: use the issuer of a custom ' +
        `authorization server; Entra ID: the scope "API-ID/.default"). Otherwise give this client the ${jwt}.`
    : `Is the audience that of an API of yours, with the ${jwt}? Providers send opaque tokens for their own endpoints.`;
}

interface Row {
  /** Every condition that is given must hold. */
  readonly status?: readonly number[];
  readonly code?: RegExp;
  /** Looked for in the code and the description together. */
  readonly words?: RegExp;
  readonly kind?: readonly ClientCredentials['kind'][];
  readonly error: ProviderErrorCode;
  readonly todo: string | ((asked: Asked, words: string) => string);
}

const GRANT =
  'The provider knows this client, and does not let it use the client-credentials grant: allow it there (Keycloak: "Client ' +
  'authentication" and "Service accounts roles").';

/** The kinds of credentials that are sent as a client assertion. */
const ASSERTING = ['private-key', 'kms', 'workload-token'] as const;

/**
 * What providers say, and what to do about it. The first matching row counts: exact words come before the error codes of
 * RFC 6749 §5.2, which each provider uses in its own way, and those before the HTTP status.
 */
const ROWS: readonly Row[] = [
  // Not now.
  {
    words: /TooManyRequests|Throttling|too_many_requests|rate limit|E0000047/i,
    error: 'PROVIDER_THROTTLED',
    todo: '',
  },
  {
    code: /^(?:temporarily_unavailable|server_error|slow_down)$/,
    error: 'PROVIDER_UNAVAILABLE',
    todo: '',
  },
  { words: /AADSTS(?:90033|90006|50196)\b/, error: 'PROVIDER_UNAVAILABLE', todo: '' },

  // Tokens that are bound to a key.
  {
    words: /dpop/i,
    error: 'PROVIDER_REFUSED',
    todo:
      'The provider demands a DPoP proof from this client, and the broker serves bearer tokens. Switch it off for this client ' +
      '(Keycloak: "Require DPoP bound tokens"; Okta: "Require Demonstrating Proof of Possession").',
  },
  {
    kind: ['certificate'],
    words: /certificat|\bmtls\b|mutual[- ]tls|tls_client_auth|\bsubject\b/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: credentialsAdvice,
  },
  {
    words: /\bmtls\b|mutual[- ]tls|tls_client_auth|client certificat(?:e|ion) missing/i,
    error: 'PROVIDER_REFUSED',
    todo:
      'The provider demands a client certificate from this client (mutual TLS). Give the broker one, with ' +
      'BROKER_CLIENT_AUTHENTICATION=mtls, or let the client authenticate in another way; and switch certificate-bound tokens off.',
  },

  // Client assertions.
  {
    kind: ASSERTING,
    words:
      /(?:assertion|signed jwt|token)[^.]*\baud(?:ience)?s?\b|\baud(?:ience)?s?\b[^.]*(?:assertion|client credential)|multiple audiences|AADSTS(?:50012|700023|5002741)\b/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: assertionAudienceAdvice,
  },
  {
    kind: ASSERTING,
    words: /sign(?:ing|ature) algorithm|\balg\b/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: ({ kind }) =>
      `The provider wants assertions of another algorithm: ${ANOTHER_ALGORITHM[kind] ?? ''}, or change it for this client at the provider.`,
  },
  {
    kind: ASSERTING,
    words: /\breuse\b|\bjti\b|only be used once/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: 'Every request has an assertion of its own: something between here and the provider repeats requests.',
  },
  {
    kind: ASSERTING,
    words:
      /AADSTS(?:700027|50027|700025)\b|\bkid\b|public key|json web key|\bno keys?\b|signature|integrity of the 'client_assertion'/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: ({ kind }) =>
      `The provider does not know the key that signed: ${UNKNOWN_KEY[kind] ?? ''}`,
  },
  {
    kind: ASSERTING,
    words:
      /AADSTS700024\b|not active|issued in the future|valid time range|too far in(?:to)? the (?:past|future)|(?:assertion|token)[^.]*expir|\b(?:exp|iat|nbf)\b/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: "The provider does not take the times of the client assertion: compare this machine's clock with the provider's.",
  },

  // The way of authentication.
  {
    words:
      /authentication method|auth_method|client_assertion_type|client secret not provided|AADSTS7000218\b/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: methodAdvice,
  },

  // The client itself.
  {
    words: /AADSTS7000222\b|secret[^.]*\bexpired/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: 'The client secret has expired: make a new one at the provider, and write it into the credentials secret.',
  },
  {
    words: /AADSTS7000215\b/,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: 'Write the value of the client secret into the credentials secret; what the portal calls the secret ID is another text.',
  },
  {
    words: /AADSTS700016\b/,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: 'Check "client_id" in the credentials secret, and that the issuer and the token endpoint are those of the tenant that has the application.',
  },
  {
    words: /AADSTS(?:90002|900023|900021|50059)\b/,
    error: 'PROVIDER_REFUSED',
    todo: ({ settings }) =>
      settings.tokenEndpoint === undefined
        ? 'Check the tenant in the issuer (BROKER_ISSUER, or "issuer" in the credentials secret).'
        : 'Check the tenant in the token endpoint (BROKER_TOKEN_ENDPOINT, or "token_endpoint" in the credentials secret).',
  },
  {
    words: /AADSTS7000112\b|client (?:is )?disabled|inactive client/i,
    error: 'PROVIDER_REFUSED',
    todo: 'The client is switched off at the provider: enable it there.',
  },
  {
    words: /realm not enabled/i,
    error: 'PROVIDER_REFUSED',
    todo: 'The realm is switched off at the provider: enable it there.',
  },
  {
    words: /invalid client (?:secret|or invalid client credentials)/i,
    error: 'PROVIDER_INVALID_CLIENT',
    todo: credentialsAdvice,
  },

  // What is asked for.
  {
    words: /AADSTS901002\b|'resource' request parameter is(?:n't| not) supported/,
    error: 'PROVIDER_REFUSED',
    todo: 'This endpoint takes no resource indicators: take them out of BROKER_RESOURCE, and name the API in the scope (API-ID/.default).',
  },
  {
    words: /AADSTS(?:70011|1002012|900144|90014|28000|28003)\b/,
    error: 'PROVIDER_REFUSED',
    todo: ({ settings }) =>
      settings.scope === undefined
        ? `Entra ID wants the scope "API-ID/.default", with the application ID URI of the API: ${setScope}.`
        : `The scope asked for is ${shown(settings.scope)}, and Entra ID wants exactly one, "API-ID/.default", with the application ID URI of the API.`,
  },
  {
    words: /AADSTS(?:500011|501051|650057|500014|650052)\b/,
    error: 'PROVIDER_REFUSED',
    todo: ({ settings }) =>
      `Does the API${settings.scope === undefined ? '' : ` of the scope ${shown(settings.scope)}`} exist in this tenant, and has this application a role of it, with an administrator's consent?`,
  },
  { code: /^invalid_scope$/, error: 'PROVIDER_REFUSED', todo: scopeAdvice },
  { code: /^invalid_target$/, error: 'PROVIDER_REFUSED', todo: targetAdvice },
  {
    words:
      /requested (?:audience|resource)|not authorized to access|service not (?:found|enabled)|client-grant|non-global clients|\b(?:audience|resource)s?\b[^.]*\b(?:not|unknown|invalid|missing|required|must)\b|\b(?:unknown|invalid|missing)\b[^.]*\b(?:audience|resource)\b/i,
    error: 'PROVIDER_REFUSED',
    todo: targetAdvice,
  },
  {
    words:
      /not (?:enabled|allowed) to retrieve service account|service account.*(?:does not exist|disabled)|user 'service-account-.*' disabled|grant[ _]?types?[^.]*\b(?:not|restricted|unauthorized)\b|authorization grant 'client_credentials'|not authorized[^.]*\b(?:grant|using this method)|not enabled for oauth/i,
    error: 'PROVIDER_REFUSED',
    todo: GRANT,
  },
  {
    words: /\bpolicy\b|no_matching_policy/i,
    error: 'PROVIDER_REFUSED',
    todo: ({ settings }) =>
      `An access policy of the provider must let this client have tokens by the client-credentials grant${settings.scope === undefined ? '' : `, with the scope ${shown(settings.scope)}`}.`,
  },
  {
    words: /\bscopes?\b/i,
    code: /^invalid_request$/,
    error: 'PROVIDER_REFUSED',
    todo: scopeAdvice,
  },

  // The bare codes of RFC 6749 §5.2. Some providers (Auth0) send another one for a wrong secret; the status decides.
  { code: /^invalid_client$/, error: 'PROVIDER_INVALID_CLIENT', todo: credentialsAdvice },
  {
    code: /^unauthorized_client$/,
    status: [401],
    error: 'PROVIDER_INVALID_CLIENT',
    todo: (asked) =>
      `${credentialsAdvice(asked)} Or this client may not use the client-credentials grant.`,
  },
  {
    code: /^(?:unauthorized_client|unsupported_grant_type)$/,
    error: 'PROVIDER_REFUSED',
    todo: GRANT,
  },
  {
    code: /^$/,
    status: [401],
    error: 'PROVIDER_INVALID_CLIENT',
    todo: (asked) => `${credentialsAdvice(asked)} Or is it not the URL of the token endpoint?`,
  },
  { status: [401], error: 'PROVIDER_INVALID_CLIENT', todo: credentialsAdvice },
  { code: /^access_denied$/, error: 'PROVIDER_REFUSED', todo: targetAdvice },
  { code: /^invalid_request$/, error: 'PROVIDER_REFUSED', todo: missingAdvice },
  {
    status: [404, 405, 410, 415],
    error: 'PROVIDER_RESPONSE_INVALID',
    todo: 'Is it the URL of the token endpoint?',
  },
];

const ANOTHER_ALGORITHM: Partial<Record<ClientCredentials['kind'], string>> = {
  'private-key':
    'put it as "alg" into the "private_key" of the credentials secret, with a key of that kind',
  kms: 'set BROKER_KMS_ALGORITHM, with a key of that kind',
  'workload-token': 'let the platform sign with it (AWS: BROKER_AWS_TOKEN_ALGORITHM)',
};

const UNKNOWN_KEY: Partial<Record<ClientCredentials['kind'], string>> = {
  'private-key':
    'register the public half of the credentials secret\'s "private_key" for this client, and let its "kid" be the same there and here.',
  kms: 'register the KMS key\'s public half for this client (aws kms get-public-key), and let its "kid" be the one that doctor shows, or set BROKER_CLIENT_ASSERTION_KEY_ID.',
  'workload-token':
    "let the provider trust the platform's issuer, with the keys that the issuer publishes; it must be able to reach them.",
};

const setScope = 'set BROKER_SCOPE, or "scope" in the credentials secret';
const setAudience = 'set BROKER_AUDIENCE, or "audience" in the credentials secret';

/** A configured value in a message. */
function shown(value: string): string {
  return `"${safeText(value) ?? '[not shown]'}"`;
}

function credentialsAdvice(asked: Asked): string {
  if (asked.kind === 'secrets') {
    return (
      "Check the credentials secret's client id and secret, and that the client is enabled at the provider. If all is right, it may want another way than " +
      `${asked.method}: set BROKER_CLIENT_AUTHENTICATION to ${otherMethod(asked.method)}.`
    );
  }
  if (asked.kind === 'certificate') {
    return (
      'Check the client id, that the provider trusts the authority of the client certificate, and that the certificate, or its ' +
      'subject as the provider writes it, is registered for this client; doctor shows the subject.'
    );
  }
  if (asked.kind === 'workload-token') {
    return (
      "Check the client id, that the provider trusts the platform's issuer, and that issuer, subject and audience of the workload " +
      'token are registered for this client exactly as doctor shows them.'
    );
  }
  if (asked.kind === 'kms') {
    return (
      'Check the client id, and that the provider knows the public half of the KMS key (aws kms get-public-key). If both are ' +
      `right: ${assertionAudienceAdvice(asked)}`
    );
  }
  return (
    "Check the credentials secret's client id, and that the provider knows the public half of its private key. If both are " +
    `right: ${assertionAudienceAdvice(asked)}`
  );
}

function otherMethod(method: ClientAuthentication): ClientAuthentication {
  return method === 'client_secret_post' ? 'client_secret_basic' : 'client_secret_post';
}

function methodAdvice({ kind, method }: Asked, words: string): string {
  const named = /client_assertion_type/.test(words) ? 'private_key_jwt' : wayNamed(words, method);
  const wanted = named ?? otherMethod(method);
  const now = `The broker authenticates with ${method}, and the provider wants another way from this client. Change it there, or`;
  if (wanted === 'private_key_jwt') {
    return `${now} put "private_key" into the credentials secret in place of the client secret.`;
  }
  if (kind === 'secrets') return `${now} set BROKER_CLIENT_AUTHENTICATION to ${wanted}.`;
  return kind === 'private-key'
    ? `${now} put "client_secret" into the credentials secret in place of "private_key".`
    : `${now} put "client_secret" into the credentials secret, and take BROKER_CLIENT_AUTHENTICATION away.`;
}

/** The first way of authentication that a provider names and that is not the present one. */
function wayNamed(words: string, method: ClientAuthentication): string | undefined {
  const named = words.match(/client_secret_basic|client_secret_post|private_key_jwt/g) ?? [];
  return named.find((way) => way !== method);
}

function assertionAudienceAdvice({ settings, kind }: Asked): string {
  if (kind === 'workload-token') {
    return (
      'The provider wants another audience in the workload token: let the platform issue it for the one that the provider names ' +
      '(Kubernetes: "audience" of the projected volume; AWS: BROKER_AWS_TOKEN_AUDIENCE).'
    );
  }
  const { clientAssertionAudience: configured = 'issuer' } = settings;
  const others = ['issuer', 'token_endpoint'].filter((way) => way !== configured).join(', to ');
  const now =
    configured === 'issuer'
      ? 'the issuer'
      : configured === 'token_endpoint'
        ? 'the token endpoint'
        : shown(configured);
  return (
    `The audience of client assertions is ${now} at present; set BROKER_CLIENT_ASSERTION_AUDIENCE, or ` +
    `"client_assertion_audience" in the credentials secret, to ${others}, or to the exact URL that the provider wants.`
  );
}

function targetAdvice({ settings: { audience, resource = [] } }: Asked): string {
  const targets = [...(audience === undefined ? [] : [audience]), ...resource];
  if (targets.length === 0) {
    return `The provider may want to know what the token is for: ${setAudience}, or set BROKER_RESOURCE.`;
  }
  const asked = targets.map(shown).join(', ');
  return (
    `A token for ${asked} was asked for. Does the provider know it by exactly this name, and is this client allowed to have tokens ` +
    'for it (Auth0: authorize the application for the API; Hydra: the list "audience" of the client)?'
  );
}

function scopeAdvice({ settings: { scope } }: Asked): string {
  return scope === undefined
    ? `The provider wants a scope: ${setScope}.`
    : `The scope asked for is ${shown(scope)}: does the provider know each of its names, and is this client allowed to have them?`;
}

function missingAdvice({ settings: { audience, resource = [], scope } }: Asked): string {
  const missing = [
    ...(audience === undefined && resource.length === 0 ? ['an audience (BROKER_AUDIENCE)'] : []),
    ...(scope === undefined ? ['a scope (BROKER_SCOPE)'] : []),
  ];
  return missing.length === 0 ? '' : `Some providers demand ${missing.join(' or ')}.`;
}
