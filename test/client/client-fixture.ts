import { inspect } from 'node:util';
import { afterEach } from '@jest/globals';
import type {
  ServiceTokenClientObserver,
  ServiceTokenClientOptions,
} from '../../src/client/client-options.js';
import {
  createServiceTokenClient,
  type ServiceTokenClient,
} from '../../src/client/service-token-client.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { redactText } from '../../src/tokens/redaction.js';
import { SteppingClock } from '../provider/stepping-clock.js';
import {
  type ProviderServer,
  type ProviderServerOptions,
  startProviderServer,
} from '../support/provider-server.js';

export const PEER_SECRET = 'right-peer-secret';
export const TIMEOUT = 4_999;
export const HOUR = 3_600_000;

const servers: ProviderServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

/** A server that answers peers as a broker does; closed after the test. */
export async function serveTokens(options: ProviderServerOptions = {}): Promise<ProviderServer> {
  const server = await startProviderServer({
    clientId: 'orders',
    clientSecrets: [PEER_SECRET],
    ...options,
  });
  servers.push(server);
  return server;
}

/** The events of an observer, in order: name and details. */
export type Told = readonly [event: keyof ServiceTokenClientObserver, details: object];

/** An observer that keeps its events. */
export function listener(): {
  readonly told: Told[];
  readonly observer: ServiceTokenClientObserver;
} {
  const told: Told[] = [];
  return {
    told,
    observer: {
      refreshed: (details) => told.push(['refreshed', details]),
      refreshFailed: (details) => told.push(['refreshFailed', details]),
      brokerFailed: (details) => told.push(['brokerFailed', details]),
      brokerSwitched: (details) => told.push(['brokerSwitched', details]),
      servedStale: (details) => told.push(['servedStale', details]),
    },
  };
}

export interface Rig {
  readonly brokers: readonly ProviderServer[];
  readonly clock: SteppingClock;
  readonly client: ServiceTokenClient;
  readonly told: Told[];
}

/** How long a caller waits for a newer token while there is a usable one. */
const LONGEST_WAIT = 1_000;

/** A client of so many brokers, on a clock whose pauses pass at once and whose time-outs are held. */
export async function rig(
  options: Partial<ServiceTokenClientOptions> = {},
  count = 1,
): Promise<Rig> {
  const clock = new SteppingClock(
    (milliseconds) => milliseconds > 4_000 || milliseconds === LONGEST_WAIT,
  );
  const brokers = await Promise.all(
    Array.from({ length: count }, () => serveTokens({ now: () => clock.now() })),
  );
  const { told, observer } = listener();
  const client = createServiceTokenClient({
    brokers: brokers.map(({ origin }) => origin),
    peer: { id: 'orders', secret: PEER_SECRET },
    clock,
    observer,
    timeoutSeconds: TIMEOUT / 1_000,
    deadlineSeconds: 60,
    random: () => 0.5,
    ...options,
  });
  return { brokers, clock, client, told };
}

/** How many requests each broker has had. */
export function requests(brokers: readonly ProviderServer[]): number[] {
  return brokers.map((broker) => broker.received('token').length);
}

/** Waits for a call, and does something at every turn of the event loop until it has ended. */
export async function meanwhile<T>(call: Promise<T>, act: () => void): Promise<T> {
  const state = { ended: false };
  const end = (): void => {
    state.ended = true;
  };
  call.then(end, end);
  while (!state.ended) {
    await new Promise((resolve) => setImmediate(resolve));
    act();
  }
  return call;
}

/** What a call rejects with; it must be an error of ours, fit for a log. */
export async function failureOf(call: Promise<unknown>): Promise<BrokerError> {
  const outcome: unknown = await call.then(
    () => 'it succeeded',
    (error: unknown) => error,
  );
  if (!(outcome instanceof BrokerError)) {
    throw new Error(`not one of our errors: ${inspect(outcome)}`);
  }
  requireHarmless(outcome);
  // What our own log would hide must not be in a message at all, nor may it hide what helps.
  if (redactText(outcome.message) !== outcome.message) {
    throw new Error(`a message with something to hide: ${redactText(outcome.message)}`);
  }
  return outcome;
}

/** Throws when a value shows the peer's secret, a token, or the body of an answer, however closely it is looked at. */
export function requireHarmless(value: unknown): void {
  const shown = inspect(value, { depth: 20, showHidden: true, getters: true });
  const login = Buffer.from(`orders:${PEER_SECRET}`).toString('base64');
  for (const canary of [PEER_SECRET, login, 'canary-in-body', 'eyJ']) {
    if (shown.includes(canary)) throw new Error(`"${canary.slice(0, 6)}…" is shown`);
  }
}
