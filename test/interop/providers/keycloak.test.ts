import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateKeyCommand, GetPublicKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { afterAll, expect } from '@jest/globals';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { selfSignedCertificate } from '../../support/certificates.js';
import {
  Browser,
  codeRequest,
  dpopProof,
  post,
  redeem,
  REDIRECT_URI,
  request,
  type TokenAnswer,
} from './oauth.js';
import {
  API,
  clientKey,
  describeWith,
  providerContract,
  type Credentials,
  type RunningProvider,
} from './provider.contract.js';
import { freePort, startServer } from './server-process.js';

// Keycloak, as `kc.sh start-dev` runs it, with a realm that is set up as docs/guard.md says.

const REALM = 'shop';
const ADMINISTRATOR = { username: 'admin', password: 'admin-of-this-test' };
const ANN = { username: 'ann', password: 'password-of-ann' };
/** Client ids with secrets are written as `NAME` and `NAME-secret`. */
const secretOf = (id: string): readonly [string, string] => [id, `${id}-secret`];
const withSecret = (id: string): Credentials => ({ client_id: id, client_secret: `${id}-secret` });
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const KEY_PROVIDER = 'org.keycloak.keys.KeyProvider';

/** What a process needs to reach moto. */
const AWS = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => name.startsWith('AWS_')),
);

type Attributes = Readonly<Record<string, string>>;

/** Puts an audience into access tokens. */
function audience(name: string, config: Attributes): object {
  return {
    name,
    protocol: 'openid-connect',
    protocolMapper: 'oidc-audience-mapper',
    config: { 'access.token.claim': 'true', 'id.token.claim': 'false', ...config },
  };
}
const API_AUDIENCE = audience('api', { 'included.custom.audience': API });

/** A client for machines, whose tokens live 25 hours unless it says otherwise. */
function client(id: string, change: object = {}, attributes: Attributes = {}): object {
  return {
    clientId: id,
    secret: `${id}-secret`,
    serviceAccountsEnabled: true,
    standardFlowEnabled: false,
    protocolMappers: [API_AUDIENCE],
    attributes: { 'access.token.lifespan': '90000', ...attributes },
    ...change,
  };
}

function keyProvider(
  name: string,
  providerId: string,
  config: Attributes,
  priority = '10',
): object {
  const values = { priority, ...config };
  return {
    name,
    providerId,
    config: Object.fromEntries(Object.entries(values).map(([key, value]) => [key, [value]])),
  };
}

const cleanups: (() => unknown)[] = [];
afterAll(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** A client that signs its assertions with keys that are registered for it. */
function signer(id: string, jwks: object): object {
  return client(
    id,
    { clientAuthenticatorType: 'client-jwt' },
    { 'use.jwks.string': 'true', 'jwks.string': JSON.stringify(jwks) },
  );
}

/** A key that never leaves moto's KMS. */
interface KmsKey {
  readonly id: string;
  readonly publicJwks: object;
}

async function kmsKey(spec: 'RSA_2048' | 'ECC_NIST_P256'): Promise<KmsKey> {
  const kms = new KMSClient();
  const made = await kms.send(new CreateKeyCommand({ KeySpec: spec, KeyUsage: 'SIGN_VERIFY' }));
  const id = made.KeyMetadata?.KeyId ?? '';
  const { PublicKey = new Uint8Array() } = await kms.send(new GetPublicKeyCommand({ KeyId: id }));
  kms.destroy();
  const spki = { key: Buffer.from(PublicKey), format: 'der', type: 'spki' } as const;
  const jwk = createPublicKey(spki).export({ format: 'jwk' }) as JWK;
  // Without "alg": the key may sign with several.
  const kid = await calculateJwkThumbprint(jwk);
  return { id, publicJwks: { keys: [{ ...jwk, kid, use: 'sig' }] } };
}

/** A platform that issues tokens for its workloads, with its keys at a URL of its own. */
interface Platform {
  readonly issuer: string;
  readonly jwksUrl: string;
  /** Writes a token for a subject into a file, as a platform mounts it. */
  readonly mount: (file: string, subject: string, audience: string) => Promise<void>;
}

async function startPlatform(): Promise<Platform> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'platform', alg: 'RS256', use: 'sig' };
  const server = createServer((_request, response) =>
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ keys: [jwk] })),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    issuer,
    jwksUrl: `${issuer}/keys`,
    mount: async (file, subject, audience) => {
      const iat = Math.floor(Date.now() / 1000);
      const claims = { iss: issuer, sub: subject, aud: audience, iat, exp: iat + 3600 };
      const input = [{ alg: 'RS256', kid: 'platform' }, claims]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
        .join('.');
      const signature = sign('sha256', Buffer.from(input), privateKey).toString('base64url');
      await writeFile(file, `${input}.${signature}\n`);
    },
  };
}

