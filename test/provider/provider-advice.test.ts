import { beforeAll, describe, expect, test } from '@jest/globals';
import { exportJWK, generateKeyPair } from 'jose';
import type {
  ClientCredentials,
  PrivateJwk,
  ProviderSettings,
} from '../../src/provider/client-credentials.js';
import { adviseOn } from '../../src/provider/provider-advice.js';
import { fc } from '../support/properties.js';
import { answers } from '../support/provider-server.js';
import { credentials, failureOf, rig } from './provider-fixture.js';

type Wanted = Omit<ProviderSettings, 'issuer'>;

const AUDIENCE = 'https://services.example.test';
const FULL = { audience: AUDIENCE, scope: 'orders:read' };
/** What Ory Hydra puts before everything that it has to say. */
const CLIENT_FAILED =
  'Client authentication failed (e.g., unknown client, no client authentication included, or unsupported authentication method).';
const MALFORMED =
  'The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed.';
const TRACE =
  '\r\nTrace ID: 6f6c4645-0202-4486-b625-fa957dfc4700\r\nCorrelation ID: 5fc87507-4086-4e77-b415-cee677eb232e\r\nTimestamp: 2026-05-06 06:03:00Z';

const oauth = (error: string, error_description?: string): object => ({ error, error_description });
const entra = (error: string, code: number, text: string): object => ({
  error,
  error_description: `AADSTS${code}: ${text}${TRACE}`,
  error_codes: [code],
  trace_id: '6f6c4645-0202-4486-b625-fa957dfc4700',
  error_uri: `https://login.microsoftonline.com/error?code=${code}`,
});

const privateKey: { jwk?: PrivateJwk } = {};
beforeAll(async () => {
  const pair = await generateKeyPair('ES256', { extractable: true });
  privateKey.jwk = (await exportJWK(pair.privateKey)) as PrivateJwk;
});

async function refusalOf(
  status: number,
  body: object | undefined,
  settings: Wanted,
  signs: boolean,
): Promise<{ code: string; message: string; requests: number }> {
  const { server, provider } = await rig({}, { attempts: 1 });
  server.always('token', body === undefined ? answers.empty(status) : answers.json(status, body));
  const signing: ClientCredentials = {
    kind: 'private-key',
    clientId: 'broker',
    privateKey: privateKey.jwk ?? { kty: 'EC' },
  };
  const failure = await failureOf(
    provider.mint({ issuer: server.issuer, ...settings }, signs ? signing : credentials),
  );
  return {
    code: failure.code,
    message: failure.message,
    requests: server.received('token').length,
  };
}

const SECRET = /client id and secret/;
const KEY = /register the public half/;
const ASSERTION = /BROKER_CLIENT_ASSERTION_AUDIENCE, or "client_assertion_audience" in the/;
const CLOCK = /compare this machine's clock/;
const ALGORITHM = /"alg" into the "private_key"/;
const GRANT = /does not let it use the client-credentials grant/;
const DPOP = /demands a DPoP proof from this client/;
const ALLOWED = /this client allowed to have tokens for it/;
const SCOPE = /The scope asked for is "orders:read"/;

