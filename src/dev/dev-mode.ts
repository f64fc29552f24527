import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { isAbsolute, relative } from 'node:path';
import { runBroker } from '../composition/http-server.js';
import { isForThisMachine } from '../composition/page-source.js';
import { requireFreePort } from '../composition/listener.js';
import { openStore } from '../composition/open-store.js';
import type { BrokerRuntime } from '../composition/runtime.js';
import { warn, type Output } from '../composition/terminal.js';
import { DEFAULT_NAME, type BrokerConfig, type HttpConfig } from '../config/broker-config.js';
import { loadConfig } from '../config/load-config.js';
import { SETTINGS } from '../config/settings.js';
import { BrokerError } from '../tokens/errors.js';
import { isLoopbackHost } from '../tokens/http.js';
import { withSnakeNames } from '../tokens/json.js';
import { systemClock } from '../tokens/time.js';
import { createDevPage } from './dev-page.js';
import {
  ensureDemoPeer,
  ensureDevCredentials,
  ensureDevCustomerApp,
  readDevCredentials,
  rememberDevProvider,
} from './dev-logins.js';
import { CUSTOMER_GRANT, startEmbeddedProvider } from './embedded-provider.js';

/** The audience of dev mode's service tokens, unless BROKER_AUDIENCE names another. */
const DEV_AUDIENCE = 'https://services.example.test';
/** A little more than a day, so that a daily rotation covers it. */
const DEV_TOKEN_LIFETIME_SECONDS = 90_000;

const DEFAULTS = {
  HOST: '127.0.0.1',
  BROKER_LOG_FORMAT: 'text',
  // Nobody bills its mints, and whoever tries "rotate" wants to see another token.
  BROKER_MANUAL_ROTATION_SECONDS: '0',
} as const;

/** Adds colour or weight to a text where they are shown. */
type Paint = (tone: 'bad' | 'strong' | 'warning', text: string) => string;

/**
 * Runs a whole broker in one process until it is stopped: embedded store, embedded provider with the broker as its
 * client, a first rotation, a peer `demo`, and a client that gets customer tokens. A second start on the same data
 * folder reuses all of it. For development only.
 *
 * @param write takes the banner and the lines to try.
 * @param paint for what `write` takes.
 * @throws {BrokerError} when it cannot start.
 */
