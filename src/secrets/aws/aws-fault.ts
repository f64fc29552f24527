/**
 * What went wrong, as far as it changes what somebody has to do.
 *
 * - `truncated`: an answer that ended in the middle.
 * - `unreadable`: what came is no answer of Secrets Manager: not HTTP, not JSON, or no exception of AWS.
 * - `handshake`: TLS did not come about, for another reason than the certificate.
 * - `unknown`: nothing we know; a bug of ours, or of the SDK.
 */
export type FaultClass =
  | 'not-found'
  | 'exists'
  | 'request'
  | 'policy'
  | 'limit'
  | 'denied'
  | 'credentials'
  | 'signature'
  | 'kms'
  | 'region'
  | 'throttled'
  | 'timeout'
  | 'server'
  | 'network'
  | 'tls'
  | 'handshake'
  | 'truncated'
  | 'unreadable'
  | 'wrong-endpoint'
  | 'unknown';

const NAMES: Readonly<Partial<Record<FaultClass, readonly string[]>>> = {
  'not-found': ['ResourceNotFoundException'],
  exists: ['ResourceExistsException'],
  request: [
    'InvalidParameterException',
    'InvalidRequestException',
    'InvalidNextTokenException',
    'PreconditionNotMetException',
    'ValidationException',
    'ValidationError',
    'InvalidParameterValue',
    'InvalidParameterCombination',
    'MissingParameter',
    'SerializationException',
  ],
  policy: ['MalformedPolicyDocumentException', 'PublicPolicyException'],
  limit: ['LimitExceededException'],
  denied: [
    'AccessDeniedException',
    'AccessDenied',
    'UnauthorizedOperation',
    'UnauthorizedException',
    'NotAuthorized',
    'OptInRequired',
    'KMSAccessDeniedException',
  ],
  credentials: [
    'CredentialsProviderError',
    'TokenProviderError',
    'ProviderError',
    'UnrecognizedClientException',
    'InvalidClientTokenId',
    'InvalidAccessKeyId',
    'InvalidIdentityToken',
    'InvalidIdentityTokenException',
    'MissingAuthenticationToken',
    'MissingAuthenticationTokenException',
    'ExpiredToken',
    'ExpiredTokenException',
  ],
  signature: [
    'InvalidSignatureException',
    'IncompleteSignature',
    'IncompleteSignatureException',
    'SignatureDoesNotMatch',
    'RequestExpired',
    'RequestTimeTooSkewed',
    'RequestInTheFuture',
  ],
  kms: [
    'DecryptionFailure',
    'EncryptionFailure',
    'KMSDisabledException',
    'KMSInvalidStateException',
    'KMSNotFoundException',
  ],
  throttled: [
    'ThrottlingException',
    'Throttling',
    'ThrottledException',
    'TooManyRequestsException',
    'RequestLimitExceeded',
    'RequestThrottled',
    'RequestThrottledException',
    'SlowDown',
    'KMSThrottlingException',
  ],
  timeout: ['TimeoutError', 'RequestTimeout', 'RequestTimeoutException', 'AbortError'],
  server: [
    'InternalServiceError',
    'InternalServerError',
    'InternalFailure',
    'InternalError',
    'ServiceUnavailable',
    'ServiceUnavailableException',
    'KMSInternalException',
    'IDPCommunicationError',
  ],
  'wrong-endpoint': [
    'UnknownOperationException',
    'UnknownOperation',
    'InvalidAction',
    'NotImplemented',
  ],
};

