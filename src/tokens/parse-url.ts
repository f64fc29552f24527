/**
 * Parses a URL; `undefined` for text that is none.
 *
 * `URL.canParse` would be the obvious way, and is wrong on Node.js 20: once the code that calls it is hot, it says no to
 * every text with a character from U+0080 to U+00FF. `URL.parse` came with Node.js 22.
 *
 * @param base what a relative URL is relative to; without it, the text has to be an absolute URL.
 */
export function parseUrl(text: string, base?: string): URL | undefined {
  try {
    return new URL(text, base);
  } catch {
    return undefined;
  }
}
