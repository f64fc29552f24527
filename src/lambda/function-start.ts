import { createCore, lazyAwsProofs, tokenField, type Core } from '../composition/core.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { checkSettings } from '../config/check-settings.js';
import { ConfigError } from '../config/config-error.js';
import { LOG_LEVELS, settingOf } from '../config/settings.js';
import { redactFields } from '../operations/log-fields.js';
import { createOAuthProvider } from '../provider/oauth-provider.js';
import type { TokenProvider } from '../provider/token-provider.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { redactText } from '../tokens/redaction.js';
import { systemClock, type Clock } from '../tokens/time.js';
import { currentInvocation, timedProvider } from './invocation.js';

/** The replaceable parts of a function; the rest follows from its environment. */
export interface FunctionOptions {
  /** Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Default: AWS Secrets Manager. */
  readonly store?: SecretStore;
  /** Default: an OAuth provider over HTTP. */
  readonly provider?: TokenProvider;
  /** Default: the machine's. */
  readonly clock?: Clock;
  /** Takes each line of the log, with its line feed. Default: standard output. */
  readonly write?: (line: string) => void;
}

/** A function that has started. */
interface StartedFunction {
  readonly core: Core;
  readonly log: FunctionLog;
}

/** A function before its start. */
interface NewFunction {
  readonly clock: Clock;
  /** For errors before the configuration is read. */
  readonly firstLog: FunctionLog;
  /** Reads the configuration and puts the broker's core together. @throws {BrokerError} */
  readonly start: () => Promise<StartedFunction>;
}

/** Prepares a function. @param readConfig reads its configuration from the environment. */
export function prepareFunction(
  options: FunctionOptions,
  readConfig: (env: NodeJS.ProcessEnv) => BrokerConfig,
): NewFunction {
  const { env = process.env, clock = systemClock, store } = options;
  return {
    clock,
    firstLog: createFunctionLog(options, 'info'),
    start: async () => {
      const config = readConfig(env);
      const log = createFunctionLog(options, config.log.level);
      for (const warning of config.warnings) log('warn', warning);
      const core = await createCore(config, {
        clock,
        provider: timedProvider(
          options.provider ?? createOAuthProvider({ clock, awsProofs: lazyAwsProofs() }),
        ),
        observer: ({ name }) => ({
          stepEnded: (step, versionId, ended, detail) =>
            log('info', 'rotation step ended', {
              ...tokenField(name),
              step,
              versionId,
              ended,
              detail,
              ...elapsed(clock),
            }),
          mintEnded: (code) =>
            log('info', 'a service token was asked of the provider', {
              ...tokenField(name),
              code,
            }),
        }),
        storeObserver: {
          answeredElsewhere: (region, secretId, code) =>
            log('warn', 'a replica in another Region was read instead', { region, secretId, code }),
        },
        ...(store && { store }),
      });
      return { core, log };
    },
  };
}

/** Starts at the first call, and gives all later calls the same result. After a failed start the next call tries again. */
export function startOnce<T>(start: () => Promise<T>): () => Promise<T> {
  let started: Promise<T> | undefined;
  return () => {
    started ??= start().catch((error: unknown) => {
      started = undefined;
      throw error;
    });
    return started;
  };
}

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
      problem: 'it is missing, so nobody could ask for the service token',
      allowed: settingOf('BROKER_HTTP_IAM_PEERS').allowed,
    },
  ]);
}

type Level = (typeof LOG_LEVELS)[number];

/** The levels that a function writes. */
type FunctionLogLevel = Extract<Level, 'debug' | 'info' | 'warn' | 'error'>;

/**
 * Writes one line.
 *
 * @param fields are redacted.
 * @param plain is written as it is: only what is safe by construction, such as an ARN that redaction would take for a
 *   secret.
 */
export type FunctionLog = (
  level: FunctionLogLevel,
  message: string,
  fields?: object,
  plain?: Readonly<Record<string, string | number | undefined>>,
) => void;

/**
 * The log of a function: one JSON object per line, with the members that Lambda's own JSON lines have (`timestamp`,
 * `level`, `requestId`, `message`), so that one query finds both and Lambda's log levels apply. Tokens and secrets are
 * redacted in the message, in fields at any depth, and in errors with their causes.
 *
 * @param least the least important level that is written.
 */
function createFunctionLog(
  { clock = systemClock, write = writeToStandardOutput }: FunctionOptions,
  least: Level,
): FunctionLog {
  const threshold = LOG_LEVELS.indexOf(least);
  return (level, message, fields = {}, plain = {}) => {
    if (LOG_LEVELS.indexOf(level) < threshold) return;
    const line = {
      timestamp: new Date(clock.now()).toISOString(),
      level,
      service: 'service-token-broker',
      requestId: currentInvocation()?.requestId,
      ...redactFields(fields),
      ...plain,
      message: redactText(message),
    };
    write(`${JSON.stringify(line)}\n`);
  };
}

/** Standard output is a pipe there, and so written at once: after its answer the process may be frozen, or ended. */
function writeToStandardOutput(line: string): void {
  process.stdout.write(line);
}

/** The log's field for the milliseconds since the invocation began. */
export function elapsed(clock: Clock): { readonly durationMilliseconds?: number } {
  const invocation = currentInvocation();
  return invocation ? { durationMilliseconds: clock.now() - invocation.startedAt } : {};
}