export async function runDevMode(
  env: NodeJS.ProcessEnv,
  write: (text: string) => void,
  paint: Paint,
): Promise<void> {
  const loaded = withOneToken(loadConfig({ env, defaults: DEFAULTS }));
  const outside = runsOutside(loaded.http, {
    hasFile: existsSync,
    hostname: hostname(),
    engine: env['container'],
  });
  const given = outside === undefined ? loaded : withPublicUrl(loaded);
  const { dataDir } = given.secrets;
  requireEmbedded(given);
  write(banner(dataDir, paint));
  await requirePort(given);
  const clock = systemClock;
  const store = await openStore(given, clock);
  try {
    const client = await ensureDevCredentials(store, given);
    const customerClient = await ensureDevCustomerApp(dataDir);
    const [{ provider: configured }] = given.tokens;
    const audience = configured.audience ?? DEV_AUDIENCE;
    const provider = await startEmbeddedProvider({
      ...client,
      port: given.dev.providerPort,
      listensAt: isLoopbackHost(given.http.host) ? undefined : given.http.host,
      dataDir,
      customerClient,
      audience,
      accessTokenTtlSeconds: DEV_TOKEN_LIFETIME_SECONDS,
    });
    const { issuer } = provider;
    try {
      await rememberDevProvider(store, given, { issuer, audience });
      const config = withProvider(given, issuer, audience);
      let peerFile = '';
      await runBroker(config, {
        store,
        clock,
        development: (parts) => createDevPage({ ...parts, issuer, customerClient }),
        prepare: async (runtime) => {
          await firstRotation(runtime);
          peerFile = await ensureDemoPeer(store, config, clock);
        },
        started: ({ url, managementUrl }) =>
          write(
            tryLines(
              {
                url: fromThisMachine(url),
                pageUrl: pageUrlOf(config.http, url, managementUrl),
                outside,
                issuer,
                dataDir,
                command: relative(process.cwd(), process.argv[1] ?? ''),
                peerFile: fromHere(peerFile),
                customerFile: fromHere(customerClient.file),
              },
              paint,
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

/**
 * Writes the embedded provider's client to standard output, as `credentials set` reads it: `client_id`, `client_secret`,
 * `issuer` and `audience`. It reads the store that dev mode has made, beside one that runs or not, and changes nothing.
 *
 * @throws {BrokerError} `STORE_MISSING` or `DEV_MODE_NOT_STARTED` where dev mode has not run, `DEV_MODE_DATA_FOLDER` or
 *   `DEV_MODE_STORE` where the credentials are of a real provider.
 */
export async function printDevCredentials(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const config = withOneToken(loadConfig({ env, defaults: DEFAULTS }));
  requireEmbedded(config);
  const found = { createsStore: false, createsSecrets: false };
  const store = await openStore(config, systemClock, found);
  try {
    const known = await readDevCredentials(store, config);
    if (known?.issuer === undefined) {
      throw new BrokerError(
        'DEV_MODE_NOT_STARTED',
        'misconfigured',
        `Dev mode has not run with the data folder ${config.secrets.dataDir}: start it once, or name its folder with BROKER_DATA_DIR.`,
      );
    }
    const { clientId, clientSecret, issuer, audience } = known;
    warn(
      output,
      'standard output has a client secret. It opens the embedded provider, and nothing else.',
    );
    output.err(`The provider answers at ${issuer} while dev mode runs.\n`);
    const credentials = { clientId, clientSecret, issuer, audience };
    output.out(`${JSON.stringify(withSnakeNames(credentials), null, 2)}\n`);
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

/** Checked first: when a broker runs already, the embedded provider's port is taken too, and that message helps less. */
async function requirePort({ http }: BrokerConfig): Promise<void> {
  const other = http.port < 64_000 ? http.port + 1_000 : http.port - 1_000;
  await requireFreePort(
    http.host,
    http.port,
    ` Is a broker running already? "PORT=${other} npm start" moves both it and the embedded provider.`,
  );
}

/**
 * How a command is run in this process's container from outside of it; `undefined` where no container is, or where it
 * listens inside of it alone, for whoever works there. Pure.
 */
export function runsOutside(
  { host }: Pick<HttpConfig, 'host'>,
  machine: {
    readonly hasFile: (path: string) => boolean;
    readonly hostname: string;
    /** The variable `container`, which Podman sets. */
    readonly engine?: string | undefined;
  },
): string | undefined {
  if (isLoopbackHost(host)) return undefined;
  // Docker leaves no variable, and Podman no file where the file system is read-only.
  const isDocker = machine.hasFile('/.dockerenv');
  const isPodman = machine.engine === 'podman' || machine.hasFile('/run/.containerenv');
  if (!isDocker && !isPodman) return undefined;
  // Without --hostname it is the beginning of the container's id.
  const name = /^[0-9a-f]{12}$/.test(machine.hostname) ? machine.hostname : 'CONTAINER';
  return `${isDocker ? 'docker' : 'podman'} exec ${name}`;
}

/** In a container peers come by the port that is published on the machine around it, under the same number. */
function withPublicUrl(config: BrokerConfig): BrokerConfig {
  const { http } = config;
  if (http.publicUrl !== undefined || http.tls !== undefined || http.port === 0) return config;
  return { ...config, http: { ...http, publicUrl: `http://127.0.0.1:${http.port}` } };
}

/** A URL of what listens on every address, as this machine reaches it. */
function fromThisMachine(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:');
}

/** The embedded provider mints one kind of token: `default`, or the first of those configured. */
function withOneToken(config: BrokerConfig): BrokerConfig {
  const { tokens } = config;
  if (tokens.length === 1) return config;
  const token = tokens.find(({ name }) => name === DEFAULT_NAME) ?? tokens[0];
  const others = tokens.filter((other) => other !== token).map(({ name }) => name);
  return {
    ...config,
    tokens: [token],
    warnings: [
      ...config.warnings,
      `Dev mode has one token, "${token.name}"; these have no effect: ${others.join(', ')}.`,
    ],
  };
}

/** The configuration with the embedded provider in place of any other. */
function withProvider(config: BrokerConfig, issuer: string, audience: string): BrokerConfig {
  const [token] = config.tokens;
  const { issuer: named } = token.provider;
  return {
    ...config,
    tokens: [
      {
        ...token,
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
          ...token.verification,
          profile: 'rfc9068',
          serviceClientIds: undefined,
          customerClientIds: undefined,
          otherAudiences: [],
          typ: undefined,
          scopeClaims: undefined,
        },
      },
    ],
    warnings:
      named === undefined || named === issuer
        ? config.warnings
        : [
            ...config.warnings,
            `Dev mode uses its embedded provider; BROKER_ISSUER (${named}) has no effect.`,
          ],
  };
}

/** Waits until there is a token, so that the first request is answered. */
async function firstRotation({ each }: BrokerRuntime): Promise<void> {
  const [token] = each.values();
  if (token === undefined) return;
  const { schedule, core } = token;
  await schedule.check();
  if ((await core.rotator.current()) !== undefined) return;
  const latest = core.rotator.outcomes.latest();
  throw new BrokerError(
    'DEV_MODE_ROTATION_FAILED',
    'bug',
    `The first rotation failed (${latest?.code ?? 'no outcome'}): ${latest?.message ?? 'see the log'}`,
  );
}

const RULE = '='.repeat(78);

function banner(dataDir: string, paint: Paint): string {
  return [
    '',
    paint('warning', RULE),
    `  ${paint('bad', 'DEVELOPMENT MODE. Not for production')}: the provider is embedded and speaks plain`,
    '  HTTP, its key and the master key are files beside the data they protect, and the',
    '  peer "demo" may do everything. Customer tokens are minted without a login.',
    `  Data folder: ${dataDir}`,
    paint('warning', RULE),
    '',
    '',
  ].join('\n');
}

/** Where the status page is: at the management port, or at the broker's own where only this machine reaches it. */
function pageUrlOf(
  http: HttpConfig,
  url: string,
  managementUrl: string | undefined,
): string | undefined {
  if (managementUrl !== undefined) return fromThisMachine(managementUrl);
  return isForThisMachine(http) ? url : undefined;
}

/** What runs, and where. Paths are as they can be used in the working folder. */
export interface Running {
  readonly url: string;
  /** Where the status page is; `undefined` where it is not to be seen. */
  readonly pageUrl: string | undefined;
  readonly issuer: string;
  readonly dataDir: string;
  /** How a command is run where the broker is, from where the lines are tried; `undefined`: in the same place. */
  readonly outside?: string | undefined;
  /** The command line's file. */
  readonly command: string;
  /** The files that say how to log in: `{"id","secret"}`. */
  readonly peerFile: string;
  readonly customerFile: string;
}

/**
 * The lines to try, ready to be pasted into a shell, within 100 columns as far as paths allow. They read the secrets
 * from their files and show none. Pure.
 */
export function tryLines(running: Running, paint: Paint): string {
  const { url, issuer, peerFile, customerFile, command, outside } = running;
  const node = outside === undefined ? 'node' : `${outside} node`;
  const say = (text: string): string => paint('strong', text);
  return [
    '',
    ...(running.pageUrl === undefined
      ? []
      : [say(`See what it does: ${running.pageUrl}/ (the status page, in a browser)`), '']),
    say(`The broker is ready at ${url}, the embedded provider at ${issuer}. Try:`),
    '',
    `  ${loginLine('login', 'demo', peerFile, node)}`,
    `  curl -s -u "$login" ${url}/v1/token`,
    `  curl -s -u "$login" -d grant_type=client_credentials ${url}/oauth2/token`,
    `  curl -s -u "$login" -X POST ${url}/v1/rotate`,
    '',
    say('A customer token, to call your own services with (nobody logs in: development only):'),
    '',
    `  ${loginLine('app', 'dev-customer-app', customerFile, node)}`,
    `  curl -s -u "$app" -d grant_type=${CUSTOMER_GRANT} \\`,
    `    -d subject=ann ${issuer}/token`,
    '',
    say(
      `The command line works beside it, ${outside === undefined ? 'from the same folder' : 'in the container'}:`,
    ),
    '',
    `  ${outside === undefined ? settingsFor(running) : ''}${node} ${quoted(withSlashes(command))} status`,
    '',
    'Stop it with Ctrl+C. A second start reuses everything.',
    '',
    '',
  ].join('\n');
}

/** Sets a shell variable to what `curl -u` takes. */
function loginLine(variable: string, id: string, file: string, node: string): string {
  const path = withSlashes(file)
    .replaceAll("'", "\\'")
    .replaceAll(/["$`]/g, String.raw`\$&`);
  return `${variable}="${id}:$(${node} -p "require('${path}').secret")"`;
}

/** The settings that the command line needs because they are not the defaults. */
function settingsFor({ url, dataDir }: Running): string {
  // A URL leaves out HTTP's default port.
  const port = new URL(url).port || '80';
  return [
    ...(port === SETTINGS.PORT.default ? [] : [`PORT=${port} `]),
    ...(dataDir === SETTINGS.BROKER_DATA_DIR.default
      ? []
      : [`BROKER_DATA_DIR=${quoted(dataDir)} `]),
  ].join('');
}

/** A path below the working folder, relative to it and as `require` takes it; any other as it is. */
function fromHere(file: string): string {
  const path = relative(process.cwd(), file);
  return isAbsolute(path) || path.startsWith('..') ? file : `./${path}`;
}

/** For a shell, where that is needed. */
function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A Windows path in the form that every shell there takes without quotes. */
function withSlashes(path: string): string {
  return path.replaceAll('\\', '/');
}