describe('a refusal of a client with a secret, as it is worded by', () => {
  // One row, one refusal.
  // prettier-ignore
  test.each<[string, number, object | undefined, Wanted, string, RegExp]>([
    // Keycloak 26.7
    ['Keycloak: a wrong secret', 401, oauth('unauthorized_client', 'Invalid client or Invalid client credentials'), FULL, 'PROVIDER_INVALID_CLIENT', SECRET],
    ['Keycloak: an unknown client', 401, oauth('invalid_client', 'Invalid client or Invalid client credentials'), FULL, 'PROVIDER_INVALID_CLIENT', SECRET],
    ['Keycloak: no service account', 401, oauth('unauthorized_client', 'Client not enabled to retrieve service account'), FULL, 'PROVIDER_REFUSED', GRANT],
    ['Keycloak: a public client', 401, oauth('unauthorized_client', 'Public client not allowed to retrieve service account'), FULL, 'PROVIDER_REFUSED', GRANT],
    ['Keycloak: a disabled service account', 401, oauth('invalid_request', "User 'service-account-broker' disabled"), FULL, 'PROVIDER_REFUSED', GRANT],
    ['Keycloak: a wrong scope', 400, oauth('invalid_scope', 'Invalid scopes: orders:read nonsense'), FULL, 'PROVIDER_REFUSED', SCOPE],
    ['Keycloak: DPoP', 400, oauth('invalid_request', 'DPoP proof is missing'), FULL, 'PROVIDER_REFUSED', DPOP],
    ['Keycloak: certificates', 400, oauth('invalid_request', 'Client Certification missing for MTLS HoK Token Binding'), FULL, 'PROVIDER_REFUSED', /mutual TLS/],
    ['Keycloak: a client that signs', 400, oauth('invalid_client', 'Parameter client_assertion_type is missing'), FULL, 'PROVIDER_INVALID_CLIENT', /authenticates with client_secret_basic.*put "private_key" into the credentials secret/],
    ['Keycloak: an unknown realm', 404, oauth('Realm does not exist'), FULL, 'PROVIDER_RESPONSE_INVALID', /Is it the URL of the token endpoint\?/],
    ['Keycloak: a wrong path', 405, oauth('HTTP 405 Method Not Allowed'), FULL, 'PROVIDER_RESPONSE_INVALID', /Is it the URL of the token endpoint\?/],
    ['Keycloak: a disabled realm', 403, oauth('access_denied', 'Realm not enabled'), FULL, 'PROVIDER_REFUSED', /realm is switched off/],
    // Ory Hydra 2.3
    ['Hydra: a wrong secret', 401, oauth('invalid_client', CLIENT_FAILED), FULL, 'PROVIDER_INVALID_CLIENT', SECRET],
    ['Hydra: another way of authentication', 401, oauth('invalid_client', `${CLIENT_FAILED} The OAuth 2.0 Client supports client authentication method 'client_secret_post', but method 'client_secret_basic' was requested. You must configure the OAuth 2.0 client's 'token_endpoint_auth_method' value to accept 'client_secret_basic'.`), FULL, 'PROVIDER_INVALID_CLIENT', /set BROKER_CLIENT_AUTHENTICATION to client_secret_post\./],
    ['Hydra: a client that signs', 401, oauth('invalid_client', `${CLIENT_FAILED} The OAuth 2.0 Client supports client authentication method 'private_key_jwt', but method 'client_secret_basic' was requested. You must configure the OAuth 2.0 client's 'token_endpoint_auth_method' value to accept 'client_secret_basic'.`), FULL, 'PROVIDER_INVALID_CLIENT', /put "private_key" into the credentials secret/],
    ['Hydra: a client without the grant', 400, oauth('unauthorized_client', "The client is not authorized to request a token using this method. The OAuth 2.0 Client is not allowed to use authorization grant 'client_credentials'."), FULL, 'PROVIDER_REFUSED', GRANT],
    ['Hydra: a public client', 400, oauth('invalid_grant', "The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client. The OAuth 2.0 Client is marked as public and is thus not allowed to use authorization grant 'client_credentials'."), FULL, 'PROVIDER_REFUSED', GRANT],
    ['Hydra: a scope that is not allowed', 400, oauth('invalid_scope', "The requested scope is invalid, unknown, or malformed. The OAuth 2.0 Client is not allowed to request scope 'orders:read'."), FULL, 'PROVIDER_REFUSED', SCOPE],
    ['Hydra: an audience that is not listed', 400, oauth('invalid_request', `${MALFORMED} Requested audience '${AUDIENCE}' has not been whitelisted by the OAuth 2.0 Client.`), FULL, 'PROVIDER_REFUSED', ALLOWED],
    ['Hydra: no more than the standard says', 400, oauth('invalid_request', MALFORMED), {}, 'PROVIDER_REFUSED', /demand an audience \(BROKER_AUDIENCE\) or a scope \(BROKER_SCOPE\)\./],
    // Spring Authorization Server 7: hardly ever more than the code
    ['Spring: a wrong secret', 401, oauth('invalid_client'), FULL, 'PROVIDER_INVALID_CLIENT', SECRET],
    ['Spring: a wrong scope', 400, oauth('invalid_scope'), FULL, 'PROVIDER_REFUSED', SCOPE],
    ['Spring: a client without the grant', 400, oauth('unauthorized_client'), FULL, 'PROVIDER_REFUSED', GRANT],
    ['Spring: DPoP', 400, oauth('invalid_dpop_proof'), FULL, 'PROVIDER_REFUSED', DPOP],
    ['Spring: a wrong path', 401, undefined, FULL, 'PROVIDER_INVALID_CLIENT', /client id and secret.*is it not the URL of the token endpoint\?/],
    // Microsoft Entra ID
    ['Entra: the id of a secret', 401, entra('invalid_client', 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app 'a8fdfbd0-da97-42d9-8f1a-fd6a7cb650b4'."), FULL, 'PROVIDER_INVALID_CLIENT', /value of the client secret/],
    ['Entra: an expired secret', 401, entra('invalid_client', 7000222, "The provided client secret keys for app 'a8fdfbd0-da97-42d9-8f1a-fd6a7cb650b4' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds."), FULL, 'PROVIDER_INVALID_CLIENT', /has expired: make a new one/],
    ['Entra: an unknown application', 400, entra('unauthorized_client', 700016, "Application with identifier 'a8fdfbd0-da97-42d9-8f1a-fd6a7cb650b4' was not found in the directory 'Contoso'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."), FULL, 'PROVIDER_INVALID_CLIENT', /"client_id".*tenant/],
    ['Entra: an unknown tenant', 400, entra('invalid_request', 90002, "Tenant 'contosso' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."), FULL, 'PROVIDER_REFUSED', /Check the tenant in the issuer/],
    ['Entra: a scope that is none', 400, entra('invalid_scope', 70011, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope orders:read is not valid."), FULL, 'PROVIDER_REFUSED', /The scope asked for is "orders:read", and Entra ID wants exactly one, "API-ID\/\.default"/],
    ['Entra: a scope without /.default', 400, entra('invalid_scope', 1002012, 'The provided value for scope orders:read is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).'), FULL, 'PROVIDER_REFUSED', /wants exactly one, "API-ID\/\.default"/],
    ['Entra: no scope', 400, entra('invalid_request', 900144, "The request body must contain the following parameter: 'scope'."), {}, 'PROVIDER_REFUSED', /set BROKER_SCOPE, or "scope" in the credentials secret/],
    ['Entra: an unknown API', 400, entra('invalid_resource', 500011, 'The resource principal named api://orders was not found in the tenant named Contoso. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.'), FULL, 'PROVIDER_REFUSED', /Does the API of the scope "orders:read" exist in this tenant/],
    ['Entra: a resource parameter', 400, entra('invalid_request', 901002, "The 'resource' request parameter isn't supported."), { resource: [AUDIENCE] }, 'PROVIDER_REFUSED', /BROKER_RESOURCE/],
    ['Entra: neither secret nor assertion', 401, entra('invalid_client', 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."), FULL, 'PROVIDER_INVALID_CLIENT', /set BROKER_CLIENT_AUTHENTICATION to client_secret_post/],
    ['Entra: a disabled application', 400, entra('unauthorized_client', 7000112, "Application 'x' is disabled."), FULL, 'PROVIDER_REFUSED', /switched off at the provider/],
    ['Entra: a passing failure', 400, entra('temporarily_unavailable', 90033, 'A transient error has occurred.'), FULL, 'PROVIDER_UNAVAILABLE', /cannot mint at the moment/],
    // Okta
    ['Okta: an unknown client', 401, { errorCode: 'invalid_client', errorSummary: "Invalid value for 'client_id' parameter.", errorLink: 'invalid_client', errorId: 'oaejDJuWCiRTQeH8n6WG2116A', errorCauses: [], }, FULL, 'PROVIDER_INVALID_CLIENT', /Invalid value for 'client_id' parameter\.\)\. .*client id and secret/],
    ['Okta: a wrong secret', 401, oauth('invalid_client', 'The client secret supplied for a confidential client is invalid.'), FULL, 'PROVIDER_INVALID_CLIENT', SECRET],
    ['Okta: the org authorization server', 400, oauth('invalid_client', 'Client Credentials requests to the Org Authorization Server must use the private_key_jwt token_endpoint_auth_method.'), FULL, 'PROVIDER_INVALID_CLIENT', /put "private_key" into the credentials secret/],
    ['Okta: a client without the grant', 400, oauth('unauthorized_client', 'The client is not authorized to use the provided grant type. Configured grant types: [authorization_code].'), FULL, 'PROVIDER_REFUSED', GRANT],
    ['Okta: an unknown scope', 400, oauth('invalid_scope', 'One or more scopes are not configured for the authorization server resource.'), FULL, 'PROVIDER_REFUSED', SCOPE],
    ['Okta: no scope', 400, oauth('invalid_scope', "The authorization server resource does not have any configured default scopes, 'scope' must be provided."), { audience: AUDIENCE }, 'PROVIDER_REFUSED', /set BROKER_SCOPE/],
    ['Okta: a policy', 400, oauth('access_denied', 'Policy evaluation failed for this request, please check the policy configurations.'), FULL, 'PROVIDER_REFUSED', /access policy.*"orders:read"/],
    ['Okta: DPoP', 400, oauth('invalid_dpop_proof', 'The DPoP proof JWT header is missing.'), FULL, 'PROVIDER_REFUSED', DPOP],
    ['Okta: a DPoP nonce', 400, oauth('use_dpop_nonce', 'Authorization server requires nonce in DPoP proof.'), FULL, 'PROVIDER_REFUSED', DPOP],
    ['Okta: a wrong path', 404, { errorCode: 'E0000022', errorSummary: 'The endpoint does not support the provided HTTP method', }, FULL, 'PROVIDER_RESPONSE_INVALID', /E0000022: The endpoint does not support/],
    ['Okta: causes', 400, { errorCode: 'E0000001', errorSummary: 'Api validation failed: scope', errorCauses: [{ errorSummary: 'scope: The field cannot be left blank' }], }, FULL, 'PROVIDER_REFUSED', /E0000001: Api validation failed: scope scope: The field cannot be left blank/],
    // Auth0
    ['Auth0: a wrong secret', 401, oauth('access_denied', 'Unauthorized'), FULL, 'PROVIDER_INVALID_CLIENT', SECRET],
    ['Auth0: a client without the API', 403, oauth('access_denied', `Client is not authorized to access "${AUDIENCE}". You need to create a "client-grant" associated to this API. See: https://auth0.com/docs/api/v2#!/Client_Grants/post_client_grants`), FULL, 'PROVIDER_REFUSED', ALLOWED],
    ['Auth0: an unknown API', 403, oauth('access_denied', `Service not found: ${AUDIENCE}`), FULL, 'PROVIDER_REFUSED', ALLOWED],
    ['Auth0: no audience', 403, oauth('access_denied', 'Non-global clients are not allowed access to APIv1'), {}, 'PROVIDER_REFUSED', /set BROKER_AUDIENCE, or "audience" in the credentials secret/],
    ['Auth0: a client without the grant', 403, oauth('unauthorized_client', "Grant type 'client_credentials' not allowed for the client."), FULL, 'PROVIDER_REFUSED', GRANT],
    // Amazon Cognito
    ['Cognito: a wrong secret', 400, oauth('invalid_client', 'invalid_client_secret'), FULL, 'PROVIDER_INVALID_CLIENT', SECRET],
    ['Cognito: a client without the grant', 400, oauth('unauthorized_client', 'client is not enabled for OAuth2.0 flows'), FULL, 'PROVIDER_REFUSED', GRANT],
    ['Cognito: a wrong scope', 400, oauth('invalid_scope'), FULL, 'PROVIDER_REFUSED', SCOPE],
    ['AWS: throttling', 400, { __type: 'TooManyRequestsException', message: 'Rate exceeded' }, FULL, 'PROVIDER_THROTTLED', /TooManyRequestsException: Rate exceeded/],
    ['AWS: a gateway', 403, { message: 'Missing Authentication Token' }, FULL, 'PROVIDER_REFUSED', /Missing Authentication Token/],
    // Others
    ['RFC 8707: an unknown resource', 400, oauth('invalid_target'), { resource: [AUDIENCE] }, 'PROVIDER_REFUSED', ALLOWED],
    ['RFC 9457: problem details', 400, { type: 'about:blank', title: 'Bad Request', status: 400, detail: 'grant_type is unknown' }, FULL, 'PROVIDER_REFUSED', /Bad Request: grant_type is unknown/],
    ['Google: an error object', 400, { error: { code: 400, message: 'Invalid project.', status: 'INVALID_ARGUMENT' } }, FULL, 'PROVIDER_REFUSED', /INVALID_ARGUMENT: Invalid project\./],
    ['a list of errors', 400, { errors: [{ code: 'C-17', message: 'No such client group.' }] }, FULL, 'PROVIDER_REFUSED', /C-17: No such client group\./],
    ['an error with status 200', 200, oauth('invalid_client', 'no'), FULL, 'PROVIDER_INVALID_CLIENT', SECRET],
    ['a code like an inherited member', 400, oauth('constructor'), FULL, 'PROVIDER_REFUSED', /\)\.$/],
  ])('%s', async (_who, status, body, settings, code, advice) => {
    const refusal = await refusalOf(status, body, settings, false);
    expect(refusal).toMatchObject({ code, requests: 1, message: expect.stringMatching(advice) });
    expectShown(refusal.message, body);
    expectNothingSetTwice(refusal.message, settings);
  });
});

describe('a refusal of a client with a private key, as it is worded by', () => {
  // One row, one refusal.
  // prettier-ignore
  test.each<[string, number, object, RegExp]>([
    ['Keycloak: another audience', 400, oauth('invalid_client', 'Invalid token audience'), ASSERTION],
    ['Keycloak before 26.2: another audience', 400, oauth('invalid_client', "Client authentication with signed JWT failed: Token audience doesn't match domain. Expected audiences are any of [x]"), ASSERTION],
    ['Keycloak: several audiences', 400, oauth('invalid_client', 'Multiple audiences not allowed'), ASSERTION],
    ['Keycloak: an unknown key', 400, oauth('invalid_client', 'Unable to load public key'), KEY],
    ['Keycloak: another key', 400, oauth('invalid_client', 'Client authentication with signed JWT failed: Signature on JWT token failed validation'), KEY],
    ['Keycloak: another algorithm', 400, oauth('invalid_client', 'Invalid signature algorithm'), ALGORITHM],
    ['Keycloak: a clock', 400, oauth('invalid_client', 'Token is not active'), CLOCK],
    ['Keycloak: a fast clock', 400, oauth('invalid_client', 'Token was issued in the future'), CLOCK],
    ['Keycloak: a repetition', 400, oauth('invalid_client', 'Token reuse detected'), /repeats requests/],
    ['Hydra: another audience', 401, oauth('invalid_client', `${CLIENT_FAILED} Claim 'audience' from 'client_assertion' must match the authorization server's token endpoint 'http://127.0.0.1:14444/oauth2/token'.`), ASSERTION],
    ['Hydra: an unknown key', 400, oauth('invalid_request', `${MALFORMED} The JSON Web Token uses signing key with kid 'a2cbac51-a6bd-4a5b-ba93-f3057b4d4b4c', which could not be found.`), KEY],
    ['Hydra: another key', 401, oauth('invalid_client', `${CLIENT_FAILED} Unable to verify the integrity of the 'client_assertion' value.`), KEY],
    ['Hydra: another algorithm', 401, oauth('invalid_client', `${CLIENT_FAILED} The 'client_assertion' uses signing algorithm 'ES256' but the requested OAuth 2.0 Client enforces signing algorithm 'RS256'.`), ALGORITHM],
    ['Hydra: a client with a secret', 401, oauth('invalid_client', `${CLIENT_FAILED} This requested OAuth 2.0 client only supports client authentication method 'client_secret_basic', however 'client_assertion' was provided in the request.`), /authenticates with private_key_jwt.*put "client_secret" into the credentials secret/],
    ['Hydra: a repetition', 400, oauth('jti_known', "The jti was already used. Claim 'jti' from 'client_assertion' MUST only be used once."), /repeats requests/],
    ['Spring: anything', 401, oauth('invalid_client'), /public half of its private key.*BROKER_CLIENT_ASSERTION_AUDIENCE/],
    ['Entra: another audience', 401, entra('invalid_client', 700023, 'Client assertion audience claim does not match Realm issuer. Review the documentation at https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .'), ASSERTION],
    ['Entra: several audiences', 401, entra('invalid_client', 5002741, 'Number of audience values in the provided client credential exceed maximum allowed. 2 audience values provided, maximum allowed is 1.'), ASSERTION],
    ['Entra: an unknown key', 401, entra('invalid_client', 700027, 'Client assertion contains an invalid signature. [Reason - The key was not found.]'), KEY],
    ['Entra: a clock', 401, entra('invalid_client', 700024, 'Client assertion is not within its valid time range.'), CLOCK],
    ['Okta: another audience', 401, oauth('invalid_client', 'The audience claim for client_assertion must be the endpoint invoked for the request.'), ASSERTION],
    ['Okta: an unknown key', 401, oauth('invalid_client', 'The client_assertion JWT kid is invalid.'), KEY],
    ['Okta: a clock', 401, oauth('invalid_client', 'The client_assertion token is expired.'), CLOCK],
  ])('%s', async (_who, status, body, advice) => {
    const refusal = await refusalOf(status, body, FULL, true);
    expect(refusal.code).toBe('PROVIDER_INVALID_CLIENT');
    expect(refusal.message).toMatch(advice);
    expectShown(refusal.message, body);
    if (advice === ASSERTION) expect(refusal.message).not.toMatch(/public half/);
    if (advice === KEY) expect(refusal.message).not.toMatch(/ASSERTION_AUDIENCE/);
  });

  test.each([
    [undefined, /is the issuer at present; set .* to token_endpoint, or to the exact URL/],
    ['issuer', /is the issuer at present; set .* to token_endpoint, or to the exact URL/],
    ['token_endpoint', /is the token endpoint at present; set .* to issuer, or to the exact URL/],
    [
      'https://other.example.test/',
      /is "https:\/\/other\.example\.test\/" at present; set .* to issuer, to token_endpoint, or/,
    ],
  ])('the advice starts from the audience that is configured: %s', async (configured, advice) => {
    const body = oauth('invalid_client', 'Invalid token audience');
    const settings = configured === undefined ? {} : { clientAssertionAudience: configured };
    expect((await refusalOf(400, body, settings, true)).message).toMatch(advice);
  });
});

test('no advice says to set what is set, whatever a provider says', () => {
  const word = fc.constantFrom(
    'audience',
    'resource',
    'scope',
    'invalid',
    'missing',
    'not',
    'required',
    'client',
    'grant',
    'AADSTS70011',
    'AADSTS500011',
    'AADSTS90002',
    'policy',
    'assertion',
    'secret',
    'DPoP',
    '.',
  );
  const code = fc.constantFrom(
    'invalid_request',
    'invalid_client',
    'invalid_scope',
    'invalid_target',
    'access_denied',
    'unauthorized_client',
    'unsupported_grant_type',
    'teapot',
    '',
  );
  const settings = fc.record(
    { audience: fc.constant(AUDIENCE), scope: fc.constant('orders:read') },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      fc.constantFrom(400, 401, 403, 404),
      code,
      fc.array(word, { maxLength: 5 }),
      settings,
      fc.constantFrom<'secrets' | 'private-key'>('secrets', 'private-key'),
      (status, given, words, wanted, kind) => {
        const method = kind === 'secrets' ? 'client_secret_basic' : 'private_key_jwt';
        const { todo } = adviseOn(
          status,
          { code: given, description: words.join(' ') },
          { settings: { issuer: 'https://provider.example.test', ...wanted }, kind, method },
        );
        expectNothingSetTwice(todo, wanted);
        expect(todo).not.toMatch(/undefined|\[object/);
      },
    ),
  );
});

/** Whatever a provider says in its own words is repeated. */
function expectShown(message: string, body: object | undefined): void {
  const said = body !== undefined && 'error_description' in body ? body.error_description : '';
  const own = typeof said === 'string' ? said.replace(TRACE, '') : '';
  // Hydra begins with the words of the standard; Entra ID is longer than what is repeated.
  expect([own.slice(0, 40), own.slice(-40)].some((part) => message.includes(part))).toBe(true);
}

function expectNothingSetTwice(message: string, { audience, scope }: Wanted): void {
  if (audience !== undefined) expect(message).not.toMatch(/set BROKER_AUDIENCE|an audience \(BRO/);
  if (scope !== undefined) expect(message).not.toMatch(/set BROKER_SCOPE|a scope \(BROKER_SCOPE/);
}

describe('what is shown of a complaint', () => {
  test.each([
    ['a secret in it', { message: 'bad right-secret' }, /no error code/],
    [
      'a token in it',
      { title: 'Bad Request', detail: 'got eyJhbGciOiJub25lIn0.e30.' },
      /Bad Request\)/,
    ],
    ['a number for a code', { code: 17, message: 'no' }, /17: no/],
    ['control characters', { error: 'x', error_description: 'a\r\nb' }, /x: a b\)/],
    ['no text at all', { error: { message: { a: 1 } }, errors: [null] }, /no OAuth error code/],
  ])('%s', async (_what, body, message) => {
    expect((await refusalOf(400, body, {}, false)).message).toMatch(message);
  });

  test('is bounded', async () => {
    const body = oauth('x', 'word '.repeat(10_000));
    expect((await refusalOf(400, body, {}, false)).message.length).toBeLessThan(1_000);
  });

  test('is there for a provider that fails, and its Retry-After is kept', async () => {
    const { server, provider } = await rig({}, { attempts: 1 });
    const said = answers.json(
      503,
      { error: 'server_error', error_description: 'The database is away, right-secret' },
      { 'retry-after': '7' },
    );
    server.next('token', said);
    const first = await failureOf(provider.mint({ issuer: server.issuer }, credentials));
    expect(first).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', retryAfterSeconds: 7 });
    expect(first.message).toContain('status 503 (server_error).');
    server.next(
      'token',
      answers.json(429, { errorCode: 'E0000047', errorSummary: 'API call exceeded rate limit' }),
    );
    const second = await failureOf(provider.mint({ issuer: server.issuer }, credentials));
    expect(second.message).toContain('(429) (E0000047: API call exceeded rate limit)');
  });

  test('a Bearer challenge is of a protected resource, not of a token endpoint', async () => {
    const { server, provider } = await rig();
    server.always(
      'token',
      answers.empty(401, { 'www-authenticate': 'Bearer resource_metadata="http://127.0.0.1/x"' }),
    );
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, credentials));
    expect(failure.code).toBe('PROVIDER_RESPONSE_INVALID');
    expect(failure.message).toMatch(/wants a bearer token\)\. Is it the URL of the token endpoint/);
  });
});
