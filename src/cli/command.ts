import { coreOf, createCore, type Core, type TokenCore } from '../composition/core.js';
import { openStore } from '../composition/open-store.js';
import { DEFAULT_NAME, type BrokerConfig } from '../config/broker-config.js';
import { loadWithFile, type LoadedConfig } from '../config/load-config.js';
import type { Coverage } from '../rotation/coverage.js';
import type { RotationMode } from '../rotation/rotation.js';
import { systemClock } from '../tokens/time.js';
import { warn, type Output, type Paint } from '../composition/terminal.js';

/** What every command gets. */
export interface CommandContext {
  readonly env: NodeJS.ProcessEnv;
  readonly output: Output;
}

/** Reads the configuration; its warnings go to standard error. @throws {ConfigError} */
export function readConfig(context: CommandContext): BrokerConfig {
  return readConfigAndFile(context).config;
}

/** As {@link readConfig}, for a command that goes on to follow the file. @throws {ConfigError} */
export function readConfigAndFile({ env, output }: CommandContext): LoadedConfig {
  const loaded = loadWithFile({ env });
  for (const warning of loaded.config.warnings) warn(output, warning);
  return loaded;
}

/** How a command uses the store. */
interface StoreUse {
  /**
   * What the command may create in an embedded store when it is missing. Default: nothing, so that a wrong data folder
   * is reported and not filled. Rotating creates secrets, and writing by hand creates the store too.
   */
  readonly creates?: 'nothing' | 'secrets' | 'store';
  /** Default: read from the environment. */
  readonly config?: BrokerConfig;
}

/** Runs `use` with the broker's core, and closes the store whatever happens. */
export async function withCore<R>(
  context: CommandContext,
  use: (core: Core) => Promise<R>,
  { creates = 'nothing', config = readConfig(context) }: StoreUse = {},
): Promise<R> {
  const { output } = context;
  const clock = systemClock;
  const store = await openStore(config, clock, {
    createsStore: creates === 'store',
    createsSecrets: creates !== 'nothing',
    onNewStore: (dataDir) => output.err(`Made a new store in ${dataDir}.\n`),
    observer: {
      answeredElsewhere: (region, secretId, code) =>
        warn(
          output,
          `the home Region did not answer for "${secretId}" (${code}); this is what ${region} says.`,
        ),
    },
  });
  try {
    return await use(await createCore(config, { store, clock }));
  } finally {
    await store.close();
  }
}

/** The core of the token that a command is about: the one that is named, the only one, or `default`. */
export function chosenCore({ tokens }: Core, name?: string): TokenCore {
  const [first] = tokens.keys();
  return coreOf({ tokens }, name ?? (tokens.size === 1 ? first : DEFAULT_NAME));
}

/** What a command that is advised needs to be about this token: nothing where it is the one by default. Pure. */
export function tokenArgument(name: string, { tokens }: Pick<BrokerConfig, 'tokens'>): string {
  return tokens.length === 1 || name === DEFAULT_NAME ? '' : ` --token ${name}`;
}

/** Who rotates, for people; stands after "by". */
export const ROTATED_BY: Readonly<Record<RotationMode, string>> = {
  broker: 'the broker',
  'secrets-manager': 'Secrets Manager',
  'primary-region': "the primary Region's broker (this is a replica)",
};

/** The coverage check for people. */
export function coverageText({ covered, explanation }: Coverage, paint: Paint): string {
  return `${covered ? paint('good', 'ok') : paint('bad', 'TOO SHORT')}: ${explanation}`;
}

/** The coverage check for programs: spans in seconds. */
export function coverageJson({ covered, required, explanation }: Coverage): object {
  return { covered, required_seconds: required / 1000, explanation };
}
