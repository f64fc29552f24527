import { afterEach, beforeAll, beforeEach } from '@jest/globals';
import {
  createRemoteKeySet,
  type RemoteKeySet,
  type RemoteKeySetOptions,
} from '../../../src/verification/keys/remote-key-set.js';
import type { VerificationKey } from '../../../src/verification/keys/key-set.js';
import { JwksServer } from './jwks-server.js';
import { ManualClock } from './manual-clock.js';
import { createSigner, type Signer } from './signer.js';

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;

/** What {@link RemoteKeySet.find} rejects with: the issuer has no such key. */
export const UNKNOWN = { code: 'TOKEN_KEY_UNKNOWN', kind: 'rejected' };
/** What it rejects with: nobody can tell now. */
export const UNAVAILABLE = { code: 'KEYS_UNAVAILABLE', kind: 'retry' };

/** A provider that publishes `first`, and a clock; both are new for each test. */
export interface KeyBench {
  readonly first: Signer;
  readonly second: Signer;
  readonly server: JwksServer;
  readonly clock: ManualClock;
  create(options?: Partial<RemoteKeySetOptions>): RemoteKeySet;
}

/** Sets up a {@link KeyBench} for each test of the file. */
export function useKeyBench(): () => KeyBench {
  let signers: readonly [Signer, Signer];
  let bench: KeyBench;
  beforeAll(async () => {
    signers = [await createSigner('first'), await createSigner('second')];
  });
  beforeEach(async () => {
    const [first, second] = signers;
    const clock = new ManualClock();
    const server = await JwksServer.start(first.jwk);
    const create: KeyBench['create'] = (options = {}) =>
      createRemoteKeySet({ jwksUri: server.uri, clock, random: () => 0, ...options });
    bench = { first, second, server, clock, create };
  });
  afterEach(() => bench.server.stop());
  return () => bench;
}

/** Asks for an ES256 key. */
export const find = (
  keys: RemoteKeySet,
  kid = 'first',
  signal?: AbortSignal,
): Promise<VerificationKey> => keys.find({ kid, alg: 'ES256' }, signal);
