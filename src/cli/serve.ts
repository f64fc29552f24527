import { resolve } from 'node:path';
import { runBroker } from '../composition/http-server.js';
import { storeIsMissing } from '../composition/open-store.js';
import { environmentText } from '../config/check-settings.js';
import { SETTING_NAMES } from '../config/settings.js';
import { BrokerError } from '../tokens/errors.js';
import { trimPasted } from '../tokens/json.js';
import { readConfigAndFile, type CommandContext } from './command.js';

/**
 * Runs the broker until it is stopped.
 *
 * @throws {BrokerError} when it cannot start; `NOT_CONFIGURED` when nothing is set at all, and there is no store yet that
 *   could know the provider.
 */
export async function serveCommand(context: CommandContext): Promise<void> {
  const { config, file } = readConfigAndFile(context);
  if (isUnset(context.env) && (await storeIsMissing(config))) {
    throw notConfigured(config.secrets.dataDir);
  }
  await runBroker(config, file && { configFile: { ...file, env: context.env } });
}

/** Whether an environment has no setting of the broker, apart from where it listens. Pure. */
export function isUnset(env: NodeJS.ProcessEnv): boolean {
  const own = SETTING_NAMES.filter((name) => name.startsWith('BROKER_'));
  return (
    trimPasted(env['BROKER_CONFIG'] ?? '') === '' &&
    own.every((name) => environmentText(env, name) === '')
  );
}

function notConfigured(dataDir: string): BrokerError {
  return new BrokerError(
    'NOT_CONFIGURED',
    'misconfigured',
    [
      `Nothing is set, and the folder "${resolve(dataDir)}" holds no store. To try the broker, run "dev". To run it, set (serve --help explains them):`,
      '  on AWS: BROKER_SECRET_STORE=aws AWS_REGION BROKER_ISSUER BROKER_AUDIENCE BROKER_PROFILE',
      '  elsewhere: BROKER_DATA_DIR BROKER_MASTER_KEY BROKER_ISSUER BROKER_AUDIENCE BROKER_PROFILE, and run "credentials set" first',
    ].join('\n'),
  );
}
