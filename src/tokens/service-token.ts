import { BrokerError } from './errors.js';
import { parseJsonObject, trimPasted } from './json.js';

/** A service token and what the broker knows about it: the content of the token secret. */
export interface ServiceToken {
  /** The JWT itself. */
  readonly accessToken: string;
  /** RFC 6749 §7.1; the broker only keeps bearer tokens. */
  readonly tokenType: 'Bearer';
  /** When it stops being valid, in milliseconds since the Unix epoch. */
  readonly expiresAt: number;
  /** When it was minted, in milliseconds since the Unix epoch. */
  readonly generatedAt: number;
  /** The provider's issuer identifier (`iss`). */
  readonly issuer: string;
  /** The audiences it is meant for (`aud`); empty when the provider's tokens name none. */
  readonly audience: readonly string[];
  /** Its scopes, separated by spaces (RFC 6749 §3.3); empty when it has none, `undefined` when they are not known. */
  readonly scope?: string;
  /** Ids of earlier versions that must not be served any more, whatever life their tokens have. Default: none. */
  readonly withdrawn?: readonly string[];
  /** When the last of their tokens has expired, in milliseconds since the Unix epoch. Default: as long as this one lives. */
  readonly withdrawnUntil?: number;
}

/**
 * The token secret's value does not hold a service token.
 *
 * `code` is `TOKEN_SECRET_EMPTY` before the first rotation has finished (retry), `TOKEN_SECRET_INVALID` when it holds
 * something else (misconfigured), and `TOKEN_WITHDRAWN` when a store gives a version that was withdrawn (retry).
 */
export class TokenSecretError extends BrokerError {}

/** Remaining life in milliseconds; negative when the token has expired. */
export function remainingLife(token: Pick<ServiceToken, 'expiresAt'>, now: number): number {
  return token.expiresAt - now;
}

/**
 * The JSON text kept in the token secret: `access_token`, `token_type`, `expires_at`, `generated_at` (ISO 8601,
 * UTC), `issuer`, `audience`, `scope` when it is known, `withdrawn` and `withdrawn_until` when there are such versions.
 *
 * @param extra further members to keep; they never replace the ones above.
 */
export function serializeServiceToken(
  token: ServiceToken,
  extra: Readonly<Record<string, unknown>> = {},
): string {
  return JSON.stringify({
    ...extra,
    access_token: token.accessToken,
    token_type: token.tokenType,
    expires_at: instantText(token.expiresAt),
    generated_at: instantText(token.generatedAt),
    issuer: token.issuer,
    audience: token.audience.length === 1 ? token.audience[0] : token.audience,
    ...(token.scope !== undefined && { scope: token.scope }),
    ...(token.withdrawn !== undefined && { withdrawn: token.withdrawn }),
    ...(token.withdrawnUntil !== undefined && {
      withdrawn_until: instantText(token.withdrawnUntil),
    }),
  });
}

/** The last instant that a `Date` holds, in milliseconds; a token may outlive it. */
const LAST_INSTANT = 8_640_000_000_000_000;

/** An instant as ISO 8601, never later than it is: a fraction of a millisecond is dropped. */
function instantText(milliseconds: number): string {
  return new Date(Math.min(Math.floor(milliseconds), LAST_INSTANT)).toISOString();
}

/**
 * Reads the token secret's JSON text, trimmed of white space and a byte-order mark, as its texts are. Without a `scope`,
 * the token's own claim counts.
 *
 * @throws {TokenSecretError} `TOKEN_SECRET_EMPTY` for a rotation claim without a token,
 *   `TOKEN_SECRET_INVALID` for everything else that is not a service token. The message names the member at fault,
 *   never its value.
 */
