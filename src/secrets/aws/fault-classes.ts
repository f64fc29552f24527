/**
 * What went wrong, as far as it changes what somebody has to do.
 *
 * - `unreadable`: an answer that is not Secrets Manager's JSON.
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

const NETWORK_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'EADDRNOTAVAIL',
]);
const TIMEOUT_CODES: ReadonlySet<string> = new Set(['ETIMEDOUT', 'ESOCKETTIMEDOUT']);
const TLS_CODE =
  /^(?:ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|EPROTO)/;

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
}

/**
 * Classifies a fault. The exception's name is the best witness, except that the SDK calls a connection that was
 * reset a TimeoutError: there the system's code decides.
 */
export function classify(input: ClassifyInput): FaultClass {
  const { exception, status, systemCode } = input;
  const named = CLASS_BY_NAME.get(exception);
  if (named !== undefined && named !== 'timeout') return named;
  return classOfSystemCode(systemCode) ?? named ?? classOfAnswer(status, input.contentType);
}

function classOfSystemCode(code: string | undefined): FaultClass | undefined {
  if (code === undefined) return undefined;
  if (NETWORK_CODES.has(code)) return 'network';
  if (TIMEOUT_CODES.has(code)) return 'timeout';
  if (code === 'ERR_INVALID_URL') return 'wrong-endpoint';
  return TLS_CODE.test(code) ? 'tls' : undefined;
}

function classOfAnswer(status: number | undefined, contentType: string | undefined): FaultClass {
  if (status === undefined) return 'unknown';
  if (status >= 500) return 'server';
  if (status === 429) return 'throttled';
  if (status === 408) return 'timeout';
  // Anything but JSON is the page of a proxy, of a login form, or of another service.
  if (contentType === undefined || !/json/i.test(contentType)) return 'wrong-endpoint';
  if (status === 401 || status === 403) return 'denied';
  if (status >= 400) return 'request';
  return status >= 300 ? 'wrong-endpoint' : 'unreadable';
}