const WORKLOAD = 'system:serviceaccount:shop:billing';

function realm(clientJwks: object, kms: readonly KmsKey[], platform: Platform): object {
  return {
    realm: REALM,
    enabled: true,
    sslRequired: 'none',
    // No token outlives the longest session, which is 10 hours by default.
    ssoSessionMaxLifespan: 90_000,
    components: {
      [KEY_PROVIDER]: [
        keyProvider('rs256', 'rsa-generated', { algorithm: 'RS256' }, '100'),
        keyProvider('ps256', 'rsa-generated', { algorithm: 'PS256' }),
        keyProvider('es256', 'ecdsa-generated', { ecdsaEllipticCurveKey: 'P-256' }),
        keyProvider('eddsa', 'eddsa-generated', { eddsaEllipticCurveKey: 'Ed25519' }),
        keyProvider('hs512', 'hmac-generated', { algorithm: 'HS512' }),
        keyProvider('aes', 'aes-generated', {}),
      ],
    },
    identityProviders: [
      {
        alias: 'platform',
        providerId: 'oidc',
        enabled: true,
        hideOnLogin: true,
        config: {
          issuer: platform.issuer,
          jwksUrl: platform.jwksUrl,
          useJwksUrl: 'true',
          validateSignature: 'true',
          supportsClientAssertions: 'true',
          // A mounted token is sent until the platform replaces it.
          supportsClientAssertionReuse: 'true',
          clientId: 'not-used',
          clientSecret: 'not-used',
          authorizationUrl: `${platform.issuer}/authorize`,
          tokenUrl: `${platform.issuer}/token`,
        },
      },
    ],
    users: [
      {
        username: ANN.username,
        enabled: true,
        email: 'ann@example.test',
        emailVerified: true,
        firstName: 'Ann',
        lastName: 'Example',
        credentials: [{ type: 'password', value: ANN.password }],
      },
    ],
    clients: [
      client('billing'),
      signer('billing-key', clientJwks),
      ...kms.map(({ publicJwks }, index) => signer(`billing-kms-${index}`, publicJwks)),
      client(
        'billing-tls',
        { clientAuthenticatorType: 'client-x509' },
        { 'x509.subjectdn': 'CN=billing-tls' },
      ),
      client(
        'billing-workload',
        { clientAuthenticatorType: 'federated-jwt' },
        { 'jwt.credential.issuer': 'platform', 'jwt.credential.sub': WORKLOAD },
      ),
      ...['ES256', 'PS256', 'EdDSA', 'RS512'].map((algorithm) =>
        client(`billing-${algorithm}`, {}, { 'access.token.signed.response.alg': algorithm }),
      ),
      client('billing-short', {}, { 'access.token.lifespan': '300' }),
      client('billing-bound', {}, { 'dpop.bound.access.tokens': 'true' }),
      client('no-audience', { protocolMappers: [] }),
      client('no-service-account', { serviceAccountsEnabled: false, standardFlowEnabled: true }),
      client('exchanger', {}, { 'standard.token.exchange.enabled': 'true' }),
      client('web', {
        serviceAccountsEnabled: false,
        standardFlowEnabled: true,
        redirectUris: [REDIRECT_URI],
        protocolMappers: [
          API_AUDIENCE,
          audience('exchanger', { 'included.client.audience': 'exchanger' }),
        ],
      }),
    ],
  };
}

