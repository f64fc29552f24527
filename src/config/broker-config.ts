import type { IdentitiesConfig } from './peer-sections.js';
import type { Settings } from './schema.js';
import type { AddressRange, HiddenBytes, IamPeer, ProxyAddress } from './values.js';

/** Where the broker listens, and how peers reach it. */
export interface HttpConfig {
  readonly port: number;
  readonly host: string;
  /** The URL peers reach the broker by; the issuer of its RFC 8414 metadata. */
  readonly publicUrl: string | undefined;
  /** The listener of health and metrics with all details; `undefined` when there is none. */
  readonly management: { readonly port: number; readonly host: string } | undefined;
  /** Names that the status page answers to, besides those of this machine. */
  readonly pageHosts: readonly string[];
  /** The files of TLS at the port; `undefined` when it speaks clear text. */
  readonly tls: TlsFilesConfig | undefined;
  /** Whose `X-Forwarded-Client-Cert` counts; empty when nobody's does. */
  readonly trustedProxies: readonly AddressRange[];
  /** The peers of the HTTP function on AWS Lambda; empty when there are none. */
  readonly iamPeers: readonly IamPeer[];
  /** `undefined` means by the process's limit of open files. */
  readonly maxConnections: number | undefined;
  /** Whether `/v1/authorize` answers. */
  readonly authorizes: boolean;
  /** How long the broker keeps serving after a signal to stop. */
  readonly shutdownDelaySeconds: number;
}

/** Paths of PEM files. */
export interface TlsFilesConfig {
  readonly certFile: string;
  readonly keyFile: string;
  /** The authorities of client certificates; `undefined` when none are asked for. */
  readonly clientCaFile: string | undefined;
}

/** How the provider, keys and AWS are reached. */
export interface NetworkConfig {
  /** For https addresses. */
  readonly httpsProxy: ProxyAddress | undefined;
  /** For http addresses. */
  readonly httpProxy: ProxyAddress | undefined;
  /** As it was given; empty when nothing was. */
  readonly noProxy: string;
  /** The path of a PEM file with further authorities. */
  readonly caFile: string | undefined;
}

/** An IAM role to assume. */
export interface AwsRoleConfig {
  readonly arn: string;
  readonly externalId: string | undefined;
  readonly sessionName: string;
}

/** Where secrets live, and which is which. */
interface SecretsConfig {
  readonly store: Settings['BROKER_SECRET_STORE'];
  /** Read in this order while the own Region cannot be reached; empty when there are none. */
  readonly awsFallbackRegions: readonly string[];
  /** `undefined` when the secrets are read as whoever the process is. */
  readonly awsRole: AwsRoleConfig | undefined;
  readonly dataDir: string;
  /** `undefined` when the key file of the data folder is to be used. */
  readonly masterKey: HiddenBytes | undefined;
  /** Further keys that open the embedded store, while one is exchanged for another. */
  readonly olderMasterKeys: readonly HiddenBytes[];
  /** The KMS keys that unwrap the embedded store's master key, the one that wraps it first; empty without KMS. */
  readonly masterKeyKmsIds: readonly string[];
  /** The first of the peers secrets. */
  readonly peersSecretId: string;
  /** Further secrets that the list of peers spans; empty when there are none. */
  readonly morePeersSecretIds: readonly string[];
}

/** Who mints a service token. What is `undefined` here may be in the credentials secret. */
export interface ProviderConfig {
  readonly issuer: string | undefined;
  readonly tokenEndpoint: string | undefined;
  readonly jwksUri: string | undefined;
  readonly audience: string | undefined;
  readonly scope: string | undefined;
  /** Empty when none is asked for. */
  readonly resource: readonly string[];
  /** `undefined` means by what the credentials secret holds. */
  readonly clientAuthentication: Settings['BROKER_CLIENT_AUTHENTICATION'];
  /** `undefined` means by what the credentials secret holds. */
  readonly clientAssertionAudience: string | undefined;
  /** `undefined` means by what the credentials secret holds. */
  readonly clientId?: string | undefined;
  readonly kmsKeyId?: string | undefined;
  readonly kmsAlgorithm?: Settings['BROKER_KMS_ALGORITHM'];
  readonly clientAssertionKeyId?: string | undefined;
  readonly workloadTokenFile?: string | undefined;
  readonly awsTokenAudience?: string | undefined;
  readonly awsTokenAlgorithm?: Settings['BROKER_AWS_TOKEN_ALGORITHM'];
  readonly clientCertificateFile?: string | undefined;
  readonly clientKeyFile?: string | undefined;
  readonly allowInsecureHttp: boolean;
}

