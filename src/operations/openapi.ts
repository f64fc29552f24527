import * as z from 'zod/mini';
import {
  ErrorBody,
  IntrospectionBody,
  IntrospectionForm,
  LivenessBody,
  MetadataBody,
  ReadinessBody,
  RotationBody,
  schemaWords,
  TokenBody,
  TokenForm,
} from '../serving/answers.js';
import { MAX_WAIT_SECONDS } from '../serving/waiting-peers.js';
import {
  ADMIN_OR_NOBODY,
  failure,
  HEADERS,
  json,
  LOGIN_FAILURES,
  NO_CACHE,
  parameter,
  PEER,
  PEER_OR_FORM,
  REQUEST_ID,
  response,
  RESPONSES,
  schemaOf,
  shared,
  text,
  withHeader,
  type HeaderName,
  type Part,
} from './openapi-parts.js';

/** The version of the interface, as in the paths. What is added to it does not change the number. */
const VERSION = '1';

/** Where a broker listens by default. */
const DEFAULT_URL = 'http://localhost:3000';

const INTRODUCTION = `A broker of service tokens: it mints the token that services call each other with, renews it, and gives it to the services
(peers) that may have it.

- A route that is not configured answers 404 \`not_found\`, a method that a path does not take 405 \`method_not_allowed\` with
  \`Allow\`. HEAD is answered wherever GET is, without the body. A slash at the end of a path makes no difference.
- What is not HTTP at all gets 400, a head that is too large 431, and one that does not arrive in time 408.
- Any version may add members to a body. Ignore those that you do not know.
- Health, metrics and this document are at the management port (\`BROKER_MANAGEMENT_PORT\`), the rest is at the broker's own.
- The function on AWS Lambda has \`/v1/token\`, \`/v1/tokens/{name}\`, \`/oauth2/token\`, \`/v1/rotate\` and \`/health/ready\`. AWS IAM
  authenticates its callers before, and it answers 403 \`unauthorized_client\` to those that are not peers.`;

const TOKEN_PARAMETERS: readonly Part[] = [
  parameter('query', 'min_ttl', 'The least remaining life of the token, in seconds.', {
    type: 'integer',
    minimum: 0,
    maximum: 999_999_999,
    default: 0,
  }),
  parameter('header', 'If-None-Match', 'The `ETag` of the version that the peer has.', text),
  parameter(
    'header',
    'Prefer',
    `\`wait=SECONDS\` with \`If-None-Match\` holds the request until the version changes or the time, at most ${MAX_WAIT_SECONDS}, is over: RFC 7240 §4.3.`,
    text,
  ),
  NO_CACHE,
  REQUEST_ID,
];

/** The operations that give the token to a peer. */
function tokenOperation(operationId: string, summary: string, description: string): Part {
  const known: readonly HeaderName[] = ['ETag', 'Age', 'X-Cache', 'Preference-Applied'];
  return {
    operationId,
    tags: ['peers'],
    summary,
    description,
    security: PEER,
    parameters: TOKEN_PARAMETERS,
    responses: {
      200: json('The token.', TokenBody, known),
      304: response('The peer has this version already.', undefined, known),
      400: shared('Malformed'),
      ...LOGIN_FAILURES,
      404: shared('TokenUnknown'),
    },
  };
}

function form(schema: z.ZodMiniType): Part {
  return {
    required: true,
    content: { 'application/x-www-form-urlencoded': { schema: schemaOf(schema) } },
  };
}

const AUTHORIZE = 'Whether a request in front may pass';
const AUTHORIZE_ANSWERS = {
  200: response('It may pass. Who calls is in the headers, and there is no body.', undefined, [
    'X-Principal-Kind',
    'X-Principal-Subject',
    'X-Principal-Client',
    'X-Principal-Issuer',
  ]),
  400: shared('Malformed'),
  401: failure(
    'It carries no token that is accepted. Without a token the body is empty: RFC 6750 §3.1.',
    ['invalid_request', 'invalid_token'],
    ['WWW-Authenticate'],
  ),
  403: withHeader(
    failure(
      'The token is accepted, and not enough. Where nobody may pass the body is empty, and there is no `WWW-Authenticate`.',
      ['insufficient_scope'],
    ),
    'WWW-Authenticate',
  ),
  404: failure('The broker is not asked by gateways.', ['not_found']),
  500: shared('Failed'),
  503: shared('Unavailable'),
};

function authorizeOperation(operationId: string, description: string): Part {
  return {
    operationId,
    tags: ['gateways'],
    summary: AUTHORIZE,
    description: `${description} The method makes no difference.`,
    security: [{ callerToken: [] }],
    responses: AUTHORIZE_ANSWERS,
  };
}

