import { decodeProtectedHeader } from 'jose';
import {
  secretsOf,
  type ClientCredentials,
  type ClientAuthentication,
  type ProviderSettings,
} from './client-credentials.js';
import { adviseOn, adviseOnFormat, type Asked } from './provider-advice.js';
import {
  complaintOf,
  readMembers,
  requireWhole,
  shownComplaint,
  type Complaint,
  safeText,
  ProviderError,
} from './provider-errors.js';
import type { JsonObject } from '../tokens/json.js';
import type { MintedToken } from './token-provider.js';

/** What the token was requested with. */
export interface TokenResponseContext {
  readonly settings: ProviderSettings;
  readonly credentials: ClientCredentials;
  readonly method: ClientAuthentication;
}

/**
 * Reads the response of the token endpoint (RFC 6749 §5.1 and §5.2). Only `access_token`, `token_type`, `expires_in` and
 * `scope` are read; other members are ignored.
 *
 * @throws {ProviderError} `PROVIDER_INVALID_CLIENT`, `PROVIDER_REFUSED`, `PROVIDER_UNAVAILABLE`, `PROVIDER_THROTTLED`,
 *   `PROVIDER_NOT_JSON`, `PROVIDER_RESPONSE_INVALID`, `PROVIDER_TOKEN_NOT_JWT`.
 */
export async function readTokenResponse(
  response: Response,
  context: TokenResponseContext,
): Promise<MintedToken> {
  const members = requireWhole(
    await readMembers(response),
    "The provider's token endpoint",
    response,
  );
  const type = safeText(response.headers.get('content-type'));
  const came = `status ${response.status}, ${type ?? 'no content type'}`;
  const complaint = typeof members === 'string' ? undefined : complaintOf(members);
  const accessToken = typeof members === 'string' ? undefined : members['access_token'];
  if (complaint !== undefined && (!response.ok || typeof accessToken !== 'string')) {
    throw refusal(response.status, complaint, context);
  }
  // RFC 6749 §5.2: 401 is about the client's authentication. A web page with that status comes from something else.
  if (response.status === 401 && (type === undefined || /json/i.test(type))) {
    if (/^\s*bearer\b/i.test(response.headers.get('www-authenticate') ?? '')) {
      throw invalidResponse(came, 'it wants a bearer token');
    }
    throw refusal(401, {}, context);
  }
  if (typeof members === 'string' || !response.ok) {
    if (members === 'no-json') throw notJson(came);
    if (members === 'empty') throw invalidResponse(came, 'an empty body');
    throw invalidResponse(came, response.ok ? 'no JSON object' : 'no OAuth error code');
  }
  return readToken(members, came, context);
}

function readToken(
  members: JsonObject,
  came: string,
  { settings }: TokenResponseContext,
): MintedToken {
  const { access_token: accessToken, token_type: tokenType, scope } = members;
  if (typeof accessToken !== 'string' || accessToken === '') {
    throw invalidResponse(came, '"access_token" is missing, or not a text');
  }
  requireBearer(tokenType, came);
  const expiresInSeconds = readLife(members['expires_in'], came);
  requireJws(accessToken, settings);
  const scopes = readScope(scope);
  return {
    accessToken,
    ...(expiresInSeconds !== undefined && { expiresInSeconds }),
    ...(scopes !== undefined && { scope: scopes }),
  };
}

/** RFC 6749 §5.1: the type in any case. */
function requireBearer(type: unknown, came: string): void {
  const name = typeof type === 'string' ? type.trim().toLowerCase() : undefined;
  if (name === 'bearer') return;
  if (name === 'dpop') {
    throw new ProviderError(
      'PROVIDER_RESPONSE_INVALID',
      'The provider minted a token that is not a bearer token (DPoP). Switch sender-constrained tokens off for this client.',
    );
  }
  throw unusable(
    came,
    `"token_type" is ${name === undefined ? 'missing, or not a text' : 'not "Bearer"'}`,
  );
}

/** Seconds. Some providers send a text; null and an empty text count as absent, and then only the token's `exp` counts. */
function readLife(value: unknown, came: string): number | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  const isNumeral = typeof value === 'string' && /^\s*\d+(?:\.\d+)?\s*$/.test(value);
  const seconds = isNumeral ? Number(value) : value;
  if (typeof seconds === 'number' && seconds >= 0) return seconds;
  throw unusable(came, '"expires_in" is not a number of seconds');
}

/** Also understands a list, which is not in the standard. */
function readScope(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const isList = Array.isArray(value) && value.every((name) => typeof name === 'string');
  return isList ? value.join(' ') : undefined;
}

function requireJws(token: string, settings: ProviderSettings): void {
  const parts = token.split('.').length;
  if (parts === 3 && hasAlgorithm(token)) return;
  const form = parts === 5 ? 'it is encrypted (JWE)' : 'it is opaque';
  throw new ProviderError(
    'PROVIDER_TOKEN_NOT_JWT',
    `The provider minted a token that no service can verify: ${form}, not a signed JWT. ${adviseOnFormat(settings)}`,
  );
}

function hasAlgorithm(token: string): boolean {
  try {
    return typeof decodeProtectedHeader(token).alg === 'string';
  } catch {
    // The reason may quote the token.
    return false;
  }
}

function refusal(
  status: number,
  complaint: Complaint,
  { settings, credentials, method }: TokenResponseContext,
): ProviderError {
  const { audience, scope, resource = [], issuer } = settings;
  const harmless = [credentials.clientId, audience, scope, ...resource, issuer].filter(
    (text) => text !== undefined,
  );
  const said =
    shownComplaint(complaint, secretsOf(credentials), harmless) ??
    (complaint.code === undefined ? 'no error code' : 'an unreadable error code');
  const asked: Asked = { settings, kind: credentials.kind, method };
  const { error, todo } = adviseOn(status, complaint, asked);
  return new ProviderError(
    error,
    `${MEANING[error] ?? REFUSED} (status ${status}, ${said}).${todo === '' ? '' : ` ${todo}`}`,
  );
}

const REFUSED = 'The provider refuses to mint';

const MEANING: Partial<Record<ProviderError['code'], string>> = {
  PROVIDER_INVALID_CLIENT: 'The provider does not accept the client credentials',
  PROVIDER_UNAVAILABLE: 'The provider cannot mint at the moment',
  PROVIDER_THROTTLED: 'The provider says that there were too many requests',
};

function notJson(came: string): ProviderError {
  return new ProviderError(
    'PROVIDER_NOT_JSON',
    `The provider's token endpoint did not answer with JSON (${came}): most often the page of a ` +
      'proxy, a firewall or a login. Is it the URL of the token endpoint?',
  );
}

function invalidResponse(came: string, why: string): ProviderError {
  return new ProviderError(
    'PROVIDER_RESPONSE_INVALID',
    `The provider's token endpoint did not send a token response (${came}; ${why}). Is it the URL of the token endpoint?`,
  );
}

function unusable(came: string, why: string): ProviderError {
  return new ProviderError(
    'PROVIDER_RESPONSE_INVALID',
    `The provider minted a token, and its response cannot be used (${came}; ${why}).`,
  );
}
