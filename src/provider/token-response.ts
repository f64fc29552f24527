import { decodeProtectedHeader } from 'jose';
import * as oauth from 'oauth4webapi';
import type { ClientCredentials } from './client-credentials.js';
import { ProviderError, unexpected } from './provider-errors.js';
import { safeText } from './safe-text.js';
import type { ProviderSettings } from './provider-settings.js';
import type { MintedToken } from './token-provider.js';

/** What is known about a token response besides the response itself. */
export interface TokenResponseContext {
  readonly server: oauth.AuthorizationServer;
  readonly client: oauth.Client;
  readonly settings: ProviderSettings;
  readonly credentials: ClientCredentials;
}

/**
 * Reads the answer of the token endpoint (RFC 6749 §5.1 and §5.2).
 *
 * @throws {ProviderError} `PROVIDER_INVALID_CLIENT`, `PROVIDER_REFUSED`, `PROVIDER_UNAVAILABLE`, `PROVIDER_NOT_JSON`,
 *   `PROVIDER_RESPONSE_INVALID`, `PROVIDER_TOKEN_NOT_JWT`.
 */
export async function readTokenResponse(
  response: Response,
  context: TokenResponseContext,
): Promise<MintedToken> {
  const answer = await process(response, context);
  if (answer.token_type !== 'bearer') {
    throw new ProviderError(
      'PROVIDER_RESPONSE_INVALID',
      'The provider minted a token that is not a bearer token (DPoP). Switch sender-constrained tokens off for this client.',
    );
  }
  requireJws(answer.access_token, context.settings);
  return {
    accessToken: answer.access_token,
    ...(answer.expires_in === undefined ? {} : { expiresInSeconds: answer.expires_in }),
  };
}

async function process(
  response: Response,
  { server, client, credentials }: TokenResponseContext,
): Promise<oauth.TokenEndpointResponse> {
  try {
    return await oauth.processClientCredentialsResponse(server, client, withoutChallenge(response));
  } catch (error) {
    throw tokenResponseError(error, response, credentials);
  }
}

/**
 * The library reports a WWW-Authenticate header in place of the body, and the error code of RFC 6749 §5.2 stands in
 * the body.
 */
function withoutChallenge(response: Response): Response {
  const headers = new Headers(response.headers);
  headers.delete('www-authenticate');
  return new Response(response.body, { status: response.status, headers });
}

function tokenResponseError(
  error: unknown,
  response: Response,
  credentials: ClientCredentials,
): ProviderError {
  if (error instanceof oauth.ResponseBodyError) return refusal(error, credentials);
  const code = libraryCode(error);
  if (code === undefined) return unexpected(error);
  const type = safeText(response.headers.get('content-type'));
  // RFC 6749 §5.2: 401 is about the client's authentication. A web page with that status is somebody else's answer.
  if (response.status === 401 && (type === undefined || /json/i.test(type))) {
    return invalidClient('status 401 without an error code', credentials);
  }
  const came = `status ${response.status}, ${type ?? 'no content type'}`;
  if (code === oauth.RESPONSE_IS_NOT_JSON || code === oauth.PARSE_ERROR) {
    return new ProviderError(
      'PROVIDER_NOT_JSON',
      `The provider's token endpoint answered with something else than JSON (${came}): most often the page of a ` +
        'proxy, a firewall or a login. Is it the URL of the token endpoint?',
    );
  }
  const why =
    response.status === 200
      ? (safeText(error instanceof Error ? error.message : '', secretsOf(credentials)) ?? code)
      : 'no OAuth error code';
  return new ProviderError(
    'PROVIDER_RESPONSE_INVALID',
    `The provider's token endpoint did not send a token response (${came}; ${why}). Is it the URL of the token endpoint?`,
  );
}

function libraryCode(error: unknown): string | undefined {
  return error instanceof oauth.OperationProcessingError ||
    error instanceof oauth.UnsupportedOperationError
    ? (error.code ?? 'no code')
    : undefined;
}

/** Error codes that mean "not now". */
const TEMPORARY = new Set(['temporarily_unavailable', 'server_error', 'slow_down']);

/** What to do about the error codes of RFC 6749 §5.2, RFC 8707 §2 and those that providers add. */
const ADVICE: Readonly<Record<string, string>> = {
  invalid_scope: 'Check BROKER_SCOPE.',
  invalid_target: 'Check BROKER_AUDIENCE and the resource indicators.',
  access_denied: 'Is this client allowed to have tokens for BROKER_AUDIENCE?',
  unauthorized_client: 'Allow the client-credentials grant for this client.',
  unsupported_grant_type: 'Allow the client-credentials grant at the provider.',
  invalid_request: 'Some providers demand BROKER_AUDIENCE or BROKER_SCOPE.',
};

function refusal(error: oauth.ResponseBodyError, credentials: ClientCredentials): ProviderError {
  const secrets = secretsOf(credentials);
  const harmless = [credentials.clientId];
  const code = safeText(error.error, secrets, harmless) ?? 'an unreadable error code';
  const description = safeText(error.error_description, secrets, harmless);
  const said = description === undefined ? code : `${code}: ${description}`;
  // Some providers (Auth0) send a code of their own for a wrong secret; the status says what is meant.
  if (code === 'invalid_client' || error.status === 401) return invalidClient(said, credentials);
  if (TEMPORARY.has(code)) {
    return new ProviderError(
      'PROVIDER_UNAVAILABLE',
      `The provider cannot mint at the moment (${said}).`,
    );
  }
  const advice = ADVICE[code];
  return new ProviderError(
    'PROVIDER_REFUSED',
    `The provider refuses to mint (status ${error.status}, ${said}).${advice === undefined ? '' : ` ${advice}`}`,
  );
}

function invalidClient(said: string, credentials: ClientCredentials): ProviderError {
  const advice =
    credentials.kind === 'secrets'
      ? "Check the credentials secret's client id and secret. If they are right, the provider may want the other of " +
        'client_secret_basic and client_secret_post.'
      : "Check the credentials secret's client id, and that the provider knows the public half of its private key.";
  return new ProviderError(
    'PROVIDER_INVALID_CLIENT',
    `The provider does not accept the client credentials (${said}). ${advice}`,
  );
}

function secretsOf(credentials: ClientCredentials): readonly string[] {
  return credentials.kind === 'secrets' ? credentials.secrets : [];
}

function requireJws(token: string, settings: ProviderSettings): void {
  const parts = token.split('.').length;
  if (parts === 3 && hasAlgorithm(token)) return;
  const form = parts === 5 ? 'it is encrypted (JWE)' : 'it is opaque';
  const advice =
    settings.audience === undefined && settings.resource === undefined
      ? 'Most often the audience is missing: set BROKER_AUDIENCE (Auth0: the identifier of your API; Okta: use the ' +
        'issuer of a custom authorization server; Entra ID: the scope "API-ID/.default").'
      : 'Is the audience that of an API of yours, and is its token format JWT (RFC 9068)? The provider sends ' +
        'opaque tokens for its own endpoints.';
  throw new ProviderError(
    'PROVIDER_TOKEN_NOT_JWT',
    `The provider minted a token that no service can verify: ${form}, not a signed JWT. ${advice}`,
  );
}

function hasAlgorithm(token: string): boolean {
  try {
    return typeof decodeProtectedHeader(token).alg === 'string';
  } catch {
    // The reason does not matter, and naming it might quote the token.
    return false;
  }
}
