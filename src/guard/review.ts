import { UseInterceptors } from '@nestjs/common';
import { MetadataScanner, type DiscoveryService } from '@nestjs/core';
import { CallContextInterceptor } from './call-context.interceptor.js';
import { declarationsOn, requirementOf, type Declared } from './declarations.js';
import { GuardConfigError } from './errors.js';
import { isRecord } from './shapes.js';

/** Marks of other packages that need not be installed: `@nestjs/microservices` and `@nestjs/graphql`. */
const MESSAGE_PATTERN = 'microservices:pattern';
const FIELD_RESOLVER = 'graphql:resolve_property';
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
  {
    isGlobal,
    keepsCallContext,
  }: { readonly isGlobal: boolean; readonly keepsCallContext: boolean },
): void {
  const providers = discovery.getProviders();
  const enhancers = fieldResolverEnhancers(providers);
  const classes = [...discovery.getControllers(), ...providers]
    .filter((wrapper) => !wrapper.isNotMetatype)
    .map(({ metatype }) => metatype)
    .filter((metatype) => typeof metatype === 'function');
  const problems: string[] = [];
  for (const metatype of new Set(classes)) {
    for (const method of methodsOf(metatype)) {
      problems.push(...problemOf(method, metatype, isGlobal, enhancers));
      if (keepsCallContext && Reflect.hasMetadata(MESSAGE_PATTERN, method))
        bringCallContext(method);
    }
  }
  if (problems.length > 0) throw new GuardConfigError(problems.join('\n'));
}

const interceptor = new CallContextInterceptor();
const brought = new WeakSet<Declared>();

/** A hybrid application leaves the application's interceptors out for messages, so that their handlers get their own. */
function bringCallContext(method: Declared): void {
  if (brought.has(method)) return;
  brought.add(method);
  UseInterceptors(interceptor)(method, method.name, { value: method });
}

function problemOf(
  method: Declared,
  metatype: Declared,
  isGlobal: boolean,
  enhancers: readonly unknown[],
): readonly string[] {
  const name = `${metatype.name}.${method.name}`;
  const isMessage = Reflect.hasMetadata(MESSAGE_PATTERN, method);
  const isDecorated = declarationsOn(method).length > 0;
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
