import { bareError, connectionFailure, lostBody } from '../tokens/http.js';
import { proxyErrorOf } from '../tokens/proxy-error.js';
import { isJsonObject, type JsonObject } from '../tokens/json.js';
import { looksSecret } from '../tokens/redaction.js';
import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';

/** Every way in which minting fails, with who has to act. */
const KINDS = {
  /** No issuer in the configuration, nor in the credentials secret. */
  PROVIDER_ISSUER_MISSING: 'misconfigured',
  /** A setting is not a usable URL. */
  PROVIDER_SETTINGS_INVALID: 'misconfigured',
  /** Plain HTTP to another machine. */
  PROVIDER_INSECURE: 'misconfigured',
  /** Discovery found no metadata of an authorization server. */
  PROVIDER_DISCOVERY_FAILED: 'misconfigured',
  /** Discovery describes another issuer than the configured one. */
  PROVIDER_ISSUER_MISMATCH: 'misconfigured',
  /** The setting, or the provider, does not allow credentials of this kind. */
  PROVIDER_AUTHENTICATION_UNSUPPORTED: 'misconfigured',
  /** The provider does not accept the client id with its secret or key. */
  PROVIDER_INVALID_CLIENT: 'misconfigured',
  /** The provider knows the client and refuses its request. */
  PROVIDER_REFUSED: 'misconfigured',
  /** The provider answers with a redirect, which is never followed. */
  PROVIDER_REDIRECTED: 'misconfigured',
  /** The response is not JSON; most often it is a web page. */
  PROVIDER_NOT_JSON: 'misconfigured',
  /** The response is not a token response: another path of the provider, other JSON, or too large. */
  PROVIDER_RESPONSE_INVALID: 'misconfigured',
  /** The token is opaque or encrypted, so that no service can verify it. */
  PROVIDER_TOKEN_NOT_JWT: 'misconfigured',
  /** No trusted TLS connection. */
  PROVIDER_TLS_FAILED: 'misconfigured',
  /** The proxy on the way does not let the request through. */
  PROVIDER_PROXY_REFUSED: 'misconfigured',
  /** Too many requests: status 429, or an error code that says so. */
  PROVIDER_THROTTLED: 'retry',
  /** No complete answer in time. */
  PROVIDER_TIMEOUT: 'retry',
  /** Not reachable, or failing internally. */
  PROVIDER_UNAVAILABLE: 'retry',
  /** What proves the broker's identity (a file, a certificate, a KMS key, an AWS role) cannot be used. */
  CLIENT_PROOF_INVALID: 'misconfigured',
  /** It cannot be used at the moment. */
  CLIENT_PROOF_UNAVAILABLE: 'retry',
  /** The client library failed in an unforeseen way. */
  PROVIDER_UNEXPECTED: 'bug',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link ProviderError}. */
export type ProviderErrorCode = keyof typeof KINDS;

/**
 * The provider did not mint, or could not be asked. Messages name endpoints, statuses and settings, and repeat the
 * provider's explanation, redacted and bounded; never a secret, a token, or another part of a response.
 */
export class ProviderError extends BrokerError {
  declare readonly code: ProviderErrorCode;

