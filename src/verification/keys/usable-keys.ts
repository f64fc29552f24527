import { createPublicKey } from 'node:crypto';
import type { JsonWebKey as JWK } from 'node:crypto';
import { isJsonObject, type JsonObject } from '../../tokens/json.js';

/** What a signature algorithm asks of its key (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2). */
interface AlgorithmKey {
  readonly kty: 'RSA' | 'EC' | 'OKP';
  readonly crv?: string;
}

const ALGORITHM_KEYS = {
  RS256: { kty: 'RSA' },
  RS384: { kty: 'RSA' },
  RS512: { kty: 'RSA' },
  PS256: { kty: 'RSA' },
  PS384: { kty: 'RSA' },
  PS512: { kty: 'RSA' },
  ES256: { kty: 'EC', crv: 'P-256' },
  ES384: { kty: 'EC', crv: 'P-384' },
  ES512: { kty: 'EC', crv: 'P-521' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  Ed25519: { kty: 'OKP', crv: 'Ed25519' },
} as const satisfies Record<string, AlgorithmKey>;

/** A signature algorithm that a verifier may allow. Asymmetric ones only: a shared key would let the verifier sign. */
export type SignatureAlgorithm = keyof typeof ALGORITHM_KEYS;

/** Every {@link SignatureAlgorithm}; also what an issuer allows by default. */
export const SIGNATURE_ALGORITHMS: readonly SignatureAlgorithm[] = Object.keys(
  ALGORITHM_KEYS,
) as SignatureAlgorithm[];

/** True for the name of an algorithm that a verifier may allow; names are compared as they are (RFC 7515 §4.1.1). */
export function isSignatureAlgorithm(name: unknown): name is SignatureAlgorithm {
  return typeof name === 'string' && Object.hasOwn(ALGORITHM_KEYS, name);
}

/** The algorithms that a key of this type and curve can verify. */
function algorithmsForKey(kty: unknown, crv: unknown): readonly SignatureAlgorithm[] {
  return SIGNATURE_ALGORITHMS.filter((name) => {
    const wanted: AlgorithmKey = ALGORITHM_KEYS[name];
    return wanted.kty === kty && (wanted.crv === undefined || wanted.crv === crv);
  });
}

/** A JWKS (RFC 7517 §5), sorted into what may be used and what may not. */
export interface KeyDocument {
  readonly usable: readonly UsableKey[];
  readonly ignored: readonly IgnoredKey[];
}

/** A key of a JWKS that may be used, with nothing but its public members, each in its shortest or fixed form. */
export interface UsableKey {
  readonly keyId: string | undefined;
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly jwk: JWK;
}

/** A key of a JWKS that is not used. */
export interface IgnoredKey {
  readonly keyId: string | undefined;
  readonly reason: IgnoredKeyReason;
}

/** Why a key of a JWKS is not used. */
export type IgnoredKeyReason =
  | 'not-an-object'
  | 'unsupported-type'
  | 'private-or-symmetric'
  | 'not-for-signatures'
  | 'algorithm-mismatch'
  | 'weak'
  /** Its private key can be computed from it (CVE-2017-15361). */
  | 'roca'
  | 'malformed'
  | 'duplicate-key-id'
  | 'too-many-keys';

/** More keys than any provider publishes; each one costs an import. */
const MAX_KEYS = 1000;
/** Bounds the list for a document of nothing but junk. */
const MAX_IGNORED = 100;
const MAX_KEY_ID_LENGTH = 256;
const MIN_RSA_BITS = 2048;
/** Verification time grows with the square of the size: a giant key would be a way to keep the process busy. */
const MAX_RSA_BITS = 8192;
const MAX_RSA_EXPONENT_BYTES = 4;

const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'] as const;

/**
 * Sorts the keys of a JWKS. A key that is private, symmetric, weak, for encryption, malformed or unknown is ignored, so
 * that one bad key does not disable the others. Weak are RSA keys under 2048 bits, those with an exponent that protects
 * nothing, and, with a reason of its own, those of CVE-2017-15361 (ROCA).
 *
 * - The same key may be listed repeatedly: with and without certificates, once for each `alg`. It counts as one key with
 *   all of these algorithms. Keys are the same when their RFC 7638 thumbprints would be.
 * - Keys of different types may share an id (RFC 7517 §4.5). Different keys with the same id *and* a common algorithm
 *   conflict: neither is used with that algorithm, as it is open which one is meant.
 * - Members that are `null` or empty count as absent: some serializers write them.
 * - At most 1000 keys are used; `ignored` lists at most 100.
 *
 * @returns `undefined` when the value is not a JWKS.
 */
export function readKeyDocument(value: unknown): KeyDocument | undefined {
  if (!isJsonObject(value)) return undefined;
  const list: unknown = value['keys'];
  if (!Array.isArray(list)) return undefined;
  const ignored: IgnoredKey[] = [];
  const distinct = new Map<string, UsableKey>();
  for (const entry of list as readonly unknown[]) {
    const key = readKey(entry);
    if ('reason' in key) {
      ignored.push(key);
      continue;
    }
    const identity = JSON.stringify([key.keyId, key.jwk]);
    const same = distinct.get(identity);
    if (same !== undefined) distinct.set(identity, withAlgorithms(same, key.algorithms));
    else if (distinct.size < MAX_KEYS) distinct.set(identity, key);
    else ignored.push({ keyId: key.keyId, reason: 'too-many-keys' });
  }
  const usable = withoutConflicts([...distinct.values()], ignored);
  return { usable, ignored: ignored.slice(0, MAX_IGNORED) };
}

function withAlgorithms(key: UsableKey, others: readonly SignatureAlgorithm[]): UsableKey {
  return { ...key, algorithms: [...new Set([...key.algorithms, ...others])] };
}

/** Takes from keys with the same id the algorithms that they have in common; a key that loses all is ignored. */
function withoutConflicts(keys: readonly UsableKey[], ignored: IgnoredKey[]): UsableKey[] {
  const namesakes = countBy(keys.map(({ keyId }) => keyId));
  const sound = keys.filter(({ keyId, jwk }) => {
    if (keyId === undefined || namesakes.get(keyId) === 1 || isImportable(jwk)) return true;
    ignored.push({ keyId, reason: 'malformed' });
    return false;
  });
  const named = sound.filter(({ keyId }) => keyId !== undefined);
  const uses = countBy(
    named.flatMap(({ keyId, algorithms }) => algorithms.map((alg) => `${alg} ${keyId}`)),
  );
  const usable: UsableKey[] = [];
  for (const { keyId, algorithms, jwk } of sound) {
    const isSingle = (alg: SignatureAlgorithm): boolean => uses.get(`${alg} ${keyId}`) === 1;
    const left = keyId === undefined ? algorithms : algorithms.filter(isSingle);
    if (left.length > 0) usable.push({ keyId, algorithms: left, jwk });
    else ignored.push({ keyId, reason: 'duplicate-key-id' });
  }
  return usable;
}

function countBy<Value>(values: readonly Value[]): ReadonlyMap<Value, number> {
  const counts = new Map<Value, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/** Whether the platform accepts the key. Asked only for namesakes: an invalid key must not cost another its id. */
function isImportable(jwk: JWK): boolean {
  try {
    createPublicKey({ key: { ...jwk }, format: 'jwk' });
    return true;
  } catch {
    return false;
  }
}

function readKey(entry: unknown): UsableKey | IgnoredKey {
  if (!isJsonObject(entry)) return { keyId: undefined, reason: 'not-an-object' };
  const keyId = readKeyId(entry['kid']);
  if (keyId === null) return { keyId: undefined, reason: 'malformed' };
  const ignore = (reason: IgnoredKeyReason): IgnoredKey => ({ keyId, reason });

  if (entry['kty'] === 'oct' || SECRET_MEMBERS.some((name) => !isAbsent(entry[name]))) {
    return ignore('private-or-symmetric');
  }
  if (!isForSignatures(entry)) return ignore('not-for-signatures');
  const fitting = algorithmsForKey(entry['kty'], entry['crv']);
  if (fitting.length === 0) return ignore('unsupported-type');
  const own = entry['alg'];
  if (!isAbsent(own) && !(isSignatureAlgorithm(own) && fitting.includes(own))) {
    return ignore('algorithm-mismatch');
  }
  const jwk = publicMembers(entry);
  if (jwk === undefined) return ignore('malformed');
  if (jwk.kty === 'RSA') {
    if (isWeakRsa(jwk)) return ignore('weak');
    if (isRocaModulus(Buffer.from(jwk.n ?? '', 'base64url'))) return ignore('roca');
  }
  // EdDSA with Ed25519 and Ed25519 are two names of one algorithm (RFC 9864 §2.2).
  const algorithms = isAbsent(own) || jwk.kty === 'OKP' ? fitting : [own as SignatureAlgorithm];
  return { keyId, algorithms, jwk };
}

/** A number is read as its decimal digits, as tokens name keys by text. `null` for what cannot be an id. */
function readKeyId(kid: unknown): string | undefined | null {
  if (isAbsent(kid)) return undefined;
  if (Number.isSafeInteger(kid)) return String(kid);
  return typeof kid === 'string' && kid.length <= MAX_KEY_ID_LENGTH ? kid : null;
}

function isAbsent(value: unknown): boolean {
  const isEmptyList = Array.isArray(value) && value.length === 0;
  return value === undefined || value === null || value === '' || isEmptyList;
}

function isForSignatures(entry: JsonObject): boolean {
  const { use, key_ops: operations } = entry;
  return (
    (isAbsent(use) || use === 'sig') &&
    (isAbsent(operations) || (Array.isArray(operations) && operations.includes('verify')))
  );
}

const PUBLIC_MEMBERS = { RSA: ['n', 'e'], EC: ['crv', 'x', 'y'], OKP: ['crv', 'x'] } as const;

/** The bytes of a coordinate, which has leading zeros (RFC 7518 §6.2.1.2), or of a key as a whole (RFC 8037 §2). */
const FIXED_LENGTHS: Readonly<Record<string, number>> = {
  'P-256': 32,
  'P-384': 48,
  'P-521': 66,
  Ed25519: 32,
};

/**
 * Only what makes the public key, in the one way to write it: members such as `ext` and `x5c` must not influence the
 * import, and the same key must look the same however it is written.
 */
function publicMembers(entry: JsonObject): JWK | undefined {
  const kty = entry['kty'] as keyof typeof PUBLIC_MEMBERS;
  // An RSA key may carry a "crv" of null, or any other.
  const length = kty === 'RSA' ? undefined : FIXED_LENGTHS[String(entry['crv'])];
  const jwk: JWK = { kty };
  for (const name of PUBLIC_MEMBERS[kty]) {
    const value = entry[name];
    if (name === 'crv') {
      jwk.crv = String(value);
      continue;
    }
    const bytes = decodeMember(value);
    if (bytes === undefined) return undefined;
    const number = kty === 'OKP' ? bytes : withoutLeadingZeros(bytes);
    if (length !== undefined && number.length > length) return undefined;
    // A key of Ed25519 is no number: one that is too short fails at its import.
    const zeros = kty === 'EC' ? Buffer.alloc((length ?? 0) - number.length) : Buffer.alloc(0);
    jwk[name] = Buffer.concat([zeros, number]).toString('base64url');
  }
  return jwk;
}

/** Base64url, also with the padding and in the alphabet of base64, which some providers write. */
function decodeMember(value: unknown): Buffer | undefined {
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(value)) return undefined;
  const digits = value.replace(/=+$/, '');
  const isPadded = digits.length < value.length;
  if (digits.length % 4 === 1 || (isPadded && value.length % 4 !== 0)) return undefined;
  return Buffer.from(digits, 'base64');
}

function withoutLeadingZeros(bytes: Buffer): Buffer {
  // Of nothing but zeros, the last one is left.
  return bytes.subarray(bytes.findIndex((byte) => byte !== 0));
}

function isWeakRsa(jwk: JWK): boolean {
  const modulus = Buffer.from(jwk.n ?? '', 'base64url');
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return true;
  const exponent = Buffer.from(jwk.e ?? '', 'base64url');
  // With the exponent 1 everybody can sign; an even one is no RSA key at all.
  const isOne = exponent.length === 1 && exponent[0] === 1;
  const isEven = ((exponent.at(-1) ?? 0) & 1) === 0;
  return isOne || isEven || exponent.length > MAX_RSA_EXPONENT_BYTES;
}

/**
 * The odd primes up to 167. A library of chips and smart cards (CVE-2017-15361) made each RSA prime as
 * `k·M + (65537^a mod M)`, where M is the product of at least these and 2; for keys from 2048 bits on, of more.
 */
const PRIMES: readonly number[] = oddPrimes(167);

const GENERATOR = 65_537;

/**
 * Whether an RSA modulus has the form of CVE-2017-15361 ("ROCA": Nemec, Sys, Svenda, Klinec, Matyas: The Return of
 * Coppersmith's Attack, CCS 2017, section 3). The private key of such a public key can be computed.
 *
 * The product of two such primes is a power of 65537 modulo M, and so modulo each prime of it. The exponents for the single
 * primes have to be those of one power: a modulus of another origin passes with a chance below 2^-100.
 *
 * @param modulus unsigned, big-endian: the bytes of `n` (RFC 7518 §6.3.1.1).
 */
export function isRocaModulus(modulus: Uint8Array): boolean {
  const known: Exponent[] = [];
  for (const prime of PRIMES) {
    const exponent = logarithm(remainder(modulus, prime), prime);
    if (exponent === undefined) return false;
    if (!known.every((other) => fits(exponent, other))) return false;
    known.push(exponent);
  }
  return true;
}

/** An exponent of the generator, known but for multiples of the generator's order. */
interface Exponent {
  readonly value: number;
  readonly order: number;
}

/** The exponent that makes the residue of the generator; `undefined` when it is no power of it. */
function logarithm(residue: number, prime: number): Exponent | undefined {
  const base = GENERATOR % prime;
  let found: number | undefined;
  let power = 1;
  let order = 0;
  do {
    if (power === residue) found = order;
    power = (power * base) % prime;
    order += 1;
  } while (power !== 1);
  return found === undefined ? undefined : { value: found, order };
}

/** Whether one number can be both; what fits in pairs fits in all (Chinese remainder theorem). */
function fits(one: Exponent, other: Exponent): boolean {
  return (one.value - other.value) % greatestCommonDivisor(one.order, other.order) === 0;
}

function greatestCommonDivisor(one: number, other: number): number {
  return other === 0 ? one : greatestCommonDivisor(other, one % other);
}

function remainder(bytes: Uint8Array, divisor: number): number {
  return bytes.reduce((rest, byte) => (rest * 256 + byte) % divisor, 0);
}

function oddPrimes(last: number): readonly number[] {
  const primes: number[] = [];
  for (let number = 3; number <= last; number += 2) {
    if (primes.every((prime) => number % prime !== 0)) primes.push(number);
  }
  return primes;
}
