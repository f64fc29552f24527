/** What is around a text that people paste or tools write, and belongs to none: white space, marks without width. */
const AROUND = /[\s\u200b-\u200d\u2060\ufeff]/u;

/**
 * A text without what pasting, piping and editors put around it: white space, line ends, a byte-order mark, and
 * characters without width, which nobody sees.
 */
export function trimPasted(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && AROUND.test(text.charAt(start))) start += 1;
  while (end > start && AROUND.test(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/**
 * The value of a JSON text (RFC 8259) that may have a byte-order mark, or anything else that {@link trimPasted} takes
 * off, around it.
 *
 * @throws {SyntaxError} whose message quotes the text: never keep it as a cause where the text may hold secrets.
 */
export function parsePastedJson(text: string): unknown {
  return JSON.parse(trimPasted(text));
}

/**
 * Bytes as text: UTF-8, or UTF-16 with a byte-order mark, which is what PowerShell on Windows writes. Nothing is taken
 * off; a byte-order mark stays.
 *
 * @returns `undefined` when it is neither: replacement characters would silently change a secret.
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
