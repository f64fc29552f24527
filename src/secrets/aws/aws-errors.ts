import type { ErrorKind } from '../../tokens/errors.js';
import { SecretStoreError, type SecretStoreErrorCode } from '../secret-store.js';

/**
 * What each call to Secrets Manager does, in the words of an error message; whether it carries a secret value; and
 * whether it changes the secret.
 *
 * Not every role needs every call. RotateSecret is for those who ask Secrets Manager to rotate: the schedule as a
 * watchdog, `POST /v1/rotate` and the command line. It also needs `lambda:InvokeFunction` on the rotation function.
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

/** True when the request or its response holds a secret value, so that AWS's message may quote one. */
export function carriesValue(operation: AwsOperation): boolean {
  return OPERATIONS[operation].carriesValue;
}

/** True when the id is an ARN and not a name. */
export function isArn(secretId: string): boolean {
  return secretId.startsWith('arn:');
}

/** The call that failed. */
export interface FailedCall {
  readonly operation: AwsOperation;
  /** The secret's name or ARN, as the caller gave it. */
  readonly secretId: string;
  /** The Region that was asked, when it is known. */
  readonly region: string | undefined;
}

/**
 * The cause of a store error: what is safe to keep of an SDK error. The SDK's own error is not kept, because it holds
 * the response's text in `$response`, and its message may quote that text.
 */
export class AwsFault extends Error {
  override readonly name = 'AwsFault';

  /**
   * @param evidence as it stands in messages: `AccessDeniedException, HTTP 400, request id …`.
   * @param attempts how often the SDK tried. From 2, an earlier try may have taken effect although its response was lost.
   * @param labelHolder the version that has the label, where AWS names it.
   */
  constructor(
    evidence: string,
    readonly attempts: number,
    readonly labelHolder: string | undefined,
  ) {
    super(evidence);
  }
}

/**
 * The store error for whatever a call to the SDK threw: a stable code, who has to act, and a message that names the
 * secret, AWS's exception and request id, and the way out. AWS's own words are quoted only when the call carries no
 * value in either direction.
 */
export function storeErrorOf(error: unknown, call: FailedCall): SecretStoreError {
  const { failure, fault, words, isResponse, retryAfterSeconds } = readError(error);
  const { code, kind, text } = failure;
  const advice = typeof text === 'string' ? text : text(call, words);
  const line = words.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim();
  const isQuotable = isResponse && !carriesValue(call.operation) && line !== '';
  return new SecretStoreError(
    code,
    `Could not ${describeCall(call)} (${fault.message}): ${advice}${isQuotable ? ` AWS says: ${line.slice(0, 300)}` : ''}`,
    {
      cause: fault,
      ...(kind && { kind }),
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    },
  );
}

/** What a call does, for messages: `read the secret "service-token"`. */
export function describeCall({ operation, secretId }: FailedCall): string {
  return `${OPERATIONS[operation].verb} the secret "${secretId}"`;
}

/** The store error for a search for credentials, or for a Region, that found none. */
export function identityErrorOf(error: unknown): SecretStoreError {
  const { failure, fault } = readError(error);
  const advice =
    failure === FAILURES.timeout
      ? "the source of the credentials gave no answer in time. Check the way to the container's or the instance's metadata endpoint, or to STS."
      : failure.code === 'STORE_CREDENTIALS' && typeof failure.text === 'string'
        ? failure.text
        : FAILURES.credentials.text;
  const message = `Could not find AWS credentials (${fault.message}): ${advice}`;
  return new SecretStoreError('STORE_CREDENTIALS', message, { cause: fault });
}

/** How a failure is recognized, and what it becomes. */
interface Failure {
  /** Exceptions of AWS or of the SDK. */
  readonly names?: RegExp;
  /** Node's codes: of the system, TLS and the HTTP parser. Which one comes depends on the platform. */
  readonly codes?: RegExp;
  /** In a case: what AWS's message says. */
  readonly words?: RegExp;
  /** Where the name alone does not decide; the first whose words match. */
  readonly cases?: readonly Failure[];
  readonly code: SecretStoreErrorCode;
  /** Where who has to act differs from what the code says by default. */
  readonly kind?: ErrorKind;
  /** What was wrong, and what to do: whole sentences. */
  readonly text: string | ((call: FailedCall, words: string) => string);
}

