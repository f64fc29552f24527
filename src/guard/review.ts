import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { Observable } from 'rxjs';
import {
  currentCorrelation,
  runInFrame,
  type Behalf,
  readCorrelation,
  type Correlation,
} from '../context/call-context.js';
import { keepFrame } from '../context/run-as-service.js';
import { admissionOf, operationOf, correlationOfRequest } from './http-call.js';
import { messageHeaderValues, transportOf } from './call-credentials.js';
import {
  requirementOf,
  declarationsOn,
  lostMethod,
  nameOf,
  type Declared,
  GuardConfigError,
} from './declarations.js';
import { MetadataScanner, type DiscoveryService } from '@nestjs/core';
import { isObject } from '../tokens/json.js';

/**
 * Runs a handler on behalf of whom the guard admitted, and a public one for nobody, where no {@link HttpCall} does. A guard
 * returns before its handler runs, so that it cannot do this itself; what it could set for "everything that follows" would
 * also reach the next message of the connection.
 */
class CallContextInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const frame = { behalf: behalfOf(context), correlation: correlationOf(context) };
    const life = admissionOf(context)?.life;
    // What a handler returns as an Observable runs when it is subscribed to, not when the handler is called.
    return new Observable((subscriber) => {
      // The call lasts until the handler is done, and until the last iterable that it returned is.
      let open = 1;
      const end = (): void => {
        open -= 1;
        if (open === 0) life?.end();
      };
      subscriber.add(end);
      return runInFrame(frame, () =>
        next.handle().subscribe({
          next: (value: unknown) => {
            open += 1;
            subscriber.next(keepFrame(value, frame, once(end)));
          },
          error: (error) => subscriber.error(error),
          complete: () => subscriber.complete(),
        }),
      );
    });
  }
}

function once(run: () => void): () => void {
  let done = false;
  return () => {
    if (!done) run();
    done = true;
  };
}

/** A field resolver that no guard stands before does its part of an operation for whom the operation was let through. */
function behalfOf(context: ExecutionContext): Behalf {
  const own = admissionOf(context)?.callContext;
  if (own !== undefined) return own;
  const { kind } = requirementOf(context.getHandler(), context.getClass());
  if (kind === 'public') return 'nobody';
  return (transportOf(context) === 'graphql' ? operationOf(context) : undefined) ?? 'unjudged';
}

/** A GraphQL operation runs in the frame of its request; a WebSocket has no headers for each of its messages. */
function correlationOf(context: ExecutionContext): Correlation | undefined {
  const transport = transportOf(context);
  if (transport === 'graphql') return currentCorrelation();
  if (transport === 'http') return correlationOfRequest(context.getArgByIndex(0));
  if (transport !== 'rpc') return undefined;
  return readCorrelation((name) => messageHeaderValues(context.getArgByIndex(1), name));
}

/** Marks of packages that need not be installed: `@nestjs/microservices`, `@nestjs/websockets` and `@nestjs/graphql`. */
const MESSAGE_PATTERN = 'microservices:pattern';
const FIELD_RESOLVER = 'graphql:resolve_property';
const SOCKET_MESSAGE = 'websockets:message_mapping';
const OPERATION = 'graphql:resolver_type';
const BESIDES_HTTP = [
  MESSAGE_PATTERN,
  FIELD_RESOLVER,
  SOCKET_MESSAGE,
  OPERATION,
  'graphql:resolve_reference',
];
/** Where Nest keeps what `UseInterceptors` and `UseGuards` name, and the path of a route. */
const INTERCEPTORS = '__interceptors__';
const GUARDS = '__guards__';
const ROUTE = 'path';
const GRAPHQL_OPTIONS = 'GqlModuleOptions';

/** How an application is guarded. */
interface HandlerReview {
  readonly isGlobal: boolean;
  /** The classes that the application's guard leaves alone. */
  readonly excluded: ReadonlySet<unknown>;
  /** The guard that `UseGuards` may name. */
  readonly guard: Declared;
}

