import { BrokerError, type BrokerErrorOptions } from '../tokens/errors.js';
import { DECIDES_ACCESS_ITSELF } from '../tokens/http.js';
import { isObject } from '../tokens/json.js';
import type { AllowedClient, PrincipalRequirement } from '../verification/bearer-access.js';
import type { ClaimRequirement } from '../verification/required-claims.js';

/**
 * The guard or one of its decorators is used wrongly. Thrown by the decorator, at start-up, or by the first call of the
 * handler: a mistake never opens a route. The message names the handler and what to change.
 */
export class GuardConfigError extends BrokerError {
  declare readonly code: 'GUARD_MISCONFIGURED';

  constructor(message: string, options: BrokerErrorOptions = {}) {
    super('GUARD_MISCONFIGURED', 'misconfigured', message, options);
  }
}

/** What one decorator says. */
export type AccessDeclaration =
  | { readonly says: 'public' }
  | { readonly says: 'customer' }
  /** `clients` is `undefined` for every service. */
  | { readonly says: 'service'; readonly clients: readonly AllowedClient[] | undefined }
  | { readonly says: 'scopes'; readonly scopes: readonly string[] }
  | { readonly says: 'claims'; readonly claims: readonly ClaimRequirement[] };

/** Who may call a handler. */
export type AccessRequirement =
  /** Everybody; no token is read. */
  | { readonly kind: 'public' }
  /** Nobody: no decorator says who. */
  | { readonly kind: 'undeclared' }
  /** Whoever presents a token of one of these kinds, with all of these scopes and claims. */
  | PrincipalRequirement;

/** A class, or a method of one: what decorators stand on. */
// oxlint-disable-next-line typescript/no-unsafe-function-type -- it is what Nest's ExecutionContext returns.
export type Declared = Function;

/** A handler's name for people. */
export function nameOf(handler: Declared, onClass: Declared): string {
  return `${onClass.name}.${handler.name}`;
}

/** Requirements that were read before, by handler and class. */
const read = new WeakMap<Declared, WeakMap<Declared, AccessRequirement>>();

/**
 * Who may call a handler.
 *
 * @throws {GuardConfigError} when its decorators contradict one another.
 */
export function requirementOf(handler: Declared, onClass: Declared): AccessRequirement {
  const known = read.get(handler)?.get(onClass);
  if (known !== undefined) return known;
  const lost = lostMethod(handler, onClass);
  if (lost !== undefined) {
    throw new GuardConfigError(
      `${onClass.name}.${lost}: a decorator has replaced the method, and the guard's decorators below it are lost. Put them above it, or make it copy the method's metadata.`,
    );
  }
  const reading: RequirementReading =
    Reflect.getMetadata(DECIDES_ACCESS_ITSELF, onClass) === true
      ? { requirement: { kind: 'public' } }
      : readRequirement(declarationsOn(handler), declarationsOn(onClass));
  if ('contradiction' in reading) {
    throw new GuardConfigError(`${nameOf(handler, onClass)}: ${reading.contradiction}`);
  }
  const byClass = read.get(handler) ?? new WeakMap<Declared, AccessRequirement>();
  read.set(handler, byClass.set(onClass, reading.requirement));
  return reading.requirement;
}

/** A requirement, or why the declarations contradict one another. */
type RequirementReading =
  { readonly requirement: AccessRequirement } | { readonly contradiction: string };

type Who = Exclude<AccessDeclaration, { says: 'scopes' | 'claims' }>;

/**
 * Makes one requirement of the decorators on a handler and on its class.
 *
 * - Who may call: the handler's decorators, when it has any that say so, and otherwise the class's. They are never mixed.
 * - Scopes and claims add up: those of the class and those of the handler are all required.
 * - `Public()` on a handler lifts what the class asks for, scopes and claims included.
 */
export function readRequirement(
  onHandler: readonly AccessDeclaration[],
  onClass: readonly AccessDeclaration[],
): RequirementReading {
  const handlerWho = onHandler.filter(isWho);
  const isLifted = handlerWho.some(({ says }) => says === 'public');
  const who = handlerWho.length > 0 ? handlerWho : onClass.filter(isWho);
  const all = [...(isLifted ? [] : onClass), ...onHandler];
  const scopes = [...new Set(all.flatMap((one) => (one.says === 'scopes' ? one.scopes : [])))];
  const claims = all.flatMap((one) => (one.says === 'claims' ? one.claims : []));
  const contradiction =
    contradictionIn(who) ??
    narrowingNobody(who, 'RequireScopes()', scopes) ??
    narrowingNobody(who, 'RequireClaims()', claims);
  if (contradiction !== undefined) return { contradiction };
  if (who.length === 0) return { requirement: { kind: 'undeclared' } };
  if (who.some(({ says }) => says === 'public')) return { requirement: { kind: 'public' } };
  const service = who.find((one) => one.says === 'service');
  return {
    requirement: {
      kind: 'principal',
      customers: who.some(({ says }) => says === 'customer'),
      services: service === undefined ? 'none' : (service.clients ?? 'all'),
      scopes,
      ...(claims.length > 0 && { claims }),
    },
  };
}

