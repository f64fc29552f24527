import { BrokerError } from '../tokens/errors.js';
import { parseUrl, isLoopbackHost, clientSecretBasic } from '../tokens/http.js';
import {
  isJsonObject,
  parseJsonObject,
  parsePastedJson,
  trimPasted,
  type JsonObject,
} from '../tokens/json.js';
import { ProviderError, safeText } from './provider-errors.js';
import { type CryptoKey, importJWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { isRocaModulus } from '../verification/keys/usable-keys.js';

/** The client credentials: the client id and secret (or private key) that the provider knows the broker by. */
export type ClientCredentials = SecretCredentials | PrivateKeyCredentials;

/** A client id with one secret, or with several while one is being replaced at the provider. */
export interface SecretCredentials {
  readonly kind: 'secrets';
  readonly clientId: string;
  /** Never empty. Tried in this order, the next one only after the provider refused the previous. */
  readonly secrets: readonly string[];
}

/** A client id with a private key, for `private_key_jwt` (RFC 7523 §2.2). */
export interface PrivateKeyCredentials {
  readonly kind: 'private-key';
  readonly clientId: string;
  /** A private JWK (RFC 7517); `kid` and `alg` are used where present. */
  readonly privateKey: PrivateJwk;
}

/** A private JWK as in the credentials secret. */
export interface PrivateJwk {
  readonly kty: string;
  readonly [member: string]: unknown;
}

/** The content of the credentials secret. */
interface CredentialsSecret {
  readonly credentials: ClientCredentials;
  /** Optional members; the configuration overrides them. */
  readonly settings: Partial<ProviderSettings>;
}

/** How the broker proves its identity at the token endpoint (RFC 6749 §2.3.1, RFC 7523 §2.2). */
export type ClientAuthentication = 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt';

/** Where the provider is, and what to request. */
export interface ProviderSettings {
  /** The issuer identifier, exactly as the provider writes it in `iss`; a trailing slash counts. */
  readonly issuer: string;
  /** Where tokens are minted. Default: from discovery. */
  readonly tokenEndpoint?: string;
  /** Where the provider's public keys are. Default: from discovery. */
  readonly jwksUri?: string;
  /** The `audience` parameter that Auth0 and others ask for. Default: not sent. */
  readonly audience?: string;
  /** The `scope` parameter, space-separated (RFC 6749 §3.3). Default: not sent. */
  readonly scope?: string;
  /** The `resource` parameters (RFC 8707 §2). Default: none. */
  readonly resource?: readonly string[];
  /**
   * Default: `private_key_jwt` for a private key, else what discovery lists (`client_secret_basic` when it lists both
   * or nothing, or when `tokenEndpoint` is given and nothing is discovered).
   */
  readonly clientAuthentication?: ClientAuthentication;
  /** The `aud` of client assertions (RFC 7523 §3): `issuer`, `token_endpoint`, or a URL as it is. Default: `issuer`. */
  readonly clientAssertionAudience?: string;
  /** Allows `http:` for hosts other than loopback ones. Default: false. */
  readonly allowInsecureHttp?: boolean;
}

/** The credentials secret does not hold client credentials: `CREDENTIALS_SECRET_INVALID`, misconfigured. */
export class CredentialsSecretError extends BrokerError {}

/** `CREDENTIALS_SECRET_INVALID` with the reason. The reason must not quote a value. */
function invalidCredentials(what: string): CredentialsSecretError {
  return new CredentialsSecretError(
    'CREDENTIALS_SECRET_INVALID',
    'misconfigured',
    `The credentials secret does not hold client credentials: ${what}.`,
  );
}

/** What must not appear in a message. A private key is never sent, so that no provider can quote it. */
export function secretsOf(credentials: ClientCredentials): readonly string[] {
  return credentials.kind === 'secrets' ? credentials.secrets : [];
}

/**
 * Reads the credentials secret's JSON text: `client_id` with exactly one of `client_secret`, `client_secrets` (an
 * ordered list) and `private_key` (a JWK); optional `issuer`, `token_endpoint`, `audience`, `scope` and
 * `client_assertion_audience`. Other members are ignored.
 *
 * `client_secrets` and `private_key` may also be JSON text in a string, as the key/value editor of the Secrets Manager
 * console writes them.
 *
 * @throws {CredentialsSecretError} `CREDENTIALS_SECRET_INVALID`, naming the member at fault, never its value.
 */
export function parseCredentialsSecret(text: string): CredentialsSecret {
  const fields = parseJsonObject(text, invalidCredentials);
  return { credentials: readCredentials(fields), settings: readSettings(fields) };
}

const ALTERNATIVES = ['client_secret', 'client_secrets', 'private_key'] as const;

function readCredentials(fields: JsonObject): ClientCredentials {
  const clientId = requireText(fields['client_id'], '"client_id"');
  const given = ALTERNATIVES.filter((name) => fields[name] !== undefined);
  const [name] = given;
  if (name === undefined) {
    throw invalidCredentials(
      'one of "client_secret", "client_secrets" and "private_key" is needed',
    );
  }
  if (given.length > 1) {
    throw invalidCredentials(`${given.map((one) => `"${one}"`).join(' and ')} exclude each other`);
  }
  if (name === 'private_key') {
    return { kind: 'private-key', clientId, privateKey: readPrivateKey(fields[name]) };
  }
  const secrets = name === 'client_secret' ? [fields[name]] : readList(fields[name]);
  return {
    kind: 'secrets',
    clientId,
    secrets: secrets.map((secret, index) =>
      requireSecret(secret, name === 'client_secret' ? `"${name}"` : `"${name}"[${index}]`),
    ),
  };
}

function readList(value: unknown): readonly unknown[] {
  const list = parseNested(value);
  if (!Array.isArray(list) || list.length === 0) {
    throw invalidCredentials('"client_secrets" must be a non-empty list of strings');
  }
  return list;
}

const PEM_TO_JWK = `node -p "JSON.stringify(crypto.createPrivateKey(fs.readFileSync('key.pem')).export({ format: 'jwk' }))"`;

function readPrivateKey(value: unknown): PrivateJwk {
  const jwk = parseNested(value);
  if (typeof jwk === 'string' && jwk.includes('-----BEGIN')) {
    throw invalidCredentials(
      `"private_key" is PEM, and a JWK is needed. To convert it: ${PEM_TO_JWK}`,
    );
  }
  if (!isJsonObject(jwk) || typeof jwk['kty'] !== 'string') {
    throw invalidCredentials('"private_key" must be a JWK, an object with "kty"');
  }
  if (typeof jwk['d'] !== 'string' || jwk['d'] === '') {
    throw invalidCredentials('"private_key" is a public or a symmetric JWK; a private one has "d"');
  }
  return jwk as PrivateJwk;
}

function parseNested(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return parsePastedJson(value);
  } catch {
    // Not JSON: the caller refuses the string.
    return value;
  }
}

