import type { BrokerConfig } from '../config/broker-config.js';

const RULE = '='.repeat(78);

/** What dev mode says before anything else. */
export function banner(config: BrokerConfig): string {
  return [
    '',
    RULE,
    '  DEVELOPMENT MODE. Not for production: the provider is embedded and speaks plain',
    '  HTTP, its key and the master key are files beside the data they protect, and the',
    '  peer "demo" may do everything.',
    `  Data folder: ${config.secrets.dataDir}`,
    RULE,
    '',
    '',
  ].join('\n');
}

/**
 * The lines to try, ready to be pasted into a shell.
 *
 * @param peerFile absolute path of the demo peer's file. Its secret is read by the lines, and never shown.
 */
export function tryLines(url: string, issuer: string, peerFile: string): string {
  const path = peerFile.replaceAll('\\', '/').replaceAll("'", "\\'");
  const login = `-u "demo:$(node -p "require('${path}').secret")"`;
  return [
    '',
    `The broker is ready at ${url}, the embedded provider at ${issuer}. Try:`,
    '',
    `  curl -s ${login} ${url}/v1/token`,
    `  curl -s ${login} -d grant_type=client_credentials ${url}/oauth2/token`,
    `  curl -s ${login} -X POST ${url}/v1/rotate`,
    '',
    'Stop it with Ctrl+C. A second start reuses everything.',
    '',
    '',
  ].join('\n');
}
