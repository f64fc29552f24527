import { createCore, type Core } from '../composition/core.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { createOAuthProvider } from '../provider/oauth-provider.js';
import type { TokenProvider } from '../provider/token-provider.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { systemClock, type Clock } from '../tokens/clock.js';
import { createFunctionLog, type FunctionLog } from './function-log.js';
import { currentInvocation } from './invocation.js';
import { timedProvider } from './timed-provider.js';

/** What can be replaced in a function; everything else follows from its environment. */
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
export interface StartedFunction {
  readonly core: Core;
  readonly log: FunctionLog;
}

/** A function before its start. */
export interface NewFunction {
  readonly clock: Clock;
  /** For what goes wrong before the configuration says what to log. */
  readonly firstLog: FunctionLog;
  /** Reads the configuration and puts the broker's core together. @throws {BrokerError} */
  readonly start: () => Promise<StartedFunction>;
}

/** Prepares a function. @param readConfig reads its configuration from the environment. */
export function prepareFunction(
  options: FunctionOptions,
  readConfig: (env: NodeJS.ProcessEnv) => BrokerConfig,
): NewFunction {
  const { env = process.env, clock = systemClock, store, write } = options;
  const sink = { clock, ...(write && { write }) };
  return {
    clock,
    firstLog: createFunctionLog({ ...sink, level: 'info' }),
    start: async () => {
      const config = readConfig(env);
      const log = createFunctionLog({ ...sink, level: config.log.level });
      for (const warning of config.warnings) log('warn', warning);
      const core = await createCore(config, {
        clock,
        provider: timedProvider(options.provider ?? createOAuthProvider({ clock })),
        observer: {
          stepEnded: (step, versionId, ended, detail) =>
            log('info', 'rotation step ended', {
              step,
              versionId,
              ended,
              detail,
              ...elapsed(clock),
            }),
          mintEnded: (code) => log('info', 'a service token was asked of the provider', { code }),
        },
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

/** Milliseconds since the invocation began, as a field of the log. */
export function elapsed(clock: Clock): { readonly durationMilliseconds?: number } {
  const invocation = currentInvocation();
  return invocation ? { durationMilliseconds: clock.now() - invocation.startedAt } : {};
}
