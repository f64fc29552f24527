import { inspect } from 'node:util';
import { afterEach, expect } from '@jest/globals';
import type { SecretCredentials } from '../../src/provider/client-credentials.js';
import {
  createOAuthProvider,
  type OAuthProviderOptions,
} from '../../src/provider/oauth-provider.js';
import type { TokenProvider } from '../../src/provider/token-provider.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { redactText } from '../../src/tokens/redaction.js';
import {
  type ProviderServer,
  type ProviderServerOptions,
  startProviderServer,
} from '../support/provider-server.js';
import { SteppingClock } from './stepping-clock.js';

/** The time-out of one exchange in these tests; only pauses of exactly this length are held. */
export const TIMEOUT = 4_999;

export const credentials: SecretCredentials = {
  kind: 'secrets',
  clientId: 'broker',
  secrets: ['right-secret'],
};

const servers: ProviderServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

/** A server that is closed after the test. */
export async function serve(options: ProviderServerOptions = {}): Promise<ProviderServer> {
  const server = await startProviderServer(options);
  servers.push(server);
  return server;
}

export interface Rig {
  readonly server: ProviderServer;
  readonly clock: SteppingClock;
  readonly provider: TokenProvider;
}

/** A provider adapter on a clock of its own, and a server for it. */
export async function rig(
  serverOptions: ProviderServerOptions = {},
  options: Partial<OAuthProviderOptions> = {},
): Promise<Rig> {
  const clock = new SteppingClock((milliseconds) => milliseconds === TIMEOUT);
  const server = await serve({ now: () => clock.now(), ...serverOptions });
  const provider = createOAuthProvider({
    clock,
    timeoutMs: TIMEOUT,
    random: () => 0.5,
    ...options,
  });
  return { server, clock, provider };
}

/** What a call rejects with; it must be an error of ours, fit for a log. */
export async function failureOf(call: Promise<unknown>): Promise<BrokerError> {
  const outcome: unknown = await call.then(
    () => 'it succeeded',
    (error: unknown) => error,
  );
  if (!(outcome instanceof BrokerError))
    throw new Error(`not one of our errors: ${inspect(outcome)}`);
  const everything = inspect(outcome, { depth: 20, showHidden: true });
  for (const canary of ['right-secret', 'canary-in-body', 'eyJ']) {
    expect(everything).not.toContain(canary);
  }
  // What our own log would hide must not be in a message at all, nor may it hide what helps.
  expect(redactText(outcome.message)).toBe(outcome.message);
  return outcome;
}
