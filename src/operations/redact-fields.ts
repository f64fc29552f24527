import { isRedactedKey, REDACTED, redactText } from '../tokens/redaction.js';
import { describeError, isError } from './describe-error.js';

const DEEPEST = 6;
const MOST_ITEMS = 100;

/**
 * A copy of structured fields that may be logged: values of secret names are replaced, texts pass {@link redactText},
 * errors are described, bytes are counted, and what is too deep, too long or circular is cut.
 */
export function redactFields(fields: object): Record<string, unknown> {
  try {
    return redactMembers(fields, 0, new Set());
  } catch {
    // Only a member that throws when it is read gets here. The line is still worth having.
    return { fields: '[unreadable]' };
  }
}

function redactMembers(
  value: object,
  depth: number,
  parents: ReadonlySet<object>,
): Record<string, unknown> {
  const within = new Set(parents).add(value);
  const result: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value).slice(0, MOST_ITEMS)) {
    const safeName = redactText(name);
    // A plain assignment of "__proto__" would set the prototype instead.
    Object.defineProperty(result, safeName, {
      value: isRedactedKey(name, member) ? hide(member) : redactValue(member, depth + 1, within),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return result;
}

function hide(value: unknown): unknown {
  return value === undefined || value === null ? value : REDACTED;
}

function redactValue(value: unknown, depth: number, parents: ReadonlySet<object>): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value);
  if (typeof value === 'function') return undefined;
  if (typeof value !== 'object' || value === null) return value;
  return redactObject(value, depth, parents);
}

function redactObject(value: object, depth: number, parents: ReadonlySet<object>): unknown {
  if (isError(value)) return describeError(value);
  if (parents.has(value)) return '[circular]';
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth > DEEPEST) return '[too deep]';
  if (value instanceof Map) return redactObject(Object.fromEntries(value), depth, parents);
  if (value instanceof Set) return redactObject([...value], depth, parents);
  if (Array.isArray(value)) {
    const within = new Set(parents).add(value);
    return value.slice(0, MOST_ITEMS).map((item) => redactValue(item, depth + 1, within));
  }
  const own = ownText(value);
  return own === undefined
    ? redactMembers(value, depth, parents)
    : redactValue(own, depth, parents);
}

/** What an object says it is in JSON (dates, URLs, hidden values), unless it is made of members. */
function ownText(value: object): unknown {
  if (!('toJSON' in value) || typeof value.toJSON !== 'function') return undefined;
  const text: unknown = value.toJSON();
  return typeof text === 'object' ? undefined : text;
}