function readSettings(fields: JsonObject): Partial<ProviderSettings> {
  return {
    ...optionalText(fields, 'issuer', 'issuer'),
    ...optionalText(fields, 'token_endpoint', 'tokenEndpoint'),
    ...optionalText(fields, 'audience', 'audience'),
    ...optionalText(fields, 'scope', 'scope'),
    ...readAssertionAudience(fields),
  };
}

function readAssertionAudience(fields: JsonObject): Partial<ProviderSettings> {
  const name = 'client_assertion_audience';
  const read = optionalText(fields, name, 'clientAssertionAudience');
  const { clientAssertionAudience: audience = 'issuer' } = read;
  if (audience !== 'issuer' && audience !== 'token_endpoint' && parseUrl(audience) === undefined) {
    throw invalidCredentials(`"${name}" must be "issuer", "token_endpoint" or an absolute URI`);
  }
  return read;
}

function optionalText<K extends keyof ProviderSettings>(
  fields: JsonObject,
  member: string,
  setting: K,
): { readonly [P in K]?: string } {
  const value = fields[member];
  if (value === undefined) return {};
  return { [setting]: requireText(value, `"${member}"`) } as { readonly [P in K]?: string };
}

/** A text, without what pasting and piping leave around it. */
function requireText(value: unknown, name: string): string {
  const text = typeof value === 'string' ? trimPasted(value) : '';
  if (text === '') throw invalidCredentials(`${name} must be a non-empty string`);
  return requirePrintable(text, name);
}

/**
 * A client secret, without characters that no secret has at its ends (RFC 6749 appendix A.2), such as the line end that
 * pasting and piping leave. A space there is ambiguous, and the provider would only say "invalid_client": it is an error.
 */