/**
 * Looks at every handler before the application starts, for what would open one silently or surprise its author:
 * contradictory decorators; a microservice's handler without any, where Nest may not run the application's guards (a
 * hybrid application does not by default); a decorated GraphQL field resolver for which Nest runs no guards; an excluded
 * class that is none of the application's, or has decorators.
 *
 * @throws {GuardConfigError} naming all of them.
 */
export function reviewHandlers(
  discovery: DiscoveryService,
  { isGlobal, excluded, guard }: HandlerReview,
): void {
  const enhancers = fieldResolverEnhancers(discovery.getProviders());
  const problems: string[] = [...problemsOfExcluded(discovery, { isGlobal, excluded, guard })];
  for (const [method, metatype] of handlersOf(discovery)) {
    if (!excluded.has(metatype)) problems.push(...problemOf(method, metatype, isGlobal, enhancers));
    if (BESIDES_HTTP.some((mark) => Reflect.hasMetadata(mark, method))) bringCallContext(method);
    const isField = Reflect.getMetadata(FIELD_RESOLVER, method) === true;
    if (isField && !enhancers.includes('interceptors')) withoutInterceptors.add(method);
    else withoutInterceptors.delete(method);
  }
  if (problems.length > 0) throw new GuardConfigError(problems.join('\n'));
}

/**
 * Makes every handler run in a call context of its own, for an HTTP server that has no frames. The routes are added
 * afterwards.
 */
export function bringCallContexts(discovery: DiscoveryService): void {
  for (const [method] of handlersOf(discovery)) bringCallContext(method);
}

const interceptor = new CallContextInterceptor();
/** Field resolvers of an application whose `fieldResolverEnhancers` leave interceptors out. */
const withoutInterceptors = new WeakSet<Declared>();

/**
 * By the handler's own interceptors: a hybrid application leaves the application's out for messages. Before the others
 * that stand on the handler, so that these run in the call context as well.
 */
function bringCallContext(method: Declared): void {
  const others = interceptorsOn(method);
  if (others.includes(interceptor)) return;
  Reflect.defineMetadata(INTERCEPTORS, [interceptor, ...others], method);
}

/**
 * Whether an interceptor makes a handler run in the call context of whom it was admitted for. A function that takes the
 * method's place later has it too, when it carries the metadata over.
 */
export function hasCallContext(method: Declared): boolean {
  return !withoutInterceptors.has(method) && interceptorsOn(method).includes(interceptor);
}

function interceptorsOn(method: Declared): readonly unknown[] {
  const list: unknown = Reflect.getMetadata(INTERCEPTORS, method);
  return Array.isArray(list) ? list : [];
}

/**
 * Handlers that the application's guard stands before and no decorator says who may call: routes, GraphQL operations and
 * messages over WebSockets.
 *
 * @returns their names for people.
 */
export function undeclaredHandlers(
  discovery: DiscoveryService,
  excluded: ReadonlySet<unknown>,
): readonly string[] {
  const controllers = new Set(discovery.getControllers().map(({ metatype }) => metatype));
  return handlersOf(discovery)
    .filter(([method, metatype]) => {
      if (excluded.has(metatype)) return false;
      const isRoute = controllers.has(metatype) && Reflect.hasMetadata(ROUTE, method);
      const isOperation =
        Reflect.hasMetadata(OPERATION, method) && !Reflect.hasMetadata(FIELD_RESOLVER, method);
      if (!isRoute && !isOperation && !Reflect.hasMetadata(SOCKET_MESSAGE, method)) return false;
      return requirementOf(method, metatype).kind === 'undeclared';
    })
    .map(([method, metatype]) => nameOf(method, metatype));
}

