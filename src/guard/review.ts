import { MetadataScanner, type DiscoveryService } from '@nestjs/core';
import { CallContextInterceptor } from './call-context.interceptor.js';
import { declarationsOn, lostMethod, requirementOf, type Declared } from './declarations.js';
import { GuardConfigError } from './errors.js';
import { isRecord } from './shapes.js';

/** Marks of packages that need not be installed: `@nestjs/microservices`, `@nestjs/websockets` and `@nestjs/graphql`. */
const MESSAGE_PATTERN = 'microservices:pattern';
const FIELD_RESOLVER = 'graphql:resolve_property';
const BESIDES_HTTP = [
  MESSAGE_PATTERN,
  FIELD_RESOLVER,
  'websockets:message_mapping',
  'graphql:resolver_type',
  'graphql:resolve_reference',
];
/** Where Nest keeps what `UseInterceptors` names. */
const INTERCEPTORS = '__interceptors__';
const GRAPHQL_OPTIONS = 'GqlModuleOptions';

/**
 * Looks at every handler before the application starts, for what would open one silently or surprise its author:
 * contradictory decorators; a microservice's handler without any, where Nest may not run the application's guards (a
 * hybrid application does not by default); a decorated GraphQL field resolver for which Nest runs no guards.
 *
 * @throws {GuardConfigError} naming all of them.
 */
export function reviewHandlers(
  discovery: DiscoveryService,
  { isGlobal }: { readonly isGlobal: boolean },
): void {
  const enhancers = fieldResolverEnhancers(discovery.getProviders());
  const problems: string[] = [];
  for (const [method, metatype] of handlersOf(discovery)) {
    problems.push(...problemOf(method, metatype, isGlobal, enhancers));
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

/** Every method that may be a handler, with its class. */
function handlersOf(discovery: DiscoveryService): readonly (readonly [Declared, Declared])[] {
  const classes = [...discovery.getControllers(), ...discovery.getProviders()]
    .map((wrapper) => (wrapper.isNotMetatype ? classOf(wrapper.instance) : wrapper.metatype))
    .filter((metatype) => typeof metatype === 'function');
  return [...new Set(classes)].flatMap((metatype) =>
    methodsOf(metatype).map((method) => [method, metatype] as const),
  );
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
  return isRecord(instance) ? Object.getPrototypeOf(instance)?.constructor : undefined;
}

function methodsOf(metatype: Declared): readonly Declared[] {
  const prototype: unknown = metatype.prototype;
  if (!isRecord(prototype)) return [];
  return new MetadataScanner().getAllMethodNames(prototype).flatMap((name) => {
    const method = prototype[name];
    return typeof method === 'function' ? [method] : [];
  });
}

function fieldResolverEnhancers(
  providers: ReturnType<DiscoveryService['getProviders']>,
): readonly unknown[] {
  const options: unknown = providers.find(({ token }) => token === GRAPHQL_OPTIONS)?.instance;
  const enhancers = isRecord(options) ? options['fieldResolverEnhancers'] : undefined;
  return Array.isArray(enhancers) ? enhancers : [];
}
