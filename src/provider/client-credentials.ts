import { BrokerError } from '../tokens/errors.js';
import { parseUrl, isLoopbackHost } from '../tokens/http.js';
import {
  isJsonObject,
  parseJsonObject,
  parsePastedJson,
  trimPasted,
  type JsonObject,
} from '../tokens/json.js';
import { ProviderError } from './provider-errors.js';

/** The client credentials: the client id, and what proves to the provider that it is the broker's. */
export type ClientCredentials =
  | SecretCredentials
  | PrivateKeyCredentials
  | KmsCredentials
  | WorkloadCredentials
  | CertificateCredentials;

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

/** A client id with a key that never leaves AWS KMS: it signs the client assertions (RFC 7523 §2.2). */
export interface KmsCredentials {
  readonly kind: 'kms';
  readonly clientId: string;
  /** The key's id, ARN, alias or alias ARN. */
  readonly keyId: string;
  /** Default: RS256 for an RSA key, ES256 for a P-256 key. */
  readonly algorithm?: KmsAlgorithm;
  /** The assertions' `kid`. Default: the public key's thumbprint (RFC 7638). */
  readonly assertionKeyId?: string;
}

/** The JWS algorithms that a KMS key signs client assertions with. */
export type KmsAlgorithm = 'RS256' | 'PS256' | 'ES256';

/** A client id with a token that the platform issues for the broker: it is the client assertion (RFC 7523 §2.2). */
export interface WorkloadCredentials {
  readonly kind: 'workload-token';
  readonly clientId: string;
  readonly source: WorkloadTokenSource;
}

/** Where the platform's token comes from: a file that the platform keeps fresh, or `sts:GetWebIdentityToken` of AWS. */
export type WorkloadTokenSource =
  | { readonly file: string }
  | { readonly awsAudience: string; readonly algorithm: AwsTokenAlgorithm };

/** The algorithms that AWS signs identity tokens with. */
export type AwsTokenAlgorithm = 'RS256' | 'ES384';

/** A client id with a certificate for mutual TLS (RFC 8705 §2). */
export interface CertificateCredentials {
  readonly kind: 'certificate';
  readonly clientId: string;
  /** The certificate and its key: paths of PEM files, read at every mint, or PEM texts. */
  readonly from: 'files' | 'credentials secret';
  /** The certificate, and the intermediate ones after it. */
  readonly certificate: string;
  readonly key: string;
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
  /** Members with a secret that the configured client authentication does not use: they can be removed. */
  readonly unused?: readonly string[];
}

/**
 * How the broker proves its identity at the token endpoint (RFC 6749 §2.3.1, RFC 7523 §2.2, RFC 8705 §2). `kms` and
 * `workload_token` are `private_key_jwt` to the provider; `mtls` is `tls_client_auth` or `self_signed_tls_client_auth`.
 */
export type ClientAuthentication =
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'private_key_jwt'
  | 'kms'
  | 'workload_token'
  | 'mtls';

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
  /** The client id. Default: from the credentials secret. */
  readonly clientId?: string;
  /** The KMS key that signs client assertions: its id, ARN, alias or alias ARN. */
  readonly kmsKeyId?: string;
  /** Default: RS256 for an RSA key, ES256 for a P-256 key. */
  readonly kmsAlgorithm?: KmsAlgorithm;
  /** The `kid` of client assertions that KMS signs. Default: the public key's thumbprint (RFC 7638). */
  readonly clientAssertionKeyId?: string;
  /** The file with the platform's token. */
  readonly workloadTokenFile?: string;
  /** The audience of the identity token that AWS is asked for, where it is the platform. */
  readonly awsTokenAudience?: string;
  /** Default: RS256. */
  readonly awsTokenAlgorithm?: AwsTokenAlgorithm;
  /** The file with the client certificate, and the intermediate ones after it, in PEM. */
  readonly clientCertificateFile?: string;
  /** The file with the certificate's private key, in PEM. */
  readonly clientKeyFile?: string;
  /** The `aud` of client assertions (RFC 7523 §3): `issuer`, `token_endpoint`, or a URL as it is. Default: `issuer`. */
  readonly clientAssertionAudience?: string;
  /** Allows `http:` for hosts other than loopback ones. Default: false. */
  readonly allowInsecureHttp?: boolean;
}

/** The credentials secret does not hold client credentials: `CREDENTIALS_SECRET_INVALID`, misconfigured. */
export class CredentialsSecretError extends BrokerError {}

/** `CREDENTIALS_SECRET_INVALID` with the reason. The reason must not quote a value. */
export function invalidCredentials(what: string): CredentialsSecretError {
  return new CredentialsSecretError(
    'CREDENTIALS_SECRET_INVALID',
    'misconfigured',
    `The credentials secret does not hold client credentials: ${what}.`,
  );
}

