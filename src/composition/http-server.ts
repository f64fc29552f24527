import { maxHeaderSize, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { BrokerConfig } from '../config/broker-config.js';
import { flushLogger, type BrokerLogger } from '../operations/log.js';
import { NestLogger } from '../operations/nest-logger.js';
import { createRequestLog, noteAnswer, requestIdHeader } from '../operations/request-log.js';
import { traceRequests } from '../operations/traces.js';
import { gatewayTarget } from '../serving/authorize-endpoint.js';
import type { FrameworkReply } from '../serving/endpoint.js';
import { createHotLane, hotLaneServerFactory } from '../serving/hot-lane.js';
import { ServingErrorFilter } from '../serving/serving.module.js';
import { isLoopbackHost } from '../tokens/http.js';
import { flushTelemetry, isTraced } from '../tokens/tracing.js';
import { BrokerModule } from './broker.module.js';
import { POLL_INTERVAL } from './file-watch.js';
import {
  createListener,
  decideConnectionLimit,
  descriptorLimit,
  listenError,
  ManagementServer,
  urlOf,
  watchDescriptors,
  type Listener,
  type ListenerObserver,
} from './listener.js';
import { tokenLog } from './observers.js';
import { isForThisMachine } from './page-source.js';
import { CertificateWatch } from './server-certificate.js';
import { networkWarnings } from './network.js';
import { createRuntime, type BrokerRuntime, type RuntimeOptions } from './runtime.js';

/** A broker that listens. */
export interface RunningBroker {
  /** Where it listens, as a URL; with the actual port when any free one was requested. */
  readonly url: string;
  readonly port: number;
  /** Where health and metrics are open with all details; `undefined` without `BROKER_MANAGEMENT_PORT`. */
  readonly managementUrl: string | undefined;
  /** From now on every answer ends its connection. New connections are still accepted. */
  endConnections(): void;
  /** Follows the files of TLS until the broker is closed; `undefined` without TLS. */
  readonly certificates: CertificateWatch | undefined;
  /**
   * Finishes the requests in flight and a running rotation, and closes the store. Connections still in use after
   * `patienceMs` milliseconds are closed. Default: 5,000.
   */
  close(patienceMs?: number): Promise<void>;
}

/** The largest request body in bytes: a form with credentials is far smaller. */
const BODY_LIMIT = 16_384;

/**
 * Serves a broker over HTTP, on Fastify, with the hot lane in front.
 *
 * @throws {BrokerError} `PORT_IN_USE`, `ADDRESS_UNUSABLE`, `TLS_FILES_INVALID`.
 */
export async function serveHttp(runtime: BrokerRuntime): Promise<RunningBroker> {
  const { core, log, metrics, serving, servingObserver } = runtime;
  const { host, port, publicUrl, maxConnections } = core.config.http;
  const listeners: Listener[] = [];
  const certificates = await watchCertificate(runtime, listeners);
  const tls = certificates?.current;
  const limit = decideConnectionLimit(maxConnections, descriptorLimit());
  if (limit.warning !== undefined) log.warn(limit.warning);
  const { observer, stop: stopWatch } = watchConnections(limit.max, runtime);
  const following =
    certificates && setInterval(() => void certificates.check(), POLL_INTERVAL).unref();
  const stop = (): void => {
    stopWatch();
    clearInterval(following);
  };
  const withHotLane = hotLaneServerFactory(
    createHotLane(serving.token, { authorize: serving.authorize, onAnswer: noteAnswer }),
    (options, handler) => {
      const limits = { maxConnections: limit.max, observer, ...(tls && { tls }) };
      const traced = traceRequests(handler, tls === undefined ? 'http' : 'https');
      const listener = createListener(traced, limits, options);
      listeners.push(listener);
      return listener.server;
    },
  );
  const errors = new ServingErrorFilter(servingObserver);
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
    // A token URL is often written with a trailing slash.
    // The name of a token that is too long is one that nobody has, not a URL that is too long.
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: maxHeaderSize },
    // An invalid path. Fastify's own answer repeats it, and it may hold a token.
    frameworkErrors: (error: unknown, _request: unknown, reply: FrameworkReply) =>
      errors.answer(error, reply),
    serverFactory: (handler: RequestListener, options: Record<string, unknown>) =>
      withHotLane((request, response) => {
        const [name, id] = requestIdHeader(request);
        if (name !== undefined && id !== undefined) response.setHeader(name, id);
        request.url = gatewayTarget(request.url ?? '');
        handler(request, response);
      }, options),
    // Requests in flight at shutdown are answered, not refused.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
  });
  const app = await NestFactory.create<NestFastifyApplication>(
    BrokerModule.forRuntime(runtime, { opensDetails: isForThisMachine(core.config.http) }),
    adapter,
    { logger: new NestLogger(log), abortOnError: false },
  );
  app.useGlobalFilters(errors);
  app.getHttpServer().prependListener(
    'request',
    createRequestLog({
      log,
      onRequest: (record) => metrics.recordHttpRequest(record),
      setsHeader: false,
    }),
  );
  try {
    await app.listen(port, host);
  } catch (error) {
    stop();
    await app.close();
    throw listenError(error, host, port);
  }
  const address = app.getHttpServer().address() as AddressInfo;
  if (tls === undefined && publicUrl === undefined && !isLoopbackHost(address.address))
    log.warn(CLEAR_TEXT);
  return {
    url: urlOf(address, tls && 'https'),
    port: address.port,
    managementUrl: app.get(ManagementServer).url,
    endConnections: () => {
      listeners.forEach((listener) => listener.endConnections());
      serving.stopWaiting();
    },
    certificates,
    close: async (patienceMs = 5_000) => {
      for (const listener of listeners) listener.drain(patienceMs);
      await app.close();
      stop();
    },
  };
}

