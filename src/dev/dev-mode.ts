import type { BrokerConfig } from '../config/broker-config.js';
import { SETTINGS } from '../config/settings.js';
import { CUSTOMER_GRANT, startEmbeddedProvider } from './embedded-provider.js';
import { relative } from 'node:path';
import { openStore } from '../composition/open-store.js';
import { requireFreePort } from '../composition/listener.js';
import { runBroker } from '../composition/http-server.js';
import type { BrokerRuntime } from '../composition/runtime.js';
import { loadConfig } from '../config/load-config.js';
import { systemClock } from '../tokens/time.js';
import { BrokerError } from '../tokens/errors.js';
import {
  ensureDevCredentials,
  rememberDevProvider,
  ensureDevCustomerApp,
  ensureDemoPeer,
} from './dev-logins.js';

const RULE = '='.repeat(78);
const DEFAULT_PORT = SETTINGS.PORT.default;
const DEFAULT_DATA_DIR = SETTINGS.BROKER_DATA_DIR.default;

/** What dev mode says before anything else. */
export function banner(config: BrokerConfig): string {
  return [
    '',
    RULE,
    '  DEVELOPMENT MODE. Not for production: the provider is embedded and speaks plain',
    '  HTTP, its key and the master key are files beside the data they protect, and the',
    '  peer "demo" may do everything. Customer tokens are minted without a login.',
    `  Data folder: ${config.secrets.dataDir}`,
    RULE,
    '',
    '',
  ].join('\n');
}

/** Absolute paths of the files that say how to log in. */
export interface LoginFiles {
  readonly peer: string;
  readonly customerApp: string;
}

/** What runs, and where. */
export interface Running {
  readonly url: string;
  readonly issuer: string;
  readonly dataDir: string;
  /** The file of the command line, as it can be called from the working folder. */
  readonly command: string;
}

/**
 * The lines to try, ready to be pasted into a shell.
 *
 * @param files their secrets are read by the lines, and never shown.
 */
export function tryLines(running: Running, files: LoginFiles): string {
  const { url, issuer } = running;
  const login = loginFrom('demo', files.peer);
  const customerApp = loginFrom('dev-customer-app', files.customerApp);
  return [
    '',
    `The broker is ready at ${url}, the embedded provider at ${issuer}. Try:`,
    '',
    `  curl -s ${login} ${url}/v1/token`,
    `  curl -s ${login} -d grant_type=client_credentials ${url}/oauth2/token`,
    `  curl -s ${login} -X POST ${url}/v1/rotate`,
    '',
    'A customer token, to call your own services with (nobody logs in: development only):',
    '',
    `  curl -s ${customerApp} -d grant_type=${CUSTOMER_GRANT} -d subject=ann ${issuer}/token`,
    '',
    'The command line works beside it, from the same folder:',
    '',
    `  ${settingsFor(running)}node ${quoted(withSlashes(running.command))} status`,
    '',
    'Stop it with Ctrl+C. A second start reuses everything.',
    '',
    '',
  ].join('\n');
}

/** What the command line has to be told, because it is not as usual. */
function settingsFor({ url, dataDir }: Running): string {
  // A URL leaves out the port that is usual for HTTP.
  const port = new URL(url).port || '80';
  return [
    ...(port === DEFAULT_PORT ? [] : [`PORT=${port} `]),
    ...(dataDir === DEFAULT_DATA_DIR ? [] : [`BROKER_DATA_DIR=${quoted(dataDir)} `]),
  ].join('');
}

/** For a shell, where that is needed. */
function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A path of Windows as every shell there takes it, without quotes: backslashes mean something else in some. */
function withSlashes(path: string): string {
  return path.replaceAll('\\', '/');
}

function loginFrom(id: string, file: string): string {
  const path = withSlashes(file).replaceAll("'", "\\'");
  return `-u "${id}:$(node -p "require('${path}').secret")"`;
}

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