const NO_VERSION: Failure = {
  words: /can't find the specified secret (?:value|version)|VersionStage that is not associated/i,
  code: 'VERSION_NOT_FOUND',
  text: 'the secret exists, but no version matches, or the version has no value yet.',
};
const NO_SECRET: Failure = {
  words: /can't find the specified secret/i,
  code: 'SECRET_NOT_FOUND',
  text: ({ secretId, region }) =>
    `no secret has that ${isArn(secretId) ? 'ARN' : 'name'}${inRegion(region)}. Create it, or correct the id, AWS_REGION or the account.`,
};
const KEY: Failure = {
  words:
    /pending (?:deletion|import)|key\b.*\bdisabled|KMSDisabled|access to KMS|KMS key|to perform: kms:/i,
  code: 'STORE_KEY_WRONG',
  text: (_call, words) =>
    /pending (?:deletion|import)/i.test(words)
      ? "the secret's KMS key is pending deletion. Keep it: aws kms cancel-key-deletion --key-id KEY-ID, then enable-key."
      : /disabled/i.test(words)
        ? "the secret's KMS key is disabled. Enable it: aws kms enable-key --key-id KEY-ID."
        : "the secret's KMS key cannot be used. Check that the key exists, is enabled and is not pending deletion.",
};
/** Secrets Manager checks the function's own policy before it accepts a request to rotate. */
const FUNCTION_REFUSES: Failure = {
  words: /cannot invoke the specified Lambda function/i,
  code: 'STORE_ACCESS_DENIED',
  text: 'Secrets Manager may not invoke the rotation function. Allow it in the policy of the function: lambda add-permission with the principal secretsmanager.amazonaws.com and the action lambda:InvokeFunction.',
};
const CLOCK: Failure = {
  words: /signature expired|signature not yet current|too skewed/i,
  code: 'STORE_CREDENTIALS',
  text: "this machine's clock differs too much from AWS's. Synchronize it (NTP).",
};
const EXPIRED: Failure = {
  words: /\bexpired\b/i,
  code: 'STORE_CREDENTIALS',
  text: 'the AWS credentials have expired. Renew them (aws sso login, or new AWS_SESSION_TOKEN).',
};

/**
 * What is thrown by Secrets Manager (also for KMS), by the SDK and the STS and SSO that its credential providers ask,
 * and by Node. The names are those of Secrets Manager's API reference ("Common Errors") and of the SDK's own classes.
 * What has no row is classified by its HTTP status, see {@link failureByStatus}.
 */
