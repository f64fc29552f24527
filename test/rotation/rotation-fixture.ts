import { Rotator, type RotatorOptions } from '../../src/rotation/rotator.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { serializeServiceToken, type ServiceToken } from '../../src/tokens/service-token.js';
import { MemorySecretStore, type MemoryStoreOptions } from '../support/memory-store.js';
import { VirtualClock } from '../support/virtual-clock.js';

export const SECRET = 'broker/token';
export const HOUR = 3_600_000;

/** A provider and receivers for rotation tests: it counts mints, and can be told to fail. */
export class FakeProvider {
  mints = 0;
  lifetime = 25 * HOUR;
  /** Thrown by the next mints while set. */
  mintFailure: BrokerError | undefined;
  /** Thrown by verification while set. */
  verifyFailure: BrokerError | undefined;
  readonly verified: string[] = [];

  constructor(private readonly clock: VirtualClock) {}

  mint = async (): Promise<ServiceToken> => {
    this.mints += 1;
    const serial = this.mints;
    await this.clock.sleep(500);
    if (this.mintFailure) throw this.mintFailure;
    return tokenOf(`token-${serial}`, this.clock.now(), this.lifetime);
  };

  verify = async (token: ServiceToken): Promise<void> => {
    await this.clock.sleep(10);
    if (this.verifyFailure) throw this.verifyFailure;
    this.verified.push(token.accessToken);
  };
}

/** A service token with a readable name instead of a JWT. */
export function tokenOf(name: string, generatedAt: number, lifetime = 25 * HOUR): ServiceToken {
  return {
    accessToken: name,
    tokenType: 'Bearer',
    generatedAt,
    expiresAt: generatedAt + lifetime,
    issuer: 'https://provider.example',
    audience: ['https://api.example'],
  };
}

export const rejected = new BrokerError(
  'TOKEN_AUDIENCE_WRONG',
  'rejected',
  'the audience is wrong',
);
export const keysDown = new BrokerError('KEYS_UNAVAILABLE', 'retry', 'the keys cannot be had');

/** A token secret in memory, a provider, and as many rotators over them as a test wants. */
export function rotationFixture(storeOptions: MemoryStoreOptions = {}) {
  const clock = new VirtualClock();
  const store = new MemorySecretStore({ clock, ...storeOptions });
  store.seed(SECRET);
  const provider = new FakeProvider(clock);
  const rotator = (options: Partial<RotatorOptions> = {}): Rotator =>
    new Rotator({
      store,
      tokenSecretId: SECRET,
      mint: provider.mint,
      verify: provider.verify,
      minimumLife: HOUR,
      clock,
      ...options,
    });
  /** What a plain read returns now: the token's name, or undefined. */
  const served = async (): Promise<string | undefined> => {
    const value = JSON.parse((await store.read(SECRET)).value) as { access_token?: string };
    return value.access_token;
  };
  /** Puts a token in place as if it had been rotated long ago. */
  const seedCurrent = (name: string, generatedAt = clock.now() - HOUR, lifetime?: number): string =>
    store.edit(SECRET, serializeServiceToken(tokenOf(name, generatedAt, lifetime)));
  return { clock, store, provider, rotator, served, seedCurrent };
}
