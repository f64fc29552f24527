import { REQUEST_ID } from './scripted-endpoint.js';

/** What an error of the SDK has. */
export interface Thrown {
  readonly name: string;
  readonly message?: string;
  readonly status?: number;
  readonly code?: string;
  readonly [other: string]: unknown;
}

/** An error with the shape the SDK throws. */
export function thrown({ name, message = '', status, ...others }: Thrown): Error {
  const metadata = status === undefined ? {} : { httpStatusCode: status, requestId: REQUEST_ID };
  const headers = { 'content-type': 'application/x-amz-json-1.1' };
  return Object.assign(new Error(message), {
    name,
    ...(status === undefined ? {} : { $fault: 'client', $response: { headers } }),
    $metadata: { attempts: 1, ...metadata },
    ...others,
  });
}

/** What is thrown, and the code, the kind and the words it becomes. */
export type Row = readonly [thrown: Thrown, code: string, kind: string, says: RegExp];

/** An answer with HTTP 400. */
export const client = (name: string, message?: string): Thrown => ({
  name,
  status: 400,
  ...(message === undefined ? {} : { message }),
});

/** Every failure that is told apart. */
export const ROWS: readonly Row[] = [
  // KMS
  [client('DecryptionFailure'), 'STORE_KEY_WRONG', 'misconfigured', /KMS key cannot be used/],
  [client('EncryptionFailure'), 'STORE_KEY_WRONG', 'misconfigured', /KMS key cannot be used/],
  [
    client('DecryptionFailure', `arn:aws:kms:eu-central-1:1:key/1 is pending deletion.`),
    'STORE_KEY_WRONG',
    'misconfigured',
    /cancel-key-deletion/,
  ],
  [
    client('InvalidRequestException', 'The KMS key arn:aws:kms:eu-central-1:1:key/1 is disabled.'),
    'STORE_KEY_WRONG',
    'misconfigured',
    /enable-key/,
  ],
  [client('KMSInvalidStateException'), 'STORE_KEY_WRONG', 'misconfigured', /KMS key/],
  [
    client('AccessDeniedException', 'Access to KMS is not allowed'),
    'STORE_ACCESS_DENIED',
    'misconfigured',
    /kms:Decrypt/,
  ],
  // What Secrets Manager says about its own rotation
  [
    client(
      'InvalidRequestException',
      "A previous rotation isn't complete. That rotation will be reattempted.",
    ),
    'STORE_ROTATION_PENDING',
    'retry',
    /rotate --repair/,
  ],
  [
    client(
      'InvalidRequestException',
      'No Lambda rotation function ARN is associated with this secret.',
    ),
    'STORE_ROTATION_UNSUPPORTED',
    'misconfigured',
    /no rotation function/,
  ],
  [
    client(
      'AccessDeniedException',
      'Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.',
    ),
    'STORE_ACCESS_DENIED',
    'misconfigured',
    /add-permission/,
  ],
  // What Secrets Manager says about the secret
  [
    client('ResourceNotFoundException', "Secrets Manager can't find the specified secret."),
    'SECRET_NOT_FOUND',
    'misconfigured',
    /no secret has that name in eu-central-1/,
  ],
  [
    client('ResourceNotFoundException', 'words of tomorrow'),
    'SECRET_NOT_FOUND',
    'misconfigured',
    /./,
  ],
  [
    client(
      'ResourceNotFoundException',
      "Secrets Manager can't find the specified secret value for staging label: AWSPENDING",
    ),
    'VERSION_NOT_FOUND',
    'retry',
    /no version matches/,
  ],
  [
    client(
      'ResourceNotFoundException',
      "Secrets Manager can't find the specified secret value for VersionId: 7f1d0a52",
    ),
    'VERSION_NOT_FOUND',
    'retry',
    /no version matches/,
  ],
  [
    client(
      'InvalidRequestException',
      'You provided a VersionStage that is not associated to the provided VersionId.',
    ),
    'VERSION_NOT_FOUND',
    'retry',
    /no version matches/,
  ],
  [client('ResourceExistsException'), 'VERSION_CONFLICT', 'bug', /adopt/],
  [
    client(
      'InvalidRequestException',
      "You can't perform this operation on the secret because it was marked for deletion.",
    ),
    'STORE_REQUEST_INVALID',
    'misconfigured',
    /restore-secret --secret-id token/,
  ],
  [
    client(
      'InvalidRequestException',
      "You can't create this secret because a secret with this name is already scheduled for deletion.",
    ),
    'STORE_REQUEST_INVALID',
    'misconfigured',
    /restore-secret/,
  ],
  [
    client(
      'InvalidParameterException',
      "Operation not permitted on a replica secret. Call must be made in primary secret's region.",
    ),
    'STORE_READ_ONLY',
    'misconfigured',
    /primary Region/,
  ],
  [
    client('InvalidRequestException', 'The secret is managed by another service.'),
    'STORE_READ_ONLY',
    'misconfigured',
    /secret of your own/,
  ],
  [client('InvalidRequestException'), 'STORE_REQUEST_INVALID', 'bug', /CloudTrail/],
  [client('InvalidParameterException'), 'STORE_REQUEST_INVALID', 'bug', /CloudTrail/],
  [client('ValidationException'), 'STORE_REQUEST_INVALID', 'bug', /CloudTrail/],
  [client('InvalidNextTokenException'), 'STORE_REQUEST_INVALID', 'bug', /CloudTrail/],
  [client('PreconditionNotMetException'), 'STORE_REQUEST_INVALID', 'bug', /CloudTrail/],
  [client('BrandNewException'), 'STORE_REQUEST_INVALID', 'bug', /BrandNewException/],
  [
    client('MalformedPolicyDocumentException'),
    'STORE_REQUEST_INVALID',
    'misconfigured',
    /resource policy/,
  ],
  [client('PublicPolicyException'), 'STORE_REQUEST_INVALID', 'misconfigured', /resource policy/],
  [client('LimitExceededException'), 'STORE_LIMIT', 'misconfigured', /quota/],
  // Who asks
  [
    client('AccessDeniedException'),
    'STORE_ACCESS_DENIED',
    'misconfigured',
    /Allow secretsmanager:GetSecretValue/,
  ],
  [
    client(
      'AccessDenied',
      'User: arn:aws:iam::123456789012:user/ops is not authorized to perform: sts:AssumeRole on resource: r with an explicit deny in a service control policy',
    ),
    'STORE_ACCESS_DENIED',
    'misconfigured',
    /user\/ops may not sts:AssumeRole: a service control policy denies it/,
  ],
  [client('UnrecognizedClientException'), 'STORE_CREDENTIALS', 'misconfigured', /does not know/],
  [client('InvalidClientTokenId'), 'STORE_CREDENTIALS', 'misconfigured', /does not know/],
  [client('ExpiredTokenException'), 'STORE_CREDENTIALS', 'misconfigured', /have expired/],
  [client('ExpiredToken'), 'STORE_CREDENTIALS', 'misconfigured', /have expired/],
  [client('MissingAuthenticationToken'), 'STORE_CREDENTIALS', 'misconfigured', /./],
  [client('InvalidSignatureException'), 'STORE_CREDENTIALS', 'misconfigured', /SECRET_ACCESS_KEY/],
  [
    client('InvalidSignatureException', 'Signature expired: 20261122T1 is now earlier than'),
    'STORE_CREDENTIALS',
    'misconfigured',
    /clock/,
  ],
  [client('RequestTimeTooSkewed'), 'STORE_CREDENTIALS', 'misconfigured', /clock/],
  [{ name: 'CredentialsProviderError' }, 'STORE_CREDENTIALS', 'misconfigured', /AWS_PROFILE/],
  [
    { name: 'CredentialsProviderError', message: 'The SSO session has expired or is invalid' },
    'STORE_CREDENTIALS',
    'misconfigured',
    /sso login/,
  ],
  [{ name: 'TokenProviderError' }, 'STORE_CREDENTIALS', 'misconfigured', /./],
  [
    { name: 'Error', message: 'Region is missing' },
    'STORE_CREDENTIALS',
    'misconfigured',
    /AWS_REGION/,
  ],
  // Too much, too slow, not there
  [client('ThrottlingException'), 'STORE_THROTTLED', 'retry', /too many/],
  [client('TooManyRequestsException'), 'STORE_THROTTLED', 'retry', /too many/],
  [client('RequestLimitExceeded'), 'STORE_THROTTLED', 'retry', /too many/],
  [{ name: 'Unknown', status: 429 }, 'STORE_THROTTLED', 'retry', /too many/],
  [{ name: 'InternalServiceError', status: 500 }, 'STORE_UNAVAILABLE', 'retry', /inside/],
  [{ name: 'Unknown', status: 503 }, 'STORE_UNAVAILABLE', 'retry', /inside/],
  [{ name: 'SyntaxError', status: 502 }, 'STORE_UNAVAILABLE', 'retry', /inside/],
  [{ name: 'SyntaxError', status: 200 }, 'STORE_UNAVAILABLE', 'retry', /cut off/],
  [{ name: 'Unknown', status: 408 }, 'STORE_TIMEOUT', 'retry', /in time/],
  [{ name: 'TimeoutError' }, 'STORE_TIMEOUT', 'retry', /in time/],
  [{ name: 'TimeoutError', code: 'ETIMEDOUT' }, 'STORE_TIMEOUT', 'retry', /in time/],
  [{ name: 'AbortError' }, 'STORE_TIMEOUT', 'retry', /in time/],
  [{ name: 'TimeoutError', code: 'ECONNRESET' }, 'STORE_UNAVAILABLE', 'retry', /reached/],
  [
    { name: 'Error', code: 'ECONNREFUSED', address: '127.0.0.1', port: 4566 },
    'STORE_UNAVAILABLE',
    'retry',
    /ECONNREFUSED at 127\.0\.0\.1:4566/,
  ],
  [
    {
      name: 'AggregateError',
      errors: [{ code: 'ECONNREFUSED', address: '::1', port: 4566 }],
    },
    'STORE_UNAVAILABLE',
    'retry',
    /ECONNREFUSED at ::1:4566/,
  ],
  [
    { name: 'Error', code: 'ENOTFOUND', hostname: 'secretsmanager.mars.amazonaws.com' },
    'STORE_UNAVAILABLE',
    'retry',
    /ENOTFOUND at secretsmanager\.mars/,
  ],
  [{ name: 'Error', code: 'EAI_AGAIN' }, 'STORE_UNAVAILABLE', 'retry', /DNS/],
  [
    { name: 'Error', code: 'SELF_SIGNED_CERT_IN_CHAIN' },
    'STORE_UNAVAILABLE',
    'misconfigured',
    /NODE_EXTRA_CA_CERTS/,
  ],
  [
    { name: 'UnknownOperationException', status: 404 },
    'STORE_UNAVAILABLE',
    'misconfigured',
    /no Secrets Manager/,
  ],
  [
    { name: 'TypeError', code: 'ERR_INVALID_URL' },
    'STORE_UNAVAILABLE',
    'misconfigured',
    /AWS_ENDPOINT_URL/,
  ],
  // Garbage, and answers that end in the middle
  ...[
    'HPE_INVALID_CONSTANT',
    'HPE_INVALID_STATUS',
    'HPE_INVALID_HEADER_TOKEN',
    'HPE_INVALID_CHUNK_SIZE',
    'HPE_HEADER_OVERFLOW',
    'HPE_WHATEVER_COMES_NEXT',
    'UND_ERR_HEADERS_OVERFLOW',
  ].map((code): Row => [{ name: 'Error', code }, 'STORE_UNAVAILABLE', 'retry', /not of Secrets/]),
  ...[
    'HPE_INVALID_EOF_STATE',
    'ERR_STREAM_PREMATURE_CLOSE',
    'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
  ].map((code): Row => [{ name: 'Error', code }, 'STORE_UNAVAILABLE', 'retry', /truncated/]),
  ...['Unexpected end of JSON input', 'Unterminated string in JSON at position 40'].map(
    (message): Row => [
      { name: 'SyntaxError', status: 200, message },
      'STORE_UNAVAILABLE',
      'retry',
      /truncated/,
    ],
  ),
  [
    {
      name: 'SyntaxError',
      status: 200,
      message: "Expected ',' or '}' after property value in JSON at position 8",
      $responseBodyText: '{"ARN":1',
    },
    'STORE_UNAVAILABLE',
    'retry',
    /truncated/,
  ],
  [
    {
      name: 'SyntaxError',
      status: 200,
      message: "Expected ',' or '}' after property value in JSON at position 8",
      $responseBodyText: '{"ARN":1;}',
    },
    'STORE_UNAVAILABLE',
    'retry',
    /damaged/,
  ],
  [{ name: 'TypeError', status: 200 }, 'STORE_UNAVAILABLE', 'retry', /damaged/],
  [{ name: 'UnknownError', status: 400 }, 'STORE_UNAVAILABLE', 'retry', /not of Secrets/],
  [{ name: 'SyntaxError', status: 400 }, 'STORE_UNAVAILABLE', 'retry', /not of Secrets/],
  [
    { name: 'Error', code: 'ECONNRESET', $metadata: { httpStatusCode: 200 } },
    'STORE_UNAVAILABLE',
    'retry',
    /truncated/,
  ],
  ...['EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG'].map(
    (code): Row => [{ name: 'Error', code }, 'STORE_UNAVAILABLE', 'retry', /no TLS connection/],
  ),
  ...['EMFILE', 'ENOBUFS', 'ECANCELED', 'EACCES', 'UND_ERR_SOCKET'].map((code): Row => [
    { name: 'Error', code },
    'STORE_UNAVAILABLE',
    'retry',
    /cannot be reached/,
  ]),
  // Ours
  [{ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }, 'STORE_REQUEST_INVALID', 'bug', /report/],
  [{ name: 'TypeError', message: 'x is not a function' }, 'STORE_REQUEST_INVALID', 'bug', /report/],
];