function metadataOperation(operationId: string, description: string): Part {
  return {
    operationId,
    tags: ['peers'],
    summary: 'What the broker offers (RFC 8414)',
    description: `${description} No login is needed.`,
    security: [],
    parameters: [REQUEST_ID],
    responses: {
      200: json('The metadata.', MetadataBody),
      400: shared('Malformed'),
      503: shared('Unavailable'),
    },
  };
}

const NOT_FOUND = failure('There is nothing at this path.', ['not_found']);

/** The operations of everybody who runs the broker. */
function operation(
  operationId: string,
  summary: string,
  description: string,
  responses: Part,
): Part {
  return {
    operationId,
    tags: ['operations'],
    summary,
    description,
    parameters: [REQUEST_ID],
    responses: { ...responses, 400: shared('Malformed') },
  };
}

const OWN_PORT = "At the broker's own port only peers with the role `admin` get it.";

const PATHS: Part = {
  '/oauth2/token': {
    post: {
      operationId: 'requestToken',
      tags: ['peers'],
      summary: 'The token endpoint of OAuth 2.0',
      description:
        'The client-credentials grant (RFC 6749 §4.4) for any OAuth library. A peer proves who it is in the header or in the ' +
        'form, never in both. `audience` and `resource` choose among the tokens that it may have; without them it is `default`.',
      security: PEER_OR_FORM,
      parameters: [NO_CACHE, REQUEST_ID],
      requestBody: form(TokenForm),
      responses: {
        200: json('The token.', TokenBody, ['Content-Location']),
        400: failure('The request is malformed, or asks for what the peer cannot have.', [
          'invalid_request',
          'unsupported_grant_type',
          'invalid_scope',
          'invalid_target',
        ]),
        ...LOGIN_FAILURES,
        413: shared('TooLarge'),
      },
    },
  },
  '/v1/token': {
    get: tokenOperation('getToken', 'The token `default`', 'The same as `/v1/tokens/default`.'),
  },
  '/v1/tokens/{name}': {
    parameters: [
      parameter('path', 'name', 'The name of the token, as it is configured.', {
        type: 'string',
        pattern: '^[a-z0-9-]{1,40}$',
        examples: ['default'],
      }),
    ],
    get: tokenOperation(
      'getTokenByName',
      'A token by its name',
      'One of several tokens, for a peer to which it is granted.',
    ),
  },
  '/v1/rotate': {
    post: {
      operationId: 'rotateToken',
      tags: ['peers'],
      summary: 'Rotates a token now',
      description:
        'For peers with the role `admin`. Requests during a rotation join it; one shortly after another gets its version.',
      security: PEER,
      parameters: [
        parameter('query', 'token', 'The name of the token.', { ...text, default: 'default' }),
        parameter(
          'query',
          'revoke_cached',
          'True: the version before is withdrawn, and not served any more.',
          { type: 'boolean', default: false },
        ),
        REQUEST_ID,
      ],
      responses: {
        200: json('There is a new version, or one of a moment ago.', RotationBody),
        202: json(
          'Secrets Manager was asked to rotate: it is served when it is done.',
          RotationBody,
        ),
        400: shared('Malformed'),
        ...LOGIN_FAILURES,
        404: failure('There is no token of that name, or this broker does not rotate it.', [
          'invalid_target',
          'not_found',
        ]),
        409: failure('The rotation was refused. The description says why, and what to do.', [
          'rotation_refused',
        ]),
        413: shared('TooLarge'),
      },
    },
  },
  '/oauth2/introspect': {
    post: {
      operationId: 'introspectToken',
      tags: ['gateways'],
      summary: 'What a token is (RFC 7662)',
      description:
        'For peers with the role `introspect`: whether receivers accept a token, and who it speaks for.',
      security: PEER_OR_FORM,
      parameters: [REQUEST_ID],
      requestBody: form(IntrospectionForm),
      responses: {
        200: json('What the token is.', IntrospectionBody),
        400: shared('Malformed'),
        ...LOGIN_FAILURES,
        404: NOT_FOUND,
        413: shared('TooLarge'),
      },
    },
  },
  '/v1/authorize': {
    get: {
      ...authorizeOperation(
        'authorize',
        'Forward authentication: a gateway asks with the `Authorization` of the request in front.',
      ),
      parameters: [
        parameter('query', 'allow', 'Who may pass. Without it nobody may.', {
          type: 'array',
          items: { type: 'string', enum: ['service', 'customer'] },
        }),
        parameter('query', 'scope', 'Scopes, separated by spaces. All are required.', {
          type: 'array',
          items: text,
        }),
        parameter('query', 'audience', 'What the token must be for.', { ...text, minLength: 1 }),
        REQUEST_ID,
      ],
    },
  },
  '/v1/authorize/{policy}': {
    get: {
      ...authorizeOperation(
        'authorizeByPath',
        'The same for a gateway that appends the path of the request in front. Whatever follows the policy is ignored.',
      ),
      parameters: [
        parameter('path', 'policy', 'The query of `/v1/authorize`.', {
          ...text,
          examples: ['allow=service'],
        }),
        REQUEST_ID,
      ],
    },
  },
  '/.well-known/oauth-authorization-server': {
    get: metadataOperation('getMetadata', 'The metadata of an issuer without a path.'),
  },
  '/.well-known/oauth-authorization-server/{path}': {
    parameters: [parameter('path', 'path', "The path of the issuer's URL: RFC 8414 §3.1.", text)],
    get: withNotFound(
      metadataOperation('getMetadataOfPath', 'The metadata of an issuer with a path.'),
    ),
  },
  '/health/live': {
    get: {
      ...operation('getLiveness', 'Whether the process runs', 'A restart fixes nothing else.', {
        200: json('It runs.', LivenessBody),
      }),
      security: [],
    },
  },
  '/health/ready': {
    get: {
      ...operation(
        'getReadiness',
        'Whether a token can be served',
        "At the broker's own port without a login it is the status alone; peers with the role `admin` get everything.",
        {
          200: json('A token can be served.', ReadinessBody),
          ...LOGIN_FAILURES,
          503: withHeader(
            response('None can be served; or nobody can log in, and then it is an error.', {
              'application/json': {
                schema: { anyOf: [schemaOf(ReadinessBody), schemaOf(ErrorBody)] },
              },
            }),
            'Retry-After',
          ),
        },
      ),
      security: ADMIN_OR_NOBODY,
    },
  },
  '/metrics': {
    get: {
      ...operation('getMetrics', 'Metrics for Prometheus', OWN_PORT, {
        200: response('Everything, in the text format 0.0.4.', {
          'text/plain; version=0.0.4; charset=utf-8': { schema: text },
        }),
        ...LOGIN_FAILURES,
      }),
      security: ADMIN_OR_NOBODY,
    },
  },
  '/openapi.json': {
    get: {
      ...operation(
        'getOpenApi',
        'This document',
        "At the management port. The broker's own has it where only this machine reaches it.",
        {
          200: response('OpenAPI 3.1.', { 'application/json': { schema: { type: 'object' } } }),
        },
      ),
      security: [],
    },
  },
};

