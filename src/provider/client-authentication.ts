import { calculateJwkThumbprint, compactVerify, importJWK, type CryptoKey, type JWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { clientSecretBasic } from '../tokens/http.js';
import { systemClock, type Clock } from '../tokens/time.js';
import { isRocaModulus } from '../verification/keys/usable-keys.js';
import {
  invalidCredentials,
  type ClientAuthentication,
  type ClientCredentials,
  type KmsAlgorithm,
  type KmsCredentials,
  type PrivateJwk,
  type PrivateKeyCredentials,
  type ProviderSettings,
  type WorkloadCredentials,
} from './client-credentials.js';
import {
  invalidProof,
  judgeWorkloadToken,
  readWorkloadToken,
  type AwsProofs,
  type KmsPublicKey,
} from './client-proofs.js';
import type { DiscoveredServer } from './discovery.js';
import { ProviderError, safeText } from './provider-errors.js';

/** RFC 8725 §3.5 and RFC 7518 §3.3: shorter keys are not safe. */
const MIN_RSA_BITS = 2048;

/** How the broker authenticates, and where. */
export interface AuthenticationDecision {
  readonly method: ClientAuthentication;
  /** `undefined` when neither the settings nor the metadata name one. */
  readonly tokenEndpoint: string | undefined;
  /** The `aud` of the assertions that the broker makes. */
  readonly assertionAudience: string;
}

/**
 * How to authenticate with these credentials, and at which token endpoint: the configured one; with mutual TLS the
 * metadata's alias for it (RFC 8705 §5); else the metadata's. Pure.
 *
 * @throws {ProviderError} `PROVIDER_AUTHENTICATION_UNSUPPORTED` when the credentials are of another kind;
 *   `PROVIDER_INSECURE` for mutual TLS without TLS.
 */
export function decideClientAuthentication(
  settings: ProviderSettings,
  kind: ClientCredentials['kind'],
  server: DiscoveredServer,
): AuthenticationDecision {
  const supported = server.token_endpoint_auth_methods_supported;
  const method = chooseAuthentication(settings.clientAuthentication, kind, supported);
  const alias = method === 'mtls' ? server.mtls_token_endpoint : undefined;
  const tokenEndpoint = settings.tokenEndpoint ?? alias ?? server.token_endpoint;
  if (method === 'mtls' && tokenEndpoint?.startsWith('http:')) {
    throw new ProviderError(
      'PROVIDER_INSECURE',
      'The token endpoint is plain HTTP, and a client certificate proves nothing there. Use https:.',
    );
  }
  return {
    method,
    tokenEndpoint,
    assertionAudience: assertionAudience(settings, tokenEndpoint ?? settings.issuer),
  };
}

/** The methods for each kind of credentials, and what such credentials are in a message. */
const METHODS: Readonly<
  Record<
    ClientCredentials['kind'],
    { readonly of: readonly ClientAuthentication[]; readonly has: string }
  >
> = {
  secrets: {
    of: ['client_secret_basic', 'client_secret_post'],
    has: 'the credentials secret holds a client secret',
  },
  'private-key': { of: ['private_key_jwt'], has: 'the credentials secret holds a private key' },
  certificate: { of: ['mtls'], has: 'the credentials secret holds a client certificate' },
  kms: { of: ['kms'], has: 'a KMS key is configured' },
  'workload-token': { of: ['workload_token'], has: 'a workload token is configured' },
};

/**
 * The method: as configured; else the only one for the kind of credentials; else, for secrets, by what the provider
 * lists, with `client_secret_basic` first and as the default (RFC 8414 §2).
 *
 * @param supported the metadata's `token_endpoint_auth_methods_supported`.
 * @throws {ProviderError} `PROVIDER_AUTHENTICATION_UNSUPPORTED` when the credentials are of another kind.
 */
export function chooseAuthentication(
  configured: ClientAuthentication | undefined,
  kind: ClientCredentials['kind'],
  supported: readonly string[] | undefined,
): ClientAuthentication {
  const { of, has } = METHODS[kind];
  if (configured !== undefined) {
    if (of.includes(configured)) return configured;
    throw unsupported(`${configured} is configured, but ${has}. Change one of them.`);
  }
  const [only] = of;
  if (only !== undefined && of.length === 1) return only;
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

/** What proofs from outside the credentials secret are made with. */
export interface ProofTools {
  readonly clock: Clock;
  /** The port to AWS, made when it is needed. */
  readonly aws?: (() => Promise<AwsProofs>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * One way to authenticate per entry: one for each client secret, in order, or one for another proof. Each makes its
 * proof anew whenever it is used: an assertion is good for one request, and a file may have been replaced.
 *
 * @param audience the `aud` of client assertions; without one, the issuer.
 * @throws {BrokerError} `CLIENT_PROOF_INVALID`, `CLIENT_PROOF_UNAVAILABLE`, `CREDENTIALS_SECRET_INVALID`.
 */
export async function clientAuthenticators(
  method: ClientAuthentication,
  credentials: ClientCredentials,
  audience?: string,
  tools: ProofTools = { clock: systemClock },
): Promise<readonly oauth.ClientAuth[]> {
  if (credentials.kind === 'secrets') {
    return credentials.secrets.map((secret) =>
      method === 'client_secret_post' ? oauth.ClientSecretPost(secret) : basicWith(secret),
    );
  }
  if (credentials.kind === 'private-key') return [await privateKeyJwt(credentials, audience)];
  if (credentials.kind === 'kms') {
    const signer = await kmsSigner(credentials, tools);
    return [withAssertion(({ issuer }) => signer.assertion(audience ?? issuer, signer.now()))];
  }
  if (credentials.kind === 'workload-token') {
    return [withAssertion(async () => (await workloadToken(credentials, tools)).token)];
  }
  // The connection proves who it is: only the client id is sent (RFC 8705 §2).
  return [oauth.TlsClientAuth()];
}

/** Sends a client assertion (RFC 7521 §4.2). The client id is optional there, and Entra ID wants it. */
function withAssertion(
  assertionFor: (server: oauth.AuthorizationServer) => Promise<string>,
): oauth.ClientAuth {
  return async (server, client, body) => {
    body.set('client_id', client.client_id);
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
    body.set('client_assertion', await assertionFor(server));
  };
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

/** How long an assertion of ours may be used, in seconds. */
const ASSERTION_LIFE = 60;

/** The claims of a client assertion (RFC 7523 §3). Pure. @param now milliseconds since the Unix epoch. */
export function assertionClaims(
  clientId: string,
  audience: string,
  now: number,
  jti: string,
): Readonly<Record<string, string | number>> {
  const iat = Math.floor(now / 1000);
  return {
    iss: clientId,
    sub: clientId,
    aud: audience,
    jti,
    iat,
    nbf: iat,
    exp: iat + ASSERTION_LIFE,
  };
}

/**
 * The algorithm that a KMS key signs with: the configured one, or the key's usual one. Pure.
 *
 * @throws {ProviderError} `CLIENT_PROOF_INVALID` when the key cannot.
 */
export function chooseKmsAlgorithm(
  configured: KmsAlgorithm | undefined,
  { keyId, algorithms }: Pick<KmsPublicKey, 'keyId' | 'algorithms'>,
): KmsAlgorithm {
  const [usual] = algorithms;
  if (usual === undefined) {
    throw invalidProof(
      `The KMS key ${keyId} signs with none of RS256, PS256 and ES256: it must have the key usage SIGN_VERIFY, and be RSA or ECC_NIST_P256.`,
    );
  }
  if (configured === undefined) return usual;
  if (algorithms.includes(configured)) return configured;
  throw invalidProof(
    `The KMS key ${keyId} does not sign with ${configured}, which BROKER_KMS_ALGORITHM names, but with ${algorithms.join(' and ')}.`,
  );
}

/** Signs client assertions by a KMS key. */
export interface KmsSigner {
  readonly algorithm: KmsAlgorithm;
  /** The `kid` of its assertions. */
  readonly assertionKeyId: string;
  /** `undefined` when nothing of it had to be known. */
  readonly publicKey: KmsPublicKey | undefined;
  readonly now: () => number;
  readonly sign: (input: string) => Promise<Uint8Array>;
  /** A client assertion. @param now milliseconds since the Unix epoch. */
  readonly assertion: (audience: string, now: number) => Promise<string>;
}

/**
 * The signer for a KMS key. The public key is fetched once for a mint, so that an alias that moves takes its new key's
 * `kid` along; not at all where the algorithm and the `kid` are configured.
 */
export async function kmsSigner(
  { clientId, keyId, algorithm, assertionKeyId }: KmsCredentials,
  tools: ProofTools,
): Promise<KmsSigner> {
  const { aws, clock, signal } = await toolsForAws(tools);
  const isKnown = algorithm !== undefined && assertionKeyId !== undefined;
  const publicKey = isKnown ? undefined : await aws.publicKey(keyId, signal);
  const alg = publicKey === undefined ? algorithm : chooseKmsAlgorithm(algorithm, publicKey);
  const kid = assertionKeyId ?? (publicKey && (await calculateJwkThumbprint(publicKey.jwk)));
  if (alg === undefined || kid === undefined) throw noAws();
  // By its ARN: between two calls an alias may move to a key that the `kid` is not of.
  const signingKeyId = publicKey?.keyId ?? keyId;
  const sign = (input: string): Promise<Uint8Array> =>
    aws.sign(signingKeyId, alg, new TextEncoder().encode(input), signal);
  return {
    algorithm: alg,
    assertionKeyId: kid,
    publicKey,
    now: () => clock.now(),
    sign,
    assertion: async (audience, now) => {
      const claims = assertionClaims(clientId, audience, now, crypto.randomUUID());
      const input = [{ alg, kid }, claims].map(encodePart).join('.');
      return `${input}.${Buffer.from(await sign(input)).toString('base64url')}`;
    },
  };
}

/**
 * Signs an assertion on trial, for nobody, and verifies it.
 *
 * @returns what signed; `false` when its signature does not verify by the public key.
 */
export async function tryKmsKey(
  credentials: KmsCredentials,
  tools: ProofTools,
): Promise<Pick<KmsSigner, 'algorithm' | 'assertionKeyId' | 'publicKey'> | false> {
  const signer = await kmsSigner(credentials, tools);
  const assertion = await signer.assertion('nobody', signer.now());
  const { publicKey, algorithm } = signer;
  if (publicKey === undefined) return signer;
  try {
    await compactVerify(assertion, await importJWK(publicKey.jwk as JWK, algorithm));
    return signer;
  } catch {
    return false;
  }
}

function encodePart(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url');
}

/** The platform's token, from its file or from AWS. */
export async function workloadToken(
  { source }: WorkloadCredentials,
  tools: ProofTools,
): ReturnType<typeof readWorkloadToken> {
  if ('file' in source) return readWorkloadToken(source.file, tools.clock.now());
  const { aws, clock, signal } = await toolsForAws(tools);
  const token = await aws.identityToken(source.awsAudience, source.algorithm, signal);
  return judgeWorkloadToken(token, 'sts:GetWebIdentityToken', clock.now());
}

async function toolsForAws(
  tools: ProofTools,
): Promise<Omit<ProofTools, 'aws'> & { readonly aws: AwsProofs }> {
  if (tools.aws === undefined) throw noAws();
  return { ...tools, aws: await tools.aws() };
}

function noAws(): ProviderError {
  return unsupported('This client authentication needs AWS, which is not available here.');
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
