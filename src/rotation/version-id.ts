import { createHash } from 'node:crypto';

/** The namespace of this package's name-based UUIDs; a constant, so that every replica computes the same ids. */
const NAMESPACE = Buffer.from('6f1c2b1e8f0b4a44a5bb0d5c2e8f7a31', 'hex');

/**
 * A name-based UUID, version 5 (RFC 9562 §5.5), of the given parts.
 *
 * The parts are joined in a way that no two lists share, so `['a', 'bc']` and `['ab', 'c']` differ.
 */
export function nameBasedUuid(parts: readonly string[]): string {
  const hash = createHash('sha1').update(NAMESPACE).update(JSON.stringify(parts)).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString('hex', 0, 16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20, 32),
  ].join('-');
}

/**
 * The version id of one attempt at a rotation.
 *
 * It is the same in every replica, so that those which run the same rotation meet in the store. A version's value can
 * never be changed, so an attempt whose version was given up is followed by the next number.
 *
 * @param rotationKey what is being rotated for, see {@link slotKey}, {@link earlyKey} and {@link manualKey}.
 */
export function versionIdOf(secretId: string, rotationKey: string, attempt: number): string {
  return nameBasedUuid(['version', secretId, rotationKey, String(attempt)]);
}

/** The id of the n-th claim on minting for a version. */
export function claimIdOf(versionId: string, turn: number): string {
  return nameBasedUuid(['claim', versionId, String(turn)]);
}

/** The key of a slot: one interval of the schedule, named by the instant it starts at. */
export function slotKey(slotStart: number): string {
  return `slot ${new Date(slotStart).toISOString()}`;
}

/** The key of a rotation because the current version's life runs out, or receivers refuse it; each is followed up once. */
export function earlyKey(currentVersionId: string | undefined): string {
  return `early ${currentVersionId ?? 'none'}`;
}

/**
 * The key of a request to Secrets Manager because the current version's life runs out, or receivers refuse it.
 *
 * @param windowStart replicas that ask within the same stretch of time ask for the same; its start, in milliseconds.
 */
export function watchdogKey(currentVersionId: string | undefined, windowStart: number): string {
  return `watchdog ${currentVersionId ?? 'none'} ${new Date(windowStart).toISOString()}`;
}

/**
 * The key of a rotation that somebody asked for.
 *
 * @param what the version that is to be replaced, so that all who ask for that do it once; or a random id for a rotation of
 *   its own.
 */
export function manualKey(what: string): string {
  return `manual ${what}`;
}
