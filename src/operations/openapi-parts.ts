import type * as z from 'zod/mini';
import { ErrorBody, schemaWords, type HttpErrorCode } from '../serving/answers.js';
import type { CacheState } from '../tokens/freshness.js';

/** A part of the document. */
export type Part = Readonly<Record<string, unknown>>;

interface Header extends Part {
  readonly description: string;
  readonly required: boolean;
  readonly schema: Part;
}

/** The reference to a schema that is a component of its own. */
export function schemaOf(schema: z.ZodMiniType): Part {
  const id = schemaWords.get(schema)?.id;
  if (id === undefined) throw new TypeError('The schema has no id.');
  return { $ref: `#/components/schemas/${id}` };
}

function header(description: string, schema: Part, required = true): Header {
  return { description, required, schema };
}

/** Any text. */
export const text: Part = { type: 'string' };

const CACHE_STATES: Readonly<Record<CacheState, string>> = {
  HIT: 'from the cache',
  MISS: 'read for this request',
  REFRESH: 'from the cache, while a newer read runs',
  STALE: 'from the cache, because a newer read failed',
};

/** The headers of answers. */
export const HEADERS = {
  'Cache-Control': header('No cache may keep an answer.', { type: 'string', const: 'no-store' }),
  Pragma: header('The same, for HTTP/1.0: RFC 6749 §5.1.', { type: 'string', const: 'no-cache' }),
  'X-Content-Type-Options': header('No client guesses another type.', {
    type: 'string',
    const: 'nosniff',
  }),
  'X-Request-Id': header(
    'The id of the request, as in the log. A broker inside another application may leave it out.',
    { type: 'string', pattern: '^[A-Za-z0-9._-]{1,64}$' },
    false,
  ),
  ETag: header('The version of the token, for `If-None-Match`.', {
    type: 'string',
    pattern: '^"[\\x21\\x23-\\x7e]+"$',
  }),
  Age: header('Seconds since the token was read from the store.', { type: 'integer', minimum: 0 }),
  'X-Cache': header(
    Object.entries(CACHE_STATES)
      .map(([state, words]) => `\`${state}\`: ${words}.`)
      .join(' '),
    { type: 'string', enum: Object.keys(CACHE_STATES) },
  ),
  'Preference-Applied': header(
    'The request was held for `Prefer: wait`, at most as long as this says: RFC 7240 §3.',
    { type: 'string', pattern: '^wait=[0-9]{1,3}$' },
    false,
  ),
  'Content-Location': header(
    'The path of the token that `audience` or `resource` chose: RFC 9110 §8.7.',
    { type: 'string', pattern: '^\\.\\./v1/tokens/[a-z0-9-]{1,40}$' },
    false,
  ),
  'Retry-After': header('Seconds after which another attempt makes sense.', {
    type: 'integer',
    minimum: 1,
  }),
  'WWW-Authenticate': header('What is accepted: RFC 9110 §11.6.1.', text),
  Allow: header('The methods that the path takes.', text),
  'X-Principal-Kind': header('Who calls.', { type: 'string', enum: ['customer', 'service'] }),
  'X-Principal-Subject': header('The `sub` of the token; what is not ASCII is escaped.', text),
  'X-Principal-Client': header('The client id; empty where the token does not name it.', text),
  'X-Principal-Issuer': header('The issuer that vouches for the token.', text),
} satisfies Record<string, Header>;

/** The name of one of them. */
export type HeaderName = keyof typeof HEADERS;

const COMMON: readonly HeaderName[] = [
  'Cache-Control',
  'Pragma',
  'X-Content-Type-Options',
  'X-Request-Id',
];

/** An answer, with the headers that every answer has. */
export function response(
  description: string,
  content: Part | undefined,
  headers: readonly HeaderName[] = [],
): Part {
  return {
    description,
    headers: Object.fromEntries(
      [...COMMON, ...headers].map((name) => [name, { $ref: `#/components/headers/${name}` }]),
    ),
    ...(content && { content }),
  };
}

/** An answer with a JSON body. */
export function json(
  description: string,
  schema: z.ZodMiniType,
  headers: readonly HeaderName[] = [],
): Part {
  return response(description, { 'application/json': { schema: schemaOf(schema) } }, headers);
}

/** An error with one of some codes. */
export function failure(
  description: string,
  codes: readonly HttpErrorCode[],
  headers: readonly HeaderName[] = [],
): Part {
  const schema = {
    allOf: [schemaOf(ErrorBody), { properties: { error: { type: 'string', enum: codes } } }],
  };
  return response(description, { 'application/json': { schema } }, headers);
}

/** The same with a header that is not always there. */
export function withHeader(one: Part, name: HeaderName): Part {
  const { description, schema } = HEADERS[name];
  const headers = one['headers'] as Part;
  return { ...one, headers: { ...headers, [name]: { description, required: false, schema } } };
}

/** Answers that several operations give, by their names among the components. */
export const RESPONSES = {
  Malformed: failure('The request is malformed.', ['invalid_request']),
  Unauthorized: failure(
    'The login failed, or there was none. The answer is the same whatever was wrong.',
    ['invalid_client'],
    ['WWW-Authenticate'],
  ),
  Forbidden: failure('The peer does not have the role that is required.', ['unauthorized_client']),
  TokenUnknown: failure(
    'There is no such token, or the peer may not have it: the answer is the same.',
    ['invalid_target'],
  ),
  TooLarge: failure('The body has more than 16,384 bytes.', ['invalid_request']),
  TooManyLogins: failure(
    'Too many logins failed. The right secret is always accepted.',
    ['too_many_requests'],
    ['Retry-After'],
  ),
  Failed: failure('A bug, which the log of the broker tells more about.', ['server_error']),
  Unavailable: failure(
    'A failure behind the broker, or too many connections. Never the fault of the request.',
    ['temporarily_unavailable'],
    ['Retry-After'],
  ),
} satisfies Record<string, Part>;

/** One of {@link RESPONSES}. */
export function shared(name: keyof typeof RESPONSES): Part {
  return { $ref: `#/components/responses/${name}` };
}

/** What every operation answers that knows its peer. */
export const LOGIN_FAILURES = {
  401: shared('Unauthorized'),
  403: shared('Forbidden'),
  429: shared('TooManyLogins'),
  500: shared('Failed'),
  503: shared('Unavailable'),
};

/** A peer proves who it is in the header, or by its connection. */
export const PEER = [{ basic: [] }, { workloadToken: [] }, { mutualTLS: [] }];
/** Or by the parameters of the form. */
export const PEER_OR_FORM = [...PEER, {}];
/** At the management port nobody logs in. */
export const ADMIN_OR_NOBODY = [{}, ...PEER];

/** A parameter; only those of the path are required. */
export function parameter(
  place: 'query' | 'header' | 'path',
  name: string,
  description: string,
  schema: Part,
): Part {
  return { in: place, name, description, ...(place === 'path' && { required: true }), schema };
}

/** The parameter of every operation. */
export const REQUEST_ID = parameter(
  'header',
  'X-Request-Id',
  'The id of the request in the log and in the answer. Any other text is replaced.',
  { type: 'string', pattern: '^[A-Za-z0-9._-]{1,64}$' },
);
/** For operations that answer from a cache. */
export const NO_CACHE = parameter(
  'header',
  'Cache-Control',
  '`no-cache` reads the store first, at most once a second.',
  text,
);