/** What stands against leaving classes alone. */
function problemsOfExcluded(
  discovery: DiscoveryService,
  { isGlobal, excluded, guard }: HandlerReview,
): readonly string[] {
  if (excluded.size === 0) return [];
  if (!isGlobal) {
    return ['"exclude" has no effect with "global: false": remove it.'];
  }
  const known = new Set<unknown>(classesOf(discovery));
  return [...excluded].flatMap((one) => {
    const metatype = one as Declared;
    if (!known.has(metatype)) {
      return [
        `"exclude" names ${metatype.name}, which is no controller or provider of this application.`,
      ];
    }
    const methods = methodsOf(metatype);
    const isDecorated =
      declarationsOn(metatype).length > 0 ||
      methods.some(
        (method) => declarationsOn(method).length > 0 || lostMethod(method, metatype) !== undefined,
      );
    const hasGuard = [metatype, ...methods].some((target) => {
      const guards: unknown = Reflect.getMetadata(GUARDS, target);
      return Array.isArray(guards) && guards.includes(guard);
    });
    return isDecorated || hasGuard
      ? [
          `"exclude" names ${metatype.name}, which has decorators of the guard: keep the one or the others.`,
        ]
      : [];
  });
}

/** Every method that may be a handler, with its class. */
function handlersOf(discovery: DiscoveryService): readonly (readonly [Declared, Declared])[] {
  return classesOf(discovery).flatMap((metatype) =>
    methodsOf(metatype).map((method) => [method, metatype] as const),
  );
}

function classesOf(discovery: DiscoveryService): readonly Declared[] {
  const classes = [...discovery.getControllers(), ...discovery.getProviders()]
    .map((wrapper) => (wrapper.isNotMetatype ? classOf(wrapper.instance) : wrapper.metatype))
    .filter((metatype) => typeof metatype === 'function');
  return [...new Set(classes)];
}

function problemOf(
  method: Declared,
  metatype: Declared,
  isGlobal: boolean,
  enhancers: readonly unknown[],
): readonly string[] {
  const name = `${metatype.name}.${method.name}`;
  const isMessage = Reflect.hasMetadata(MESSAGE_PATTERN, method);
  const isDecorated =
    declarationsOn(method).length > 0 || lostMethod(method, metatype) !== undefined;
  if (!isDecorated && declarationsOn(metatype).length === 0) {
    return isGlobal && isMessage
      ? [
          `${name} handles messages, and no decorator says whose. Add AllowCustomer(), AllowService() or Public().`,
        ]
      : [];
  }
  if (isDecorated && Reflect.getMetadata(FIELD_RESOLVER, method) === true) {
    const missing = ['guards', 'interceptors'].filter((one) => !enhancers.includes(one));
    if (missing.length > 0) {
      return [
        `${name} is a field resolver: its decorators have no effect until fieldResolverEnhancers of the GraphQL module lists ${missing.map((one) => `"${one}"`).join(' and ')}.`,
      ];
    }
  }
  try {
    requirementOf(method, metatype);
    return [];
  } catch (error) {
    if (error instanceof GuardConfigError) return [error.message];
    throw error;
  }
}

/** The class of what a factory made: Nest finds the resolvers of GraphQL in it. */
function classOf(instance: unknown): unknown {
  return isObject(instance) ? Object.getPrototypeOf(instance)?.constructor : undefined;
}

function methodsOf(metatype: Declared): readonly Declared[] {
  const prototype: unknown = metatype.prototype;
  if (!isObject(prototype)) return [];
  return new MetadataScanner().getAllMethodNames(prototype).flatMap((name) => {
    const method = prototype[name];
    return typeof method === 'function' ? [method] : [];
  });
}

function fieldResolverEnhancers(
  providers: ReturnType<DiscoveryService['getProviders']>,
): readonly unknown[] {
  const options: unknown = providers.find(({ token }) => token === GRAPHQL_OPTIONS)?.instance;
  const enhancers = isObject(options) ? options['fieldResolverEnhancers'] : undefined;
  return Array.isArray(enhancers) ? enhancers : [];
}