export function parseServiceToken(text: string): ServiceToken {
  const fields = parseJsonObject(text, invalid);
  if (isRotationClaim(fields)) {
    throw new TokenSecretError(
      'TOKEN_SECRET_EMPTY',
      'retry',
      'The token secret holds no service token yet: its first rotation has not finished.',
    );
  }
  if (fields['token_type'] !== undefined && !isBearer(fields['token_type'])) {
    throw invalid('"token_type" must be "Bearer"');
  }
  const accessToken = requireText(fields, 'access_token');
  const scope = scopeOf(fields['scope']) ?? scopeOfJwt(accessToken);
  return {
    accessToken,
    tokenType: 'Bearer',
    expiresAt: requireInstant(fields, 'expires_at'),
    generatedAt: requireInstant(fields, 'generated_at'),
    issuer: requireText(fields, 'issuer'),
    audience: requireAudience(fields),
    ...(scope !== undefined && { scope }),
    ...withdrawnIn(fields['withdrawn'], fields['withdrawn_until']),
  };
}

/** The versions that a token names as withdrawn, and until when that counts. */
export type Withdrawals = Pick<ServiceToken, 'withdrawn' | 'withdrawnUntil'>;

/** What is no list of ids is ignored: whoever edits the secret by hand must not end the service with it. */
function withdrawnIn(value: unknown, until: unknown): Withdrawals {
  const list: unknown[] = Array.isArray(value) ? value : [];
  const withdrawn = list.filter((id) => typeof id === 'string');
  const withdrawnUntil = typeof until === 'string' ? parseInstant(until) : undefined;
  if (withdrawn.length === 0) return {};
  return withdrawnUntil === undefined ? { withdrawn } : { withdrawn, withdrawnUntil };
}

/** More than anybody withdraws in the life of a token. */
const MOST_WITHDRAWN = 100;

/**
 * The versions that a new one has to name as withdrawn: those that the version before it names, while any of their tokens
 * lives and a cache may hold it, and that version itself if it is being withdrawn. The newest come first. Pure.
 *
 * @param before the version that is replaced; without `expiresAt` when it holds no token.
 * @param withdraws whether it is withdrawn.
 */
export function nextWithdrawals(
  before: Withdrawals & { readonly versionId: string; readonly expiresAt?: number },
  withdraws: boolean,
  now: number,
): Withdrawals {
  const until = before.withdrawnUntil ?? before.expiresAt ?? 0;
  const kept = until > now ? (before.withdrawn ?? []) : [];
  const names = new Set(withdraws ? [before.versionId, ...kept] : kept);
  if (names.size === 0) return {};
  const ends = [...(kept.length > 0 ? [until] : []), ...(withdraws ? [before.expiresAt] : [])];
  const known = ends.filter((end) => end !== undefined);
  return {
    withdrawn: [...names].slice(0, MOST_WITHDRAWN),
    ...(known.length > 0 && { withdrawnUntil: Math.max(...known) }),
  };
}

/**
 * Whether a version that was made earlier names all that {@link nextWithdrawals} wants. Pure.
 *
 * @param next the new version.
 */
export function keepsWithdrawals(
  next: Withdrawals,
  ...replaced: Parameters<typeof nextWithdrawals>
): boolean {
  const named = next.withdrawn ?? [];
  const wanted = nextWithdrawals(...replaced).withdrawn ?? [];
  return wanted.every((id) => named.includes(id));
}

/**
 * Scopes as a claim, a token response or a request writes them, separated by single spaces: from a text, or from a list of texts.
 * Names that cannot be scopes (RFC 6749 §3.3) are left out. `undefined` for everything else, null included.
 */
export function scopeOf(value: unknown): string | undefined {
  const texts: unknown[] = Array.isArray(value) ? value : [value];
  if (!texts.every((text) => typeof text === 'string')) return undefined;
  const names = texts.flatMap((text) => text.split(/\s/)).filter((name) => SCOPE_NAME.test(name));
  return [...new Set(names)].join(' ');
}

const SCOPE_NAME = /^[\x21\x23-\x5B\x5D-\x7E]+$/;

