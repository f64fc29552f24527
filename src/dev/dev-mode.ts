import { relative } from 'node:path';
import { openStore } from '../composition/open-store.js';
import { requireFreePort } from '../composition/listen-error.js';
import { runBroker } from '../composition/run-broker.js';
import type { BrokerRuntime } from '../composition/runtime.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { loadConfig } from '../config/load-config.js';
import { systemClock } from '../tokens/clock.js';
import { BrokerError } from '../tokens/errors.js';
import { ensureDevCredentials, rememberDevProvider } from './dev-credentials.js';
import { ensureDevCustomerApp } from './dev-customer-app.js';
import { ensureDemoPeer } from './demo-peer.js';
import { startEmbeddedProvider } from './embedded-provider.js';
import { banner, tryLines } from './welcome.js';

/** The audience of dev mode's service tokens, unless BROKER_AUDIENCE names another. */
const DEV_AUDIENCE = 'https://services.example.test';
/** A little more than a day, so that a daily rotation covers it. */
const DEV_TOKEN_LIFETIME_SECONDS = 90_000;

/**
 * Runs a whole broker in one process until it is told to stop: embedded store, embedded provider with the broker as its
 * client, a first rotation, a peer `demo`, and a client that gets customer tokens. A second start on the same data
 * folder reuses all of it. For development only.
 *
 * @param write where the banner and the lines to try go.
 * @throws {BrokerError} when it cannot start.
 */
export async function runDevMode(
  env: NodeJS.ProcessEnv,
  write: (text: string) => void,
): Promise<void> {
  const defaults = {
    HOST: '127.0.0.1',
    BROKER_LOG_FORMAT: 'text',
    // Nobody bills its mints, and whoever tries "rotate" wants to see another token.
    BROKER_MANUAL_ROTATION_SECONDS: '0',
  };
  const given = loadConfig({ env, defaults });
  requireEmbedded(given);
  write(banner(given));
  await requirePort(given);
  const clock = systemClock;
  const store = await openStore(given, clock);
  try {
    const { clientId, clientSecret } = await ensureDevCredentials(store, given);
    const customerApp = await ensureDevCustomerApp(given.secrets.dataDir);
    const audience = given.provider.audience ?? DEV_AUDIENCE;
    const provider = await startEmbeddedProvider({
      port: given.dev.providerPort,
      dataDir: given.secrets.dataDir,
      clientId,
      clientSecret,
      customerClient: customerApp,
      audience,
      accessTokenTtlSeconds: DEV_TOKEN_LIFETIME_SECONDS,
    });
    try {
      await rememberDevProvider(store, given, { issuer: provider.issuer, audience });
      const config = withProvider(given, provider.issuer, audience);
      let peerFile = '';
      await runBroker(config, {
        store,
        clock,
        prepare: async (runtime) => {
          await firstRotation(runtime);
          peerFile = await ensureDemoPeer(store, config, clock);
        },
        started: ({ url }) =>
          write(
            tryLines(
              {
                url,
                issuer: provider.issuer,
                dataDir: given.secrets.dataDir,
                command: relative(process.cwd(), process.argv[1] ?? ''),
              },
              { peer: peerFile, customerApp: customerApp.file },
            ),
          ),
      });
    } finally {
      await provider.close();
    }
  } finally {
    await store.close();
  }
}

/** Dev mode never touches what belongs to a real set-up. */
function requireEmbedded(config: BrokerConfig): void {
  if (config.secrets.store === 'embedded') return;
  throw new BrokerError(
    'DEV_MODE_STORE',
    'misconfigured',
    'Dev mode only works with the embedded store: unset BROKER_SECRET_STORE, or use "serve" for a real set-up.',
  );
}

/** Looked at first: when a broker runs already, the embedded provider's port is taken too, and less telling. */
async function requirePort({ http }: BrokerConfig): Promise<void> {
  const other = http.port < 64_000 ? http.port + 1_000 : http.port - 1_000;
  await requireFreePort(
    http.host,
    http.port,
    ` Is a broker running already? "PORT=${other} npm start" moves both it and the embedded provider.`,
  );
}

/** The configuration with the embedded provider in place of any other. */
function withProvider(config: BrokerConfig, issuer: string, audience: string): BrokerConfig {
  const { issuer: named } = config.provider;
  return {
    ...config,
    provider: {
      issuer,
      audience,
      tokenEndpoint: undefined,
      jwksUri: undefined,
      scope: undefined,
      resource: [],
      clientAuthentication: undefined,
      clientAssertionAudience: undefined,
      allowInsecureHttp: false,
    },
    verification: {
      ...config.verification,
      profile: 'rfc9068',
      serviceClientIds: undefined,
      customerClientIds: undefined,
      otherAudiences: [],
      typ: undefined,
    },
    warnings: [
      ...config.warnings,
      ...(named === undefined || named === issuer
        ? []
        : [`Dev mode uses its embedded provider; BROKER_ISSUER (${named}) has no effect.`]),
    ],
  };
}

/** Waits until there is a token, so that the first request is answered. */
async function firstRotation({ schedule, core }: BrokerRuntime): Promise<void> {
  await schedule.check();
  if ((await core.rotator.current()) !== undefined) return;
  const latest = core.rotator.outcomes.latest();
  throw new BrokerError(
    'DEV_MODE_ROTATION_FAILED',
    'bug',
    `The first rotation failed (${latest?.code ?? 'no outcome'}): ${latest?.message ?? 'see the log'}`,
  );
}
