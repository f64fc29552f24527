import { loadConfig } from '../config/load-config.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { createCore, type Core } from '../composition/core.js';
import { openStore } from '../composition/open-store.js';
import { systemClock } from '../tokens/time.js';
import { withSnakeNames } from '../tokens/json.js';
import type { Coverage } from '../rotation/coverage.js';
import type { RotationMode } from '../rotation/rotation.js';
import { BrokerError } from '../tokens/errors.js';
import { redactText } from '../tokens/redaction.js';
import { tooManyOpenFiles } from './start-errors.js';

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
interface StoreUse {
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

/** Where a command writes to, and how. */
export interface Output {
  /** True for programs: one JSON value on standard output, and nothing else. */
  readonly json: boolean;
  /** Standard output: results. */
  readonly out: (text: string) => void;
  /** Standard error: what goes wrong, and hints. */
  readonly err: (text: string) => void;
}

/** Writes to the process's own streams. */
export function processOutput(json: boolean): Output {
  return {
    json,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
  };
}

/** Shows a result: its JSON for programs, with names in snake_case; its lines for people. */
export function show(output: Output, value: object, lines: readonly string[]): void {
  output.out(`${output.json ? jsonOf(value) : lines.join('\n')}\n`);
}

function jsonOf(value: object): string {
  return JSON.stringify(withSnakeNames(value), null, 2);
}

/** Shows why a command failed. What is not an error of ours is shown without anything that looks like a secret. */
export function showError(output: Output, error: unknown): void {
  const { code, kind, message } = describeError(error);
  if (output.json) {
    output.out(`${jsonOf({ error: { code, kind, message } })}\n`);
  } else {
    output.err(`${message}\n(${code}${kind === 'retry' ? '; trying again later may help' : ''})\n`);
  }
}

function describeError(error: unknown): { code: string; kind: string; message: string } {
  if (error instanceof BrokerError) {
    return { code: error.code, kind: error.kind, message: error.message };
  }
  const tooMany = tooManyOpenFiles(error);
  if (tooMany !== undefined) {
    return { code: 'TOO_MANY_OPEN_FILES', kind: 'misconfigured', message: tooMany };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'UNEXPECTED', kind: 'bug', message: redactText(message) };
}

/** Who rotates, for people; stands after "by". */
export const ROTATED_BY: Readonly<Record<RotationMode, string>> = {
  broker: 'the broker',
  'secrets-manager': 'Secrets Manager',
  'primary-region': "the primary Region's broker (this is a replica)",
};

/** A span for people: `23 h 59 min`, `4 min 10 s`, or `expired 3 min ago`. */
export function span(milliseconds: number): string {
  if (milliseconds < 0) return `expired ${span(-milliseconds)} ago`;
  const seconds = Math.floor(milliseconds / 1000);
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor((seconds % 86_400) / 3_600), 'h'],
    [Math.floor((seconds % 3_600) / 60), 'min'],
    [seconds % 60, 's'],
  ];
  const shown = parts.filter(([amount]) => amount > 0).slice(0, 2);
  return shown.length === 0 ? '0 s' : shown.map(([amount, unit]) => `${amount} ${unit}`).join(' ');
}

/** The coverage check for programs: spans in seconds. */
export function coverageJson({ covered, required, explanation }: Coverage): object {
  return { covered, required_seconds: required / 1000, explanation };
}

/** An instant for people and programs alike. */
export function instant(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
