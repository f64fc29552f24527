import * as z from 'zod/mini';

/** What the schemas below are called and told as. */
export const schemaWords = z.registry<{ readonly id?: string; readonly description: string }>();

/** Gives a schema its description; with an id it is a component of its own. */
function told<Schema extends z.ZodMiniType>(
  schema: Schema,
  description: string,
  id?: string,
): Schema {
  if (schemaWords.has(schema)) throw new TypeError('The schema has a description already.');
  schemaWords.add(schema, { description, ...(id !== undefined && { id }) });
  return schema;
}

const seconds = (description: string): z.ZodMiniNumber =>
  told(z.int().check(z.gte(0)), description);
/** ISO 8601, in UTC. */
const instant = (description: string): z.ZodMiniString =>
  told(z.string().check(z.regex(/^\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)), description);

/** The error codes of the HTTP surface: those of RFC 6749 §5.2, RFC 8707 §2 and RFC 6750 §3.1, and the broker's own. */
export const HttpErrorCode = told(
  z.enum([
    'invalid_request',
    'invalid_client',
    'unauthorized_client',
    'unsupported_grant_type',
    'invalid_scope',
    'invalid_target',
    'invalid_token',
    'insufficient_scope',
    'not_found',
    'method_not_allowed',
    'too_many_requests',
    'rotation_refused',
    'temporarily_unavailable',
    'server_error',
  ]),
  'What went wrong, for programs. A code never changes its meaning.',
  'ErrorCode',
);
export type HttpErrorCode = z.infer<typeof HttpErrorCode>;

/** The body of an error: RFC 6749 §5.2. */
export const ErrorBody = told(
  z.object({
    error: HttpErrorCode,
    error_description: told(z.string(), 'The same for people. It never repeats what was sent.'),
  }),
  'An error in the form of RFC 6749 §5.2.',
  'Error',
);
export type ErrorBody = z.infer<typeof ErrorBody>;

/** The body of a token answer: RFC 6749 §5.1. */
export const TokenBody = told(
  z.object({
    access_token: told(z.string(), 'The service token, a JWT.'),
    token_type: told(z.literal('Bearer'), 'How it is sent: RFC 6750 §2.1.'),
    expires_in: seconds('Its remaining life in whole seconds.'),
    scope: z.optional(
      told(z.string(), 'Every scope of the token, separated by spaces, whatever was requested.'),
    ),
  }),
  'A service token: RFC 6749 §5.1.',
  'Token',
);
export type TokenBody = z.infer<typeof TokenBody>;

/** The body of the answer to a rotation. */
export const RotationBody = told(
  z.object({
    version_id: told(z.string(), 'The version that is current now; with `requested`, will be.'),
    outcome: told(
      z.enum(['rotated', 'adopted', 'already-rotated', 'recent', 'joined', 'requested']),
      '`rotated`: minted for this request. `adopted`: minted by another process. `already-rotated`: another process had ' +
        'finished. `recent`: the current version is so new that nothing was minted. `joined`: a rotation was running. ' +
        '`requested`: Secrets Manager was asked to rotate.',
    ),
  }),
  'How a rotation ended.',
  'Rotation',
);
export type RotationBody = z.infer<typeof RotationBody>;

/** The body of an introspection answer: RFC 7662 §2.2. */
export const IntrospectionBody = told(
  z.union([
    told(
      z.looseObject({
        active: z.literal(true),
        kind: told(z.enum(['customer', 'service']), 'Who the token speaks for.'),
        token_type: z.literal('Bearer'),
        sub: told(z.string(), 'The person; the client id of a service without `sub`.'),
        iss: told(z.string(), 'The issuer that vouches for it, as configured.'),
        client_id: z.optional(z.string()),
        scope: z.optional(told(z.string(), 'What the token allows, separated by spaces.')),
        exp: z.optional(told(z.number(), 'When it ends: seconds since the Unix epoch.')),
      }),
      'The token is accepted. All its other claims are members, too.',
      'ActiveToken',
    ),
    told(
      z.object({ active: z.literal(false) }),
      'The token is not accepted. Why not is never told.',
      'InactiveToken',
    ),
  ]),
  'What a token is: RFC 7662 §2.2.',
  'Introspection',
);
export type IntrospectionBody = z.infer<typeof IntrospectionBody>;

