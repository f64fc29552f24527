import type { BrokerConfig } from '../config/broker-config.js';
import { CUSTOMER_GRANT } from './embedded-provider-configuration.js';

const RULE = '='.repeat(78);

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

/**
 * The lines to try, ready to be pasted into a shell.
 *
 * @param files their secrets are read by the lines, and never shown.
 */
export function tryLines(url: string, issuer: string, files: LoginFiles): string {
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
    'Stop it with Ctrl+C. A second start reuses everything.',
    '',
    '',
  ].join('\n');
}

function loginFrom(id: string, file: string): string {
  const path = file.replaceAll('\\', '/').replaceAll("'", "\\'");
  return `-u "${id}:$(node -p "require('${path}').secret")"`;
}
