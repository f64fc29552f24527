import { lostBody } from '../tokens/bounded-body.js';
import { ProviderError } from './provider-errors.js';
import { safeText } from './safe-text.js';

/** The members of a JSON object that a provider sent. None of them has the type that it should have until it is read. */
export type Members = Readonly<Record<string, unknown>>;

/** What came instead of a JSON object. */
export type NoMembers = 'no-json' | 'no-object' | 'empty' | 'cut short';

/** The JSON object of an answer, whatever its content type says; a byte-order mark is dropped. */
export async function readMembers(response: Response): Promise<Members | NoMembers> {
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
  return isMembers(value) ? value : 'no-object';
}

/** The body, or a part of it, was lost on the way: the next answer may be whole. */
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

/**
 * Passes on what an answer has, unless it was lost on the way. A refusal may be empty, and be meant so.
 *
 * @throws {LostAnswerError}
 */
export function requireWhole<Found extends Members | NoMembers>(
  found: Found,
  subject: string,
  { ok, status }: Response,
): Found {
  if (found === 'cut short' || (ok && found === 'empty')) {
    throw new LostAnswerError(subject, status, found);
  }
  return found;
}

/** What an answer says of a failure, raw: to be compared, and shown only through {@link safeText}. */
export interface Complaint {
  readonly code?: string;
  readonly description?: string;
}

/**
 * What the provider complains about; `undefined` when the answer has no word on it. Known are OAuth (RFC 6749 §5.2), problem
 * details (RFC 9457), Okta's `errorCode` and `errorSummary`, Entra's `error_codes`, Hydra's `error_hint`, AWS's
 * `__type` and `message`, Google's `error` object, and lists of `errors`.
 */
export function complaintOf(members: Members): Complaint | undefined {
  const nested = [members['error'], first(members['errors'])].find(isMembers);
  const { error } = members;
  const code = firstText(
    isMembers(error) ? undefined : error,
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
  // What is particular to this failure must not be cut off behind what is not.
  const description = said === undefined ? undefined : withoutCommonplaces(said) || said;
  if (code === undefined && description === undefined) return undefined;
  return {
    ...(code !== undefined && { code }),
    ...(description !== undefined && description !== code && { description }),
  };
}

/**
 * A complaint in words that may be shown: redacted, on one line, bounded. `undefined` when none of it may be.
 *
 * @param secrets texts that must not appear, not even in part.
 * @param harmless texts that look like secrets and are none, such as the client id.
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
 * The sentences of RFC 6749 §5.2 that some providers (Hydra) put before what they have to say; they name everything that might be
 * wrong.
 */
const COMMONPLACES =
  /Client authentication failed \(e\.g\.,[^)]*\)\.|The request is missing a required parameter, includes an [^.]*\.|The provided authorization grant \(e\.g\.,[^)]*\)[^.]*\.|The requested scope is invalid, unknown, or malformed\./g;

/** What a description says of this failure in particular; empty when it says nothing but the standard's own words. */
export function withoutCommonplaces(description: string): string {
  return description.replace(COMMONPLACES, ' ').trim();
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fieldsOf(value: unknown): Members {
  return isMembers(value) ? value : {};
}

function first(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : undefined;
}

/** More than is ever shown, and little enough to compare with many patterns, in characters. */
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