/** The scopes that a token's claims name: `scope` (RFC 9068 §2.2.3), or `scp` as Okta and Entra ID call it. */
export function scopeOfClaims(claims: Readonly<Record<string, unknown>>): string | undefined {
  return scopeOf(claims['scope']) ?? scopeOf(claims['scp']);
}

function scopeOfJwt(accessToken: string): string | undefined {
  const [, payload = ''] = accessToken.split('.');
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    return scopeOfClaims({ ...(claims as object | null) });
  } catch {
    // Not a JWT; that is checked elsewhere.
    return undefined;
  }
}

/** The member that marks a version as a claim: "this process is minting". */
const CLAIM_MEMBER = 'rotation_claim';

/**
 * The JSON text of a claim: the version that a replica writes before it mints, so that one slot is minted once.
 *
 * @param owner random identifier of the claiming process.
 * @param claimedAt milliseconds since the Unix epoch.
 */
export function serializeRotationClaim(owner: string, claimedAt: number): string {
  return JSON.stringify({
    [CLAIM_MEMBER]: owner,
    claimed_at: new Date(claimedAt).toISOString(),
  });
}

/** The content of a claim. */
interface RotationClaim {
  /** Random identifier of the process that made it. */
  readonly owner: string;
  /** When it was made, in milliseconds since the Unix epoch; `undefined` when unreadable. */
  readonly claimedAt: number | undefined;
}

/** Reads the JSON text of a claim; `undefined` for a text that is not one. */
export function parseRotationClaim(text: string): RotationClaim | undefined {
  const fields = parseJsonObject(text, invalid);
  if (!isRotationClaim(fields)) return undefined;
  const instant = Date.parse(String(fields['claimed_at']));
  return {
    owner: String(fields[CLAIM_MEMBER]),
    claimedAt: Number.isFinite(instant) ? instant : undefined,
  };
}

function isRotationClaim(fields: Record<string, unknown>): boolean {
  return typeof fields[CLAIM_MEMBER] === 'string' && fields['access_token'] === undefined;
}

function requireText(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  const text = typeof value === 'string' ? trimPasted(value) : '';
  if (text === '') throw invalid(`"${name}" must be a non-empty string`);
  return text;
}

function requireInstant(fields: Record<string, unknown>, name: string): number {
  const instant = parseInstant(requireText(fields, name));
  if (instant === undefined) {
    throw invalid(`"${name}" must be an ISO 8601 instant, such as 2026-11-22T03:00:00Z`);
  }
  return instant;
}

const ISO_INSTANT =
  /^(?<date>(?:\d{4}|[+-]\d{6})-\d{2}-\d{2})[Tt ](?<time>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(?<zone>[Zz]|[+-]\d{2}:?\d{2})?$/;

/**
 * An instant of ISO 8601, in milliseconds since the Unix epoch. Without an offset it is UTC, as the token secret has
 * it: the machine's time zone must not decide how long a token is served. Other formats that `Date.parse` accepts are
 * rejected, because month and day may be swapped.
 */
function parseInstant(text: string): number | undefined {
  const { date, time, zone = 'Z' } = ISO_INSTANT.exec(text)?.groups ?? {};
  if (date === undefined) return undefined;
  const offset = zone.toUpperCase().replace(/^([+-]\d{2})(\d{2})$/, '$1:$2');
  const instant = Date.parse(`${date}T${time}${offset}`);
  return Number.isFinite(instant) ? instant : undefined;
}

function requireAudience(fields: Record<string, unknown>): readonly string[] {
  const value = fields['audience'];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (!list.every((item) => typeof item === 'string' && item !== '')) {
    throw invalid('"audience" must be a non-empty string, or a list of them');
  }
  return list as string[];
}

function isBearer(value: unknown): boolean {
  return typeof value === 'string' && value.toLowerCase() === 'bearer';
}

function invalid(what: string): TokenSecretError {
  return new TokenSecretError(
    'TOKEN_SECRET_INVALID',
    'misconfigured',
    `The token secret does not hold a service token: ${what}. Rotate to write a good one.`,
  );
}
