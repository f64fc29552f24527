import type { Actor } from '../principal.js';
import { isJsonObject, type JsonObject } from '../parse/strict-json.js';
import { own, stringList, textOf } from './conditions.js';
import type { ClientIdSource } from './profile.js';

/** A fact read from the claims, or `malformed` when they contradict themselves or have a wrong type. */
export type Fact<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: string };

const fact = <T>(value: T): Fact<T> => ({ ok: true, value });
const fault = (text: string): Fact<never> => ({ ok: false, fault: text });

/**
 * The client's id. Sources that are there must agree: two ids would let one pass a list made for the other. A source of
 * last resort (`otherwise`) is asked only when those before it name none.
 */
export function readClientId(
  claims: JsonObject,
  sources: readonly ClientIdSource[],
): Fact<string | undefined> {
  let found: string | undefined;
  for (const source of sources) {
    if (typeof source !== 'string' && 'otherwise' in source) {
      found ??= textOf(claims, source.otherwise);
      continue;
    }
    const name = typeof source === 'string' ? source : source.claim;
    const text = textOf(claims, name);
    if (text === undefined) {
      if (own(claims, name) !== undefined && name !== 'sub') {
        return fault(`"${name}" must be a non-empty string`);
      }
      continue;
    }
    const id = extractId(text, source);
    if (id === undefined) continue;
    if (found !== undefined && found !== id) return fault('the claims name two different clients');
    found = id;
  }
  return fact(found);
}

function extractId(
  text: string,
  source: Exclude<ClientIdSource, { otherwise: string }>,
): string | undefined {
  if (typeof source === 'string') return text;
  if ('startsWith' in source) return text.startsWith(source.startsWith) ? text : undefined;
  const [before, after] = source.between;
  const isFramed = text.startsWith(before) && text.endsWith(after);
  return isFramed && text.length > before.length + after.length
    ? text.slice(before.length, text.length - after.length)
    : undefined;
}

/** The scopes in the named claims: texts with spaces, or lists of texts. */
export function readScopes(claims: JsonObject, names: readonly string[]): Fact<readonly string[]> {
  const scopes = new Set<string>();
  for (const name of names) {
    const value = own(claims, name);
    if (value === undefined) continue;
    const list = typeof value === 'string' ? value.split(' ') : stringList(value);
    if (list === undefined) return fault(`"${name}" must be a string or a list of strings`);
    for (const scope of list) if (scope !== '') scopes.add(scope);
  }
  return fact([...scopes]);
}

/** The actor in `act` (RFC 8693 §4.1). The depth of the chain is bounded by that of the claims. */
export function readActor(claims: JsonObject): Fact<Actor | undefined> {
  const value = own(claims, 'act');
  if (value === undefined) return fact(undefined);
  const subject = isJsonObject(value) ? textOf(value, 'sub') : undefined;
  if (!isJsonObject(value) || subject === undefined) {
    return fault('"act" must be an object with a non-empty "sub"');
  }
  const issuer = own(value, 'iss');
  if (issuer !== undefined && typeof issuer !== 'string')
    return fault('"act.iss" must be a string');
  const before = readActor(value);
  return before.ok ? fact({ subject, issuer, actor: before.value }) : before;
}
