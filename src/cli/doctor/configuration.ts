import type { BrokerConfig } from '../../config/broker-config.js';
import { loadConfig } from '../../config/load-config.js';
import { ok, warning, type Examined, type Finding } from './examination.js';

/** The configuration, with all its mistakes. @throws {ConfigError} */
export function examineConfiguration(env: NodeJS.ProcessEnv): Examined<BrokerConfig> {
  const config = loadConfig({ env });
  const { secrets, verification, warnings } = config;
  if (warnings.length > 0) return { ...judgeWarnings(warnings), value: config };
  const summary = `Without a mistake: secret store "${secrets.store}", profile "${verification.profile}".`;
  return { ...ok(summary), value: config };
}

function judgeWarnings(warnings: readonly string[]): Finding {
  const [only = ''] = warnings;
  if (warnings.length === 1) return warning(only);
  return {
    ...warning(`Without a mistake, and with ${warnings.length} warnings:`),
    details: warnings,
  };
}