function requireSecret(value: unknown, name: string): string {
  const text = requireText(value, name);
  const [before = '', after = ''] = String(value).split(text, 2);
  if (before.includes(' ') || after.includes(' ')) {
    throw invalidCredentials(`${name} has a space before or after it`);
  }
  return text;
}

function requirePrintable(text: string, name: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  if (!/[\u0000-\u001f\u007f]/.test(text)) return text;
  throw invalidCredentials(`${name} has a control character in it`);
}

/**
 * The settings to mint with: those of the configuration, then those of the credentials secret.
 *
 * The issuer is required even with explicit endpoints, because it is the `iss` that a minted token must have.
 *
 * @throws {ProviderError} `PROVIDER_ISSUER_MISSING` when neither names an issuer.
 */
export function resolveProviderSettings(
  config: Partial<ProviderSettings>,
  fromSecret: Partial<ProviderSettings>,
): ProviderSettings {
  const merged = { ...withoutUndefined(fromSecret), ...withoutUndefined(config) };
  const { issuer } = merged;
  if (issuer === undefined) {
    throw new ProviderError(
      'PROVIDER_ISSUER_MISSING',
      'The provider is not configured: set BROKER_ISSUER, or "issuer" in the credentials secret, to the exact ' +
        'issuer identifier that the provider writes into its tokens as "iss".',
    );
  }
  return { ...merged, issuer };
}

function withoutUndefined(settings: Partial<ProviderSettings>): Partial<ProviderSettings> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

/**
 * The URL of a setting or of discovered metadata, if it is allowed: `https:`, or `http:` on a loopback host (anywhere,
 * with `allowInsecureHttp`), without a user, password or fragment.
 *
 * @param name what the URL is, for the message.
 * @throws {ProviderError} `PROVIDER_SETTINGS_INVALID`, `PROVIDER_INSECURE`.
 */
export function requireUrl(
  text: string,
  name: string,
  settings: Pick<ProviderSettings, 'allowInsecureHttp'>,
): URL {
  const url = parseUrl(text);
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw invalidUrl(name, 'it must be an absolute https: URL');
  }
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    throw invalidUrl(name, 'it must have no user, password or fragment');
  }
  if (
    url.protocol === 'http:' &&
    !isLoopbackHost(url.hostname) &&
    settings.allowInsecureHttp !== true
  ) {
    throw new ProviderError(
      'PROVIDER_INSECURE',
      `The ${name} ${displayUrl(url)} is plain HTTP on another machine, which would show the client credentials to ` +
        'the network. Use https:.',
    );
  }
  return url;
}

function invalidUrl(name: string, why: string): ProviderError {
  return new ProviderError('PROVIDER_SETTINGS_INVALID', `The ${name} cannot be used: ${why}.`);
}

/** A URL for messages: without its query, which may hold secrets, and cut to a line. */
export function displayUrl(url: URL): string {
  return `${url.origin}${url.pathname}`.slice(0, 200);
}

/** RFC 8725 §3.5 and RFC 7518 §3.3: shorter keys are not safe. */
const MIN_RSA_BITS = 2048;

/**
 * How to authenticate: as configured; else by signature with a private key; else by what the provider lists, with
 * `client_secret_basic` first and as the default (RFC 8414 §2).
 *
 * @param supported the metadata's `token_endpoint_auth_methods_supported`.
 * @throws {ProviderError} `PROVIDER_AUTHENTICATION_UNSUPPORTED` when the credentials are of another kind.
 */
export function chooseAuthentication(
  configured: ClientAuthentication | undefined,
  kind: ClientCredentials['kind'],
  supported: readonly string[] | undefined,
): ClientAuthentication {
  if (configured !== undefined) {
    if ((configured === 'private_key_jwt') === (kind === 'private-key')) return configured;
    const has = kind === 'secrets' ? 'a client secret' : 'a private key';
    throw unsupported(
      `${configured} is configured, but the credentials secret holds ${has}. Change one of them.`,
    );
  }
  if (kind === 'private-key') return 'private_key_jwt';
  if (supported === undefined || supported.includes('client_secret_basic')) {
    return 'client_secret_basic';
  }
  if (supported.includes('client_secret_post')) return 'client_secret_post';
  throw unsupported(
    `The provider lists neither client_secret_basic nor client_secret_post, but ${safeText(supported.join(', ')) ?? 'others'}. ` +
      'It may want a private key: put "private_key" into the credentials secret in place of the client secret. If it accepts one of the ' +
      'two anyway, set BROKER_CLIENT_AUTHENTICATION.',
  );
}

