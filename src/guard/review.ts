import { MetadataScanner, type DiscoveryService } from '@nestjs/core';
import { isObject } from '../tokens/json.js';
import { bringCallContext, noteInterceptors } from './call-context.interceptor.js';
import {
  declarationsOn,
  GuardConfigError,
  lostMethod,
  nameOf,
  requirementOf,
  type Declared,
} from './declarations.js';
import type { GuardSettings } from './guard-options.js';

/** Marks of `@nestjs/microservices`, `@nestjs/websockets` and `@nestjs/graphql`, which need not be installed. */
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
/** Where Nest keeps what `UseGuards` names, the path of a route, and the options of GraphQL. */
const GUARDS = '__guards__';
const ROUTE = 'path';
const GRAPHQL_OPTIONS = 'GqlModuleOptions';

/**
 * Looks at every handler before the application starts, for what would open one silently or surprise its author:
 * contradictory decorators; a microservice's handler without any, where Nest may not run the application's guards (a
 * hybrid application does not by default); a decorated GraphQL field resolver for which Nest runs no guards; an excluded
 * class that is not in the application, or has decorators.
 *
 * @param guard the class that `UseGuards` may name.
 * @throws {GuardConfigError} naming all of them.
 */
export function reviewHandlers(
  discovery: DiscoveryService,
  settings: GuardSettings,
  guard: Declared,
): void {
  const { everyHandler, excluded } = settings;
  const enhancers = fieldResolverEnhancers(discovery);
  const problems = [...problemsOfExcluded(discovery, settings, guard)];
  for (const [method, metatype] of handlersOf(discovery)) {
    if (!excluded.has(metatype)) {
      problems.push(...problemsOf(method, metatype, everyHandler, enhancers));
    }
    if (BESIDES_HTTP.some((mark) => Reflect.hasMetadata(mark, method))) bringCallContext(method);
    noteInterceptors(method, !isFieldResolver(method) || enhancers.includes('interceptors'));
  }
  if (problems.length > 0) throw new GuardConfigError(problems.join('\n'));
}

/** Makes every handler run in a call context of its own, for an HTTP server without frames. Before routes are added. */
export function bringCallContexts(discovery: DiscoveryService): void {
  for (const [method] of handlersOf(discovery)) bringCallContext(method);
}

/**
 * Handlers that the application's guard stands before and that have no decorator: routes, GraphQL operations and
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

function problemsOfExcluded(
  discovery: DiscoveryService,
  { everyHandler, excluded }: GuardSettings,
  guard: Declared,
): readonly string[] {
  if (excluded.size === 0) return [];
  if (!everyHandler) {
    return ['"exclude" has no effect with "guardEveryHandler: false": remove it.'];
  }
  const known = new Set<unknown>(classesOf(discovery));
  return [...excluded].flatMap((one) => {
    const metatype = one as Declared;
    if (!known.has(metatype)) {
      return `"exclude" names ${metatype.name}, which is not a controller or provider of this application.`;
    }
    const methods = methodsOf(metatype);
    const hasDecorators =
      declarationsOn(metatype).length > 0 ||
      methods.some((method) => isDecorated(method, metatype)) ||
      [metatype, ...methods].some((target) => namesGuard(target, guard));
    return hasDecorators
      ? `"exclude" names ${metatype.name}, which has decorators of the guard: keep the one or the others.`
      : [];
  });
}

function problemsOf(
  method: Declared,
  metatype: Declared,
  everyHandler: boolean,
  enhancers: readonly unknown[],
): readonly string[] {
  const name = nameOf(method, metatype);
  if (!isDecorated(method, metatype) && declarationsOn(metatype).length === 0) {
    return everyHandler && Reflect.hasMetadata(MESSAGE_PATTERN, method)
      ? [
          `${name} handles messages, and no decorator says whose. Add AllowCustomer(), AllowService() or Public().`,
        ]
      : [];
  }
  if (isDecorated(method, metatype) && isFieldResolver(method)) {
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

function isDecorated(method: Declared, metatype: Declared): boolean {
  return declarationsOn(method).length > 0 || lostMethod(method, metatype) !== undefined;
}

function isFieldResolver(method: Declared): boolean {
  return Reflect.getMetadata(FIELD_RESOLVER, method) === true;
}

/** Whether `UseGuards` on a class or a method names a guard. */
export function namesGuard(target: Declared, guard: Declared): boolean {
  return listIn(GUARDS, target).includes(guard);
}

function listIn(key: string, target: Declared): readonly unknown[] {
  const list: unknown = Reflect.getMetadata(key, target);
  return Array.isArray(list) ? list : [];
}

/** Every method that may be a handler, with its class. */
export function handlersOf(
  discovery: DiscoveryService,
): readonly (readonly [Declared, Declared])[] {
  return classesOf(discovery).flatMap((metatype) =>
    methodsOf(metatype).map((method) => [method, metatype] as const),
  );
}

function classesOf(discovery: DiscoveryService): readonly Declared[] {
  const classes = [...discovery.getControllers(), ...discovery.getProviders()]
    // Nest finds GraphQL resolvers in what a factory made, too.
    .map((wrapper) => (wrapper.isNotMetatype ? classOf(wrapper.instance) : wrapper.metatype))
    .filter((metatype) => typeof metatype === 'function');
  return [...new Set(classes)];
}

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

function fieldResolverEnhancers(discovery: DiscoveryService): readonly unknown[] {
  const provider = discovery.getProviders().find(({ token }) => token === GRAPHQL_OPTIONS);
  const options: unknown = provider?.instance;
  const enhancers = isObject(options) ? options['fieldResolverEnhancers'] : undefined;
  return Array.isArray(enhancers) ? enhancers : [];
}
