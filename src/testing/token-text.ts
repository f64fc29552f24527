import type { TestClaims } from './provider-shapes.js';
import { TestKitError } from './test-kit-error.js';

/** The three parts of a token before they are put together. */
export interface TokenParts {
  readonly header: TestClaims;
  readonly claims: TestClaims | string;
  /** The signature of `header.payload`, in base64url. */
  readonly sign: (input: string) => string;
}

/**
 * Puts a token together (RFC 7515 §7.1). Nothing is checked: what a test asks for is what is written.
 *
 * @throws {TestKitError} for members that are not JSON.
 */
export function writeToken({ header, claims, sign }: TokenParts): string {
  const payload = typeof claims === 'string' ? claims : jsonOf(claims);
  const input = `${base64url(jsonOf(header))}.${base64url(payload)}`;
  return `${input}.${sign(input)}`;
}

/** The members with some replaced; those that are `undefined` are left out. */
export function override(members: TestClaims, changes: TestClaims = {}): TestClaims {
  return Object.fromEntries(
    Object.entries({ ...members, ...changes }).filter(([, value]) => value !== undefined),
  );
}

function jsonOf(members: TestClaims): string {
  for (const [name, value] of Object.entries(members)) {
    // JSON would turn it into null, and the test would be about something else.
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw new TestKitError(
        `"${name}" is no number in JSON. For such a text, give issuer.sign() the claims as text.`,
      );
    }
  }
  return JSON.stringify(members);
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}
