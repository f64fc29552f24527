import { type CryptoKey, importJWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { clientSecretBasic } from '../tokens/http.js';
import {
  type ClientCredentials,
  invalidCredentials,
  type PrivateJwk,
  type PrivateKeyCredentials,
  type ClientAuthentication,
  type ProviderSettings,
} from './client-credentials.js';
import { isRocaModulus } from '../verification/keys/usable-keys.js';
import { ProviderError, safeText } from './provider-errors.js';

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
