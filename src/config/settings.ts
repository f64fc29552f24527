import type * as z from 'zod/mini';
import * as values from './values.js';

/** The classification profiles of `src/verification/` that the configuration can name. */
export const PROFILE_NAMES = [
  'rfc9068',
  'auth0',
  'okta',
  'entra',
  'cognito',
  'keycloak',
  'ping-am',
  'pingone',
  'workos',
  'hydra',
  'spring',
  'duende',
  'kinde',
  'kubernetes',
  'zitadel',
  'authentik',
] as const;

/** The profiles whose claims do not tell service tokens from customer tokens: they need the list of client ids. */
export const UNDECIDABLE_PROFILES: ReadonlySet<string> = new Set(['zitadel', 'authentik']);

/** How the broker authenticates to the provider. */
export const CLIENT_AUTHENTICATION_METHODS = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'kms',
  'workload_token',
  'mtls',
] as const;

/** The levels of the log, from the most verbose to none. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

interface Setting {
  /** Reads the text of the value. */
  readonly reads: z.ZodMiniType<unknown, string>;
  /** The default text. Without one the setting is optional. */
  readonly default?: string;
  /** Describes the default where it is no text. */
  readonly defaultNote?: string;
  readonly allowed: string;
  readonly does: string;
  /** Its value is never shown. */
  readonly secret?: true;
  /** Its variable is known in lower case too, which then wins: the convention of curl. */
  readonly lowerCaseToo?: true;
}

const URL_ALLOWED =
  'an https URL; http only for localhost, 127.0.0.0/8 and [::1], or with BROKER_ALLOW_INSECURE_HTTP=true';

