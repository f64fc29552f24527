import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import type { Agent as HttpAgent } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import { proxyErrorOf } from '../../tokens/proxy-error.js';
import { systemClock, withDeadline, type Clock, type DateReading } from '../../tokens/time.js';
import { SecretStoreError } from '../secret-store.js';
import { credentialsOfRole, type AssumedRole } from './assumed-role.js';
import {
  AwsFault,
  describeCall,
  identityErrorOf,
  storeErrorOf,
  type AwsOperation,
  type FailedCall,
} from './aws-errors.js';

const PACKAGE = '@aws-sdk/client-secrets-manager';

/** What the adapter uses of the SDK. */
type Sdk = typeof import('@aws-sdk/client-secrets-manager');

/**
 * Loads the SDK, an optional peer dependency: only those who keep secrets at AWS install it.
 *
 * @throws {SecretStoreError} `STORE_UNAVAILABLE`, misconfigured, when it is not installed.
 */
async function loadSdk(): Promise<Sdk> {
  try {
    return await import('@aws-sdk/client-secrets-manager');
  } catch (error) {
    throw new SecretStoreError(
      'STORE_UNAVAILABLE',
      `The AWS SDK cannot be loaded, and the secret store "aws" needs it. Install it with: npm install ${PACKAGE}`,
      { kind: 'misconfigured', cause: error },
    );
  }
}

/** How long AWS may take, in milliseconds. */
export interface AwsTimeouts {
  /** For the TCP and TLS connection of one attempt. */
  readonly connect: number;
  /** For one attempt: the request and its answer. Also how long the answer's body may stand still. */
  readonly request: number;
  /** For a whole call with the SDK's retries and the search for credentials. */
  readonly total: number;
}

/** Two seconds to connect, five for an attempt, fifteen for everything together. */
export const DEFAULT_TIMEOUTS: AwsTimeouts = { connect: 2_000, request: 5_000, total: 15_000 };

/** Where and how Secrets Manager is reached. What is not given comes by the SDK's standard chain. */
export interface ConnectionOptions {
  /** A client to use instead of one of our own. It keeps its own time-outs and is not closed by the store. */
  readonly client?: SecretsManagerClient;
  readonly region?: string;
  readonly endpoint?: string;
  readonly timeouts?: Partial<AwsTimeouts>;
  readonly clock?: Clock;
  /** Notified of the `Date` of each answer; not with a client of the caller's. */
  readonly onDate?: (reading: DateReading) => void;
  /** Makes the agents of a client, which closes them: for proxies and further authorities. Default: the SDK's own. */
  readonly agents?: () => AwsAgents;
  /** Whose secrets these are. Default: those of whoever the process is. */
  readonly role?: AssumedRole;
}

/** How a client of the SDK connects. */
interface AwsAgents {
  readonly httpAgent: HttpAgent;
  readonly httpsAgent: HttpsAgent;
}

/** Who AWS is asked as, as far as the SDK knows without asking AWS. */
export interface AwsIdentity {
  /** An identifier, not a secret: it stands in every CloudTrail record. */
  readonly accessKeyId: string;
  readonly region: string;
  /** Not every source of credentials says. */
  readonly accountId: string | undefined;
  /** When temporary credentials end, in milliseconds since the Unix epoch. */
  readonly expiresAt: number | undefined;
}

/** What a call gets to make its request with. */
interface CallTools {
  readonly sdk: Sdk;
  readonly client: SecretsManagerClient;
  /** To be passed to `client.send`. */
  readonly options: { readonly abortSignal: AbortSignal };
}

interface Link {
  readonly sdk: Sdk;
  readonly client: SecretsManagerClient;
}

/** The way to Secrets Manager: loads the SDK at the first call, bounds every call in time, translates its errors. */
export class AwsConnection {
  readonly #options: ConnectionOptions;
  readonly #timeouts: AwsTimeouts;
  #link: Promise<Link> | undefined;
  #region: string | undefined;
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  }

  /** The Region that is asked; known from the first call on. */
  get region(): string | undefined {
    return this.#region;
  }

  /** Who the calls are made as. Rejects with a `SecretStoreError` `STORE_CREDENTIALS`. */
  async identity(): Promise<AwsIdentity> {
    const { client } = await this.#connect();
    try {
      return await within(this.#timeouts.total, async () => {
        const region = await client.config.region();
        const { accessKeyId, accountId, expiration } = await client.config.credentials();
        return { accessKeyId, region, accountId, expiresAt: expiration?.getTime() };
      });
    } catch (error) {
      throw onTheWay(error, 'find AWS credentials') ?? identityErrorOf(error);
    }
  }

  /** Makes one call. Rejects with a `SecretStoreError` whose cause is an `AwsFault`, and nothing else. */
  async call<Output>(
    operation: AwsOperation,
    secretId: string,
    send: (tools: CallTools) => Promise<Output>,
  ): Promise<Output> {
    if (this.#closed) {
      throw new SecretStoreError('STORE_UNAVAILABLE', 'The secret store "aws" is closed.', {
        kind: 'bug',
      });
    }
    const link = await this.#connect();
    try {
      return await within(this.#timeouts.total, async (abortSignal) => {
        this.#region ??= await link.client.config.region();
        return send({ ...link, options: { abortSignal } });
      });
    } catch (error) {
      const call: FailedCall = { operation, secretId, region: this.#region };
      throw onTheWay(error, describeCall(call)) ?? storeErrorOf(error, call);
    }
  }

  /** Closes the sockets of our own client. */
  async close(): Promise<void> {
    this.#closed = true;
    const link = await this.#link?.catch(() => undefined);
    if (this.#options.client === undefined) link?.client.destroy();
  }

  #ownClient(sdk: Sdk): SecretsManagerClient {
    const { clock = systemClock, onDate, role } = this.#options;
    const config = awsClientConfig(this.#options, this.#timeouts);
    const client: SecretsManagerClient = new sdk.SecretsManagerClient({
      ...config,
      ...(role && {
        credentials: credentialsOfRole(role, ({ STSClient }) => {
          // The Region of the secrets, also where a fallback is asked: STS may be down with the home Region.
          const ofSts = awsClientConfig({ ...this.#options, endpoint: undefined }, this.#timeouts);
          return new STSClient({ ...ofSts, region: () => client.config.region() });
        }),
      }),
    });
    if (onDate !== undefined) reportDates(client, clock, onDate);
    return client;
  }

  #connect(): Promise<Link> {
    this.#link ??= loadSdk().then((sdk) => ({
      sdk,
      client: this.#options.client ?? this.#ownClient(sdk),
    }));
    // A failure to load may pass, for example a lack of file descriptors.
    this.#link.catch(() => (this.#link = undefined));
    return this.#link;
  }
}

