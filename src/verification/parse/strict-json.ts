/** What came of reading a JSON text: its value, or what is wrong with it, in words that quote nothing of it. */
export type StrictJson =
  { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly fault: string };

/** A JSON object as the platform's parser makes it. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Reads JSON and refuses what the platform's parser lets pass: a member that stands twice in an object, at any depth
 * (RFC 8259 §4 leaves open which one counts, so two readers may see two tokens), a member called `__proto__`, and
 * nesting deeper than `maxDepth`.
 *
 * Duplicates are found by counting. A valid text has one colon outside strings for each member written; the parsed
 * value has one own property for each member that survived. Fewer survivors than members: one was written twice,
 * however its name was escaped.
 */
export function parseStrictJson(text: string, maxDepth: number): StrictJson {
  const written = countMembersWritten(text, maxDepth);
  if (written === undefined) return { ok: false, fault: 'it is nested too deeply' };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which is part of a token: it is not kept.
    return { ok: false, fault: 'it is not JSON' };
  }
  const kept = countMembersKept(value);
  if (kept === undefined) return { ok: false, fault: 'it has a member named "__proto__"' };
  if (kept !== written) return { ok: false, fault: 'an object in it has the same member twice' };
  return { ok: true, value };
}

/** True for an object that is no array and not null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/** Colons outside strings, or `undefined` when brackets nest deeper than `maxDepth`. Says nothing of invalid JSON. */
function countMembersWritten(text: string, maxDepth: number): number | undefined {
  let members = 0;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit === QUOTE) {
      at = endOfString(text, at);
    } else if (unit === COLON) {
      members += 1;
    } else if (unit === 0x7b || unit === 0x5b) {
      depth += 1;
      if (depth > maxDepth) return undefined;
    } else if (unit === 0x7d || unit === 0x5d) {
      depth -= 1;
    }
  }
  return members;
}

/** Index of the quote that closes the string opened at `start`; the end of the text when none does. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  for (; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit === QUOTE) return at;
    if (unit === BACKSLASH) at += 1;
  }
  return at;
}

/** Own properties of all objects in the value, or `undefined` when one is called `__proto__`. */
function countMembersKept(value: unknown): number | undefined {
  if (typeof value !== 'object' || value === null) return 0;
  let members = 0;
  if (!Array.isArray(value)) {
    // Copying such a member into another object by assignment would replace that object's prototype.
    if (Object.hasOwn(value, '__proto__')) return undefined;
    members = Object.keys(value).length;
  }
  for (const inner of Object.values(value)) {
    const count = countMembersKept(inner);
    if (count === undefined) return undefined;
    members += count;
  }
  return members;
}
