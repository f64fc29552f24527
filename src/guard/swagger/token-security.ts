import type { INestApplicationContext } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import type { PrincipalRequirement } from '../../verification/bearer-access.js';
import { requirementOf, type AccessRequirement, type Declared } from '../declarations.js';
import { GUARD_SETTINGS, type GuardSettings } from '../guard-options.js';
import { JwtGuard } from '../jwt.guard.js';
import { handlersOf, namesGuard } from '../review.js';

/** What is read and written of an OpenAPI document, such as `SwaggerModule.createDocument` makes. */
export interface SecuredDocument {
  paths: object;
  security?: SecurityRequirement[];
  components?: object;
}

/** The names of schemes with their scopes, all of which a call must meet. */
export type SecurityRequirement = Record<string, string[]>;

/** How the token is described. */
export interface TokenSecurityOptions {
  /** The scheme's name in the document. Default `bearer`, as that of `DocumentBuilder.addBearerAuth()`. */
  readonly name?: string;
  /**
   * The scheme, where the document has none of this name: for example `{ type: 'oauth2', flows: … }`. Default: an HTTP
   * bearer token in JWT format.
   */
  readonly scheme?: Readonly<Record<string, unknown>>;
}

/**
 * Makes an OpenAPI document with `@nestjs/swagger`, and writes into it what the guard's decorators say: for each route that
 * needs a token its `security`, with the scopes, and the answers 401, 403 and 503. Public routes have none; routes that nobody
 * may call have 403 alone. What your own decorators say of these answers stays.
 *
 * Scopes stand in `security` where the scheme is `oauth2` or `openIdConnect`; OpenAPI 3.0 allows none for a bearer token, so
 * that there they stand in the description of 403 alone.
 *
 * @param create makes the document, for this application: nothing else.
 *
 * @example
 * ```ts
 * import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
 * import { createTokenSecuredDocument } from 'service-token-kit/guard/swagger';
 *
 * const config = new DocumentBuilder().setTitle('Orders').build();
 * const document = createTokenSecuredDocument(app, () => SwaggerModule.createDocument(app, config));
 * SwaggerModule.setup('api', app, document);
 * ```
 */
export function createTokenSecuredDocument<Document extends SecuredDocument>(
  app: INestApplicationContext,
  create: () => Document,
  { name = 'bearer', scheme = BEARER }: TokenSecurityOptions = {},
): Document {
  const settings = app.get<GuardSettings>(GUARD_SETTINGS, { strict: false });
  const marks = markHandlers(app.get(DiscoveryService, { strict: false }));
  let document: Document;
  try {
    document = create();
  } finally {
    marks.remove();
  }
  const schemes = schemesOf(document);
  let isUsed = false;
  for (const operation of operationsOf(document)) {
    const marked = marks.take(operation);
    if (marked === undefined) continue;
    const requirement = requirementFor(marked.method, marked.onClass, settings);
    if (requirement.kind === 'principal') isUsed = true;
    secure(operation, requirement, name, schemes[name] ?? scheme, document.security);
  }
  if (isUsed) schemes[name] ??= scheme;
  return document;
}