/** The body of the metadata: RFC 8414 §2. */
export const MetadataBody = told(
  z.object({
    issuer: told(z.string(), 'The URL under which peers reach the broker.'),
    token_endpoint: z.string(),
    token_endpoint_auth_methods_supported: z.array(z.string()),
    grant_types_supported: z.array(z.literal('client_credentials')),
    response_types_supported: told(
      z.array(z.string()),
      'Empty: there is no authorization endpoint.',
    ),
    introspection_endpoint: z.optional(z.string()),
    scopes_supported: z.optional(
      told(z.array(z.string()), 'The scopes of the service tokens, where they are known.'),
    ),
    service_token_broker_max_wait_seconds: z.optional(
      seconds('The most that `Prefer: wait` holds a request. Missing where nobody can wait.'),
    ),
  }),
  'Authorization server metadata: RFC 8414 §2.',
  'Metadata',
);
export type MetadataBody = z.infer<typeof MetadataBody>;

const Check = told(
  z.looseObject({
    status: told(z.enum(['up', 'degraded', 'down']), '`degraded` does not make it unready.'),
    code: z.optional(told(z.string(), 'The stable code of what is wrong.')),
    reason: z.optional(told(z.string(), 'What is wrong and what to do.')),
    remaining_seconds: z.optional(told(z.number(), "The token's remaining life.")),
    stale: z.optional(told(z.boolean(), 'True: a newer read failed, and the last one is used.')),
    refused: z.optional(told(z.boolean(), 'True: receivers refuse the token.')),
    missed_slots: z.optional(
      told(z.int(), 'How many slots ended without a rotation; 100 means 100 or more.'),
    ),
    due_since: z.optional(instant('Since when a rotation is due.')),
    last_success: z.optional(instant('When a rotation last succeeded.')),
    next: z.optional(instant('When the next rotation starts or is retried.')),
    served_until: z.optional(instant('Until when the list of peers is served.')),
  }),
  'One part of the broker. Unknown values are left out.',
  'Check',
);
/** How one part of the broker is. */
export type CheckBody = z.infer<typeof Check>;
const Checks = told(
  z.record(z.string(), z.optional(Check)),
  '`token`, `rotation`, `coverage`, `peers`, `clock`, `process`; with several tokens `token:NAME` and so on.',
  'Checks',
);

/** The body of a readiness answer with its details, in the form of Terminus. */
export const ReadinessBody = told(
  z.object({
    status: told(
      z.enum(['ok', 'degraded', 'error', 'shutting_down']),
      'A token can be served if it is `ok`, or `degraded`: then somebody should look at it.',
    ),
    info: z.optional(Checks),
    error: z.optional(Checks),
    details: z.optional(Checks),
  }),
  'Whether a token can be served: `info` has what is up or degraded, `error` what is down, `details` both. On a port that anybody ' +
    'may reach it is `status` alone.',
  'Readiness',
);
export type ReadinessBody = z.infer<typeof ReadinessBody>;

/** The body of the answer of a process that runs. */
export const LivenessBody = told(
  z.object({ status: z.literal('ok') }),
  'The process runs.',
  'Liveness',
);
export type LivenessBody = z.infer<typeof LivenessBody>;

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** How a client authenticates in a form. */
const loginParameters = {
  client_id: z.optional(
    told(z.string(), "The peer's id, with `client_secret`. With another login it may be repeated."),
  ),
  client_secret: z.optional(told(z.string(), "The peer's secret: `client_secret_post`.")),
  client_assertion: z.optional(
    told(
      z.string(),
      'A workload token (RFC 7523 §2.2), where the broker accepts those of its issuer.',
    ),
  ),
  client_assertion_type: z.optional(
    told(z.literal(ASSERTION_TYPE), 'Required with `client_assertion`.'),
  ),
};

/** The form of a token request: RFC 6749 §4.4.2. */
export const TokenForm = told(
  z.object({
    grant_type: z.literal('client_credentials'),
    audience: z.optional(
      told(z.array(z.string()), 'What the token must be for. It may be given more than once.'),
    ),
    resource: z.optional(told(z.array(z.string()), 'The same, by RFC 8707 §2.')),
    scope: z.optional(
      told(z.string(), 'Scopes that the token must have, separated by spaces: RFC 6749 §3.3.'),
    ),
    ...loginParameters,
  }),
  'A token request: RFC 6749 §4.4.2. No other parameter than `audience` and `resource` may be given twice.',
  'TokenRequest',
);

/** The form of an introspection request: RFC 7662 §2.1. */
export const IntrospectionForm = told(
  z.object({
    token: told(z.string(), 'The token to judge.'),
    token_type_hint: z.optional(told(z.string(), 'Allowed, and without effect.')),
    audience: z.optional(told(z.string(), 'What the token must be for.')),
    ...loginParameters,
  }),
  'An introspection request: RFC 7662 §2.1.',
  'IntrospectionRequest',
);

/** The parameters of forms. */
export type FormParameter =
  keyof z.infer<typeof TokenForm> | keyof z.infer<typeof IntrospectionForm>;
