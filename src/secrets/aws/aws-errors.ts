import type { ErrorKind } from '../../tokens/errors.js';
import { SecretStoreError, type SecretStoreErrorCode } from '../secret-store.js';
import { evidenceOf, type AwsFault, type AwsFaultFacts, type FaultClass } from './aws-fault.js';

/**
 * What each call to Secrets Manager does, as the words of an error message, whether it carries a secret value,
 * and whether it changes the secret.
 *
 * Not every role needs every call. RotateSecret is for whoever asks Secrets Manager to rotate: the broker's schedule as
 * a watchdog, `POST /v1/rotate` and the command line, where Secrets Manager rotates the token secret. AWS asks for
 * `lambda:InvokeFunction` on the rotation function besides. The rotation function itself never makes it.
 */
const OPERATIONS = {
  GetSecretValue: { verb: 'read', carriesValue: true, changes: false },
  DescribeSecret: { verb: 'describe', carriesValue: false, changes: false },
  CreateSecret: { verb: 'create', carriesValue: false, changes: true },
  PutSecretValue: { verb: 'write a version of', carriesValue: true, changes: true },
  UpdateSecretVersionStage: { verb: 'move a label of', carriesValue: false, changes: true },
  RotateSecret: { verb: 'start a rotation of', carriesValue: false, changes: true },
} as const;

/** A call that the adapter makes. */
export type AwsOperation = keyof typeof OPERATIONS;

/** Every call that the adapter makes; the least IAM policy allows these, as `secretsmanager:NAME`. */
export const AWS_API_CALLS = Object.keys(OPERATIONS) as readonly AwsOperation[];

/** The words for what was tried, to stand before "the secret". */
function verbOf(operation: AwsOperation): string {
  return OPERATIONS[operation].verb;
}

/** True when the request or its answer holds a secret value, so that AWS's own words about it may quote one. */
export function carriesValue(operation: AwsOperation): boolean {
  return OPERATIONS[operation].carriesValue;
}

/** True when a call whose answer is lost may have taken effect. */
function changesSecret(operation: AwsOperation): boolean {
  return OPERATIONS[operation].changes;
}

/** The call that failed. */
interface FailedCall {
  readonly operation: AwsOperation;
  /** The secret's name or ARN, as the caller gave it. */
  readonly secretId: string;
  /** The Region that was asked, when it is known. */
  readonly region: string | undefined;
}

interface Answer {
  readonly code: SecretStoreErrorCode;
  /** Where who has to act differs from what the code says by default. */
  readonly kind?: ErrorKind;
  /** What was wrong, and what to do: whole sentences. */
  readonly text: string;
}

/**
 * The store error for a failed call: a stable code, who has to act, and a message that names the secret, AWS's
 * exception and request id, and the way out. Pure.
 */
export function storeErrorOf(fault: AwsFault, call: FailedCall): SecretStoreError {
  const { facts } = fault;
  const answer = ANSWERS[facts.group](facts, call);
  const quote = facts.quote === undefined ? '' : ` AWS says: ${facts.quote}`;
  const tried = `Could not ${verbOf(call.operation)} the secret "${call.secretId}"`;
  const message = `${tried} (${evidenceOf(facts)}): ${answer.text}${quote}`;
  return new SecretStoreError(answer.code, message, {
    cause: fault,
    ...(answer.kind === undefined ? {} : { kind: answer.kind }),
    ...(facts.retryAfterSeconds === undefined
      ? {}
      : { retryAfterSeconds: facts.retryAfterSeconds }),
  });
}

/** The store error for a search for credentials, or for a Region, that found none. Pure. */
export function identityErrorOf(fault: AwsFault): SecretStoreError {
  const { facts } = fault;
  const { text } =
    facts.group === 'region'
      ? NO_REGION
      : facts.group === 'timeout'
        ? SLOW_CREDENTIALS
        : credentials(facts);
  return new SecretStoreError(
    'STORE_CREDENTIALS',
    `Could not find AWS credentials (${evidenceOf(facts)}): ${text}`,
    { cause: fault },
  );
}

const NO_REGION: Answer = {
  code: 'STORE_CREDENTIALS',
  text: 'no usable AWS Region is configured. Set AWS_REGION, or "region" in the profile of AWS_PROFILE.',
};

const SLOW_CREDENTIALS: Answer = {
  code: 'STORE_CREDENTIALS',
  text: "the source of the credentials gave no answer in time. Check the way to the container's or the instance's metadata endpoint, or to STS.",
};

