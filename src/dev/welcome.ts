import type { BrokerConfig } from '../config/broker-config.js';
import { SETTINGS } from '../config/settings.js';
import { CUSTOMER_GRANT } from './embedded-provider-configuration.js';

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
