import { setTimeout as sleep } from 'node:timers/promises';
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

/** Milliseconds after the delay in which answers end their connections and new connections are still accepted. */
const GOODBYE = 1_000;
/** Milliseconds after the delay until connections in use are closed, and until the process is ended whatever it waits for. */
const PATIENCE = 7_500;
const DEADLINE = 8_800;

/**
 * Runs the broker until SIGTERM or SIGINT. Then readiness fails; for `BROKER_SHUTDOWN_DELAY_SECONDS` requests are served
 * as usual; then answers end their connections, and requests in flight and a running rotation are finished. The process
 * ends at most 10 seconds after the delay, whatever hangs, and at once at a second signal.
 *
 * @throws {BrokerError} when it cannot start. The store is closed then.
 */
export async function runBroker(
  config: BrokerConfig,
  options: RunBrokerOptions = {},
): Promise<void> {
  const { prepare, started, ...replaced } = options;
  const signal = nextSignal();
  const delay = config.http.shutdownDelaySeconds * 1_000;
  void signal.received.then(() => endProcessAfter(delay + DEADLINE));
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
    await Promise.race([warnOfCoverage(runtime), signal.received]);
    const name = await signal.received;
    runtime.failReadiness();
    if (delay > 0) {
      const seconds = config.http.shutdownDelaySeconds;
      log.info({ signal: name, seconds }, 'the broker stops: not ready, and serving on meanwhile');
      await sleep(delay);
    }
    log.info({ signal: name }, 'the broker stops: finishing what is in flight');
    broker.endConnections();
    // Without a delay nobody was told to go elsewhere: connections are closed as soon as they are idle.
    if (delay > 0) await sleep(GOODBYE);
    await broker.close(delay > 0 ? PATIENCE - GOODBYE : PATIENCE);
    log.info('the broker has stopped');
    await flushLogger(log);
  } finally {
    signal.ignore();
  }
}

/** Ends the process whatever it waits for: a store, a provider, or a caller that hangs. */
function endProcessAfter(milliseconds: number): void {
  setTimeout(() => {
    process.stderr.write('service-token-broker: not stopped in time; what hangs is abandoned.\n');
    process.exit(1);
  }, milliseconds).unref();
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
