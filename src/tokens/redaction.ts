/** Replaces a secret. */
export const REDACTED = '[redacted]';

/**
 * Names of structured fields whose value is never written, in lower case without `_` and `-`. Compare with
 * {@link isRedactedKey}.
 */
export const redactKeys: readonly string[] = [
  'accesstoken',
  'accesstokens',
  'apikey',
  'apikeys',
  'assertion',
  'authorization',
  'brokermasterkey',
  'clientassertion',
  'clientsecret',
  'clientsecrets',
  'cookie',
  'credentials',
  'idtoken',
  'idtokens',
  'jwt',
  'masterkey',
  'masterkeys',
  'passphrase',
  'passphrases',
  'password',
  'passwords',
  'privatekey',
  'privatekeys',
  'proxyauthorization',
  'refreshtoken',
  'refreshtokens',
  'rotationtoken',
  'secret',
  'secretaccesskey',
  'secretbinary',
  'secretstring',
  'sessiontoken',
  'sessiontokens',
  'setcookie',
  'token',
  'xamzsecuritytoken',
];

const KEY_SET: ReadonlySet<string> = new Set(redactKeys);

/** The private members of a JWK (RFC 7518 §6.2.2, §6.3.2, §6.4): too short to hide whatever their value is. */
const JWK_PRIVATE: ReadonlySet<string> = new Set(['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth']);

/** True when a structured field with this name and value is never written. */
export function isRedactedKey(name: string, value: unknown): boolean {
  if (KEY_SET.has(name.toLowerCase().replace(/[-_]/g, ''))) return true;
  return JWK_PRIVATE.has(name) && (typeof value === 'object' || isLongText(value));
}

function isLongText(value: unknown): boolean {
  return typeof value === 'string' && value.length >= 16;
}

/**
 * Replaces everything in a text that is, or looks like, a token or a secret: JWTs (also cut short), Basic and Bearer
 * credentials, values of names such as `client_secret`, user information in URLs, PEM private keys, private members
 * of JWKs, and long random runs of base64. When in doubt, it hides.
 *
 * Idempotent: what it returns, it returns unchanged.
 *
 * @example
 * ```ts
 * redactText('login failed: client_secret=s3cr3t'); // 'login failed: client_secret=[redacted]'
 * ```
 */
export function redactText(text: string): string {
  if (text.length < 4) return text;
  let before = text;
  // Hiding one secret may reveal the shape of the next one: repeat until nothing changes.
  for (let round = 0; round < 8; round += 1) {
    const after = redactOnce(before);
    if (after === before) return after;
    before = after;
  }
  return REDACTED;
}

/** True when {@link redactText} would hide something in the text. */
export function looksSecret(text: string): boolean {
  return redactOnce(text) !== text;
}

function redactOnce(text: string): string {
  return (
    text
      .replace(PEM_PRIVATE_KEY, REDACTED)
      .replace(URL_USER_INFORMATION, `$1${REDACTED}@`)
      // Names go first: they tell where a value ends, whatever it is made of.
      .replace(NAMED_WHOLE_LINE, `$1${REDACTED}`)
      .replace(NAMED_LIST, `$1${REDACTED}`)
      .replace(NAMED_QUOTED, `$1$2${REDACTED}$2`)
      .replace(NAMED_BARE, (whole, name: string, separator: string, value: string) =>
        isProse(name, separator, value) ? whole : `${name}${separator}${REDACTED}`,
      )
      .replace(CREDENTIALS, (whole, scheme: string, value: string) =>
        PLAIN_WORD.test(value) ? whole : `${scheme}${REDACTED}`,
      )
      .replace(JWK_MEMBER, `$1${REDACTED}`)
      .replace(JWT_BY_HEADER, REDACTED)
      .replace(JWT_BY_SHAPE, REDACTED)
      .replace(KEY_BYTES, REDACTED)
      .replace(LONG_RUN, redactRun)
  );
}

const PEM_PRIVATE_KEY =
  /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|$)/g;

