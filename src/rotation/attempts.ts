import type { SecretStore } from '../secrets/secret-store.js';
import { findVersion } from './claim.js';
import { RotationError } from './rotation-error.js';
import { versionIdOf } from './version-id.js';

/** The version that a rotation for a key has to work on. */
export interface Attempt {
  readonly versionId: string;
  /** `new`: nothing has that id yet. `staged`: it is AWSPENDING, to be adopted. `done`: it is AWSCURRENT. */
  readonly state: 'new' | 'staged' | 'done';
}

/** Attempts at one key whose versions were given up; a provider that mints nothing usable ends there. */
const MOST_ATTEMPTS = 100;

/**
 * The first of the key's attempts that was not given up. Each version is read by its id, labels included: a description
 * that is older than the read would take a version for given up that was just staged.
 *
 * @throws {RotationError} `ROTATION_ATTEMPTS_EXHAUSTED`, or what the store says.
 */
export async function nextAttempt(
  store: SecretStore,
  tokenSecretId: string,
  key: string,
): Promise<Attempt> {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt += 1) {
    const versionId = versionIdOf(tokenSecretId, key, attempt);
    const version = await findVersion(store, tokenSecretId, versionId);
    if (version === undefined) return { versionId, state: 'new' };
    if (version.labels.includes('AWSCURRENT')) return { versionId, state: 'done' };
    if (version.labels.includes('AWSPENDING')) return { versionId, state: 'staged' };
  }
  throw new RotationError(
    'ROTATION_ATTEMPTS_EXHAUSTED',
    `${MOST_ATTEMPTS} versions were staged for "${key}" and given up: the provider mints no token that receivers would accept. See the log of the earlier attempts.`,
  );
}
