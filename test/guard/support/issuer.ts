import { createStaticKeySet, type IssuerOptions } from '../../../src/guard/index.js';
import { ManualClock } from '../../verification/support/manual-clock.js';
import { createSigner } from '../../verification/support/signer.js';

export const ISSUER = 'https://issuer.example/';
export const OTHER_ISSUER = 'https://other.example/';
export const AUDIENCE = 'https://orders.example';

type Change = Readonly<Record<string, unknown>>;

/** An issuer with real keys and a clock of its own: tokens of both kinds, and the options to trust it. */
export interface TestIssuer {
  readonly clock: ManualClock;
  readonly options: IssuerOptions;
  customerToken(change?: Change): Promise<string>;
  serviceToken(change?: Change): Promise<string>;
}

export async function createIssuer(
  issuer = ISSUER,
  clock: ManualClock = new ManualClock(),
): Promise<TestIssuer> {
  const signer = await createSigner('k1');
  const claims = (): Change => ({
    iss: issuer,
    aud: AUDIENCE,
    iat: clock.seconds,
    exp: clock.seconds + 3600,
  });
  return {
    clock,
    options: {
      issuer,
      audiences: AUDIENCE,
      profile: 'rfc9068',
      keys: createStaticKeySet({ keys: [signer.jwk] }),
    },
    customerToken: (change = {}) =>
      signer.sign({
        ...claims(),
        sub: 'ann',
        client_id: 'web',
        auth_time: clock.seconds,
        scope: 'orders:read',
        ...change,
      }),
    serviceToken: (change = {}) =>
      signer.sign({ ...claims(), sub: 'job', client_id: 'job', scope: 'orders:read', ...change }),
  };
}
