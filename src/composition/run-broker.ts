import { flushLogger } from '../operations/log.js';
import type { BrokerConfig } from '../config/broker-config.js';
import { serveHttp, type RunningBroker } from './http-server.js';
import { createRuntime, type BrokerRuntime, type RuntimeOptions } from './runtime.js';

/** What a door may add to a broker that runs until it is told to stop. */
export interface RunBrokerOptions extends RuntimeOptions {
  /** Runs before the broker listens. */
  readonly prepare?: (runtime: BrokerRuntime) => Promise<void>;
  /** Runs when it listens. */
  readonly started?: (broker: RunningBroker) => void;
}

/**
 * Runs the broker until SIGTERM or SIGINT; then requests in flight and a running rotation are finished.
 *
 * @throws {BrokerError} when it cannot start. The store is closed then.
 */
export async function runBroker(
  config: BrokerConfig,
  options: RunBrokerOptions = {},
): Promise<void> {
  const { prepare, started, ...replaced } = options;
  const signal = nextSignal();
  try {
    const runtime = await createRuntime(config, replaced);
    const { log, core } = runtime;
    for (const warning of config.warnings) log.warn(warning);
    let broker: RunningBroker;
    try {
      await prepare?.(runtime);
      broker = await serveHttp(runtime);
    } catch (error) {
      await core.close();
      throw error;
    }
    const { url, managementUrl } = broker;
    log.info({ url, managementUrl, store: core.store.name }, 'the broker listens');
    started?.(broker);
    await warnOfCoverage(runtime);
    log.info({ signal: await signal.received }, 'the broker stops: finishing what is in flight');
    await broker.close();
    log.info('the broker has stopped');
    await flushLogger(log);
  } finally {
    signal.ignore();
  }
}

/** The coverage check at start. It reads the token through the cache, which is warm for the first peer then. */
async function warnOfCoverage({ readiness, log }: BrokerRuntime): Promise<void> {
  await readiness.tokenState();
  const coverage = readiness.coverage();
  if (coverage?.ok === false) log.warn({ reason: coverage.reason }, 'coverage falls short');
}

/** Waits for the first signal to stop. The next one has its usual effect again: it ends the process at once. */
function nextSignal(): { readonly received: Promise<string>; readonly ignore: () => void } {
  const names = ['SIGTERM', 'SIGINT'] as const;
  let onSignal: (name: string) => void = () => undefined;
  const ignore = (): void => {
    for (const name of names) process.off(name, onSignal);
  };
  const received = new Promise<string>((resolve) => {
    onSignal = (name) => {
      ignore();
      resolve(name);
    };
  });
  for (const name of names) process.on(name, onSignal);
  return { received, ignore };
}
