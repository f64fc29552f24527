import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { GuardConfigError } from './errors.js';
import {
  readRequirement,
  type AccessDeclaration,
  type AccessRequirement,
  type RequirementReading,
} from './requirement.js';
import { isRecord } from './shapes.js';

/** A class, or a method of one: what decorators stand on. */
// oxlint-disable-next-line typescript/no-unsafe-function-type -- it is what Nest's ExecutionContext returns.
export type Declared = Function;

/** As metadata, like Nest's own: a decorator that puts another function in a method's place carries it over. */
const DECLARATIONS: unique symbol = Symbol.for('service-token-broker/declarations/1');

/** The methods that decorators stood on, by the prototype of their class. */
const declared = new WeakMap<object, Set<PropertyKey>>();
const read = new WeakMap<Declared, WeakMap<Declared, AccessRequirement>>();

/** Adds what one decorator says. @returns whether it is the first to say something here. */
export function addDeclaration(target: Declared, declaration: AccessDeclaration): boolean {
  const before = Reflect.getOwnMetadata(DECLARATIONS, target) as
    readonly AccessDeclaration[] | undefined;
  Reflect.defineMetadata(DECLARATIONS, [...(before ?? []), declaration], target);
  return before === undefined;
}

/** Remembers that a decorator stood on a method, whatever is done with the method afterwards. */
export function rememberMethod(prototype: object, key: PropertyKey): void {
  const keys = declared.get(prototype) ?? new Set();
  declared.set(prototype, keys.add(key));
}

/** What stands on a method or a class; for a class without anything of its own, on the nearest one that it extends. */
export function declarationsOn(target: Declared): readonly AccessDeclaration[] {
  return (
    (Reflect.getMetadata(DECLARATIONS, target) as readonly AccessDeclaration[] | undefined) ?? []
  );
}

/**
 * Whether a decorator of the guard stood on a method and is lost: another one, above it, has put a function in the
 * method's place, and has not carried the metadata over. What stands on the class would decide instead.
 */
export function hasLostDeclarations(handler: Declared, onClass: Declared): boolean {
  if (declarationsOn(handler).length > 0) return false;
  for (let at: unknown = onClass.prototype; isRecord(at); at = Object.getPrototypeOf(at)) {
    const keys = namesOf(at, handler);
    if (keys.length > 0) return keys.some((key) => declared.get(at)?.has(key) === true);
  }
  return false;
}

function namesOf(owner: object, method: Declared): readonly PropertyKey[] {
  return Reflect.ownKeys(owner).filter(
    (key) => Object.getOwnPropertyDescriptor(owner, key)?.value === method,
  );
}

/**
 * Who may call a handler.
 *
 * @throws {GuardConfigError} when its decorators contradict one another.
 */
export function requirementOf(handler: Declared, onClass: Declared): AccessRequirement {
  const known = read.get(handler)?.get(onClass);
  if (known !== undefined) return known;
  if (hasLostDeclarations(handler, onClass)) {
    throw new GuardConfigError(
      `${nameOf(handler, onClass)}: a decorator has replaced the method, and with it what the guard's decorators below it say. Put them above it, or make it copy the method's metadata.`,
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

/** A handler's name for people. */
export function nameOf(handler: Declared, onClass: Declared): string {
  return `${onClass.name}.${handler.name}`;
}
