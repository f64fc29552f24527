import { readFileSync } from 'node:fs';
import { networkOf, networkWarnings } from '../composition/network.js';
import { createCore, lazyAwsProofs, tokenField, type Core } from '../composition/core.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { checkSettings, type ConfigFile } from '../config/check-settings.js';
import { ConfigError, shown } from '../config/config-error.js';
import { fileMistake, readKeys } from '../config/config-file.js';
import { LOG_LEVELS, settingOf } from '../config/settings.js';
import { IAM, principalArn } from '../peers/identities.js';
import { redactFields } from '../operations/log-fields.js';
import { createOAuthProvider } from '../provider/oauth-provider.js';
import type { TokenProvider } from '../provider/token-provider.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { isJsonObject } from '../tokens/json.js';
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
  /** Writes a line, without its line feed, where those of the log go. @returns true: it never waits. */
  readonly write: (line: string) => true;
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
      const ofNetwork = await networkWarnings(config, clock.now());
      for (const warning of [...config.warnings, ...ofNetwork]) log('warn', warning);
      const network = await networkOf(config);
      const core = await createCore(config, {
        clock,
        provider: timedProvider(
          options.provider ??
            createOAuthProvider({ clock, awsProofs: lazyAwsProofs(network), network }),
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
      const { write = writeToStandardOutput } = options;
      return {
        core,
        log,
        write: (line) => {
          write(`${line}\n`);
          return true;
        },
      };
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
 * Reads a function's configuration: from its environment variables, and from the JSON file that `BROKER_CONFIG` names, which
 * is part of the function's package. JSON is YAML, so one file serves the broker and its functions; the library that
 * reads all of YAML would only slow the start.
 *
 * @throws {ConfigError} `CONFIG_INVALID` with every mistake at once. Any other file and the embedded store are mistakes.
 */
export function readFunctionConfig(env: NodeJS.ProcessEnv): BrokerConfig {
  const path = env['BROKER_CONFIG'] ?? '';
  if (path !== '' && !path.endsWith('.json')) {
    throw new ConfigError([
      {
        name: 'BROKER_CONFIG',
        problem: 'a function reads no file but JSON',
        allowed:
          'nothing, or a JSON file in the package of the function; or give each setting as an environment variable',
      },
    ]);
  }
  return checkFunctionConfig(env, path === '' ? undefined : readJsonFile(path));
}

/**
 * Checks a function's configuration. What a function would have to keep on its disk is refused: nothing stays there.
 *
 * @throws {ConfigError} `CONFIG_INVALID` with every mistake at once.
 */
export function checkFunctionConfig(
  env: NodeJS.ProcessEnv,
  file: ConfigFile | undefined,
): BrokerConfig {
  const config = checkSettings({ env, defaults: DEFAULTS, ...(file && { file }) });
  const { secrets, audit } = config;
  const problem = 'nothing that a function writes to its disk stays';
  const mistakes = [
    ...(secrets.store === 'aws'
      ? []
      : [{ name: 'BROKER_SECRET_STORE', given: secrets.store, problem, allowed: 'aws' }]),
    ...(audit === undefined || audit === 'stdout'
      ? []
      : [{ name: 'BROKER_AUDIT', given: shown(audit), problem, allowed: 'off or stdout' }]),
  ];
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return config;
}

function readJsonFile(path: string): ConfigFile {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    // The parser's message may quote the file.
    const why = error instanceof SyntaxError ? 'it is not JSON' : 'it cannot be read';
    return fileMistake(path, why);
  }
  return isJsonObject(content) ? readKeys(content, path) : fileMistake(path, 'it is no object');
}

/**
 * The configuration of the HTTP function, which needs peers that AWS IAM or a trusted issuer knows.
 *
 * @throws {ConfigError} as {@link readFunctionConfig}; when no peer is configured; and when `BROKER_HTTP_IAM_PEERS` names the
 *   principal of a peer of the file, since one proof means one peer.
 */
export function readHttpFunctionConfig(env: NodeJS.ProcessEnv): BrokerConfig {
  const config = readFunctionConfig(env);
  if (config.http.iamPeers.length + config.identities.peers.length > 0) {
    requireOnePeerEach(config);
    return config;
  }
  throw new ConfigError([
    {
      name: 'BROKER_HTTP_IAM_PEERS',
      problem: 'it is missing, so nobody could ask for the service token',
      allowed: settingOf('BROKER_HTTP_IAM_PEERS').allowed,
    },
  ]);
}

/** @throws {ConfigError} when `BROKER_HTTP_IAM_PEERS` names the principal of a peer of the file: one proof means one peer. */
export function requireOnePeerEach({ http, identities: { peers } }: BrokerConfig): void {
  const principals = new Set(http.iamPeers.map(({ arn }) => principalArn(arn)));
  const twice = peers.find(({ identities }) =>
    identities.some(({ issuer, subject }) => issuer === IAM && principals.has(subject)),
  );
  if (twice === undefined) return;
  throw new ConfigError([
    {
      name: 'BROKER_HTTP_IAM_PEERS',
      problem: `one of them is the peer "${twice.id}" of the file: one proof has to mean one peer`,
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