const URL_USER_INFORMATION = /(:\/\/)[^\s/?#@"'<>]+@/g;

/**
 * A JOSE header or claims set starts with `{"`, or with `{` and white space. A single part of a token is hidden as well,
 * with what stands right before it: a random secret may have such a start in its middle.
 */
const JWT_BY_HEADER =
  /(?<![A-Za-z0-9_+/-])[A-Za-z0-9_+/-]*?(?:eyJ|(?:eyA|ew[ok0])[giJKN])[A-Za-z0-9_+/-]{6,}={0,2}(?:\.[A-Za-z0-9_+/-]*={0,2})*/g;

/** Three to five parts that are longer than the labels of usual host names. */
const JWT_BY_SHAPE =
  /(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{16,}\.(?:[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}|[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})[A-Za-z0-9_.-]*/g;

/** RFC 7617 and RFC 6750 credentials, also after a repeated scheme. */
const CREDENTIALS =
  /((?:(?:Basic|Bearer|DPoP)(?:\s|%20|\+)+)+)([A-Za-z0-9._~+/-][A-Za-z0-9._~+/=%-]*)/gi;

/** "Basic authentication", "token: expired": words of a sentence, not credentials. */
const PLAIN_WORD = /^[a-z]{1,14}[.,]?$/;

const NAMES = [
  'client[-_]?secrets?',
  'client[-_]?assertion',
  '(?:access|refresh|id|session|security|rotation)[-_]?token',
  '(?:private|master|access|api)[-_]?key',
  'secret[-_]?(?:string|binary)',
  'pass(?:phrase|word|wd)',
  'pwd',
  'assertion',
  // Not the "secret" of an ARN (…:123456789012:secret:NAME), which says where a secret is, not what it is.
  '(?<![0-9]:)secret',
  'token',
].join('|');

/** Before a quoted value or a list, and not before a word: "refresh tokens: revoked". "tokens" and "secrets" alone often list names. */
const PLURALS = [
  'client[-_]?assertions',
  '(?:access|refresh|id|session|security)[-_]?tokens',
  '(?:private|master|access|api)[-_]?keys',
  'pass(?:phrase|word)s',
].join('|');

const QUOTE = String.raw`\\*["'\x60]`;
const BETWEEN = String.raw`\s*(?:=>|[:=]|%3[AD])\s*`;
const HEADERS = 'authorization|cookie';

/** Headers whose value goes on to the end of the line. */
const NAMED_WHOLE_LINE = new RegExp(
  `((?:${HEADERS})(?:${QUOTE})?${BETWEEN})(?!\\s|${QUOTE})[^\\r\\n]+`,
  'gi',
);

/** A closing quote has as many backslashes as the opening one; a text that was cut short has none. */
const quotedFrom = (group: number): string => `[\\s\\S]*?(?:(?<!\\\\)\\${group}|$)`;

const NAMED_LIST = new RegExp(
  `((?:${NAMES}|${PLURALS}|${HEADERS})(?:${QUOTE})?${BETWEEN})` +
    `\\[(?:redacted\\]|(?:[\\s,]*(${QUOTE})${quotedFrom(2)})+[\\s,]*\\]?|[^\\]]*(?:\\]|$))`,
  'gi',
);
const NAMED_QUOTED = new RegExp(
  `((?:${NAMES}|${PLURALS}|${HEADERS})(?:${QUOTE})?${BETWEEN})(${QUOTE})${quotedFrom(2)}`,
  'gi',
);
const NAMED_BARE = new RegExp(
  `((?:${NAMES})(?:${QUOTE})?)(${BETWEEN})((?:(?:Basic|Bearer|DPoP)\\s+)*(?:\\[redacted\\]|[^\\s&,;"'\`<>(){}[\\]\\\\])+)`,
  'gi',
);

/** True for a sentence such as "the token: expired", and false for every name that is not a plain word. */
function isProse(name: string, separator: string, value: string): boolean {
  const plain = /^(?:token|secret|password|assertion)$/i.test(name) && separator.endsWith(' ');
  return plain && PLAIN_WORD.test(value);
}

const JWK_MEMBER =
  /((?<![A-Za-z0-9_])(?:d|p|q|dp|dq|qi|k)(?:\\*["'])?\s*[:=]\s*(?:\\*["'])?)[A-Za-z0-9_-]{16,}/g;

/** 32 bytes or more in padded base64: the form of a master key. */
const KEY_BYTES = /(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{42,}={1,2}/g;

const LONG_RUN = /[A-Za-z0-9_+/-]{32,}={0,2}/g;

/** Identifiers that look like a secret and are needed to find an error. */
const PUBLIC_NAME =
  /(?:kid|jkt|x5t(?:#S256)?|thumbprint|digest|etag|version ?id|request ?id|[0-9]:secret)(?:\\*["'])?\s*[:=]?\s*(?:\\*["'])?$/i;

function redactRun(run: string, offset: number, text: string): string {
  const random = /[a-z]/.test(run) && /[A-Z]/.test(run) && /[0-9]/.test(run);
  if (!random) return run;
  // Base64 has a slash in 64 characters; a path has one in eight or so.
  const slashes = run.split('/').length - 1;
  if (slashes > run.length / 16) return run;
  return PUBLIC_NAME.test(text.slice(Math.max(0, offset - 32), offset)) ? run : REDACTED;
}