/** The audience of client assertions (RFC 7523 §3): the issuer, unless the settings want the token endpoint or another one. */
export function assertionAudience(
  { issuer, clientAssertionAudience: wanted = 'issuer' }: ProviderSettings,
  tokenEndpoint: string,
): string {
  if (wanted === 'issuer') return issuer;
  return wanted === 'token_endpoint' ? tokenEndpoint : wanted;
}

/**
 * One way to authenticate per entry: one for each client secret, in order, or one for the private key.
 *
 * @param audience the `aud` of client assertions; without one, the issuer.
 */
export async function clientAuthenticators(
  method: ClientAuthentication,
  credentials: ClientCredentials,
  audience?: string,
): Promise<readonly oauth.ClientAuth[]> {
  if (credentials.kind === 'private-key') return [await privateKeyJwt(credentials, audience)];
  return credentials.secrets.map((secret) =>
    method === 'client_secret_post' ? oauth.ClientSecretPost(secret) : basicWith(secret),
  );
}

/** The library's own also encodes `-`, `_` and `.`. */
function basicWith(secret: string): oauth.ClientAuth {
  return (_server, client, _body, headers) => {
    headers.set('authorization', clientSecretBasic(client.client_id, secret));
  };
}

async function privateKeyJwt(
  { privateKey }: PrivateKeyCredentials,
  audience: string | undefined,
): Promise<oauth.ClientAuth> {
  const algorithm = signingAlgorithm(privateKey);
  const key = await importPrivateKey(privateKey, algorithm);
  const kid = privateKey['kid'];
  return oauth.PrivateKeyJwt(typeof kid === 'string' && kid !== '' ? { key, kid } : { key }, {
    [oauth.modifyAssertion]: (header, payload) => {
      // The same signature has two names, EdDSA and Ed25519 (RFC 9864), and a provider may know only the older one.
      header['alg'] = algorithm;
      // One text, never a list: several audiences let one provider's assertion pass at another.
      if (audience !== undefined) payload['aud'] = audience;
    },
  });
}

const ALGORITHMS: Readonly<Record<string, readonly string[]>> = {
  RSA: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  'P-256': ['ES256'],
  'P-384': ['ES384'],
  'P-521': ['ES512'],
  Ed25519: ['EdDSA', 'Ed25519'],
};

function signingAlgorithm(jwk: PrivateJwk): string {
  const shape = jwk.kty === 'RSA' ? 'RSA' : String(jwk['crv']);
  const allowed = Object.hasOwn(ALGORITHMS, shape) ? ALGORITHMS[shape] : undefined;
  const [usual] = allowed ?? [];
  if (allowed === undefined || usual === undefined) {
    throw invalidCredentials('"private_key" must be an RSA, P-256, P-384, P-521 or Ed25519 key');
  }
  const named = jwk['alg'];
  if (named === undefined) return usual;
  if (typeof named === 'string' && allowed.includes(named)) return named;
  throw invalidCredentials(`"private_key" has an "alg" other than ${allowed.join(', ')}`);
}

async function importPrivateKey(jwk: PrivateJwk, algorithm: string): Promise<CryptoKey> {
  // Restrictions for other programs of the key's owner do not apply here.
  const { use: _use, key_ops: _operations, ext: _extractable, ...material } = jwk;
  let key: CryptoKey | Uint8Array;
  try {
    key = await importJWK(material, algorithm);
  } catch {
    // The reason may quote the key.
    throw invalidCredentials('"private_key" has members that do not fit together');
  }
  if (!('type' in key) || key.type !== 'private') {
    throw invalidCredentials('"private_key" is not a private key');
  }
  if ('modulusLength' in key.algorithm && Number(key.algorithm.modulusLength) < MIN_RSA_BITS) {
    throw invalidCredentials(`"private_key" is an RSA key under ${MIN_RSA_BITS} bits`);
  }
  const { n: modulus } = jwk;
  if (typeof modulus === 'string' && isRocaModulus(Buffer.from(modulus, 'base64url'))) {
    throw invalidCredentials(
      '"private_key" can be computed from its public half (CVE-2017-15361, "ROCA"): make a new one',
    );
  }
  return key;
}

function unsupported(message: string): ProviderError {
  return new ProviderError('PROVIDER_AUTHENTICATION_UNSUPPORTED', message);
}