/**
 * What must not appear in a message. A private key is never sent, so that no provider can quote it; assertions look like
 * the tokens that are redacted everywhere.
 */
export function secretsOf(credentials: ClientCredentials): readonly string[] {
  return credentials.kind === 'secrets' ? credentials.secrets : [];
}

/**
 * Reads the credentials secret's JSON text: `client_id` with exactly one of `client_secret`, `client_secrets` (an
 * ordered list), `private_key` (a JWK) and `certificate` (with `certificate_key`, both PEM); optional `issuer`,
 * `token_endpoint`, `audience`, `scope` and `client_assertion_audience`. Other members are ignored.
 *
 * `client_secrets` and `private_key` may also be JSON text in a string, as the key/value editor of the Secrets Manager
 * console writes them.
 *
 * @param configured settings of the configuration. With a client authentication that needs nothing from the secret, only
 *   `client_id` is read, and not even that with a configured client id.
 * @throws {CredentialsSecretError} `CREDENTIALS_SECRET_INVALID`, naming the member at fault, never its value.
 */
export function parseCredentialsSecret(
  text: string,
  configured: Partial<ProviderSettings> = {},
): CredentialsSecret {
  const fields = parseJsonObject(text, invalidCredentials);
  const clientId = configured.clientId ?? requireText(fields['client_id'], '"client_id"');
  const outside = credentialsOutside(configured, clientId);
  const given = ALTERNATIVES.filter((name) => fields[name] !== undefined);
  return {
    credentials: outside ?? readCredentials(fields, clientId, given),
    settings: readSettings(fields),
    ...(outside !== undefined && given.length > 0 && { unused: given }),
  };
}

/** What is configured to prove the broker's identity without the credentials secret; `undefined` when nothing is. */
function credentialsOutside(
  configured: Partial<ProviderSettings>,
  clientId: string,
): ClientCredentials | undefined {
  const { clientAuthentication, kmsKeyId, kmsAlgorithm, clientAssertionKeyId } = configured;
  const { workloadTokenFile, awsTokenAudience, awsTokenAlgorithm = 'RS256' } = configured;
  const { clientCertificateFile, clientKeyFile } = configured;
  if (clientAuthentication === 'kms' && kmsKeyId !== undefined) {
    return {
      kind: 'kms',
      clientId,
      keyId: kmsKeyId,
      ...(kmsAlgorithm && { algorithm: kmsAlgorithm }),
      ...(clientAssertionKeyId && { assertionKeyId: clientAssertionKeyId }),
    };
  }
  if (clientAuthentication === 'workload_token' && workloadTokenFile !== undefined) {
    return { kind: 'workload-token', clientId, source: { file: workloadTokenFile } };
  }
  if (clientAuthentication === 'workload_token' && awsTokenAudience !== undefined) {
    const source = { awsAudience: awsTokenAudience, algorithm: awsTokenAlgorithm };
    return { kind: 'workload-token', clientId, source };
  }
  return clientAuthentication === 'mtls' && clientCertificateFile && clientKeyFile
    ? {
        kind: 'certificate',
        clientId,
        from: 'files',
        certificate: clientCertificateFile,
        key: clientKeyFile,
      }
    : undefined;
}

/**
 * The client credentials that the configuration has whole, so that the credentials secret is neither read nor needed;
 * `undefined` when it is. Pure.
 */
export function configuredCredentials(
  configured: Partial<ProviderSettings>,
): ClientCredentials | undefined {
  const { clientId } = configured;
  return clientId === undefined ? undefined : credentialsOutside(configured, clientId);
}

const ALTERNATIVES = ['client_secret', 'client_secrets', 'private_key', 'certificate'] as const;

function readCredentials(
  fields: JsonObject,
  clientId: string,
  given: readonly (typeof ALTERNATIVES)[number][],
): ClientCredentials {
  const [name] = given;
  if (name === undefined) {
    throw invalidCredentials(
      'one of "client_secret", "client_secrets" and "private_key" is needed, or "certificate" for mutual TLS',
    );
  }
  if (given.length > 1) {
    throw invalidCredentials(`${given.map((one) => `"${one}"`).join(' and ')} exclude each other`);
  }
  if (name === 'private_key') {
    return { kind: 'private-key', clientId, privateKey: readPrivateKey(fields[name]) };
  }
  if (name === 'certificate') {
    return {
      kind: 'certificate',
      clientId,
      from: 'credentials secret',
      certificate: readPem(fields[name], name),
      key: readPem(fields['certificate_key'], 'certificate_key'),
    };
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

/** What is in it is examined when it is used: a certificate that has expired must not hide that it is there. */
function readPem(value: unknown, name: string): string {
  const text = typeof value === 'string' ? trimPasted(value) : '';
  if (text.startsWith('-----BEGIN ')) return `${text}\n`;
  throw invalidCredentials(`"${name}" must be PEM, a text that begins with "-----BEGIN "`);
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
