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
