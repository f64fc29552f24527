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
export const KNOWN_EXCEPTIONS: readonly string[] = [...CLASS_BY_NAME.keys()];

/** What a fault is classified by. */
export interface ClassifyInput {
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
export function classify(input: ClassifyInput): FaultClass {
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
