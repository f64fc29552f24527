/**
 * The `Authorization` header of `client_secret_basic`: id and secret form-encoded (RFC 6749 §2.3.1), then as HTTP Basic
 * (RFC 7617).
 *
 * The form encoding is the plain one, which leaves `-`, `_` and `.` as they are. To encode them too is allowed, but some
 * servers do not decode at all, and would then refuse nearly every generated secret.
 */
export function clientSecretBasic(id: string, secret: string): string {
  return `Basic ${btoa(`${formEncode(id)}:${formEncode(secret)}`)}`;
}

function formEncode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1);
}