const BEARER = { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' };

interface Operation {
  security?: SecurityRequirement[];
  responses?: Record<string, unknown>;
}

/** Where `@nestjs/swagger` keeps the security requirements of a class and a method: those of both come into the operation. */
const API_SECURITY = 'swagger/apiSecurity';
const MARK = 'service-token-kit/';

interface Marks {
  /** The handler that an operation was made of. Takes its marks out. */
  take(operation: Operation): Handler | undefined;
  remove(): void;
}

interface Handler {
  readonly method: Declared;
  readonly onClass: Declared;
}

/**
 * Marks every method and class, so that the document shows what each operation was made of: names and paths are not
 * unique. A method may be of several classes, by inheritance.
 */
function markHandlers(discovery: DiscoveryService): Marks {
  const controllers = new Set<unknown>(discovery.getControllers().map(({ metatype }) => metatype));
  const handlers = handlersOf(discovery).filter(([, onClass]) => controllers.has(onClass));
  const marked = [...new Set(handlers.flat())];
  const before = marked.map((target): unknown => Reflect.getOwnMetadata(API_SECURITY, target));
  for (const [index, target] of marked.entries()) {
    const known: unknown = Reflect.getMetadata(API_SECURITY, target);
    const said: readonly unknown[] = Array.isArray(known) ? known : [];
    // A class would otherwise have the mark of the one that it extends.
    const own = said.filter((one) => markIn(one) === undefined);
    Reflect.defineMetadata(API_SECURITY, [...own, { [`${MARK}${index}`]: [] }], target);
  }
  return {
    take(operation) {
      const { security = [] } = operation;
      const found = new Set(security.map((one) => marked[markIn(one) ?? -1]));
      const rest = security.filter((one) => markIn(one) === undefined);
      if (rest.length > 0) operation.security = rest;
      else delete operation.security;
      const pair = handlers.find((one) => one.every((target) => found.has(target)));
      return pair === undefined ? undefined : { method: pair[0], onClass: pair[1] };
    },
    remove() {
      for (const [index, target] of marked.entries()) {
        if (before[index] === undefined) Reflect.deleteMetadata(API_SECURITY, target);
        else Reflect.defineMetadata(API_SECURITY, before[index], target);
      }
    },
  };
}

function markIn(requirement: unknown): number | undefined {
  const name = Object.keys(requirement ?? {}).find((key) => key.startsWith(MARK));
  return name === undefined ? undefined : Number(name.slice(MARK.length));
}

const METHODS: ReadonlySet<string> = new Set(
  'get put post delete options head patch trace query search'.split(' '),
);

function operationsOf({ paths }: SecuredDocument): readonly Operation[] {
  return Object.values(paths).flatMap((path: object) =>
    Object.entries(path).flatMap(([method, operation]) =>
      METHODS.has(method) ? [operation as Operation] : [],
    ),
  );
}

function schemesOf(document: SecuredDocument): Record<string, Readonly<Record<string, unknown>>> {
  const components = (document.components ??= {}) as { securitySchemes?: Record<string, never> };
  return (components.securitySchemes ??= {});
}

/** As the guard sees it, which with `guardEveryHandler: false` stands before handlers with decorators alone. */
function requirementFor(
  method: Declared,
  onClass: Declared,
  { excluded, everyHandler }: GuardSettings,
): AccessRequirement {
  const requirement = requirementOf(method, onClass);
  if (requirement.kind !== 'undeclared') return requirement;
  const isGuarded = everyHandler
    ? !excluded.has(onClass)
    : [method, onClass].some((target) => namesGuard(target, JwtGuard));
  return isGuarded ? requirement : { kind: 'public' };
}

function secure(
  operation: Operation,
  requirement: AccessRequirement,
  name: string,
  { type }: Readonly<Record<string, unknown>>,
  everywhere: readonly SecurityRequirement[] = [],
): void {
  if (requirement.kind === 'public') {
    // An empty list takes away what the document requires everywhere (OpenAPI 3, Operation Object).
    if (everywhere.length > 0) operation.security ??= [];
    return;
  }
  if (requirement.kind === 'undeclared') {
    addAnswers(operation, { 403: { description: 'Nobody may call this.' } });
    return;
  }
  const scopes = type === 'oauth2' || type === 'openIdConnect' ? [...requirement.scopes] : [];
  const others = (operation.security ?? []).filter((one) => !Object.hasOwn(one, name));
  // Each of the list is enough by itself: where others are required as well, the token is required with each of them.
  operation.security =
    others.length === 0
      ? [{ [name]: scopes }]
      : others.map((one) => Object.assign({}, one, { [name]: scopes }));
  addAnswers(operation, {
    401: { description: 'No token, or one that is not accepted.', headers: CHALLENGE },
    403: { description: forbiddenWords(requirement), headers: CHALLENGE },
    503: {
      description: 'The token cannot be verified at the moment.',
      headers: {
        'Retry-After': { description: 'Seconds.', schema: { type: 'integer' } },
      },
    },
  });
}

const CHALLENGE = {
  'WWW-Authenticate': { description: 'RFC 6750, section 3.', schema: { type: 'string' } },
};

const BODY = {
  'application/json': {
    schema: {
      type: 'object',
      required: ['statusCode', 'message'],
      properties: {
        statusCode: { type: 'integer' },
        error: { type: 'string' },
        message: { type: 'string' },
      },
    },
  },
};

/** Keeps what the application says itself. */
function addAnswers(operation: Operation, answers: Readonly<Record<string, object>>): void {
  const responses = (operation.responses ??= {});
  for (const [status, answer] of Object.entries(answers)) {
    responses[status] ??= structuredClone({ ...answer, content: BODY });
  }
}

/** Which services and which claims stays in the code: the document may be public. */
function forbiddenWords({ customers, services, scopes, claims }: PrincipalRequirement): string {
  const who = [
    ...(customers ? ['customers'] : []),
    ...(services === 'none' ? [] : [services === 'all' ? 'services' : 'certain services']),
  ].join(' and ');
  const needed = [
    ...(scopes.length === 0 ? [] : [`with the scopes: ${scopes.join(' ')}`]),
    ...(claims === undefined ? [] : ['with certain claims']),
  ];
  return `The token is not allowed to do this. Allowed: ${[who, ...needed].join(', ')}.`;
}