/** Every setting: the source of the schema, the defaults, the table in docs/configuration.md and `serve --help`. */
export const SETTINGS = {
  PORT: {
    reads: values.wholeNumber(0, 65_535),
    default: '3000',
    allowed: 'a port from 1 to 65535, or 0 for any free one',
    does: 'Where the broker listens.',
  },
  HOST: {
    reads: values.host,
    // A container is reached by its own address, never by its loopback.
    default: '0.0.0.0',
    allowed: 'an IP address or a host name',
    does: 'The address the broker listens on. The default is every IPv4 address, as containers need; dev mode listens on 127.0.0.1.',
  },
  BROKER_PUBLIC_URL: {
    reads: values.url({ query: false }),
    allowed: URL_ALLOWED,
    does: 'The URL peers reach the broker by, with its path if there is one; the issuer of its RFC 8414 metadata.',
  },
  BROKER_MANAGEMENT_PORT: {
    reads: values.wholeNumber(0, 65_535),
    allowed: 'a port other than PORT from 1 to 65535, or 0 for any free one',
    does: 'Where `/health/live`, `/health/ready` with all details and `/metrics` are open to whoever reaches it. At PORT `/health/ready` says its status alone, and peers with the role admin get the rest.',
  },
  BROKER_MANAGEMENT_HOST: {
    reads: values.host,
    default: '127.0.0.1',
    allowed: 'an IP address or a host name',
    does: 'The address that BROKER_MANAGEMENT_PORT is on. Probes and Prometheus reach a container by 0.0.0.0.',
  },
  BROKER_MANAGEMENT_HOSTS: {
    reads: values.list(values.host),
    allowed: 'host names, separated by commas',
    does: 'Further names that the [status page](status-page.md) is asked for by. It always answers to localhost and to IP addresses; every other name may be an attack (DNS rebinding) and gets 421.',
  },
  BROKER_TLS_CERT_FILE: {
    reads: values.line,
    allowed: 'a path; with BROKER_TLS_KEY_FILE',
    does: 'The certificate of the broker, with the intermediate ones after it, in PEM: PORT then speaks TLS. Read again when it changes.',
  },
  BROKER_TLS_KEY_FILE: {
    reads: values.line,
    allowed: 'a path; with BROKER_TLS_CERT_FILE',
    does: "The certificate's private key, in PEM. Read again when it changes.",
  },
  BROKER_TLS_CLIENT_CA_FILE: {
    reads: values.line,
    allowed: 'a path; with BROKER_TLS_CERT_FILE',
    does: 'The authorities of client certificates, in PEM: peers may then prove who they are by a [client certificate](identities/client-certificates.md). Read again when it changes.',
  },
  BROKER_TRUSTED_PROXIES: {
    reads: values.list(values.addressRange),
    allowed: 'IP addresses and ranges such as 10.0.0.0/24, separated by commas',
    does: 'The proxies whose `X-Forwarded-Client-Cert` counts. From every other address the header is ignored.',
  },
  BROKER_MAX_CONNECTIONS: {
    reads: values.wholeNumber(1, 100_000),
    defaultNote: "what the process's limit of open files allows, at most 4096",
    allowed: 'a whole number from 1 to 100000',
    does: 'Connections that are served at the same time. Further ones take the place of idle ones; when none is idle they get 503, except for health and metrics.',
  },
  BROKER_SHUTDOWN_DELAY_SECONDS: {
    reads: values.wholeNumber(0, 300),
    default: '0',
    allowed: 'whole seconds from 0 to 300',
    does: 'How long the broker goes on serving after SIGTERM, while readiness fails, so that load balancers stop sending requests to it. It ends at most 10 seconds later.',
  },
  BROKER_SECRET_STORE: {
    reads: values.oneOf(['embedded', 'aws']),
    default: 'embedded',
    allowed: 'embedded or aws',
    does: 'Where secrets live: an encrypted file in the data folder, or AWS Secrets Manager.',
  },
  BROKER_AWS_FALLBACK_REGIONS: {
    reads: values.list(values.awsRegion),
    allowed:
      "AWS Regions other than the broker's own, separated by commas; only with BROKER_SECRET_STORE=aws",
    does: "Regions with replicas of the secrets, read in this order while the broker's own Region cannot be reached; writes stay in that one.",
  },
  BROKER_AWS_ROLE_ARN: {
    reads: values.iamRole,
    allowed: 'the ARN of an IAM role; only with BROKER_SECRET_STORE=aws',
    does: 'The role to assume for the secrets, where they are in [another account](networks.md#secrets-in-another-account).',
  },
  BROKER_AWS_EXTERNAL_ID: {
    reads: values.matching(/^[\w+=,.@:/-]{2,1224}$/),
    allowed: '2 to 1224 letters, digits and characters of `_+=,.@:/-`; with BROKER_AWS_ROLE_ARN',
    does: "The external id that the role's trust policy demands.",
  },
  BROKER_AWS_ROLE_SESSION_NAME: {
    reads: values.matching(/^[\w+=,.@-]{2,64}$/),
    defaultNote: '`service-token-broker`',
    allowed: '2 to 64 letters, digits and characters of `_+=,.@-`; with BROKER_AWS_ROLE_ARN',
    does: "The session's name, which CloudTrail shows.",
  },
  BROKER_DATA_DIR: {
    reads: values.line,
    default: '.broker',
    allowed: 'a path',
    does: 'The data folder of the embedded store.',
  },
  BROKER_MASTER_KEY: {
    reads: values.keyRing(32),
    defaultNote: 'a key file in the data folder, made on first start',
    allowed:
      'base64 of exactly 32 bytes, as "openssl rand -base64 32" prints it; several, separated by commas',
    does: 'The key that protects the embedded store. Of several each one opens it, and [`store rekey`](embedded-store.md#exchanging-the-master-key) moves it to the first.',
    secret: true,
  },
  BROKER_MASTER_KEY_KMS_ID: {
    reads: values.list(values.kmsKey),
    allowed:
      'the id, ARN or alias of an AWS KMS key; several, separated by commas; with BROKER_SECRET_STORE=embedded',
    does: 'The KMS key that wraps the key of the embedded store, which is then [nowhere in plain](embedded-store.md#a-master-key-in-aws-kms). Of several each one unwraps, and `store rekey` moves the store to the first.',
  },
  BROKER_CREDENTIALS_SECRET_ID: {
    reads: values.secretId,
    default: 'service-token-broker/credentials',
    allowed: 'the name or the ARN of a secret',
    does: 'The credentials secret: the client credentials, written by people.',
  },
  BROKER_TOKEN_SECRET_ID: {
    reads: values.secretId,
    default: 'service-token-broker/token',
    allowed: 'the name or the ARN of a secret',
    does: 'The token secret: the service token, written by rotation.',
  },
  BROKER_PEERS_SECRET_ID: {
    reads: values.list(values.secretId),
    default: 'service-token-broker/peers',
    allowed: 'the name or the ARN of a secret; several, separated by commas',
    does: 'The peers secret: who may ask for the service token. One holds some 420 peers; `peers add` goes on in the next one of the list.',
  },
  BROKER_HTTP_IAM_PEERS: {
    reads: values.list(values.iamPeer),
    allowed:
      'ARNs of IAM roles and users without commas, separated by commas; `admin=` or `token+admin=` before one gives it other roles than token',
    does: 'The peers of the HTTP function on AWS Lambda, where AWS IAM says who calls. No other door reads it.',
  },
  BROKER_ISSUER: {
    reads: values.url({ query: false }),
    defaultNote: '`issuer` of the credentials secret',
    allowed: URL_ALLOWED,
    does: "The provider's issuer identifier, exactly as in its tokens' `iss` claim.",
  },
  BROKER_TOKEN_ENDPOINT: {
    reads: values.url({ query: true }),
    defaultNote: "`token_endpoint` of the credentials secret, or the provider's discovery document",
    allowed: URL_ALLOWED,
    does: "The provider's token endpoint, for a provider without discovery.",
  },
  BROKER_JWKS_URI: {
    reads: values.url({ query: true }),
    defaultNote: "the provider's discovery document",
    allowed: URL_ALLOWED,
    does: "Where the provider's public keys are, for a provider without discovery.",
  },
  BROKER_AUDIENCE: {
    reads: values.line,
    defaultNote: '`audience` of the credentials secret',
    allowed: 'a text, usually a URI',
    does: 'The audience to ask for, and to find in the service token.',
  },
  BROKER_SCOPE: {
    reads: values.scope,
    defaultNote: '`scope` of the credentials secret',
    allowed: 'scope names, separated by single spaces',
    does: 'The scope to ask for.',
  },
  BROKER_RESOURCE: {
    reads: values.list(values.resourceUri),
    allowed: 'absolute URIs without a fragment, separated by commas',
    does: 'The resources to ask for (RFC 8707).',
  },
  BROKER_CLIENT_ID: {
    reads: values.line,
    defaultNote: 'from the credentials secret',
    allowed: 'text without control characters',
    does: "The broker's client id at the provider. With a client authentication that has its proof elsewhere, the credentials secret is then not needed.",
  },
  BROKER_CLIENT_AUTHENTICATION: {
    reads: values.oneOf(CLIENT_AUTHENTICATION_METHODS),
    defaultNote:
      'private_key_jwt if the credentials secret has a `private_key`, mtls if it has a `certificate`, else client_secret_basic',
    allowed: `one of ${CLIENT_AUTHENTICATION_METHODS.join(', ')}`,
    does: 'How the broker authenticates to the provider. The last three need no stored secret.',
  },
  BROKER_KMS_KEY_ID: {
    reads: values.line,
    allowed: 'the id, ARN or alias of an AWS KMS key; with BROKER_CLIENT_AUTHENTICATION=kms',
    does: 'The key that signs client assertions. It never leaves KMS.',
  },
  BROKER_KMS_ALGORITHM: {
    reads: values.oneOf(['RS256', 'PS256', 'ES256']),
    defaultNote: 'RS256 for an RSA key, ES256 for a P-256 key',
    allowed: 'RS256, PS256 or ES256',
    does: 'The algorithm that the KMS key signs with.',
  },
  BROKER_CLIENT_ASSERTION_KEY_ID: {
    reads: values.line,
    defaultNote: "the public key's thumbprint (RFC 7638)",
    allowed: 'text without control characters',
    does: 'The `kid` of the client assertions that KMS signs.',
  },
  BROKER_WORKLOAD_TOKEN_FILE: {
    reads: values.line,
    allowed: 'a path; with BROKER_CLIENT_AUTHENTICATION=workload_token',
    does: "The file with the platform's token, which is the client assertion. Read at every mint.",
  },
  BROKER_AWS_TOKEN_AUDIENCE: {
    reads: values.line,
    allowed:
      'text of at most 1000 characters; with BROKER_CLIENT_AUTHENTICATION=workload_token, in place of a file',
    does: 'Asks AWS (`sts:GetWebIdentityToken`) for a token with this audience, which is the client assertion.',
  },
  BROKER_AWS_TOKEN_ALGORITHM: {
    reads: values.oneOf(['RS256', 'ES384']),
    defaultNote: 'RS256',
    allowed: 'RS256 or ES384',
    does: 'The algorithm that AWS signs that token with.',
  },
  BROKER_CLIENT_CERTIFICATE_FILE: {
    reads: values.line,
    allowed: 'a path; with BROKER_CLIENT_AUTHENTICATION=mtls and BROKER_CLIENT_KEY_FILE',
    does: 'The client certificate for mutual TLS, with the intermediate ones after it, in PEM. Read at every mint.',
  },
  BROKER_CLIENT_KEY_FILE: {
    reads: values.line,
    allowed: 'a path; with BROKER_CLIENT_CERTIFICATE_FILE',
    does: "The certificate's private key, in PEM. Read at every mint.",
  },
  BROKER_CLIENT_ASSERTION_AUDIENCE: {
    reads: values.assertionAudience,
    defaultNote: '`client_assertion_audience` of the credentials secret, or issuer',
    allowed: 'issuer, token_endpoint, or an absolute URI',
    does: 'With private_key_jwt and kms: the audience of the assertions that the broker signs. Okta and Ory Hydra demand the token endpoint.',
  },
  BROKER_ALLOW_INSECURE_HTTP: {
    reads: values.either('true', 'false'),
    default: 'false',
    allowed: 'true or false',
    does: 'Allows http URLs beyond this machine. Client credentials and tokens then cross the network in clear text.',
  },
  HTTPS_PROXY: {
    reads: values.proxyUrl,
    allowed:
      'HOST:PORT, or an http or https URL; with USER:PASSWORD@ before the host if the proxy wants them',
    does: 'The proxy for https addresses of the provider, keys and AWS: [proxies and private networks](networks.md). `https_proxy` counts too, and wins.',
    secret: true,
    lowerCaseToo: true,
  },
  HTTP_PROXY: {
    reads: values.proxyUrl,
    allowed: 'as HTTPS_PROXY',
    does: 'The proxy for http addresses, which few have. `http_proxy` counts too, and wins.',
    secret: true,
    lowerCaseToo: true,
  },
  NO_PROXY: {
    reads: values.line,
    allowed:
      'host names, domains, IP addresses and ranges such as 10.0.0.0/8, each with a port if it is for that one alone, separated by commas; `*` for everything',
    does: 'What is reached without a proxy. `no_proxy` counts too, and wins.',
    lowerCaseToo: true,
  },
  BROKER_CA_FILE: {
    reads: values.line,
    allowed: 'a path',
    does: 'Certificates of authorities, in PEM, that are trusted besides those of Node.js and NODE_EXTRA_CA_CERTS: for the provider, keys, AWS and the proxy. Read at start.',
  },
  BROKER_PROFILE: {
    reads: values.oneOf(PROFILE_NAMES),
    default: 'rfc9068',
    allowed: `one of ${PROFILE_NAMES.join(', ')}`,
    does: 'How the provider marks service tokens and customer tokens.',
  },
  BROKER_SERVICE_CLIENT_IDS: {
    reads: values.list(values.line),
    allowed: 'client ids, separated by commas; required for the profiles zitadel and authentik',
    does: 'The only client ids whose tokens count as service tokens.',
  },
  BROKER_CUSTOMER_CLIENT_IDS: {
    reads: values.list(values.line),
    allowed: 'client ids, separated by commas',
    does: 'The client ids whose customer tokens receivers accept, as their `customerClientIds`.',
  },
  BROKER_OTHER_AUDIENCES: {
    reads: values.list(values.line),
    allowed: 'audiences, separated by commas; `*` alone allows any',
    does: 'Audiences that may stand beside BROKER_AUDIENCE in the service token, as `otherAudiences` of receivers. Keycloak adds `account`. A token for any other audience is refused.',
  },
  BROKER_TOKEN_TYP: {
    reads: values.oneOf(['at+jwt']),
    defaultNote: 'also `JWT` and none',
    allowed: 'at+jwt',
    does: "The header `typ` that the service token must have (RFC 9068 §2.1), as receivers' `typ`.",
  },
  BROKER_SCOPE_CLAIMS: {
    reads: values.list(values.line),
    defaultNote: "those of the provider's profile",
    allowed: 'names of claims, separated by commas',
    does: 'The claims that hold scopes, as `scopeClaims` of receivers: `scope,permissions` for Auth0 with role-based access control.',
  },
  BROKER_CLOCK_SKEW_SECONDS: {
    reads: values.wholeNumber(0, 300),
    default: '60',
    allowed: 'whole seconds from 0 to 300',
    does: "Tolerated difference between two machines' clocks. A token with less life left is not served.",
  },
  BROKER_CACHE_TTL_SECONDS: {
    reads: values.wholeNumber(1, 3600),
    default: '300',
    allowed: 'whole seconds from 1 to 3600',
    does: 'How long a read of a secret may be served. The default costs at most 15 store reads per hour and replica, and 240 while peers wait for the token.',
  },
  BROKER_ROTATION: {
    reads: values.either('enabled', 'disabled'),
    default: 'enabled',
    allowed: 'enabled or disabled',
    does: 'Whether this process runs the rotation schedule. Rotating by command, by HTTP and by Secrets Manager works either way.',
  },
  BROKER_ROTATION_CRON: {
    reads: values.cronExpression,
    default: '0 3 * * *',
    allowed: 'a cron expression of five or six fields (the first of six is seconds)',
    does: 'When the service token is rotated, by the clock of BROKER_ROTATION_TIME_ZONE.',
  },
  BROKER_ROTATION_TIME_ZONE: {
    reads: values.timeZone,
    default: 'UTC',
    allowed: 'the IANA name of a time zone, such as Europe/Berlin',
    does: 'Whose clock BROKER_ROTATION_CRON is read by. On the nights when it is set, [each day keeps its rotation](running.md#the-schedule-in-a-time-zone).',
  },
  BROKER_MIN_REMAINING_SECONDS: {
    reads: values.wholeNumber(1, 2_592_000),
    // Two reasons for an hour: it covers the gap of a day-long token on a daily schedule (which falls short by just
    // the cache's time to live and the skew), and it leaves room to survive a provider outage and to wake somebody.
    default: '3600',
    allowed:
      'whole seconds up to 2592000, and more than BROKER_CACHE_TTL_SECONDS plus BROKER_CLOCK_SKEW_SECONDS',
    does: 'Rotate early, whatever the schedule says, when the service token has less life left. Keep it well under the life of a fresh token.',
  },
  BROKER_MANUAL_ROTATION_SECONDS: {
    reads: values.wholeNumber(0, 3600),
    default: '60',
    allowed: 'whole seconds from 0 to 3600; 0 for no limit',
    does: 'Whoever asks for a rotation (by command or by HTTP) while the service token is younger gets that one, and nothing is minted; `rotate --force` mints.',
  },
  BROKER_LOG_LEVEL: {
    reads: values.oneOf(LOG_LEVELS),
    default: 'info',
    allowed: `one of ${LOG_LEVELS.join(', ')}`,
    does: 'The least important lines that are logged.',
  },
  BROKER_LOG_FORMAT: {
    reads: values.oneOf(['json', 'text']),
    default: 'json',
    allowed: 'json (one object per line, for programs) or text (for people)',
    does: 'The form of the log.',
  },
  BROKER_AUTHORIZE: {
    reads: values.either('true', 'false'),
    default: 'false',
    allowed: 'true or false',
    does: 'Whether `/v1/authorize` answers gateways: [gateways and other languages](gateways.md).',
  },
  BROKER_AUDIT: {
    reads: values.line,
    default: 'off',
    allowed: 'off, stdout, or the path of a file',
    does: 'Where every decision is written, as one chain of lines: [the audit](audit.md).',
  },
  BROKER_DEV_PROVIDER_PORT: {
    reads: values.wholeNumber(0, 65_535),
    defaultNote: '`PORT` + 1',
    allowed: 'a port other than PORT from 1 to 65535, or 0 for any free one',
    does: 'Where the embedded provider of dev mode listens.',
  },
} as const satisfies Record<string, Setting>;

/** The name of a setting's environment variable. */
export type SettingName = keyof typeof SETTINGS;

/** Every setting's name, in the order of the documentation. */
export const SETTING_NAMES = Object.keys(SETTINGS) as readonly SettingName[];

/** A setting by its name. */
export function settingOf(name: SettingName): Setting {
  return SETTINGS[name];
}

/** The key of a setting in the file: its name without `BROKER_`, in lower case, as in `secret_store`. */
export function fileKey(name: SettingName): string {
  return name.replace(/^BROKER_/, '').toLowerCase();
}