function contradictionIn(who: readonly Who[]): string | undefined {
  const isPublic = who.some(({ says }) => says === 'public');
  if (isPublic && who.some(({ says }) => says !== 'public')) {
    return 'Public() is used together with AllowCustomer() or AllowService(). Keep one of them.';
  }
  if (who.filter(({ says }) => says === 'service').length > 1) {
    return 'AllowService() is used twice. Name all clients in one.';
  }
  return undefined;
}

/** A decorator that narrows who may call, on a handler that does not say who, or lets everybody call. */
function narrowingNobody(
  who: readonly Who[],
  decorator: string,
  required: readonly unknown[],
): string | undefined {
  if (required.length === 0) return undefined;
  if (who.some(({ says }) => says === 'public')) {
    return `${decorator} applies to a public handler, for which no token is read. Remove one of the two.`;
  }
  return who.length === 0
    ? `${decorator} does not say who may call. Add AllowCustomer(), AllowService(), or both.`
    : undefined;
}

function isWho(declaration: AccessDeclaration): declaration is Who {
  return declaration.says !== 'scopes' && declaration.says !== 'claims';
}

/** As metadata, like Nest's own: a decorator that replaces a method carries it over. */
const DECLARATIONS: unique symbol = Symbol.for('service-token-broker/declarations/1');

/** How many decorators stood on a method, by the prototype of its class: survives replacement of the method. */
const SAID: unique symbol = Symbol.for('service-token-broker/said/1');

/** Adds what one decorator says. @returns whether it is the first one here. */
export function addDeclaration(target: Declared, declaration: AccessDeclaration): boolean {
  const before = Reflect.getOwnMetadata(DECLARATIONS, target) as
    readonly AccessDeclaration[] | undefined;
  Reflect.defineMetadata(DECLARATIONS, [...(before ?? []), declaration], target);
  return before === undefined;
}

/** Counts a decorator of a method, even if the method is replaced afterwards. */
export function countDeclaration(prototype: object, key: string | symbol): void {
  Reflect.defineMetadata(SAID, saidOn(prototype, key) + 1, prototype, key);
}

function saidOn(prototype: object, key: string | symbol): number {
  return (Reflect.getOwnMetadata(SAID, prototype, key) as number | undefined) ?? 0;
}

/** What the decorators of a method or a class say; for a class without any, those of the nearest one that it extends. */
export function declarationsOn(target: Declared): readonly AccessDeclaration[] {
  return (
    (Reflect.getMetadata(DECLARATIONS, target) as readonly AccessDeclaration[] | undefined) ?? []
  );
}

/**
 * The method whose decorators are lost, all or some of them: another decorator, above them, has replaced the method
 * without its metadata. The rest, or those of the class, would decide instead.
 *
 * @returns its name for people; `undefined` when nothing is lost.
 */
export function lostMethod(handler: Declared, onClass: Declared): string | undefined {
  const kept = declarationsOn(handler).length;
  const prototypes = prototypesOf(onClass);
  // A function that was put there on the instance, or for one call, is known by its name at best.
  const name = handler.name.replace(/^bound /, '');
  const owner =
    prototypes
      .map((prototype) => ({ prototype, keys: keysOf(prototype, handler) }))
      .find(({ keys }) => keys.length > 0) ??
    prototypes
      .filter((prototype) => Object.hasOwn(prototype, name))
      .map((prototype) => ({ prototype, keys: [name] }))[0];
  if (owner !== undefined) {
    const lost = owner.keys.find((key) => saidOn(owner.prototype, key) > kept);
    return lost === undefined ? undefined : String(lost);
  }
  const isAnyDeclared = prototypes.some((prototype) =>
    Reflect.ownKeys(prototype).some((key) => saidOn(prototype, key) > 0),
  );
  return kept === 0 && isAnyDeclared ? handler.name : undefined;
}

function prototypesOf(onClass: Declared): readonly object[] {
  const found: object[] = [];
  for (let at: unknown = onClass.prototype; isObject(at); at = Object.getPrototypeOf(at)) {
    if (at !== Object.prototype) found.push(at);
  }
  return found;
}

function keysOf(owner: object, method: Declared): readonly (string | symbol)[] {
  return Reflect.ownKeys(owner).filter(
    (key) => Object.getOwnPropertyDescriptor(owner, key)?.value === method,
  );
}
