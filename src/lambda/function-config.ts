import type { BrokerConfig } from '../config/broker-config.js';
import { checkSettings } from '../config/check-settings.js';
import { ConfigError } from '../config/config-error.js';
import { settingOf } from '../config/settings.js';

/** A function has no disk to keep secrets on, and nothing runs in it between two invocations. */
const DEFAULTS = { BROKER_SECRET_STORE: 'aws', BROKER_ROTATION: 'disabled' } as const;

/**
 * Reads a function's configuration: from its environment variables alone.
 *
 * @throws {ConfigError} `CONFIG_INVALID` with every mistake at once. `BROKER_CONFIG` and the embedded store are mistakes.
 */
export function readFunctionConfig(env: NodeJS.ProcessEnv): BrokerConfig {
  if ((env['BROKER_CONFIG'] ?? '') !== '') {
    throw new ConfigError([
      {
        name: 'BROKER_CONFIG',
        problem: 'a function reads no file',
        allowed: 'nothing: give each setting as an environment variable of the function',
      },
    ]);
  }
  const config = checkSettings({ env, defaults: DEFAULTS });
  if (config.secrets.store === 'aws') return config;
  throw new ConfigError([
    {
      name: 'BROKER_SECRET_STORE',
      given: config.secrets.store,
      problem: 'nothing that a function writes to its disk stays',
      allowed: 'aws',
    },
  ]);
}

/**
 * The configuration of the HTTP function, which needs peers that AWS IAM knows.
 *
 * @throws {ConfigError} as {@link readFunctionConfig}, and when no peer is configured.
 */
export function readHttpFunctionConfig(env: NodeJS.ProcessEnv): BrokerConfig {
  const config = readFunctionConfig(env);
  if (config.http.iamPeers.length > 0) return config;
  throw new ConfigError([
    {
      name: 'BROKER_HTTP_IAM_PEERS',
      problem: 'it is missing, so that nobody could ask for the service token',
      allowed: settingOf('BROKER_HTTP_IAM_PEERS').allowed,
    },
  ]);
}
