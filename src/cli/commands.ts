import { loadConfig } from '../config/load-config.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { createCore, type Core } from '../composition/core.js';
import type { Output } from './output.js';

/** What every command gets. */
export interface CommandContext {
  readonly env: NodeJS.ProcessEnv;
  readonly output: Output;
}

/** Reads the configuration; its warnings go to standard error. @throws {ConfigError} */
export function readConfig({ env, output }: CommandContext): BrokerConfig {
  const config = loadConfig({ env });
  for (const warning of config.warnings) output.err(`Warning: ${warning}\n`);
  return config;
}

/** Runs something with the broker's core, and closes the store whatever happens. */
export async function withCore<R>(
  context: CommandContext,
  use: (core: Core) => Promise<R>,
): Promise<R> {
  const { output } = context;
  const core = await createCore(readConfig(context), {
    storeObserver: {
      answeredElsewhere: (region, secretId, code) =>
        output.err(
          `Warning: the own Region did not answer for "${secretId}" (${code}); this is what ${region} says.\n`,
        ),
    },
  });
  try {
    return await use(core);
  } finally {
    await core.close();
  }
}