/** Stage 2 of docs/rehearsal.md: the realm, and the settings of a broker there. */
function documented(): { readonly realm: DocumentedRealm; readonly settings: NodeJS.ProcessEnv } {
  const page = readFileSync(new URL('../../../docs/rehearsal.md', import.meta.url), 'utf8');
  const [, stage = ''] = page.split('\n## Stage 2\n');
  const [, json = ''] = /^```json\n([\s\S]*?)^```$/m.exec(stage) ?? [];
  const names = 'AUDIENCE|PROFILE|OTHER_AUDIENCES';
  const settings = [...stage.matchAll(new RegExp(`\\b(BROKER_(?:${names}))=(\\S+)`, 'g'))];
  expect(settings).toHaveLength(3);
  return {
    realm: JSON.parse(json) as DocumentedRealm,
    settings: Object.fromEntries(settings.map(([, name, value]) => [name, value])),
  };
}
interface DocumentedRealm {
  readonly realm: string;
  readonly clients: readonly [{ readonly clientId: string; readonly secret: string }];
}

/** The admin API. */
class Administration {
  readonly #server: string;
  constructor(server: string) {
    this.#server = server;
  }

  async call(method: string, path: string, body?: object): Promise<unknown> {
    const login = await post(`${this.#server}/realms/master/protocol/openid-connect/token`, {
      grant_type: 'password',
      client_id: 'admin-cli',
      ...ADMINISTRATOR,
    });
    const response = await request(`${this.#server}/admin/realms${path}`, {
      method,
      headers: {
        authorization: `Bearer ${login.access_token}`,
        'content-type': 'application/json',
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    expect({ method, path, ok: response.ok, ...(!response.ok && { text }) }).toEqual({
      method,
      path,
      ok: true,
    });
    return text === '' ? undefined : JSON.parse(text);
  }
}

async function startKeycloak(home: string): Promise<RunningProvider> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const issuer = `${url}/realms/${REALM}`;
  const endpoint = `${issuer}/protocol/openid-connect`;
  const files = await mkdtemp(join(tmpdir(), 'keycloak-files-'));
  cleanups.push(() => rm(files, { recursive: true, force: true }));
  const httpsPort = await freePort();
  const [ofServer, ofClient] = [
    selfSignedCertificate('keycloak'),
    selfSignedCertificate('billing-tls'),
  ];
  const file = Object.fromEntries(
    await Promise.all(
      Object.entries({
        server: ofServer.cert,
        serverKey: ofServer.key,
        client: ofClient.cert,
        clientKey: ofClient.key,
      }).map(async ([name, pem]) => {
        const path = join(files, `${name}.pem`);
        await writeFile(path, pem);
        return [name, path] as const;
      }),
    ),
  ) as Readonly<Record<'server' | 'serverKey' | 'client' | 'clientKey', string>>;
  const [platform, kms] = await Promise.all([
    startPlatform(),
    Promise.all([kmsKey('RSA_2048'), kmsKey('ECC_NIST_P256')]),
  ]);
  const workloadToken = join(files, 'workload-token');
  const tokenOfOthers = join(files, 'token-of-others');
  await platform.mount(workloadToken, WORKLOAD, issuer);
  await platform.mount(tokenOfOthers, `${WORKLOAD}-reports`, issuer);
  await startServer(
    [
      join(home, 'bin/kc.sh'),
      'start-dev',
      '--db=dev-mem',
      '--http-host=127.0.0.1',
      `--http-port=${port}`,
      `--https-port=${httpsPort}`,
      `--https-certificate-file=${file.server}`,
      `--https-certificate-key-file=${file.serverKey}`,
      '--https-client-auth=request',
      `--https-trust-store-file=${file.client}`,
    ],
    `${url}/realms/master`,
    {
      KC_BOOTSTRAP_ADMIN_USERNAME: ADMINISTRATOR.username,
      KC_BOOTSTRAP_ADMIN_PASSWORD: ADMINISTRATOR.password,
      JAVA_OPTS_KC_HEAP: '-Xms64m -Xmx512m',
      // It runs for a minute: what the compiler saves is more than what better code would.
      JAVA_OPTS_APPEND: '-XX:TieredStopAtLevel=1',
    },
  );
  const key = clientKey();
  const administration = new Administration(url);
  await administration.call('POST', '', realm(key.publicJwks, kms, platform));
  const rehearsal = documented();
  await administration.call('POST', '', rehearsal.realm);
  const keyClient = { client_id: 'billing-key', private_key: key.privateJwk };

  const login = async (headers: Attributes = {}): Promise<TokenAnswer> => {
    const browser = new Browser();
    const page = codeRequest(`${endpoint}/auth`, 'openid');
    return redeem(`${endpoint}/token`, await browser.submit(page, ANN), headers);
  };
  const exchange = async (token: string): Promise<string> => {
    const { access_token } = await post(
      `${endpoint}/token`,
      {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: token,
        subject_token_type: ACCESS_TOKEN,
        requested_token_type: ACCESS_TOKEN,
      },
      secretOf('exchanger'),
    );
    return access_token;
  };
  const mint = (id: string, more: Attributes = {}, headers = {}): Promise<TokenAnswer> =>
    post(`${endpoint}/token`, { grant_type: 'client_credentials', ...more }, secretOf(id), headers);
  const bound = (): Attributes => ({ dpop: dpopProof(`${endpoint}/token`) });

  let current = 'rs256';
  let priority = 100;
  return {
    issuer,
    jwksUri: `${endpoint}/certs`,
    // Tokens of service accounts, who have the roles of every new user, are for "account" too.
    settings: { BROKER_PROFILE: 'keycloak', BROKER_OTHER_AUDIENCES: 'account' },
    receivers: { profile: 'keycloak', otherAudiences: ['account', 'exchanger'] },
    withSecret: withSecret('billing'),
    withKey: keyClient,
    algorithms: Object.fromEntries(
      ['ES256', 'PS256', 'EdDSA', 'RS512'].map((algorithm) => [
        algorithm,
        () => Promise.resolve(withSecret(`billing-${algorithm}`)),
      ]),
    ),
    customer: login,
    customers: {
      'an exchanged token': async () => exchange((await login()).access_token),
    },
    refused: {
      'a token of a service, bound to a key': async () =>
        (await mint('billing-bound', {}, bound())).access_token,
      'a token of a customer, bound to a key': async () => (await login(bound())).access_token,
      'the ID token of a service account': async () =>
        (await mint('billing', { scope: 'openid' })).id_token ?? '',
    },
    mistakes: {
      'a wrong secret': {
        credentials: { client_id: 'billing', client_secret: 'not-the-secret-of-it' },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /secret/,
      },
      'an unknown client': {
        credentials: withSecret('nobody'),
        code: 'PROVIDER_INVALID_CLIENT',
        says: /client id|client_id/,
      },
      'a client without a service account': {
        credentials: withSecret('no-service-account'),
        code: 'PROVIDER_REFUSED',
        says: /Client not enabled to retrieve service account/,
      },
      'a scope that is not there': {
        credentials: withSecret('billing'),
        settings: { BROKER_SCOPE: 'nonsense' },
        code: 'PROVIDER_REFUSED',
        says: /The scope asked for is/,
      },
      'no mapper for the audience': {
        credentials: withSecret('no-audience'),
        code: 'ROTATION_TOKEN_REJECTED',
        says: /audience|aud/,
      },
      'a client that must prove a key of its own (DPoP)': {
        credentials: withSecret('billing-bound'),
        code: 'PROVIDER_REFUSED',
        says: /DPoP/,
      },
      'a key that the provider does not know': {
        credentials: { client_id: 'billing-key', private_key: clientKey().privateJwk },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /public key/,
      },
      'a KMS key that the provider does not know': {
        credentials: { client_id: 'billing-kms-0' },
        settings: { BROKER_CLIENT_AUTHENTICATION: 'kms', BROKER_KMS_KEY_ID: kms[1].id },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /KMS key's public half/,
      },
      "another workload's token": {
        credentials: { client_id: 'billing-workload' },
        settings: {
          BROKER_CLIENT_AUTHENTICATION: 'workload_token',
          BROKER_WORKLOAD_TOKEN_FILE: tokenOfOthers,
        },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /issuer, subject and audience of the workload token/,
      },
      'an assertion for somebody else': {
        credentials: keyClient,
        settings: { BROKER_CLIENT_ASSERTION_AUDIENCE: 'https://elsewhere.example.test' },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /BROKER_CLIENT_ASSERTION_AUDIENCE/,
      },
      'a realm that is not there': {
        credentials: withSecret('billing'),
        settings: { BROKER_ISSUER: `${url}/realms/none` },
        code: 'PROVIDER_DISCOVERY_FAILED',
        says: /realms\/none/,
      },
    },
    otherSetUps: {
      ...Object.fromEntries(
        (
          [
            ['RS256', 0],
            ['PS256', 0],
            ['ES256', 1],
          ] as const
        ).map(([algorithm, index]) => [
          `a KMS key that signs ${algorithm}`,
          {
            credentials: { client_id: `billing-kms-${index}` },
            settings: {
              ...AWS,
              BROKER_CLIENT_AUTHENTICATION: 'kms',
              BROKER_KMS_KEY_ID: kms[index].id,
              BROKER_KMS_ALGORITHM: algorithm,
            },
          },
        ]),
      ),
      'the rehearsal': {
        credentials: {
          client_id: rehearsal.realm.clients[0].clientId,
          client_secret: rehearsal.realm.clients[0].secret,
        },
        settings: {
          ...rehearsal.settings,
          BROKER_ISSUER: `${url}/realms/${rehearsal.realm.realm}`,
        },
      },
      'a token of the platform': {
        credentials: { client_id: 'billing-workload' },
        settings: {
          BROKER_CLIENT_AUTHENTICATION: 'workload_token',
          BROKER_WORKLOAD_TOKEN_FILE: workloadToken,
        },
      },
      'mutual TLS, with files': {
        credentials: { client_id: 'billing-tls' },
        settings: {
          BROKER_CLIENT_AUTHENTICATION: 'mtls',
          BROKER_CLIENT_CERTIFICATE_FILE: file.client,
          BROKER_CLIENT_KEY_FILE: file.clientKey,
          BROKER_ISSUER: `https://127.0.0.1:${httpsPort}/realms/${REALM}`,
          NODE_EXTRA_CA_CERTS: file.server,
        },
      },
      'mutual TLS, with a certificate in the credentials secret': {
        credentials: {
          client_id: 'billing-tls',
          certificate: ofClient.cert,
          certificate_key: ofClient.key,
        },
        settings: {
          BROKER_ISSUER: `https://127.0.0.1:${httpsPort}/realms/${REALM}`,
          NODE_EXTRA_CA_CERTS: file.server,
        },
      },
      'tokens of five minutes': {
        credentials: withSecret('billing-short'),
        settings: {
          BROKER_ROTATION_CRON: '*/2 * * * *',
          BROKER_CACHE_TTL_SECONDS: '30',
          BROKER_MIN_REMAINING_SECONDS: '120',
        },
      },
    },
    changeKey: async () => {
      const { id } = (await administration.call('GET', `/${REALM}`)) as { id: string };
      priority += 1;
      current = `rs256-${priority}`;
      await administration.call('POST', `/${REALM}/components`, {
        ...keyProvider(current, 'rsa-generated', { algorithm: 'RS256' }, `${priority}`),
        providerType: KEY_PROVIDER,
        parentId: id,
      });
    },
    withdrawOldKeys: async () => {
      const found = await administration.call('GET', `/${REALM}/components?type=${KEY_PROVIDER}`);
      for (const { id, name } of found as readonly { id: string; name: string }[]) {
        if (!name.startsWith('rs256') || name === current) continue;
        await administration.call('DELETE', `/${REALM}/components/${id}`);
      }
    },
  };
}

describeWith('INTEROP_KEYCLOAK_HOME', 'Keycloak', (home) => {
  providerContract(() => startKeycloak(home));
});