function withNotFound(one: Part): Part {
  return { ...one, responses: { ...(one['responses'] as Part), 404: NOT_FOUND } };
}

/** The schemas that have an id, without what says nothing in this document. */
function componentSchemas(): Part {
  const { schemas } = z.toJSONSchema(schemaWords, {
    metadata: schemaWords,
    // Members may be added: nothing is said about those that are not known.
    io: 'input',
    uri: (id) => `#/components/schemas/${id}`,
    override: ({ jsonSchema }) => {
      delete jsonSchema.propertyNames;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  for (const schema of Object.values(schemas)) {
    delete schema.$schema;
    delete schema.$id;
  }
  return schemas;
}

/**
 * The HTTP interface of the broker as OpenAPI 3.1: every route, whether or not this broker is configured for it. The schemas
 * of the answers are those whose types the endpoints have.
 *
 * @param url where peers reach the broker. Default: this machine, at the default port.
 */
export function openApiDocument(url: string = DEFAULT_URL): Part {
  return {
    openapi: '3.1.0',
    info: {
      title: 'service-token-broker',
      version: VERSION,
      description: INTRODUCTION,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url, description: 'Where peers reach the broker.' }],
    tags: [
      { name: 'peers', description: 'For the services that call others.' },
      { name: 'gateways', description: 'For gateways, and for receivers in any language.' },
      { name: 'operations', description: 'For those who run the broker.' },
    ],
    paths: PATHS,
    components: {
      schemas: componentSchemas(),
      headers: HEADERS,
      responses: RESPONSES,
      securitySchemes: {
        basic: {
          type: 'http',
          scheme: 'basic',
          description:
            "The peer's id and its secret. At the form endpoints `client_id` and `client_secret` in the form do the same.",
        },
        workloadToken: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description:
            "A token of the peer's platform, where the broker accepts those of its issuer.",
        },
        mutualTLS: {
          type: 'mutualTLS',
          description:
            "The peer's client certificate (RFC 8705), where the broker or a proxy that it trusts asks for one.",
        },
        callerToken: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'The token of the request in front, which is judged.',
        },
      },
    },
  };
}