const ANSWERS: Record<FaultClass, (facts: AwsFaultFacts, call: FailedCall) => Answer> = {
  'not-found': notFound,
  request: refused,
  denied,
  credentials,
  signature,
  kms,
  exists: (_facts, { operation }) =>
    operation === 'CreateSecret'
      ? { code: 'VERSION_CONFLICT', text: 'the secret exists already.' }
      : {
          code: 'VERSION_CONFLICT',
          text: 'the version id exists with a different value. A version is never changed: read it, and adopt what is there.',
        },
  policy: () => ({
    code: 'STORE_REQUEST_INVALID',
    kind: 'misconfigured',
    text: "AWS refuses the secret's resource policy. Correct it in the console or with put-resource-policy.",
  }),
  limit: () => ({
    code: 'STORE_LIMIT',
    text: 'a quota of Secrets Manager is reached: secrets per account, or versions or labels of one secret. See Service Quotas, and remove labels and secrets that nobody uses.',
  }),
  region: () => NO_REGION,
  throttled: () => ({
    code: 'STORE_THROTTLED',
    text: 'too many requests in this account and Region. Try again later; if it goes on, find the busy caller in CloudTrail.',
  }),
  timeout: (_facts, { operation }) => ({
    code: 'STORE_TIMEOUT',
    text: `no answer in time${changesSecret(operation) ? ', and the change may have been made' : ''}. Try again; if it goes on, check the route to the endpoint: NAT gateway, VPC endpoint, security group.`,
  }),
  server: () => ({
    code: 'STORE_UNAVAILABLE',
    text: 'Secrets Manager failed inside. Try again; if it goes on, see the AWS Health Dashboard.',
  }),
  network: () => ({
    code: 'STORE_UNAVAILABLE',
    text: 'the endpoint cannot be reached. Check the network, the DNS name, AWS_REGION and AWS_ENDPOINT_URL_SECRETS_MANAGER.',
  }),
  tls: () => ({
    code: 'STORE_UNAVAILABLE',
    kind: 'misconfigured',
    text: "the endpoint's certificate is not trusted. If a proxy inspects TLS, name its certificate authority in NODE_EXTRA_CA_CERTS; check the endpoint's host name.",
  }),
  handshake: () => ({
    code: 'STORE_UNAVAILABLE',
    text: 'no TLS connection came about. Try again; if it goes on, check that the endpoint speaks TLS, its port, and proxies between here and AWS.',
  }),
  truncated: (_facts, { operation }) => ({
    code: 'STORE_UNAVAILABLE',
    text: `the answer was truncated: the connection ended before it was complete${changesSecret(operation) ? ', and the change may have been made' : ''}. Try again; if it goes on, look for a proxy between here and AWS.`,
  }),
  unreadable: () => ({
    code: 'STORE_UNAVAILABLE',
    text: 'the answer is damaged or cut off, or is not of Secrets Manager (the page of a proxy, another service). Try again; if it goes on, check AWS_ENDPOINT_URL_SECRETS_MANAGER and AWS_ENDPOINT_URL, and proxies between here and AWS.',
  }),
  'wrong-endpoint': () => ({
    code: 'STORE_UNAVAILABLE',
    kind: 'misconfigured',
    text: 'there is no Secrets Manager at the endpoint. Check AWS_ENDPOINT_URL_SECRETS_MANAGER and AWS_ENDPOINT_URL, and proxies between here and AWS.',
  }),
  unknown: () => ({
    code: 'STORE_REQUEST_INVALID',
    text: 'the AWS SDK failed in a way that is not known here. Please report it with the names in the brackets.',
  }),
};

function notFound(facts: AwsFaultFacts, call: FailedCall): Answer {
  if (facts.hint === 'value-missing') return noVersion();
  return {
    code: 'SECRET_NOT_FOUND',
    text: `no secret has that ${isArn(call.secretId) ? 'ARN' : 'name'}${call.region === undefined ? '' : ` in ${call.region}`}. Create it, or correct the id, AWS_REGION or the account.`,
  };
}

function noVersion(): Answer {
  return {
    code: 'VERSION_NOT_FOUND',
    text: 'the secret exists, but no version matches, or the version has no value yet.',
  };
}