/** How service tokens are verified and classified. */
export interface VerificationConfig {
  readonly profile: Settings['BROKER_PROFILE'];
  /** `undefined` when every client id counts. */
  readonly serviceClientIds: readonly string[] | undefined;
  /** `undefined` when every client id counts. */
  readonly customerClientIds: readonly string[] | undefined;
  /** Audiences that may stand beside ours; `null` allows any. */
  readonly otherAudiences: readonly string[] | null;
  /** `undefined` when `JWT` and a missing `typ` are accepted too. */
  readonly typ: Settings['BROKER_TOKEN_TYP'];
  /** Claims that hold scopes; `undefined` for those of the profile. */
  readonly scopeClaims: readonly string[] | undefined;
  readonly clockSkewSeconds: number;
}

/** When a service token is renewed. */
export interface RotationConfig {
  /** Cron expression of five or six fields. */
  readonly cron: string;
  /** The IANA name of the time zone that it is read in. */
  readonly timeZone: string;
  /** Remaining life under which the token is rotated early. */
  readonly minRemainingSeconds: number;
  /** Age of a token under which a request for a rotation mints none; 0 for no limit. */
  readonly manualIntervalSeconds: number;
}

/** The name of the token that the flat settings describe, and of their provider. */
export const DEFAULT_NAME = 'default';

/** One service token: what is asked for, of whom, and where it is kept. */
export interface TokenConfig {
  /** `[a-z0-9-]`, at most 40 characters, without a hyphen at either end. */
  readonly name: string;
  /** The provider's name; tokens with the same one share its keys and its metadata. */
  readonly providerName: string;
  /** The token secret. */
  readonly secretId: string;
  readonly credentialsSecretId: string;
  readonly provider: ProviderConfig;
  readonly verification: VerificationConfig;
  readonly rotation: RotationConfig;
}

/** At least one token. */
export type TokenConfigs = readonly [TokenConfig, ...TokenConfig[]];

/** The configuration of the broker: read once, checked once, and deeply frozen. */
export interface BrokerConfig {
  readonly http: HttpConfig;
  readonly secrets: SecretsConfig;
  readonly network: NetworkConfig;
  /** In the order of the file; the first one is `default` where there are only flat settings. */
  readonly tokens: TokenConfigs;
  /** Peers of the file, with their trusted issuers; both empty when there are none. */
  readonly identities: IdentitiesConfig;
  /** Whether this process runs the schedule. */
  readonly rotation: { readonly enabled: boolean };
  readonly cache: { readonly ttlSeconds: number };
  readonly log: {
    readonly level: Settings['BROKER_LOG_LEVEL'];
    readonly format: Settings['BROKER_LOG_FORMAT'];
  };
  /** `undefined` when nothing is written; `stdout`, or the path of a file. */
  readonly audit: string | undefined;
  readonly dev: { readonly providerPort: number };
  /** What is allowed, but probably a slip. One sentence each, logged at start. */
  readonly warnings: readonly string[];
}

/** Groups the checked settings of the process, and adds the tokens. */
export function groupSettings(
  settings: Settings,
  tokens: TokenConfigs,
  identities: IdentitiesConfig,
  warnings: readonly string[],
): BrokerConfig {
  return freeze({
    http: {
      port: settings.PORT,
      host: settings.HOST,
      publicUrl: settings.BROKER_PUBLIC_URL,
      management:
        settings.BROKER_MANAGEMENT_PORT === undefined
          ? undefined
          : { port: settings.BROKER_MANAGEMENT_PORT, host: settings.BROKER_MANAGEMENT_HOST },
      pageHosts: settings.BROKER_MANAGEMENT_HOSTS ?? [],
      tls: tlsOf(settings),
      trustedProxies: settings.BROKER_TRUSTED_PROXIES ?? [],
      iamPeers: settings.BROKER_HTTP_IAM_PEERS ?? [],
      maxConnections: settings.BROKER_MAX_CONNECTIONS,
      authorizes: settings.BROKER_AUTHORIZE,
      shutdownDelaySeconds: settings.BROKER_SHUTDOWN_DELAY_SECONDS,
    },
    secrets: {
      store: settings.BROKER_SECRET_STORE,
      awsFallbackRegions: settings.BROKER_AWS_FALLBACK_REGIONS ?? [],
      awsRole:
        settings.BROKER_AWS_ROLE_ARN === undefined
          ? undefined
          : {
              arn: settings.BROKER_AWS_ROLE_ARN,
              externalId: settings.BROKER_AWS_EXTERNAL_ID,
              sessionName: settings.BROKER_AWS_ROLE_SESSION_NAME ?? 'service-token-broker',
            },
      dataDir: settings.BROKER_DATA_DIR,
      masterKey: settings.BROKER_MASTER_KEY?.[0],
      olderMasterKeys: settings.BROKER_MASTER_KEY?.slice(1) ?? [],
      masterKeyKmsIds: settings.BROKER_MASTER_KEY_KMS_ID ?? [],
      peersSecretId: settings.BROKER_PEERS_SECRET_ID[0] ?? '',
      morePeersSecretIds: settings.BROKER_PEERS_SECRET_ID.slice(1),
    },
    network: {
      httpsProxy: settings.HTTPS_PROXY,
      httpProxy: settings.HTTP_PROXY,
      noProxy: settings.NO_PROXY ?? '',
      caFile: settings.BROKER_CA_FILE,
    },
    tokens,
    identities,
    rotation: { enabled: settings.BROKER_ROTATION },
    cache: { ttlSeconds: settings.BROKER_CACHE_TTL_SECONDS },
    log: { level: settings.BROKER_LOG_LEVEL, format: settings.BROKER_LOG_FORMAT },
    audit: settings.BROKER_AUDIT === 'off' ? undefined : settings.BROKER_AUDIT,
    dev: { providerPort: settings.BROKER_DEV_PROVIDER_PORT ?? nextPort(settings.PORT) },
    warnings: [...warnings],
  });
}