  constructor(code: ProviderErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}

/** True for a {@link ProviderError} with one of the codes. */
export function isProviderError(
  error: unknown,
  ...codes: readonly ProviderErrorCode[]
): error is ProviderError {
  return error instanceof ProviderError && codes.includes(error.code);
}

/** The body, or a part of it, was lost on the way: the next response may be complete. */
export class LostAnswerError extends ProviderError {
  /** @param subject what answered: "The provider's token endpoint". */
  constructor(subject: string, status: number, lost: 'empty' | 'cut short') {
    super(
      'PROVIDER_UNAVAILABLE',
      `${subject} sent an answer that is ${lost} (status ${status}). Something between here and the provider lost it, or the ` +
        'provider fails. If it stays so, compare the URL with the one that the provider documents.',
    );
    this.name = 'ProviderError';
  }
}

/** What a server's TLS says about a client certificate (RFC 8446 §6.2). */
const CERTIFICATE_ALERT =
  /^ERR_SSL_\w*ALERT_(?:\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR|HANDSHAKE_FAILURE)$/;

/**
 * A failed fetch as a {@link ProviderError}.
 *
 * @param hasCertificate whether a client certificate was offered.
 */
export function connectionError(
  error: unknown,
  subject: string,
  hasCertificate = false,
): ProviderError {
  const refusal = proxyErrorOf(error);
  if (refusal !== undefined) {
    const { kind, why, advice, retryAfterSeconds } = refusal;
    return new ProviderError(
      kind === 'retry' ? 'PROVIDER_UNAVAILABLE' : 'PROVIDER_PROXY_REFUSED',
      `${subject} cannot be reached: ${why}. ${advice}`,
      { cause: refusal, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) },
    );
  }
  const failure = connectionFailure(error);
  if (failure === undefined) return unexpected(error);
  if (failure.kind === 'tls' && hasCertificate && CERTIFICATE_ALERT.test(failure.code)) {
    return new ProviderError(
      'PROVIDER_INVALID_CLIENT',
      `${subject} does not accept the client certificate (${failure.code}). Does the provider trust its authority, and is it the ` +
        'certificate, or the subject, that is registered for this client?',
    );
  }
  if (failure.kind === 'tls' && /demands a client certificate/.test(failure.why)) {
    return new ProviderError(
      'PROVIDER_TLS_FAILED',
      `${subject} offers no trusted TLS connection: ${failure.why}. If it is meant for mutual TLS, set ` +
        'BROKER_CLIENT_AUTHENTICATION to mtls, with a certificate; otherwise use an address that does not demand one.',
    );
  }
  if (failure.kind === 'tls') {
    return new ProviderError(
      'PROVIDER_TLS_FAILED',
      `${subject} offers no trusted TLS connection: ${failure.why}. ${failure.advice}`,
    );
  }
  return new ProviderError('PROVIDER_UNAVAILABLE', `${subject} cannot be reached: ${failure.why}.`);
}

/**
 * An error of the client library or the runtime that fits no other code. Such errors carry whole responses in their
 * causes and may quote bodies in their messages: only the name and the stack frames are kept.
 */
function unexpected(error: unknown): ProviderError {
  const cause = bareError(error);
  return new ProviderError(
    'PROVIDER_UNEXPECTED',
    `Talking to the provider failed in an unforeseen way (${cause.message}). Please report it with its stack.`,
    { cause },
  );
}

/** What came instead of a JSON object. */
type NoMembers = 'no-json' | 'no-object' | 'empty' | 'cut short';

/** The JSON object of an answer, whatever its content type says; a byte-order mark is dropped. */
export async function readMembers(response: Response): Promise<JsonObject | NoMembers> {
  const text = await response.text();
  const lost = lostBody(text);
  if (lost !== undefined) return lost;
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF+/, ''));
  } catch {
    // The parser's message quotes the text.
    return 'no-json';
  }
  return isJsonObject(value) ? value : 'no-object';
}

/**
 * Returns the members, unless the body was lost on the way. A refusal may be empty on purpose.
 *
 * @throws {LostAnswerError}
 */
export function requireWhole<Found extends JsonObject | NoMembers>(
  found: Found,
  subject: string,
  { ok, status }: Response,
): Found {
  if (found === 'cut short' || (ok && found === 'empty')) {
    throw new LostAnswerError(subject, status, found);
  }
  return found;
}

/** What a response says about a failure, raw: to be compared, and shown only through {@link safeText}. */
export interface Complaint {
  readonly code?: string;
  readonly description?: string;
}

/**
 * What the provider complains about; `undefined` when the response does not say. Known are OAuth (RFC 6749 §5.2), problem
 * details (RFC 9457), Okta's `errorCode` and `errorSummary`, Entra's `error_codes`, Hydra's `error_hint`, AWS's
 * `__type` and `message`, Google's `error` object, and lists of `errors`.
 */