/** The broker's certificate, which the listeners get anew when its files change; `undefined` without TLS. */
async function watchCertificate(
  { core: { config, clock }, log, serving, noteCertificate }: BrokerRuntime,
  listeners: readonly Listener[],
): Promise<CertificateWatch | undefined> {
  const { tls: files } = config.http;
  if (files === undefined) return undefined;
  const watch = await CertificateWatch.start({
    files,
    clock,
    observer: {
      replaced: (certificate) => {
        for (const listener of listeners) listener.useCertificate(certificate);
        serving.recheckWaiting();
        noteCertificate(certificate);
        const { subject, endsAt } = certificate;
        log.info(
          { subject, endsAt: new Date(endsAt).toISOString() },
          'the TLS files were replaced',
        );
      },
      unusable: (error) =>
        log.error(
          { err: error },
          'the TLS files have changed and cannot be used: what was read before stays in use',
        ),
      ending: ({ subject, endsAt }, hasEnded) => {
        const fields = { subject, endsAt: new Date(endsAt).toISOString() };
        if (hasEnded) log.error(fields, 'the TLS certificate has expired: renew it');
        else log.warn(fields, 'the TLS certificate expires soon: it should have been renewed');
      },
    },
  });
  noteCertificate(watch.current);
  return watch;
}

/** Refusing connections counts as over when none was refused for this long, in milliseconds. */
const CALM = 10_000;

/** Logs and counts connections: one line when refusals begin, and one when they end. */
function watchConnections(
  max: number,
  { log, metrics }: BrokerRuntime,
): { readonly observer: ListenerObserver; readonly stop: () => void } {
  let refused = 0;
  let calm: NodeJS.Timeout | undefined;
  const stopWatch = watchDescriptors((areExhausted) => {
    metrics.recordDescriptors(areExhausted);
    if (areExhausted) {
      log.error(
        { limit: descriptorLimit() },
        'the process cannot open files or connections any more: its limit of open files is reached',
      );
    } else log.info('the process can open files and connections again');
  });
  return {
    stop: () => {
      stopWatch();
      clearTimeout(calm);
    },
    observer: {
      opened: () => metrics.recordConnection(1),
      closed: () => metrics.recordConnection(-1),
      refused: (how) => {
        metrics.recordConnectionRefused(how);
        refused += 1;
        if (calm !== undefined) {
          calm.refresh();
          return;
        }
        log.warn({ max }, 'connections are refused: all are in use');
        calm = setTimeout(() => {
          log.info({ refused }, 'connections are accepted again');
          refused = 0;
          calm = undefined;
        }, CALM).unref();
      },
    },
  };
}

