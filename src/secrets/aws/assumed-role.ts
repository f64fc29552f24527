import type { STSClient } from '@aws-sdk/client-sts';
import { SecretStoreError, type SecretStoreErrorCode } from '../secret-store.js';
import type { ErrorKind } from '../../tokens/errors.js';
import { proxyErrorOf } from '../../tokens/proxy-error.js';
import { readAwsFailure, type AwsFailure, type AwsFault } from './aws-errors.js';

/** An IAM role to assume, for secrets in another account. */
export interface AssumedRole {
  readonly arn: string;
  /** What the role's trust policy demands, if it does. Not a secret. */
  readonly externalId?: string | undefined;
  /** What CloudTrail shows. */
  readonly sessionName: string;
}

/** Temporary credentials, as clients of the SDK take them. */
interface SessionCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiration: Date;
  readonly accountId?: string;
}

/** How long a session lasts, in seconds: what every role allows. The SDK asks for the next one five minutes before. */
const SESSION_LIFE = 3_600;

/**
 * The credentials of a role, for the `credentials` of a client of the SDK, which keeps them until shortly before they end.
 *
 * Rejects with a `SecretStoreError`: `STORE_ACCESS_DENIED` when the role may not be assumed, which is the operator's to
 * change, and the codes of every other call when STS cannot be asked.
 *
 * @param makeClient makes a client for STS, which is closed after its call.
 */
export function credentialsOfRole(
  role: AssumedRole,
  makeClient: (sdk: typeof import('@aws-sdk/client-sts')) => STSClient,
): () => Promise<SessionCredentials> {
  return async () => {
    let client: STSClient | undefined;
    try {
      const sdk = await import('@aws-sdk/client-sts');
      // Once an hour: a connection that is kept open would serve nobody.
      client = makeClient(sdk);
      const { Credentials, AssumedRoleUser } = await client.send(
        new sdk.AssumeRoleCommand({
          RoleArn: role.arn,
          RoleSessionName: role.sessionName,
          DurationSeconds: SESSION_LIFE,
          ...(role.externalId !== undefined && { ExternalId: role.externalId }),
        }),
      );
      const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = Credentials ?? {};
      if (!AccessKeyId || !SecretAccessKey || !SessionToken || Expiration === undefined) {
        throw roleError(
          role,
          'STORE_UNAVAILABLE',
          'the response is not complete. Try again; if it goes on, look for a proxy between here and AWS.',
        );
      }
      const accountId = AssumedRoleUser?.Arn?.split(':')[4];
      return {
        accessKeyId: AccessKeyId,
        secretAccessKey: SecretAccessKey,
        sessionToken: SessionToken,
        expiration: Expiration,
        ...(accountId && { accountId }),
      };
    } catch (error) {
      throw error instanceof SecretStoreError ? error : roleErrorOf(error, role);
    } finally {
      client?.destroy();
    }
  };
}

/** The store error for whatever assuming a role threw. AWS's own words are not repeated. */
export function roleErrorOf(error: unknown, role: AssumedRole): SecretStoreError {
  if (isMissingPackage(error)) {
    return roleError(
      role,
      'STORE_UNAVAILABLE',
      'the package @aws-sdk/client-sts cannot be loaded. Install it with: npm install @aws-sdk/client-sts',
      { kind: 'misconfigured' },
    );
  }
  const proxy = proxyErrorOf(error);
  if (proxy !== undefined) {
    const { kind, why, advice, retryAfterSeconds } = proxy;
    const options = { kind, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
    return roleError(role, 'STORE_UNAVAILABLE', `${why}. ${advice}`, options);
  }
  const { failure, exception, fault, text, denial, retryAfterSeconds } = readAwsFailure(error);
  const { code, kind, advice } =
    failure === 'denied'
      ? { ...DENIED, advice: `${denial}. ${howToAllow(role)}` }
      : (EXCEPTIONS[exception] ?? FAILURES[failure] ?? REFUSED);
  const usual = text.replaceAll('SECRETS_MANAGER', 'STS').replaceAll('Secrets Manager', 'STS');
  return roleError(role, code, advice ?? usual, {
    cause: fault,
    ...(kind && { kind }),
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}

/** True when a package of the SDK is not installed. */
export function isMissingPackage(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : '';
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
}

interface Meaning {
  readonly code: SecretStoreErrorCode;
  /** Where who has to act differs from what the code says by default. */
  readonly kind?: ErrorKind;
  /** Default: what is advised for every service. */
  readonly advice?: string;
}

const DENIED: Meaning = { code: 'STORE_ACCESS_DENIED' };

function howToAllow({ externalId }: AssumedRole): string {
  const id =
    externalId === undefined
      ? 'If that policy demands an external id, set BROKER_AWS_EXTERNAL_ID.'
      : 'Compare its condition sts:ExternalId with BROKER_AWS_EXTERNAL_ID, exactly.';
  return `Allow sts:AssumeRole on the role in the policy of whoever the broker is, and name that identity in the role's trust policy. ${id} Does the role exist?`;
}

const NO_ANSWER: Meaning = {
  code: 'STORE_UNAVAILABLE',
  advice:
    'STS gave no usable answer. Try again; if it goes on, check the way to STS in this Region: NAT gateway, VPC endpoint (com.amazonaws.REGION.sts), proxy, AWS_ENDPOINT_URL_STS.',
};
const WRONG_WAY: Meaning = { code: 'STORE_UNAVAILABLE', kind: 'misconfigured' };
const OWN_CREDENTIALS: Meaning = { code: 'STORE_CREDENTIALS' };
const REFUSED: Meaning = {
  code: 'STORE_CREDENTIALS',
  advice:
    'STS refused the request. Check BROKER_AWS_ROLE_ARN, BROKER_AWS_EXTERNAL_ID and BROKER_AWS_ROLE_SESSION_NAME; CloudTrail has the details by the request id.',
};

/** The exceptions of STS that say more than their kind. */
const EXCEPTIONS: Readonly<Record<string, Meaning>> = {
  RegionDisabledException: {
    code: 'STORE_CREDENTIALS',
    advice:
      'STS is not activated in this Region. Activate it in the account settings of IAM, or set AWS_REGION to another one.',
  },
};

const FAILURES: Partial<Record<AwsFailure, Meaning>> = {
  throttled: { code: 'STORE_THROTTLED' },
  timeout: { ...NO_ANSWER, code: 'STORE_TIMEOUT' },
  network: NO_ANSWER,
  handshake: NO_ANSWER,
  truncated: NO_ANSWER,
  unreadable: NO_ANSWER,
  server: NO_ANSWER,
  tls: WRONG_WAY,
  wrongEndpoint: WRONG_WAY,
  noCredentials: OWN_CREDENTIALS,
  credentials: OWN_CREDENTIALS,
  expired: OWN_CREDENTIALS,
  signature: OWN_CREDENTIALS,
  clock: OWN_CREDENTIALS,
  region: OWN_CREDENTIALS,
};

function roleError(
  { arn }: AssumedRole,
  code: SecretStoreErrorCode,
  advice: string,
  options: { kind?: ErrorKind; cause?: AwsFault; retryAfterSeconds?: number } = {},
): SecretStoreError {
  const evidence = options.cause === undefined ? '' : ` (${options.cause.message})`;
  return new SecretStoreError(
    code,
    `Could not assume the role ${arn}${evidence}: ${advice}`,
    options,
  );
}
