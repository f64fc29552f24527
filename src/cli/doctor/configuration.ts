import type { BrokerConfig } from '../../config/broker-config.js';
import { loadConfig } from '../../config/load-config.js';
import { ok, oneLine, warning, type Examined } from './examination.js';

/** The configuration, with all its mistakes. @throws {ConfigError} */
export function examineConfiguration(env: NodeJS.ProcessEnv): Examined<BrokerConfig> {
  const config = loadConfig({ env });
  const { secrets, verification, warnings } = config;
  if (warnings.length > 0) return { ...warning(oneLine(warnings.join(' '))), value: config };
  const summary = `Without a mistake: secret store "${secrets.store}", profile "${verification.profile}".`;
  return { ...ok(summary), value: config };
}