const CLEAR_TEXT =
  'The broker listens beyond this machine, without TLS, and BROKER_PUBLIC_URL is not set: peers that reach it directly send their secrets in clear text. End TLS before it and set BROKER_PUBLIC_URL to the URL there, or set HOST=127.0.0.1.';

/** Options of {@link runBroker}. */
interface RunBrokerOptions extends RuntimeOptions {
  /** Runs before the broker listens. */
  readonly prepare?: (runtime: BrokerRuntime) => Promise<void>;
  /** Called when it listens. */
  readonly started?: (broker: RunningBroker) => void;
}

/** After the delay, milliseconds in which answers end their connections and new connections are still accepted. */
const GOODBYE = 1_000;
/** After the delay, milliseconds until connections in use are closed. */
const PATIENCE = 7_500;
/** After the delay, milliseconds until the process is ended, whatever it waits for. */
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
  const stopsWatching = new AbortController();
  const delay = config.http.shutdownDelaySeconds * 1_000;
  void signal.received.then(() => endProcessAfter(delay + DEADLINE));
  try {
    const runtime = await createRuntime(config, replaced);
    const { log, core } = runtime;
    const ofNetwork = await networkWarnings(config, core.clock.now());
    for (const warning of [...config.warnings, ...ofNetwork]) log.warn(warning);
    const { audit, configWatch } = runtime;
    let broker: RunningBroker | undefined;
    // Without any of them the signal ends the process, as it always did.
    if (audit !== undefined || configWatch !== undefined || config.http.tls !== undefined) {
      process.on('SIGHUP', () => {
        audit?.reopen();
        void configWatch?.reread();
        void broker?.certificates?.reread();
      });
    }
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
    void configWatch?.run(stopsWatching.signal);
    await Promise.race([warnOfCoverage(runtime), signal.received]);
    const name = await signal.received;
    runtime.failReadiness();
    stopsWatching.abort();
    if (delay > 0) {
      const seconds = config.http.shutdownDelaySeconds;
      log.info({ signal: name, seconds }, 'the broker stops: not ready, and serving on meanwhile');
      await sleep(delay);
    }
    log.info({ signal: name }, 'the broker stops: finishing what is in flight');
    broker.endConnections();
    // Without a delay no load balancer has noticed: connections are closed as soon as they are idle.
    if (delay > 0) await sleep(GOODBYE);
    await broker.close(delay > 0 ? PATIENCE - GOODBYE : PATIENCE);
    if (isTraced()) await exportTraces(log);
    log.info('the broker has stopped');
    await flushLogger(log);
  } finally {
    signal.ignore();
  }
}

/** How long the last spans may take to be exported, in milliseconds. */
const EXPORT_TIME = 1_000;

async function exportTraces(log: BrokerLogger): Promise<void> {
  const late = sleep(EXPORT_TIME, 'late', { ref: false });
  try {
    if ((await Promise.race([flushTelemetry(), late])) !== 'late') return;
    log.warn('the last spans were not exported within a second');
  } catch (error) {
    log.warn({ err: error }, 'the last spans could not be exported');
  }
}

/** Ends the process whatever it waits for: a store, a provider, or a caller that hangs. */
function endProcessAfter(milliseconds: number): void {
  setTimeout(() => {
    process.stderr.write('service-token-broker: not stopped in time; what hangs is abandoned.\n');
    process.exit(1);
  }, milliseconds).unref();
}

/** The coverage check at start. It reads each token through its cache, which is then warm for the first peer. */
async function warnOfCoverage({ readiness, log }: BrokerRuntime): Promise<void> {
  await Promise.all(
    [...readiness.tokens].map(async ([name, token]) => {
      await token.tokenState();
      const coverage = token.coverage();
      if (coverage?.ok === false) {
        tokenLog(log, name).warn({ reason: coverage.reason }, 'coverage falls short');
      }
    }),
  );
}

/** Waits for the first signal to stop. The next one has its default effect: it ends the process at once. */
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