export function complaintOf(members: JsonObject): Complaint | undefined {
  const nested = [members['error'], first(members['errors'])].find(isJsonObject);
  const { error } = members;
  const code = firstText(
    isJsonObject(error) ? undefined : error,
    members['errorCode'],
    members['__type'],
    nested?.['status'],
    nested?.['code'],
    members['code'],
    entraCode(members['error_codes']),
    members['title'],
  );
  const said = firstText(
    join(members['error_description'], members['error_hint']),
    join(members['errorSummary'], fieldsOf(first(members['errorCauses']))['errorSummary']),
    members['detail'],
    members['message'],
    members['Message'],
    nested?.['message'],
    nested?.['detail'],
    nested?.['title'],
    first(members['errors']),
    members['title'],
    entraCode(members['error_codes']),
  );
  // The words about this failure must not be cut off behind the standard's.
  const description = said === undefined ? undefined : withoutCommonplaces(said) || said;
  if (code === undefined && description === undefined) return undefined;
  return {
    ...(code !== undefined && { code }),
    ...(description !== undefined && description !== code && { description }),
  };
}

/**
 * A complaint in words that may be shown: redacted, on one line, bounded. `undefined` when nothing may be shown.
 *
 * @param secrets texts that must not appear, not even in part.
 * @param harmless texts that only look like secrets, such as the client id.
 */
export function shownComplaint(
  { code, description }: Complaint,
  secrets: readonly string[] = [],
  harmless: readonly string[] = [],
): string | undefined {
  const shown = [code, description].map((text) => safeText(text, secrets, harmless));
  const said = shown.filter((text) => text !== undefined).join(': ');
  return said === '' ? undefined : said;
}

/**
 * The sentences of RFC 6749 §5.2 that some providers (Hydra) put before their own; they name everything that might be
 * wrong.
 */
const COMMONPLACES =
  /Client authentication failed \(e\.g\.,[^)]*\)\.|The request is missing a required parameter, includes an [^.]*\.|The provided authorization grant \(e\.g\.,[^)]*\)[^.]*\.|The requested scope is invalid, unknown, or malformed\./g;

/** What a description says about this failure; empty when it has only the standard's sentences. */
export function withoutCommonplaces(description: string): string {
  return description.replace(COMMONPLACES, ' ').trim();
}

function fieldsOf(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {};
}

function first(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : undefined;
}

/** More than is ever shown, and short enough to compare with many patterns, in characters. */
const MAX_TEXT = 2_000;

function firstText(...candidates: readonly unknown[]): string | undefined {
  const found = candidates.find(
    (value) => (typeof value === 'string' && value.trim() !== '') || typeof value === 'number',
  );
  const text = typeof found === 'number' ? String(found) : found;
  return typeof text === 'string' ? text.slice(0, MAX_TEXT) : undefined;
}

function entraCode(codes: unknown): string | undefined {
  const code = first(codes);
  return typeof code === 'number' ? `AADSTS${code}` : undefined;
}

function join(...parts: readonly unknown[]): string | undefined {
  const texts = parts.filter((part) => typeof part === 'string' && part !== '');
  return texts.length === 0 ? undefined : texts.join(' ');
}

/** The longest provider text in a message, in characters. */
const LIMIT = 300;

/** The shortest part of a secret that counts as the secret. */
const WINDOW = 8;

/**
 * A provider's text if it may stand in a message: printable ASCII, bounded, and free of everything that looks like a
 * token or is part of a secret. `undefined` when it may not, or is empty.
 *
 * @param secrets texts that must not appear, not even in part.
 * @param harmless texts that only look like tokens, such as the client id.
 */
export function safeText(
  text: unknown,
  secrets: readonly string[] = [],
  harmless: readonly string[] = [],
): string | undefined {
  if (typeof text !== 'string') return undefined;
  // Line breaks would let the provider forge log lines.
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

// Stricter than the redaction of our logs, because no identifier is needed here.
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