/**
 * The store error for a failure before AWS was reached: a role that cannot be assumed, or a proxy. @param tried what was,
 * in the words of a message.
 */
export function onTheWay(error: unknown, tried: string): SecretStoreError | undefined {
  if (error instanceof SecretStoreError) return error;
  const proxy = proxyErrorOf(error);
  if (proxy === undefined) return undefined;
  const { kind, code, why, advice, retryAfterSeconds } = proxy;
  const { attempts = 1 } = (error as { $metadata?: { attempts?: number } }).$metadata ?? {};
  return new SecretStoreError('STORE_UNAVAILABLE', `Could not ${tried}: ${why}. ${advice}`, {
    kind,
    // An earlier attempt may have come through.
    cause: new AwsFault(code, attempts, undefined),
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}

/** Reads the `Date` of each attempt's answer, also of one that is an error. */
function reportDates(
  client: SecretsManagerClient,
  clock: Clock,
  onDate: (reading: DateReading) => void,
): void {
  client.middlewareStack.add(
    (next) => async (call) => {
      const sentAt = clock.now();
      const result = await next(call);
      const { headers = {} } = result.response as {
        headers?: Readonly<Record<string, string | undefined>>;
      };
      const date = headers['date'] ?? null;
      onDate({ date, age: null, sentAt, answeredAt: clock.now(), mayBeCached: false });
      return result;
    },
    // Next to the connection: within the retries, and before the answer is read.
    { step: 'deserialize', priority: 'low', name: 'reportDates' },
  );
}

/** The settings of a client of the SDK, of whichever service. */
interface AwsClientConfig {
  readonly region?: string;
  readonly endpoint?: string;
  readonly customUserAgent: string;
  readonly requestHandler: Partial<AwsAgents> & {
    readonly connectionTimeout: number;
    readonly requestTimeout: number;
    readonly throwOnRequestTimeout: true;
    readonly socketTimeout: number;
  };
}

/**
 * A client's settings. Retries are the SDK's own and stay at its defaults (standard mode, three attempts), so that
 * AWS_MAX_ATTEMPTS and AWS_RETRY_MODE work.
 */
export function awsClientConfig(
  { region, endpoint, agents }: Pick<ConnectionOptions, 'region' | 'endpoint' | 'agents'>,
  timeouts: AwsTimeouts,
): AwsClientConfig {
  return {
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    customUserAgent: 'service-token-broker',
    requestHandler: {
      // A proxy has a time-out of its own, which says that it is the proxy.
      connectionTimeout: agents === undefined ? timeouts.connect : timeouts.request,
      requestTimeout: timeouts.request,
      // Without it the SDK only writes a warning when the time is over.
      throwOnRequestTimeout: true,
      // The request's time-out ends with the answer's headers; this one covers the body.
      socketTimeout: timeouts.request,
      ...agents?.(),
    },
  };
}

/** The SDK has no limit for retries and credentials together: an unreachable credentials endpoint could hang forever. */
export function within<T>(
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const late = (): Error => {
    const error = new Error(`no answer within ${milliseconds} ms`);
    error.name = 'TimeoutError';
    return error;
  };
  return withDeadline(systemClock, milliseconds, work, late, signal);
}

/**
 * Finds credentials and a Region by the SDK's standard chain, as the store does. Only a call to AWS shows whether AWS
 * accepts them.
 *
 * @throws {SecretStoreError} `STORE_CREDENTIALS` when the chain finds none.
 */
export async function findAwsIdentity(options: ConnectionOptions = {}): Promise<AwsIdentity> {
  const connection = new AwsConnection(options);
  try {
    return await connection.identity();
  } finally {
    await connection.close();
  }
}
