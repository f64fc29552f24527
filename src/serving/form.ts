import { isJsonObject } from '../tokens/json.js';
import type { FormParameter } from './answers.js';
import {
  errorAnswer,
  methodNotAllowed,
  type EndpointAnswer,
  type EndpointRequest,
} from './endpoint.js';

/** The largest form that is accepted, in bytes. A token request has a few hundred. */
const MAX_FORM_BYTES = 16_384;

/** The parameters of a request: every value that was sent and is not empty. */
export type Form = ReadonlyMap<string, readonly string[]>;

/** Parameters that may be sent more than once: `resource` (RFC 8707 §2), and so `audience`. */
const REPEATABLE = new Set(['resource', 'audience']);

/**
 * The form of a request by POST (RFC 6749 §3.2), or the refusal of what is not one. The framework has parsed the body into
 * an object of strings, with arrays for repeated parameters. Parameters without a value count as left out (RFC 6749
 * §3.2).
 */
export function readForm(request: EndpointRequest): Form | EndpointAnswer {
  if (request.method !== 'POST') return methodNotAllowed(['POST']);
  if (request.url.includes('?')) {
    return malformed('Parameters go into the body, never into the URL.');
  }
  const [type = ''] = request.headers['content-type'] ?? [];
  if (type.split(';', 1)[0]?.trim().toLowerCase() !== 'application/x-www-form-urlencoded') {
    return malformed('The body must be a form: Content-Type application/x-www-form-urlencoded.');
  }
  if (Number(request.headers['content-length']?.[0] ?? 0) > MAX_FORM_BYTES) {
    return errorAnswer(413, 'invalid_request', `A form has at most ${MAX_FORM_BYTES} bytes.`);
  }
  const body = request.body ?? {};
  if (!isJsonObject(body)) {
    return malformed('The body is not a form.');
  }
  const form = new Map<string, readonly string[]>();
  for (const [name, sent] of Object.entries(body)) {
    const values: unknown[] = Array.isArray(sent) ? sent : [sent];
    if (!values.every(isWellFormed)) return malformed('The form is malformed.');
    const filled = values.filter((value) => value !== '');
    if (values.length > 1 && !REPEATABLE.has(name)) {
      // Does not repeat the name, which the caller chose.
      return malformed('A parameter is given more than once.');
    }
    if (filled.length > 0) form.set(name, filled);
  }
  return form;
}

/** The value of a parameter, the first one when there are several. */
export function parameterOf(form: Form, name: FormParameter): string | undefined {
  return form.get(name)?.[0];
}

/**
 * Parsers keep an invalid percent-escape unchanged, or replace it by U+FFFD. No valid parameter of a token request looks
 * like either.
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

/** The refusal of a form with the `client_id` of another peer (RFC 6749 §2.3: one client, one way of authentication). */
export function namesOther(form: Form, peerId: string): EndpointAnswer | undefined {
  const id = parameterOf(form, 'client_id');
  if (id === undefined || id === peerId) return undefined;
  return errorAnswer(400, 'invalid_request', '"client_id" names another client than the header.');
}
