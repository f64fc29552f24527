import type { JWK } from 'jose';
import { algorithmsForKey, isSignatureAlgorithm, type SignatureAlgorithm } from '../algorithms.js';
import { isJsonObject, type JsonObject } from '../parse/strict-json.js';

/** Why a key of a JWKS is not used. */
export type IgnoredKeyReason =
  | 'not-an-object'
  | 'unsupported-type'
  | 'private-or-symmetric'
  | 'not-for-signatures'
  | 'algorithm-mismatch'
  | 'weak'
  | 'malformed'
  | 'duplicate-key-id';

/** A key of a JWKS that is not used. */
export interface IgnoredKey {
  readonly keyId: string | undefined;
  readonly reason: IgnoredKeyReason;
}

/** A key of a JWKS that may be used, with nothing but its public members. */
export interface UsableKey {
  readonly keyId: string | undefined;
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly jwk: JWK;
}

/** A JWKS (RFC 7517 §5), sorted into what may be used and what may not. */
export interface KeyDocument {
  readonly usable: readonly UsableKey[];
  readonly ignored: readonly IgnoredKey[];
}

/** More keys than any provider publishes; each one costs an import. */
const MAX_KEYS = 100;
const MAX_KEY_ID_LENGTH = 256;
const MIN_RSA_BITS = 2048;
/** Verification time grows with the square of the size: a giant key would be a way to keep the process busy. */
const MAX_RSA_BITS = 8192;
const MAX_RSA_EXPONENT_BYTES = 4;

const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'] as const;

/**
 * Sorts the keys of a JWKS. A key that is private, symmetric, weak, for encryption or unknown is ignored, so that one
 * odd key does not take the others away. Of several usable keys with the same id none is used: nobody could say which
 * one is meant.
 *
 * @returns `undefined` when the value is not a JWKS, or has more than 100 keys.
 */
export function readKeyDocument(value: unknown): KeyDocument | undefined {
  if (!isJsonObject(value)) return undefined;
  const list: unknown = value['keys'];
  if (!Array.isArray(list) || list.length > MAX_KEYS) return undefined;
  const usable: UsableKey[] = [];
  const ignored: IgnoredKey[] = [];
  for (const entry of list as readonly unknown[]) {
    const result = readKey(entry);
    if ('reason' in result) ignored.push(result);
    else usable.push(result);
  }
  const twice = repeatedIds(usable);
  const isTwice = (key: UsableKey): boolean => key.keyId !== undefined && twice.has(key.keyId);
  for (const key of usable.filter(isTwice)) {
    ignored.push({ keyId: key.keyId, reason: 'duplicate-key-id' });
  }
  return { usable: usable.filter((key) => !isTwice(key)), ignored };
}

function repeatedIds(keys: readonly UsableKey[]): ReadonlySet<string> {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const { keyId } of keys) {
    if (keyId === undefined) continue;
    if (seen.has(keyId)) twice.add(keyId);
    seen.add(keyId);
  }
  return twice;
}

function readKey(entry: unknown): UsableKey | IgnoredKey {
  if (!isJsonObject(entry)) return { keyId: undefined, reason: 'not-an-object' };
  const { kid } = entry;
  const keyId =
    typeof kid === 'string' && kid !== '' && kid.length <= MAX_KEY_ID_LENGTH ? kid : undefined;
  const ignore = (reason: IgnoredKeyReason): IgnoredKey => ({ keyId, reason });

  if (kid !== undefined && keyId === undefined) return ignore('malformed');
  if (entry['kty'] === 'oct' || SECRET_MEMBERS.some((name) => Object.hasOwn(entry, name))) {
    return ignore('private-or-symmetric');
  }
  if (!isForSignatures(entry)) return ignore('not-for-signatures');
  const fitting = algorithmsForKey(entry['kty'], entry['crv']);
  if (fitting.length === 0) return ignore('unsupported-type');
  const own = entry['alg'];
  if (own !== undefined && !(isSignatureAlgorithm(own) && fitting.includes(own))) {
    return ignore('algorithm-mismatch');
  }
  const jwk = publicMembers(entry);
  if (jwk === undefined) return ignore('malformed');
  if (jwk.kty === 'RSA' && isWeakRsa(jwk)) return ignore('weak');
  return { keyId, algorithms: own === undefined ? fitting : [own], jwk };
}

function isForSignatures(entry: JsonObject): boolean {
  const operations = entry['key_ops'];
  return (
    (entry['use'] === undefined || entry['use'] === 'sig') &&
    (operations === undefined || (Array.isArray(operations) && operations.includes('verify')))
  );
}

const PUBLIC_MEMBERS = { RSA: ['n', 'e'], EC: ['crv', 'x', 'y'], OKP: ['crv', 'x'] } as const;

/** Only what makes the public key: members such as `ext` and `x5c` must not influence the import. */
function publicMembers(entry: JsonObject): JWK | undefined {
  const kty = entry['kty'] as keyof typeof PUBLIC_MEMBERS;
  const jwk: JWK = { kty };
  for (const name of PUBLIC_MEMBERS[kty]) {
    const value = entry[name];
    if (typeof value !== 'string' || !/^[A-Za-z0-9_-]+$/.test(value)) return undefined;
    jwk[name] = value;
  }
  return jwk;
}

function isWeakRsa(jwk: JWK): boolean {
  const modulus = significantBytes(jwk.n ?? '');
  const bits = modulus.length === 0 ? 0 : modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return true;
  const exponent = significantBytes(jwk.e ?? '');
  // With the exponent 1 everybody can sign; an even one is no RSA key at all.
  const isOne = exponent.length === 1 && exponent[0] === 1;
  const isEven = ((exponent.at(-1) ?? 0) & 1) === 0;
  return isOne || isEven || exponent.length > MAX_RSA_EXPONENT_BYTES;
}

/** The bytes of a big-endian number without leading zeros. */
function significantBytes(base64url: string): Uint8Array {
  const bytes = Buffer.from(base64url, 'base64url');
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? bytes.subarray(bytes.length) : bytes.subarray(first);
}