const FAILURES = {
  notFound: { names: /^ResourceNotFoundException$/, cases: [NO_VERSION], ...NO_SECRET },
  exists: {
    names: /^ResourceExistsException$/,
    code: 'VERSION_CONFLICT',
    text: ({ operation }) =>
      operation === 'CreateSecret'
        ? 'the secret exists already.'
        : 'the version id exists with a different value. A version is never changed: read it, and adopt what is there.',
  },
  request: {
    names:
      /^(?:(?:Invalid(?:Parameter|Request|NextToken)|PreconditionNotMet|Validation)Exception|ValidationError)$/,
    cases: [
      {
        words: /marked (?:for deletion|deleted)|scheduled for deletion/i,
        code: 'STORE_REQUEST_INVALID',
        kind: 'misconfigured',
        text: ({ secretId }) =>
          `the secret is scheduled for deletion. Keep it with: aws secretsmanager restore-secret --secret-id ${secretId}`,
      },
      {
        words: /replica secret/i,
        code: 'STORE_READ_ONLY',
        text: ({ region }) =>
          `the secret${inRegion(region)} is a replica, which can only be read. Rotate in the secret's primary Region: set AWS_REGION to it.`,
      },
      {
        words: /managed by (?:another|an? AWS) service|owning ?service/i,
        code: 'STORE_READ_ONLY',
        text: 'the secret belongs to another AWS service, and only that service may change it. Use a secret of your own.',
      },
      NO_VERSION,
      NO_SECRET,
      KEY,
      {
        words: /previous rotation/i,
        code: 'STORE_ROTATION_PENDING',
        text: 'an earlier rotation has not ended: a version is AWSPENDING. If it runs, wait for it; if a failure left it behind, clear it with: service-token-broker rotate --repair',
      },
      {
        words: /no Lambda rotation function/i,
        code: 'STORE_ROTATION_UNSUPPORTED',
        text: 'the secret has no rotation function. Give it one, or let the broker rotate: aws secretsmanager cancel-rotate-secret',
      },
      FUNCTION_REFUSES,
    ],
    code: 'STORE_REQUEST_INVALID',
    text: 'AWS refused the request as wrong. CloudTrail has the details by the request id. Please report it.',
  },
  policy: {
    names: /^(?:MalformedPolicyDocument|PublicPolicy)Exception$/,
    code: 'STORE_REQUEST_INVALID',
    kind: 'misconfigured',
    text: "AWS refuses the secret's resource policy. Correct it in the console or with put-resource-policy.",
  },
  limit: {
    names: /^LimitExceededException$/,
    code: 'STORE_LIMIT',
    text: 'a quota of Secrets Manager is reached: secrets per account, or versions or labels of one secret. See Service Quotas, and remove labels and secrets that nobody uses.',
  },
  denied: {
    names: /^(?:AccessDenied(?:Exception)?|NotAuthorized)$/,
    cases: [
      FUNCTION_REFUSES,
      {
        words: KEY.words,
        code: 'STORE_ACCESS_DENIED',
        text: (_call, words) =>
          `${denialOf(words)}. The secret's KMS key is out of reach: allow kms:Decrypt and kms:GenerateDataKey on it, in the key policy and in the identity's policy.`,
      },
    ],
    code: 'STORE_ACCESS_DENIED',
    text: ({ operation }, words) =>
      `${denialOf(words)}. Allow secretsmanager:${operation} on the secret; look at the identity's policies, the secret's resource policy, and the policies of the organization and the VPC endpoint.`,
  },
  noCredentials: {
    names: /^(?:Credentials|Token)?ProviderError$/,
    cases: [EXPIRED],
    code: 'STORE_CREDENTIALS',
    text: 'no AWS credentials were found. Give the process a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID.',
  },
  expired: { names: /^ExpiredToken(?:Exception)?$/, ...EXPIRED },
  credentials: {
    names:
      /^(?:UnrecognizedClientException|InvalidClientTokenId|MissingAuthenticationToken(?:Exception)?|InvalidIdentityTokenException|IDPRejectedClaimException)$/,
    cases: [EXPIRED],
    code: 'STORE_CREDENTIALS',
    text: 'AWS does not know the credentials. Check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN, AWS_PROFILE and the account.',
  },
  signature: {
    names: /^(?:InvalidSignatureException|IncompleteSignature|SignatureDoesNotMatch)$/,
    cases: [CLOCK],
    code: 'STORE_CREDENTIALS',
    text: 'AWS refuses the signature. Check that AWS_SECRET_ACCESS_KEY belongs to AWS_ACCESS_KEY_ID, and that no proxy changes the request.',
  },
  clock: { names: /^Request(?:Expired|TimeTooSkewed)$/, ...CLOCK },
  kms: {
    names: /^(?:DecryptionFailure|EncryptionFailure|KMS(?:Disabled|InvalidState)Exception)$/,
    ...KEY,
  },
  region: {
    names: /^RegionError$/,
    code: 'STORE_CREDENTIALS',
    text: 'no usable AWS Region is configured. Set AWS_REGION, or "region" in the profile of AWS_PROFILE.',
  },
  throttled: {
    names: /^(?:Throttling(?:Exception)?|TooManyRequestsException|RequestLimitExceeded)$/,
    code: 'STORE_THROTTLED',
    text: 'too many requests in this account and Region. Try again later; if it goes on, find the busy caller in CloudTrail.',
  },
  server: {
    names:
      /^(?:InternalServiceError|InternalFailure|InternalServiceFailure|ServiceUnavailable|IDPCommunicationErrorException)$/,
    code: 'STORE_UNAVAILABLE',
    text: 'Secrets Manager failed inside. Try again; if it goes on, see the AWS Health Dashboard.',
  },
  timeout: {
    names: /^(?:TimeoutError|AbortError)$/,
    codes: /^(?:ETIMEDOUT|ESOCKETTIMEDOUT|UND_ERR_\w*TIMEOUT)$/,
    code: 'STORE_TIMEOUT',
    text: ({ operation }) =>
      `no answer in time${mayHaveChanged(operation)}. Try again; if it goes on, check the route to the endpoint: NAT gateway, VPC endpoint, security group.`,
  },
  wrongEndpoint: {
    names: /^(?:UnknownOperationException|InvalidAction)$/,
    codes: /^ERR_(?:INVALID_URL|INVALID_PROTOCOL|UNESCAPED_CHARACTERS)$/,
    code: 'STORE_UNAVAILABLE',
    kind: 'misconfigured',
    text: 'there is no Secrets Manager at the endpoint. Check AWS_ENDPOINT_URL_SECRETS_MANAGER and AWS_ENDPOINT_URL, and proxies between here and AWS.',
  },
  tls: {
    codes:
      /^(?:ERR_TLS_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/,
    code: 'STORE_UNAVAILABLE',
    kind: 'misconfigured',
    text: "the endpoint's certificate is not trusted. If a proxy inspects TLS, name its certificate authority in BROKER_CA_FILE or NODE_EXTRA_CA_CERTS; check the endpoint's host name.",
  },
  handshake: {
    codes: /^(?:EPROTO$|ERR_SSL_)/,
    code: 'STORE_UNAVAILABLE',
    text: 'no TLS connection came about. Try again; if it goes on, check that the endpoint speaks TLS, its port, and proxies between here and AWS.',
  },
  truncated: {
    codes:
      /^(?:HPE_INVALID_EOF_STATE|ERR_STREAM_PREMATURE_CLOSE|UND_ERR_RES_CONTENT_LENGTH_MISMATCH)$/,
    code: 'STORE_UNAVAILABLE',
    text: ({ operation }) =>
      `the answer was truncated: the connection ended before it was complete${mayHaveChanged(operation)}. Try again; if it goes on, look for a proxy between here and AWS.`,
  },
  /** Node's HTTP parser met something other than HTTP, or the SDK something other than JSON or an exception of AWS. */
  unreadable: {
    codes: /^(?:HPE_|UND_ERR_(?:HEADERS_OVERFLOW|RES))/,
    code: 'STORE_UNAVAILABLE',
    text: 'the answer is damaged or cut off, or is not of Secrets Manager (the page of a proxy, another service). Try again; if it goes on, check AWS_ENDPOINT_URL_SECRETS_MANAGER and AWS_ENDPOINT_URL, and proxies between here and AWS.',
  },
  network: {
    codes: /^(?:E[A-Z]+[0-9]?|EAI_[A-Z]+|UND_ERR_\w+|ERR_(?:SOCKET|STREAM|HTTP2)_\w+)$/,
    code: 'STORE_UNAVAILABLE',
    text: 'the endpoint cannot be reached. Check the network, the DNS name, AWS_REGION and AWS_ENDPOINT_URL_SECRETS_MANAGER.',
  },
  unknown: {
    code: 'STORE_REQUEST_INVALID',
    text: 'the AWS SDK failed in a way that is not known here. Please report it with the names in the brackets.',
  },
} as const satisfies Record<string, Failure>;

const ROWS: readonly Failure[] = Object.values(FAILURES);

function inRegion(region: string | undefined): string {
  return region === undefined ? '' : ` in ${region}`;
}

/** A call whose response is lost may have taken effect. */
function mayHaveChanged(operation: AwsOperation): string {
  return OPERATIONS[operation].changes ? ', and the change may have been made' : '';
}

/** Who may not do what and why; assembled from parts, so that nothing else of AWS's message is repeated. */
function denialOf(words: string): string {
  const action = /not authorized to perform: ([a-z0-9-]{2,30}:[A-Za-z]{2,60})/.exec(words)?.[1];
  if (action === undefined) return 'the identity may not do this';
  const who = /\b(arn:aws[\w-]*:(?:sts|iam)::\d{12}:[\w+=,.@/-]{1,256})/.exec(words)?.[1];
  const [, how, policy] =
    /(because no|with an explicit deny in an?) ([a-z][a-z -]{2,40}) policy/.exec(words) ?? [];
  const allowed = `no ${policy} policy allows it`;
  const why = how && `: ${how === 'because no' ? allowed : `a ${policy} policy denies it`}`;
  return `${who ?? 'the identity'} may not ${action}${why ?? ''}`;
}

/** What kind of failure an error of the SDK is, whichever service was asked. */
export type AwsFailure = keyof typeof FAILURES;

/**
 * An error of the SDK for another service than Secrets Manager: what kind of failure it is, the exception's name, the
 * cause to keep, and who may not do what where AWS says so.
 */
export function readAwsFailure(error: unknown): {
  readonly failure: AwsFailure;
  readonly exception: string;
  readonly fault: AwsFault;
  /** What to do, where that does not depend on the service; empty otherwise. */
  readonly text: string;
  readonly denial: string;
  readonly retryAfterSeconds: number | undefined;
} {
  const { row, failure: found, exception, fault, words, retryAfterSeconds } = readError(error);
  const [failure = 'unknown'] = Object.entries(FAILURES).find(([, one]) => one === row) ?? [];
  const text = typeof found.text === 'string' ? found.text : '';
  const denial = denialOf(words);
  return { failure: failure as AwsFailure, exception, fault, text, denial, retryAfterSeconds };
}

/** Takes an error of the SDK apart. The words may quote a secret value, and must not leave this file. */
function readError(error: unknown) {
  const name = text(member(error, 'name'));
  const words = text(member(error, 'message')) ?? '';
  const metadata = member(error, '$metadata');
  const headers = member(member(error, '$response'), 'headers');
  const status = number(member(metadata, 'httpStatusCode'));
  const requestId = matching(member(metadata, 'requestId'), /^[0-9a-f-]{36}$/i);
  const attempts = number(member(metadata, 'attempts')) ?? 1;
  // True for what AWS responded; false for what the SDK says of files, credentials and unreadable responses.
  const isResponse = member(error, '$fault') !== undefined;
  // The SDK puts the members of a response's body on its error, whatever they are: none of them is Node's.
  const system = isResponse ? undefined : systemErrorOf(error, words);
  const exception = exceptionName(name, words);
  const contentType = text(member(headers, 'content-type'));
  const isCut = isCutOff(error, exception, words);
  const row: Failure =
    failureByName(exception, system?.code, isCut || status !== undefined) ??
    failureByStatus(status, contentType, name, isCut);
  const evidence = [
    // Below HTTP, Node's code says more than the SDK's name.
    system === undefined ? exception : [system.code, system.place].filter(Boolean).join(' at '),
    status && `HTTP ${status}`,
    requestId && `request id ${requestId}`,
    attempts > 1 && `after ${attempts} attempts`,
  ];
  const labelHolder = /currently attached to version ([\w-]{1,64})/.exec(words)?.[1];
  const wait = matching(member(headers, 'retry-after'), /^\s*\d{1,4}\s*$/);
  return {
    row,
    exception,
    failure: row.cases?.find((one) => one.words?.test(words)) ?? row,
    fault: new AwsFault(evidence.filter(Boolean).join(', '), attempts, labelHolder),
    words,
    isResponse,
    retryAfterSeconds: wait === undefined ? undefined : Number(wait),
  };
}

/** The name in a response is the best witness; but the SDK also calls a reset connection a TimeoutError. */
function failureByName(
  exception: string,
  code: string | undefined,
  hasBegun: boolean,
): Failure | undefined {
  const named = ROWS.find(({ names }) => names?.test(exception));
  if (named !== undefined && named !== FAILURES.timeout) return named;
  const coded = code === undefined ? undefined : ROWS.find(({ codes }) => codes?.test(code));
  // The head of the response came, and then the connection ended.
  return coded === FAILURES.network && hasBegun ? FAILURES.truncated : (coded ?? named);
}

function failureByStatus(
  status: number | undefined,
  contentType: string | undefined,
  name: string | undefined,
  isCut: boolean,
): Failure {
  if (status === undefined) return isCut ? FAILURES.truncated : FAILURES.unknown;
  if (status >= 500) return FAILURES.server;
  if (status === 429) return FAILURES.throttled;
  if (status === 408) return FAILURES.timeout;
  if (isCut) return FAILURES.truncated;
  // In place of a value it is most often a passing page of a proxy, sent while something is down.
  if (status < 300) return FAILURES.unreadable;
  // Anything but JSON is the refusal of a proxy, of a login form, or of another service.
  if (status < 400 || !/json/i.test(contentType ?? '')) return FAILURES.wrongEndpoint;
  if (status === 401 || status === 403) return FAILURES.denied;
  // A response without a name gets one of the SDK's, or the runtime's.
  const isNamed = name && !/^(?:Unknown(?:Error)?|Error|SyntaxError|TypeError)$/.test(name);
  return isNamed ? FAILURES.request : FAILURES.unreadable;
}

/** The exception's name, repeated only when it is a known one or looks like one: it comes from the response's text. */
function exceptionName(name: string | undefined, words: string): string {
  if (name === undefined) return 'UnknownError';
  if (/^Region (?:is missing|not accepted)/.test(words)) return 'RegionError';
  const isPlausible = /^[A-Z][A-Za-z]{2,60}(?:Exception|Failure|Error|Fault)$/.test(name);
  return isPlausible || ROWS.some(({ names }) => names?.test(name)) ? name : 'UnknownError';
}

/** Whether a response ended too early: only the message of the runtime or the parser says so. */
function isCutOff(error: unknown, exception: string, words: string): boolean {
  if (exception !== 'SyntaxError')
    return /^(?:AWS SDK error wrapper for Error: )?aborted(?:\n|$)/.test(words);
  if (/unexpected end|unterminated/i.test(words)) return true;
  const position = / at position (\d+)/.exec(words)?.[1];
  const body = text(member(error, '$responseBodyText'));
  return position !== undefined && body !== undefined && Number(position) >= body.length;
}

/** Node's error below HTTP, and where it occurred as far as that is known. */
function systemErrorOf(
  error: unknown,
  words: string,
): { readonly code: string; readonly place: string | undefined } | undefined {
  // Happy eyeballs reports the failures of all addresses together; the first one says enough.
  const errors = member(error, 'errors');
  for (const source of [error, Array.isArray(errors) ? errors[0] : undefined]) {
    const code = matching(member(source, 'code'), /^[A-Z][A-Z0-9_]{2,60}$/);
    if (code === undefined) continue;
    const host = matching(
      member(source, 'hostname') ?? member(source, 'address'),
      /^[\w.:-]{1,253}$/,
    );
    const port = number(member(source, 'port'));
    return { code, place: host && port !== undefined ? `${host}:${port}` : host };
  }
  // Where modules are isolated from Node's own (as in Jest), the SDK wraps Node's errors, and keeps only their text.
  const wrapped = /^AWS SDK error wrapper for (?:Timeout)?Error: (.*)/.exec(words)?.[1] ?? '';
  if (/^(?:socket hang up|aborted)$/.test(wrapped)) return { code: 'ECONNRESET', place: undefined };
  if (wrapped.startsWith('Parse Error')) return { code: 'HPE_ERROR', place: undefined };
  const [, code, place] =
    /^(?:connect|read|write|getaddrinfo) (E[A-Z_]{2,20})(?: ([\w.:-]{1,253}))?$/.exec(wrapped) ??
    [];
  return code === undefined ? undefined : { code, place };
}

function matching(value: unknown, pattern: RegExp): string | undefined {
  return typeof value === 'string' && pattern.test(value) ? value : undefined;
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}
