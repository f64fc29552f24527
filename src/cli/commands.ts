import { loadConfig } from '../config/load-config.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { createCore, type Core } from '../composition/core.js';
import { openStore } from '../composition/open-store.js';
import { systemClock } from '../tokens/clock.js';
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

/** How a command uses the store. */
export interface StoreUse {
  /**
   * What the command may make in an embedded store when it is missing. Default: nothing, so that a wrong data folder is
   * told, and not filled. Rotating makes a secret by another name, and writing by hand makes the store too.
   */
  readonly makes?: 'nothing' | 'secrets' | 'store';
  /** Default: read from the environment. */
  readonly config?: BrokerConfig;
}

/** Runs something with the broker's core, and closes the store whatever happens. */
export async function withCore<R>(
  context: CommandContext,
  use: (core: Core) => Promise<R>,
  { makes = 'nothing', config = readConfig(context) }: StoreUse = {},
): Promise<R> {
  const { output } = context;
  const clock = systemClock;
  const store = await openStore(config, clock, {
    createsStore: makes === 'store',
    createsSecrets: makes !== 'nothing',
    onNewStore: (dataDir) => output.err(`Made a new store in ${dataDir}.\n`),
    observer: {
      answeredElsewhere: (region, secretId, code) =>
        output.err(
          `Warning: the home Region did not answer for "${secretId}" (${code}); this is what ${region} says.\n`,
        ),
    },
  });
  try {
    return await use(await createCore(config, { store, clock }));
  } finally {
    await store.close();
  }
}