function tlsOf({
  BROKER_TLS_CERT_FILE: certFile,
  BROKER_TLS_KEY_FILE: keyFile,
  BROKER_TLS_CLIENT_CA_FILE: clientCaFile,
}: Settings): TlsFilesConfig | undefined {
  // A rule of the schema: there are both, or none.
  return certFile === undefined || keyFile === undefined
    ? undefined
    : { certFile, keyFile, clientCaFile };
}

/** One token by its settings: the flat ones, with what its entry in the file replaces. */
export function tokenOf(name: string, providerName: string, settings: Settings): TokenConfig {
  return {
    name,
    providerName,
    secretId: settings.BROKER_TOKEN_SECRET_ID,
    credentialsSecretId: settings.BROKER_CREDENTIALS_SECRET_ID,
    provider: {
      issuer: settings.BROKER_ISSUER,
      tokenEndpoint: settings.BROKER_TOKEN_ENDPOINT,
      jwksUri: settings.BROKER_JWKS_URI,
      audience: settings.BROKER_AUDIENCE,
      scope: settings.BROKER_SCOPE,
      resource: settings.BROKER_RESOURCE ?? [],
      clientAuthentication: settings.BROKER_CLIENT_AUTHENTICATION,
      clientAssertionAudience: settings.BROKER_CLIENT_ASSERTION_AUDIENCE,
      clientId: settings.BROKER_CLIENT_ID,
      kmsKeyId: settings.BROKER_KMS_KEY_ID,
      kmsAlgorithm: settings.BROKER_KMS_ALGORITHM,
      clientAssertionKeyId: settings.BROKER_CLIENT_ASSERTION_KEY_ID,
      workloadTokenFile: settings.BROKER_WORKLOAD_TOKEN_FILE,
      awsTokenAudience: settings.BROKER_AWS_TOKEN_AUDIENCE,
      awsTokenAlgorithm: settings.BROKER_AWS_TOKEN_ALGORITHM,
      clientCertificateFile: settings.BROKER_CLIENT_CERTIFICATE_FILE,
      clientKeyFile: settings.BROKER_CLIENT_KEY_FILE,
      allowInsecureHttp: settings.BROKER_ALLOW_INSECURE_HTTP,
    },
    verification: {
      profile: settings.BROKER_PROFILE,
      serviceClientIds: settings.BROKER_SERVICE_CLIENT_IDS,
      customerClientIds: settings.BROKER_CUSTOMER_CLIENT_IDS,
      otherAudiences: otherAudiences(settings.BROKER_OTHER_AUDIENCES),
      typ: settings.BROKER_TOKEN_TYP,
      scopeClaims: settings.BROKER_SCOPE_CLAIMS,
      clockSkewSeconds: settings.BROKER_CLOCK_SKEW_SECONDS,
    },
    rotation: {
      cron: settings.BROKER_ROTATION_CRON,
      timeZone: settings.BROKER_ROTATION_TIME_ZONE,
      minRemainingSeconds: settings.BROKER_MIN_REMAINING_SECONDS,
      manualIntervalSeconds: settings.BROKER_MANUAL_ROTATION_SECONDS,
    },
  };
}

function otherAudiences(names: readonly string[] = []): readonly string[] | null {
  return names.length === 1 && names[0] === '*' ? null : names;
}

/** The port after another: any free one after "any free one", and the one before the last after the last. */
function nextPort(port: number): number {
  if (port === 0) return 0;
  return port === 65_535 ? 65_534 : port + 1;
}

function freeze<Value extends object>(value: Value): Value {
  for (const member of Object.values(value)) {
    if (typeof member === 'object' && member !== null) freeze(member);
  }
  return Object.freeze(value);
}
