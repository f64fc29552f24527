import { errorAnswer, type EndpointAnswer, type EndpointRequest } from './http.js';

/** The largest form that is read, in bytes. A token request has a few hundred. */
export const MAX_FORM_BYTES = 16_384;

/** The parameters of a token request: every value that was sent, none of them empty. */
export type Form = ReadonlyMap<string, readonly string[]>;

/** What may be sent more than once: RFC 8707 §2 for `resource`, and the like for `audience`. */
const REPEATABLE = new Set(['resource', 'audience']);

/**
 * The form of a token request (RFC 6749 §3.2), or the refusal of what is not one. The body comes from the framework's
 * parser: an object of strings, and of arrays for repeated parameters.
 *
 * A parameter without a value counts as left out (RFC 6749 §3.2).
 */
export function readForm(request: EndpointRequest): Form | EndpointAnswer {
  const [type = ''] = request.headers['content-type'] ?? [];
  if (type.split(';', 1)[0]?.trim().toLowerCase() !== 'application/x-www-form-urlencoded') {
    return malformed('The body must be a form: Content-Type application/x-www-form-urlencoded.');
  }
  if (Number(request.headers['content-length']?.[0] ?? 0) > MAX_FORM_BYTES) {
    return errorAnswer(413, 'invalid_request', `A form has at most ${MAX_FORM_BYTES} bytes.`);
  }
  const body = request.body ?? {};
  if (typeof body !== 'object' || Array.isArray(body)) {
    return malformed('The body is not a form.');
  }
  const form = new Map<string, readonly string[]>();
  for (const [name, sent] of Object.entries(body)) {
    const values: unknown[] = Array.isArray(sent) ? sent : [sent];
    if (!values.every(isWellFormed)) return malformed('The form is malformed.');
    const filled = values.filter((value) => value !== '');
    if (values.length > 1 && !REPEATABLE.has(name)) {
      // The name is the sender's text, and is not repeated.
      return malformed('A parameter is given more than once.');
    }
    if (filled.length > 0) form.set(name, filled);
  }
  return form;
}

/** The value of a parameter, the first one when there are several. */
export function parameterOf(form: Form, name: string): string | undefined {
  return form.get(name)?.[0];
}

/**
 * Parsers leave an escape that is none, or whose bytes are not UTF-8, as it was, or put U+FFFD in its place. No
 * parameter of a token request has use for a text that looks like either.
 */
function isWellFormed(value: unknown): value is string {
  if (typeof value !== 'string' || value.includes('\uFFFD')) return false;
  try {
    decodeURIComponent(value);
    return true;
  } catch {
    return false;
  }
}

function malformed(description: string): EndpointAnswer {
  return errorAnswer(400, 'invalid_request', description);
}
