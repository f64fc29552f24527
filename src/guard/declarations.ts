import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { GuardConfigError } from './errors.js';
import {
  readRequirement,
  type AccessDeclaration,
  type AccessRequirement,
  type RequirementReading,
} from './requirement.js';

/** A class, or a method of one: what decorators stand on. */
// oxlint-disable-next-line typescript/no-unsafe-function-type -- it is what Nest's ExecutionContext returns.
export type Declared = Function;

const own = new WeakMap<object, readonly AccessDeclaration[]>();
const read = new WeakMap<Declared, WeakMap<Declared, AccessRequirement>>();

/** Adds what one decorator says. @returns whether it is the first to say something here. */
export function addDeclaration(target: Declared, declaration: AccessDeclaration): boolean {
  const before = own.get(target);
  own.set(target, [...(before ?? []), declaration]);
  return before === undefined;
}

/** What stands on a method or a class; for a class without anything of its own, on the nearest one that it extends. */
export function declarationsOn(target: Declared): readonly AccessDeclaration[] {
  for (let at: unknown = target; typeof at === 'function'; at = Object.getPrototypeOf(at)) {
    const found = own.get(at);
    if (found !== undefined) return found;
  }
  return [];
}

/**
 * Who may call a handler.
 *
 * @throws {GuardConfigError} when its decorators contradict one another.
 */
export function requirementOf(handler: Declared, onClass: Declared): AccessRequirement {
  const known = read.get(handler)?.get(onClass);
  if (known !== undefined) return known;
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