/** InvalidParameter and InvalidRequest say that something is wrong; only AWS's words say what. */
function refused(facts: AwsFaultFacts, call: FailedCall): Answer {
  switch (facts.hint) {
    case 'deleted':
      return {
        code: 'STORE_REQUEST_INVALID',
        kind: 'misconfigured',
        text: `the secret is scheduled for deletion. Keep it with: aws secretsmanager restore-secret --secret-id ${call.secretId}`,
      };
    case 'replica':
      return readOnlyReplica(call.region);
    case 'managed':
      return {
        code: 'STORE_READ_ONLY',
        text: 'the secret belongs to another AWS service, and only that service may change it. Use a secret of your own.',
      };
    case 'label-not-on-version':
      return noVersion();
    case 'value-missing':
    case 'secret-missing':
      return notFound(facts, call);
    case 'kms':
    case 'kms-disabled':
    case 'kms-deleting':
      return kms(facts);
    case 'rotation-pending':
      return {
        code: 'STORE_ROTATION_PENDING',
        text: 'an earlier rotation has not ended: a version is AWSPENDING. If it runs, wait for it; if a failure left it behind, clear it with: service-token-broker rotate --repair',
      };
    case 'rotation-missing':
      return {
        code: 'STORE_ROTATION_UNSUPPORTED',
        text: 'the secret has no rotation function. Give it one, or let the broker rotate: aws secretsmanager cancel-rotate-secret',
      };
    case 'function-refuses':
      return functionRefuses();
    case 'label-elsewhere':
    case 'expired':
    case 'clock':
    case undefined:
      break;
  }
  return {
    code: 'STORE_REQUEST_INVALID',
    text: 'AWS refused the request as wrong. CloudTrail has the details by the request id. Please report it.',
  };
}

/** What a write to a replica fails with. */
function readOnlyReplica(region: string | undefined): Answer {
  return {
    code: 'STORE_READ_ONLY',
    text: `the secret${region === undefined ? '' : ` in ${region}`} is a replica, which can only be read. Rotate in the secret's primary Region: set AWS_REGION to it.`,
  };
}

/** AWS looks at the function's own policy before it takes a request to rotate. */
function functionRefuses(): Answer {
  return {
    code: 'STORE_ACCESS_DENIED',
    text: 'Secrets Manager may not invoke the rotation function. Allow it in the policy of the function: lambda add-permission with the principal secretsmanager.amazonaws.com and the action lambda:InvokeFunction.',
  };
}

function denied(facts: AwsFaultFacts, { operation }: FailedCall): Answer {
  if (facts.hint === 'function-refuses') return functionRefuses();
  const who = facts.denial === undefined ? 'the identity may not do this' : facts.denial;
  if (facts.hint === 'kms' || facts.exception.startsWith('KMS')) {
    return {
      code: 'STORE_ACCESS_DENIED',
      text: `${who}. The secret's KMS key is out of reach: allow kms:Decrypt and kms:GenerateDataKey on it, in the key policy and in the identity's policy.`,
    };
  }
  return {
    code: 'STORE_ACCESS_DENIED',
    text: `${who}. Allow secretsmanager:${operation} on the secret; look at the identity's policies, the secret's resource policy, and the policies of the organization and the VPC endpoint.`,
  };
}

function credentials(facts: AwsFaultFacts): Answer {
  const expired =
    facts.hint === 'expired' || facts.exception.startsWith('ExpiredToken')
      ? 'the AWS credentials have expired. Renew them (aws sso login, or new AWS_SESSION_TOKEN)'
      : undefined;
  const missing =
    facts.group === 'credentials' && facts.exception.endsWith('ProviderError')
      ? 'no AWS credentials were found. Give the process a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID'
      : undefined;
  const what =
    expired ??
    missing ??
    'AWS does not know the credentials. Check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN, AWS_PROFILE and the account';
  return { code: 'STORE_CREDENTIALS', text: `${what}.` };
}

function signature(facts: AwsFaultFacts): Answer {
  const clock =
    facts.hint === 'clock' || facts.exception.startsWith('Request')
      ? "this machine's clock differs too much from AWS's. Synchronize it (NTP)."
      : 'AWS refuses the signature. Check that AWS_SECRET_ACCESS_KEY belongs to AWS_ACCESS_KEY_ID, and that no proxy changes the request.';
  return { code: 'STORE_CREDENTIALS', text: clock };
}

function kms(facts: AwsFaultFacts): Answer {
  const states: Partial<Record<NonNullable<AwsFaultFacts['hint']>, string>> = {
    'kms-disabled':
      "the secret's KMS key is disabled. Enable it: aws kms enable-key --key-id KEY-ID",
    'kms-deleting':
      "the secret's KMS key is pending deletion. Keep it: aws kms cancel-key-deletion --key-id KEY-ID, then enable-key",
  };
  const text =
    (facts.hint === undefined ? undefined : states[facts.hint]) ??
    "the secret's KMS key cannot be used. Check that the key exists, is enabled and is not pending deletion";
  return { code: 'STORE_KEY_WRONG', text: `${text}.` };
}

/** True when the id is an ARN and not a name. */
export function isArn(secretId: string): boolean {
  return secretId.startsWith('arn:');
}
