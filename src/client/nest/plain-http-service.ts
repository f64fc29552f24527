import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { ClientConfigError } from '../errors.js';

type NestModule = ModulesContainer extends Map<string, infer Module> ? Module : never;

/**
 * Looks for modules that have an `HttpService` other than that of `ServiceClientModule`. Nest prefers what a module
 * imports or provides itself to what is global, so that such a module would call without a token, and nothing would show it.
 *
 * @param modules all modules of the application.
 * @param ours the class of `ServiceClientModule`.
 * @throws {ClientConfigError} naming every such module.
 */
export function requireNoPlainHttpService(
  modules: ModulesContainer,
  ours: Type,
  { global, plainHttpIn }: { readonly global: boolean; readonly plainHttpIn: readonly Type[] },
): void {
  const all = [...modules.values()].filter(({ metatype }) => metatype !== ours);
  const plain = all.filter(({ providers }) => [...providers.keys()].some(isHttpService));
  const everywhere = plain.filter(({ isGlobal }) => isGlobal);
  const mistakes = everywhere.map(
    ({ name }) =>
      `${name} is global and provides an HttpService that sends no token, to every module. Remove "global" from it, and import it where such calls are made.`,
  );
  const concerned = plain
    .filter(({ isGlobal }) => !isGlobal)
    .flatMap((module) => (isHttpModule(module) ? importersOf(module, all) : [module]))
    .filter(({ metatype }) => !plainHttpIn.includes(metatype))
    .filter((module) => global || importsOurs(module, ours));
  for (const name of new Set(concerned.map((module) => module.name))) {
    mistakes.push(
      `${name} has an HttpService that sends no token: it imports HttpModule of @nestjs/axios, or provides HttpService itself. ` +
        `Remove that, and it gets the HttpService of ServiceClientModule; or name it if its calls need no token: plainHttpIn: [${name}].`,
    );
  }
  if (mistakes.length > 0) throw new ClientConfigError(mistakes);
}

/** By its name: another copy of `@nestjs/axios` has another class. */
function isHttpService(token: unknown): boolean {
  return typeof token === 'function' && token.name === 'HttpService';
}

/** The module of `@nestjs/axios` itself: whoever imports it decided. */
function isHttpModule({ name }: NestModule): boolean {
  return name === 'HttpModule';
}

function importersOf(module: NestModule, all: readonly NestModule[]): readonly NestModule[] {
  return all.filter(({ imports }) => imports.has(module));
}

function importsOurs({ imports }: NestModule, ours: Type): boolean {
  return [...imports].some(({ metatype }) => metatype === ours);
}
