import { looksSecret } from '../tokens/redaction.js';

/** The longest text of a provider that is repeated in a message, in characters. */
const LIMIT = 300;

/** The shortest part of a secret that counts as the secret. */
const WINDOW = 8;

/**
 * A provider's text if it may be repeated in a message: printable ASCII, bounded, and free of everything that looks
 * like a token or is part of a secret. `undefined` when it may not, or says nothing.
 *
 * @param secrets texts that must not appear, not even in part.
 * @param harmless texts that look like tokens and are none, such as the client id.
 */
export function safeText(
  text: unknown,
  secrets: readonly string[] = [],
  harmless: readonly string[] = [],
): string | undefined {
  if (typeof text !== 'string') return undefined;
  // Line breaks in a message would let the provider write log lines of its own.
  const printable = text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .replace(/ {2,}/g, ' ')
    .trim();
  if (printable === '' || secrets.some((secret) => sharesPart(text, secret))) return undefined;
  const suspicious = harmless.reduce(
    (rest, known) => (known === '' ? rest : rest.replaceAll(known, ' ')),
    printable.replace(PAGE_OF_WORDS, ' '),
  );
  if (looksSecret(suspicious) || looksLikeToken(suspicious)) return undefined;
  return printable.length > LIMIT ? `${printable.slice(0, LIMIT)}...` : printable;
}

/** The address of a page of documentation: long, and made of words alone. */
const PAGE_OF_WORDS = /https:\/\/[a-z0-9.-]+(?:\/[a-z]{1,30}(?:[-_][a-z]{1,30})*)+/g;

// Stricter than the redaction of our own logs, because nothing here has to be found again by its identifier.
// 40 characters leave room for a UUID (36); 32 without punctuation are 128 bits in hexadecimal.
function looksLikeToken(text: string): boolean {
  return /eyJ[\w-]{5,}|[A-Za-z0-9_+/=-]{40,}|[A-Za-z0-9]{32,}/.test(text);
}

function sharesPart(text: string, secret: string): boolean {
  for (let start = 0; start === 0 || start + WINDOW <= secret.length; start += 1) {
    const part = secret.slice(start, start + WINDOW);
    if (part !== '' && text.includes(part)) return true;
  }
  return false;
}
