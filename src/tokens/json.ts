/** A JSON object as the platform's parser makes it. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** True for any object, an array too: what other packages hand over is read by its shape. */
export function isObject(value: unknown): value is Readonly<Record<PropertyKey, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** True for an object that is not an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return isObject(value) && !Array.isArray(value);
}

/** The value of a JSON text, or what is wrong with it, in words that quote nothing of it. */
type StrictJson =
  { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly fault: string };

/**
 * Reads JSON and rejects what the platform's parser accepts: a duplicate member, at any depth (RFC 8259 §4 leaves open
 * which one counts, so that two parsers may see two tokens), a member called `__proto__`, and nesting deeper than
 * `maxDepth`.
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
  if (!isObject(value)) return 0;
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

/**
 * The value of a JSON text (RFC 8259), trimmed by {@link trimPasted}.
 *
 * @throws {SyntaxError} whose message quotes the text: never keep it as a cause where the text may hold secrets.
 */
export function parsePastedJson(text: string): unknown {
  return JSON.parse(trimPasted(text));
}

/**
 * The JSON object that a text holds, read as {@link parsePastedJson} does.
 *
 * @param invalid makes the error to throw, from half a sentence that quotes nothing of the text: "it is not JSON".
 */
export function parseJsonObject(text: string, invalid: (fault: string) => Error): JsonObject {
  let value: unknown;
  try {
    value = parsePastedJson(text);
  } catch {
    // The parser's own message quotes the text, which may hold secrets: it is not kept as the cause.
    throw invalid('it is not JSON');
  }
  if (!isJsonObject(value)) throw invalid('it is not a JSON object');
  return value;
}

/** White space and characters without width, around a text that was pasted or written by a tool. */
const AROUND = /[\s\u200b-\u200d\u2060\ufeff]/u;

/**
 * A text without what pasting, piping and editors put around it: white space, line ends, a byte-order mark, and invisible
 * characters.
 */
export function trimPasted(text: string): string {
  let start = 0;
  let end = text.length;
  // Beyond the text is no character: both loops end.
  while (AROUND.test(text.charAt(start))) start += 1;
  while (AROUND.test(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/**
 * Bytes as text: UTF-8, or UTF-16 with a byte-order mark, as PowerShell on Windows writes it. A byte-order mark is kept.
 *
 * @returns `undefined` for other bytes: replacement characters would silently change a secret.
 */
export function decodeText(bytes: Uint8Array): string | undefined {
  const [first, second] = bytes;
  const encoding =
    first === 0xff && second === 0xfe
      ? 'utf-16le'
      : first === 0xfe && second === 0xff
        ? 'utf-16be'
        : 'utf-8';
  try {
    return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // The only failure: bytes that are not of the encoding.
    return undefined;
  }
}

/** A name in our code, such as `remainingSeconds`. */
const CAMEL_CASE = /^[a-z][A-Za-z0-9]*$/;

/**
 * A value as programs read it: the names of its members in snake_case, at any depth. Values are not changed: instants must
 * be ISO 8601 texts, and spans seconds. Pure.
 *
 * @example
 * ```ts
 * withSnakeNames({ remainingSeconds: 60 }); // { remaining_seconds: 60 }
 * ```
 */
export function withSnakeNames(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withSnakeNames);
  // A date, a URL or a hidden value has its own JSON form.
  if (!isObject(value) || 'toJSON' in value) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [snakeCase(name), withSnakeNames(member)]),
  );
}

function snakeCase(name: string): string {
  return CAMEL_CASE.test(name)
    ? name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    : name;
}