/** Node's codes, by their form: which ones come depends on the platform and on how the connection was disturbed. */
const CLASS_BY_CODE: readonly (readonly [FaultClass, RegExp])[] = [
  ['timeout', /^(?:ETIMEDOUT|ESOCKETTIMEDOUT|UND_ERR_\w*TIMEOUT)$/],
  ['wrong-endpoint', /^ERR_(?:INVALID_URL|INVALID_PROTOCOL|UNESCAPED_CHARACTERS)$/],
  [
    'tls',
    /^(?:ERR_TLS_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/,
  ],
  ['handshake', /^(?:EPROTO$|ERR_SSL_)/],
  // Node's HTTP parser met something else than HTTP.
  [
    'truncated',
    /^(?:HPE_INVALID_EOF_STATE|ERR_STREAM_PREMATURE_CLOSE|UND_ERR_RES_CONTENT_LENGTH_MISMATCH)$/,
  ],
  ['unreadable', /^(?:HPE_|UND_ERR_(?:HEADERS_OVERFLOW|RES))/],
  ['network', /^(?:E[A-Z]+[0-9]?|EAI_[A-Z]+|UND_ERR_\w+|ERR_(?:SOCKET|STREAM|HTTP2)_\w+)$/],
];

const CLASS_BY_NAME: ReadonlyMap<string, FaultClass> = new Map(
  Object.entries(NAMES).flatMap(([group, names]) =>
    names.map((name) => [name, group as FaultClass] as const),
  ),
);

/** The exception names that are told apart. */
const KNOWN_EXCEPTIONS: ReadonlySet<string> = new Set(CLASS_BY_NAME.keys());

/** What a fault is classified by. */
interface ClassifyInput {
  readonly exception: string;
  /** HTTP status, when there was an answer. */
  readonly status: number | undefined;
  /** Node's code of a system or TLS error. */
  readonly systemCode: string | undefined;
  /** Media type of the answer. */
  readonly contentType: string | undefined;
  /** Whether the answer itself names an exception. Default: the exception is a known one. */
  readonly isNamed?: boolean;
  /** Whether the SDK found the end of the answer where none can be. Default: false. */
  readonly isCutOff?: boolean;
}

/**
 * Classifies a fault. The exception's name is the best witness, except that the SDK calls a connection that was
 * reset a TimeoutError: there the system's code decides.
 */
function classify(input: ClassifyInput): FaultClass {
  const { exception, status, systemCode } = input;
  const named = CLASS_BY_NAME.get(exception);
  if (named !== undefined && named !== 'timeout') return named;
  const ofCode = classOfCode(systemCode);
  // The head of the answer came, and then the connection ended.
  if (ofCode === 'network' && (status !== undefined || input.isCutOff === true)) return 'truncated';
  return ofCode ?? named ?? classOfAnswer(input);
}

function classOfCode(code: string | undefined): FaultClass | undefined {
  if (code === undefined) return undefined;
  return CLASS_BY_CODE.find(([, codes]) => codes.test(code))?.[0];
}

function classOfAnswer({ status, contentType, isNamed, isCutOff }: ClassifyInput): FaultClass {
  if (status === undefined) return isCutOff === true ? 'truncated' : 'unknown';
  if (status >= 500) return 'server';
  if (status === 429) return 'throttled';
  if (status === 408) return 'timeout';
  if (isCutOff === true) return 'truncated';
  // In place of a value a page most often passes, as do the proxies that send it while something is down.
  if (status < 300) return 'unreadable';
  // Anything but JSON is the refusal of a proxy, of a login form, or of another service.
  if (status < 400 || contentType === undefined || !/json/i.test(contentType)) {
    return 'wrong-endpoint';
  }
  if (status === 401 || status === 403) return 'denied';
  return isNamed === true ? 'request' : 'unreadable';
}

/** What AWS's words say, where the exception's name alone does not tell. */
type FaultHint =
  | 'secret-missing'
  | 'value-missing'
  | 'deleted'
  | 'replica'
  | 'managed'
  | 'label-elsewhere'
  | 'label-not-on-version'
  | 'kms-disabled'
  | 'kms-deleting'
  | 'kms'
  | 'expired'
  | 'clock'
  | 'rotation-pending'
  | 'rotation-missing'
  | 'function-refuses';

/** The first pattern that matches AWS's words gives the hint. */
const HINTS: readonly (readonly [FaultHint, RegExp])[] = [
  ['deleted', /marked (?:for deletion|deleted)|scheduled for deletion/i],
  ['replica', /replica secret/i],
  ['managed', /managed by (?:another|an? AWS) service|owning service|OwningService/i],
  ['label-elsewhere', /currently attached to version|currently has the staging label/i],
  ['label-not-on-version', /VersionStage that is not associated/i],
  ['value-missing', /can't find the specified secret (?:value|version)/i],
  ['secret-missing', /can't find the specified secret/i],
  ['kms-deleting', /pending (?:deletion|import)/i],
  ['kms-disabled', /key\b.*\bdisabled|KMSDisabled/i],
  ['kms', /access to KMS|KMS key|to perform: kms:/i],
  ['rotation-pending', /previous rotation/i],
  ['rotation-missing', /no Lambda rotation function/i],
  ['function-refuses', /cannot invoke the specified Lambda function/i],
  ['clock', /signature expired|signature not yet current|too skewed/i],
  ['expired', /\bexpired\b/i],
];

/** What a failed call to AWS tells, free of anything that could be a secret value. */
export interface AwsFaultFacts {
  readonly group: FaultClass;
  /** AWS's (or the SDK's) name of the exception. */
  readonly exception: string;
  readonly hint: FaultHint | undefined;
  readonly status: number | undefined;
  /** What AWS support and CloudTrail know the call by. */
  readonly requestId: string | undefined;
  /** How often the SDK tried. From 2, an earlier try may have taken effect without an answer. */
  readonly attempts: number;
  /** `ECONNREFUSED at 127.0.0.1:4566`, for a failure below HTTP. */
  readonly network: string | undefined;
  /** The version that has the label, where AWS names it. */
  readonly labelHolder: string | undefined;
  /** Who may not do what and why, where AWS names it. */
  readonly denial: string | undefined;
  /** AWS's own words; only of an answer to a call that carries no value. */
  readonly quote: string | undefined;
  readonly retryAfterSeconds: number | undefined;
}

/**
 * The cause of a store error: what is safe to keep of an SDK error. The SDK's own error is not kept, for it holds
 * the answer's text in `$response`, and its message may quote that text.
 */
export class AwsFault extends Error {
  override readonly name = 'AwsFault';
  readonly facts: AwsFaultFacts;

  constructor(facts: AwsFaultFacts) {
    super(evidenceOf(facts));
    this.facts = facts;
  }
}

/** The facts as they stand in messages: `AccessDeniedException, HTTP 400, request id …`. */
export function evidenceOf(facts: AwsFaultFacts): string {
  return [
    // Below HTTP the SDK has no name that tells more than Node's code.
    facts.network ?? facts.exception,
    facts.status === undefined ? undefined : `HTTP ${facts.status}`,
    facts.requestId === undefined ? undefined : `request id ${facts.requestId}`,
    facts.attempts > 1 ? `after ${facts.attempts} attempts` : undefined,
  ]
    .filter((part) => part !== undefined)
    .join(', ');
}

/**
 * Reads the facts from whatever the SDK threw.
 *
 * @param quotable whether AWS's own words may be kept: only when the call carries no value in either direction.
 */
export function readFault(error: unknown, quotable: boolean): AwsFault {
  const words = text(member(error, 'message')) ?? '';
  const metadata = member(error, '$metadata');
  const headers = member(member(error, '$response'), 'headers');
  const exception = exceptionName(text(member(error, 'name')), words);
  const status = number(member(metadata, 'httpStatusCode'));
  const systemError = systemErrorOf(error, words);
  const contentType = text(member(headers, 'content-type'));
  return new AwsFault({
    group: isRegionMistake(words)
      ? 'region'
      : classify({
          exception,
          status,
          systemCode: systemError?.code,
          contentType,
          isNamed: isNamed(text(member(error, 'name'))),
          isCutOff: isCutOff(error, exception, words),
        }),
    exception,
    hint: HINTS.find(([, pattern]) => pattern.test(words))?.[0],
    status,
    requestId: matching(text(member(metadata, 'requestId')), /^[0-9a-f-]{36}$/i),
    attempts: number(member(metadata, 'attempts')) ?? 1,
    network: [systemError?.code, systemError?.place].filter(Boolean).join(' at ') || undefined,
    labelHolder: /currently attached to version ([\w-]{1,64})/.exec(words)?.[1],
    denial: denialOf(words),
    quote: quotable && isServiceException(error) ? printable(words) : undefined,
    retryAfterSeconds: seconds(text(member(headers, 'retry-after'))),
  });
}

function exceptionName(name: string | undefined, words: string): string {
  if (name === undefined) return 'UnknownError';
  if (isRegionMistake(words)) return 'RegionError';
  if (KNOWN_EXCEPTIONS.has(name)) return name;
  // The name comes from the answer's text: only what looks like the name of an exception is repeated.
  return /^[A-Z][A-Za-z]{2,60}(?:Exception|Failure|Error|Fault)$/.test(name)
    ? name
    : 'UnknownError';
}

/** Whether the name of an error comes from the answer. Without one there the SDK gives a name of its own, or the runtime's. */
function isNamed(name: string | undefined): boolean {
  return name !== undefined && !/^(?:Unknown(?:Error)?|Error|SyntaxError|TypeError)$/.test(name);
}

/** Whether an answer ended too early: runtime and parser say so in words alone. */
function isCutOff(error: unknown, exception: string, words: string): boolean {
  if (exception !== 'SyntaxError')
    return /^(?:AWS SDK error wrapper for Error: )?aborted(?:\n|$)/.test(words);
  if (/unexpected end|unterminated/i.test(words)) return true;
  const position = / at position (\d+)/.exec(words)?.[1];
  const body = text(member(error, '$responseBodyText'));
  return position !== undefined && body !== undefined && Number(position) >= body.length;
}

/** True for what AWS answered, and not for what the SDK says about files, commands, credentials and unreadable answers. */
function isServiceException(error: unknown): boolean {
  return member(error, '$fault') !== undefined;
}

function isRegionMistake(words: string): boolean {
  return /^Region (?:is missing|not accepted)/.test(words);
}

/** Happy eyeballs reports the failures of all addresses together; the first one tells enough. */
function systemErrorOf(error: unknown, words: string): SystemError | undefined {
  // The SDK puts the members of the answer's body on it, whatever they are: none of them is Node's.
  if (isServiceException(error)) return undefined;
  for (const source of [error, firstOf(error)]) {
    const code = matching(text(member(source, 'code')), /^[A-Z][A-Z0-9_]{2,60}$/);
    if (code === undefined) continue;
    const host = text(member(source, 'hostname')) ?? text(member(source, 'address'));
    const port = number(member(source, 'port'));
    const known = matching(host, /^[\w.:-]{1,253}$/);
    const place = known === undefined || port === undefined ? known : `${known}:${port}`;
    return { code, place };
  }
  return systemErrorInWords(words);
}

/**
 * Where modules are isolated from Node's own (Jest does so), the SDK does not know Node's errors as errors: it wraps
 * them, and keeps nothing but their text.
 */
function systemErrorInWords(words: string): SystemError | undefined {
  const wrapped = /^AWS SDK error wrapper for (?:Timeout)?Error: (.*)/.exec(words)?.[1];
  if (wrapped === undefined) return undefined;
  if (wrapped === 'socket hang up' || wrapped === 'aborted') {
    return { code: 'ECONNRESET', place: undefined };
  }
  if (wrapped.startsWith('Parse Error')) return { code: 'HPE_ERROR', place: undefined };
  const parts = /^(?:connect|read|write|getaddrinfo) (E[A-Z_]{2,20})(?: ([\w.:-]{1,253}))?$/.exec(
    wrapped,
  );
  return parts?.[1] === undefined ? undefined : { code: parts[1], place: parts[2] };
}

function firstOf(error: unknown): unknown {
  const errors = member(error, 'errors');
  return Array.isArray(errors) ? errors[0] : undefined;
}

/** Taken apart and put together again, so that nothing else of AWS's words comes along. */
function denialOf(words: string): string | undefined {
  const action = /not authorized to perform: ([a-z0-9-]{2,30}:[A-Za-z]{2,60})/.exec(words)?.[1];
  if (action === undefined) return undefined;
  const who = /\b(arn:aws[\w-]*:(?:sts|iam)::\d{12}:[\w+=,.@/-]{1,256})/.exec(words)?.[1];
  const policy = /(?:because no|with an explicit deny in an?) ([a-z][a-z -]{2,40}) policy/.exec(
    words,
  );
  const why =
    policy === null
      ? ''
      : `: ${policy[0].startsWith('because') ? `no ${policy[1]} policy allows it` : `a ${policy[1]} policy denies it`}`;
  return `${who ?? 'the identity'} may not ${action}${why}`;
}

interface SystemError {
  readonly code: string;
  /** Host and port, as far as they are told. */
  readonly place: string | undefined;
}

/** One line of at most 300 characters. */
function printable(words: string): string | undefined {
  const line = words.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim();
  return line === '' ? undefined : line.slice(0, 300);
}

function seconds(value: string | undefined): number | undefined {
  const whole = matching(value?.trim(), /^\d{1,4}$/);
  return whole === undefined ? undefined : Number(whole);
}

function matching(value: string | undefined, pattern: RegExp): string | undefined {
  return value !== undefined && pattern.test(value) ? value : undefined;
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
