import { isJsonObject, type JsonObject } from '../../tokens/json.js';
import { own, stringList, textOf } from './profile.js';

// Marks of all providers, whatever the profile: a wrong profile refuses a token rather than mistake its kind.
// Each function names the mark it found, in words that quote no value; `undefined` when there is none.

/** Claims that name the client, at one provider or another. */
const CLIENT_CLAIMS = ['client_id', 'azp', 'cid', 'appid', 'clientId'] as const;

/** Claims that name whom the token speaks for. Hydra keeps what the login application adds in `ext`. */
const NAME_CLAIMS = [
  'sub',
  'preferred_username',
  'username',
  'user_name',
  'cognito:username',
  'subname',
  'upn',
  'unique_name',
  'name',
  'email',
] as const;

/** Auth0, Keycloak, Kubernetes, PingAM, authentik, SPIFFE, Google, WorkOS. */
const MACHINE_NAME =
  /@clients$|^service-account-|^system:serviceaccount:|^\(age!|^ak-.+-client_credentials$|^spiffe:\/\/|\.gserviceaccount\.com$|^client_[0-9a-z]{26}$/i;
/** PingAM, Kinde, WorkOS, and Auth0 with its connection in front. */
const PERSON_SUBJECT = /^\(usr!|^kp_|^user_[0-9a-z]{26}$|^[\w.-]+\|/i;

/** Keycloak (26.2 and later) begins `jti` with the kinds of session and token, and the grant in two letters. */
const CLIENT_CREDENTIALS_ID = /^[a-z]{2}(?:rt|lt|un)cc:/;
const LOGIN_ID = /^[a-z]{2}(?:rt|lt|un)(?:ac|ro):/;

const SCOPE_CLAIMS = ['scope', 'scp'] as const;
const GRANT_CLAIMS = ['gty', 'grant_type', 'grantType'] as const;
const LOGIN_GRANTS: ReadonlySet<string> = new Set([
  'authorization_code',
  'password',
  'implicit',
  'refresh_token',
  'device_code',
  'urn:ietf:params:oauth:grant_type:device_code',
  'urn:openid:params:grant_type:ciba',
]);

/** Of a login, or of a refresh in its name. Hydra and Kinde also know the short form. */
const LOGIN_SCOPE = /(?:^| )(?:openid|offline|offline_access)(?: |$)/;

/** What only a machine's token has: speaks against a customer. */
export function machineMark(claims: JsonObject): string | undefined {
  const found = machineMarkIn(claims);
  if (found !== undefined) return found;
  const ext = own(claims, 'ext');
  return isJsonObject(ext) ? machineMarkIn(ext) : undefined;
}

function machineMarkIn(claims: JsonObject): string | undefined {
  for (const name of NAME_CLAIMS) {
    if (anyText(claims, name, isMachineName)) return `"${name}" is a machine's name`;
  }
  for (const name of GRANT_CLAIMS) {
    if (anyText(claims, name, isClientCredentials)) return `"${name}" is client credentials`;
  }
  if (anyText(claims, 'idtyp', isApp)) return '"idtyp" is "app"';
  if (anyText(claims, 'aut', isApplication)) return '"aut" is "APPLICATION"';
  if (CLIENT_CREDENTIALS_ID.test(textOf(claims, 'jti') ?? '')) {
    return '"jti" is of client credentials';
  }
  for (const name of ['clientHost', 'clientAddress']) {
    if (own(claims, name) !== undefined) return `"${name}" is present`;
  }
  const sub = textOf(claims, 'sub');
  // Entra ID: a person's `sub` differs for each application, and a person's token has scopes.
  if (sub !== undefined && sub === own(claims, 'oid') && own(claims, 'scp') === undefined) {
    return '"oid" is the value of "sub"';
  }
  return isBareKeycloakService(claims)
    ? '"client_id" repeats "azp", and no login shows'
    : undefined;
}

/** Keycloak repeats the client beside `azp` only for client credentials, unless a mapper does so for everybody. */
function isBareKeycloakService(claims: JsonObject): boolean {
  const client = textOf(claims, 'azp');
  return (
    client !== undefined &&
    isBearerType(claims) &&
    [own(claims, 'client_id'), own(claims, 'clientId')].includes(client) &&
    ['preferred_username', 'sid', 'auth_time'].every((name) => own(claims, name) === undefined)
  );
}

/** Where `sub` names the client, which is then the subject of its own token: speaks against a customer. */
export function clientAsSubject(claims: JsonObject): string | undefined {
  const sub = textOf(claims, 'sub');
  if (sub === undefined) return undefined;
  const claim = CLIENT_CLAIMS.find((name) => own(claims, name) === sub);
  if (claim !== undefined) return `"sub" is the value of "${claim}"`;
  // Spring names the client there, by default.
  return audiencesOf(claims).includes(sub) ? '"sub" is in "aud"' : undefined;
}

/** What only a person's token has: speaks against a service. */
export function personMark(claims: JsonObject): string | undefined {
  for (const name of SCOPE_CLAIMS) {
    if (anyText(claims, name, isLoginScope)) return `"${name}" has the scope of a login`;
  }
  for (const name of GRANT_CLAIMS) {
    if (anyText(claims, name, isLoginGrant)) return `"${name}" is the grant of a login`;
  }
  if (anyText(claims, 'idtyp', isUser)) return '"idtyp" is "user"';
  if (PERSON_SUBJECT.test(textOf(claims, 'sub') ?? '')) return '"sub" is a person\'s';
  if (LOGIN_ID.test(textOf(claims, 'jti') ?? '')) return '"jti" is of a login';
  if (textOf(claims, 'uid')?.startsWith('00u') === true) return '"uid" is a person\'s';
  if (own(claims, 'token_use') === 'access' && own(claims, 'username') !== undefined) {
    return '"username" is present';
  }
  const isDelegated = typeof own(claims, 'scp') === 'string' && own(claims, 'oid') !== undefined;
  return isDelegated ? '"scp" stands beside "oid"' : undefined;
}

/** Claims of ID tokens (OpenID Connect Core §2, §3.3.2.11) and of security event tokens such as logout tokens (RFC 8417). */
const FOREIGN_CLAIMS = ['nonce', 'at_hash', 'c_hash', 's_hash', 'events'] as const;
/** Claims in which some provider says what kind of token it is: Keycloak, PingAM, Curity and others. */
const TYPE_CLAIMS = ['typ', 'tokenName', 'token_type', 'purpose'] as const;
/** Without regard to case, `_` and `-`. */
const FOREIGN_TYPES: ReadonlySet<string> = new Set(
  [
    'id',
    'serializedid',
    'refresh',
    'offline',
    'logout',
    'initialaccess',
    'registrationaccess',
  ].flatMap((type) => [type, `${type}token`, `${type}+jwt`]),
);

/**
 * The mark of another kind of token: an ID token, a refresh or logout token, a client assertion.
 *
 * @param isKnownByProfile whether the profile's own mark of an access token is there. Default: it is not.
 */
export function foreignMark(claims: JsonObject, isKnownByProfile = false): string | undefined {
  // Keycloak (before version 25), PingAM and authentik copy the login's nonce into access tokens.
  const mayHaveNonce = isKnownByProfile || isBearerType(claims) || isNamedAccessToken(claims);
  for (const name of FOREIGN_CLAIMS) {
    if (own(claims, name) === undefined) continue;
    if (name === 'nonce' && mayHaveNonce) continue;
    return `"${name}" belongs to an ID token or another token that is no access token`;
  }
  for (const name of TYPE_CLAIMS) {
    const type = textOf(claims, name)?.toLowerCase().replaceAll(/[_-]/g, '');
    if (type !== undefined && FOREIGN_TYPES.has(type)) {
      return name === 'typ'
        ? 'the payload\'s "typ" names a token that is no access token'
        : `"${name}" names a token that is no access token`;
    }
  }
  const use = own(claims, 'token_use');
  if (use !== undefined && use !== 'access') return '"token_use" is not "access"';
  // RFC 7523 §3: whoever asserts itself is both issuer and subject.
  if (own(claims, 'sub') !== undefined && own(claims, 'sub') === own(claims, 'iss')) {
    return '"sub" is the issuer itself, as in a client assertion';
  }
  return undefined;
}

/** True for a token that is bound to a key (RFC 7800, RFC 8705, RFC 9449): its sender has to prove possession of the key. */
export function isSenderConstrained(claims: JsonObject): boolean {
  return own(claims, 'cnf') !== undefined || payloadType(claims) === 'dpop';
}

/**
 * True when the audience is the very client, as in every ID token (OpenID Connect Core §2).
 *
 * @param clientId as the profile finds it.
 */
export function isMeantForItsClient(claims: JsonObject, clientId: string | undefined): boolean {
  const clients = new Set([clientId, ...CLIENT_CLAIMS.map((name) => textOf(claims, name))]);
  return audiencesOf(claims).some((audience) => clients.has(audience));
}

/** Claims that ID tokens do not have, at any provider that is known here. */
const ACCESS_TOKEN_CLAIMS = ['scope', 'scp', 'gty', 'idtyp', 'azpacr', 'appidacr'] as const;

/**
 * True for a token that is marked as an access token.
 *
 * @param headerType the header's `typ`, normalized.
 */
export function isMarkedAsAccessToken(claims: JsonObject, headerType: string | undefined): boolean {
  return (
    headerType === 'at+jwt' ||
    isBearerType(claims) ||
    own(claims, 'token_use') === 'access' ||
    isNamedAccessToken(claims) ||
    ACCESS_TOKEN_CLAIMS.some((name) => own(claims, name) !== undefined)
  );
}

/** Keycloak's access tokens say so in the payload; a client's setting makes it lower case. */
function isBearerType(claims: JsonObject): boolean {
  const type = payloadType(claims);
  return type === 'bearer' || type === 'dpop';
}

/** PingAM's tokens say so; its ID tokens say `id_token`. */
function isNamedAccessToken(claims: JsonObject): boolean {
  return own(claims, 'tokenName') === 'access_token';
}

function payloadType(claims: JsonObject): string | undefined {
  return textOf(claims, 'typ')?.toLowerCase();
}

const isMachineName = (text: string): boolean => MACHINE_NAME.test(text);
const isLoginScope = (text: string): boolean => LOGIN_SCOPE.test(text);
const isClientCredentials = (text: string): boolean => grantOf(text) === 'client_credentials';
const isLoginGrant = (text: string): boolean => LOGIN_GRANTS.has(grantOf(text));
const isApp = (text: string): boolean => text.toLowerCase() === 'app';
const isUser = (text: string): boolean => text.toLowerCase() === 'user';
const isApplication = (text: string): boolean => text.toLowerCase() === 'application';

function grantOf(text: string): string {
  return text.toLowerCase().replaceAll('-', '_');
}

/** Whether the claim is a text that fits, or a list with one in it. */
function anyText(claims: JsonObject, name: string, fits: (text: string) => boolean): boolean {
  const value = own(claims, name);
  if (typeof value === 'string') return fits(value);
  return Array.isArray(value) && value.some((item) => typeof item === 'string' && fits(item));
}

function audiencesOf(claims: JsonObject): readonly string[] {
  const aud = own(claims, 'aud');
  return typeof aud === 'string' ? [aud] : (stringList(aud) ?? []);
}
