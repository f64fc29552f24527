import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { HttpConfig } from '../config/broker-config.js';
import { NestLogger } from '../operations/nest-logger.js';
import { annotate, createRequestLog, requestIdHeader } from '../operations/request-log.js';
import { createHotLane, hotLaneServerFactory } from '../serving/hot-lane.js';
import { headerOf } from '../serving/http.js';
import type { FrameworkReply } from '../serving/respond.js';
import { ServingErrorFilter } from '../serving/serving-error.filter.js';
import { isLoopbackHost } from '../tokens/loopback.js';
import { BrokerModule } from './broker.module.js';
import { decideConnectionLimit, descriptorLimit, watchDescriptors } from './descriptors.js';
import { listenError } from './listen-error.js';
import { createListener, type Listener, type ListenerObserver } from './listener.js';
import { ManagementServer, urlOf } from './management-server.js';
import type { BrokerRuntime } from './runtime.js';

/** A broker that listens. */
export interface RunningBroker {
  /** Where it listens, as a URL; with the port that was found when any free one was asked for. */
  readonly url: string;
  readonly port: number;
  /** Where health and metrics are with all details; `undefined` without `BROKER_MANAGEMENT_PORT`. */
  readonly managementUrl: string | undefined;
  /** From now on every answer ends its connection. Connections are still accepted. */
  endConnections(): void;
  /**
   * Finishes the requests in flight and a running rotation, and closes the store. Connections that are still in use after
   * `patienceMs` are closed. Default: 5,000.
   */
  close(patienceMs?: number): Promise<void>;
}

/** Bytes of a request body that are read at most: a form with credentials is far smaller. */
const BODY_LIMIT = 16_384;

/**
 * Serves a broker over HTTP, on Fastify, with the hot lane in front.
 *
 * @throws {BrokerError} `PORT_IN_USE`, `ADDRESS_UNUSABLE`.
 */
export async function serveHttp(runtime: BrokerRuntime): Promise<RunningBroker> {
  const { core, log, metrics, serving, servingObserver } = runtime;
  const { host, port, publicUrl, maxConnections } = core.config.http;
  const limit = decideConnectionLimit(maxConnections, descriptorLimit());
  if (limit.warning !== undefined) log.warn(limit.warning);
  const { observer, stop } = watchConnections(limit.max, runtime);
  const listeners: Listener[] = [];
  const withHotLane = hotLaneServerFactory(
    createHotLane(serving.token, {
      onAnswer: (request, answer) => {
        annotate(request, { cache: headerOf(answer, 'X-Cache') });
        return requestIdHeader(request);
      },
    }),
    (options, handler) => {
      const listener = createListener(handler, { maxConnections: limit.max, observer }, options);
      listeners.push(listener);
      return listener.server;
    },
  );
  const errors = new ServingErrorFilter(servingObserver);
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
    // A token URL is often written with one.
    routerOptions: { ignoreTrailingSlash: true },
    // A path that is no URL. Fastify's own answer repeats it, and it may hold a token.
    frameworkErrors: (error: unknown, _request: unknown, reply: FrameworkReply) =>
      errors.answer(error, reply),
    serverFactory: (handler: RequestListener, options: Record<string, unknown>) =>
      withHotLane((request, response) => {
        const [name, id] = requestIdHeader(request);
        if (name !== undefined && id !== undefined) response.setHeader(name, id);
        handler(request, response);
      }, options),
    // What is on its way at shutdown is answered, not refused.
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
  if (publicUrl === undefined && !isLoopbackHost(address.address)) log.warn(CLEAR_TEXT);
  return {
    url: urlOf(address),
    port: address.port,
    managementUrl: app.get(ManagementServer).url,
    endConnections: () => listeners.forEach((listener) => listener.endConnections()),
    close: async (patienceMs = 5_000) => {
      for (const listener of listeners) listener.drain(patienceMs);
      await app.close();
      stop();
    },
  };
}

/** Connections are refused no more when none was for this long, in milliseconds. */
const CALM = 10_000;

/** Tells log and metrics of connections: a line when refusals begin, and one when they end. */
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

/**
 * Whether only this machine is meant to reach the broker, as in development: then its own port shows the details of
 * health. A public URL says that something on this machine passes requests on; a management port, that they have their
 * own place.
 */
function isForThisMachine({ host, publicUrl, management }: HttpConfig): boolean {
  return publicUrl === undefined && management === undefined && isLoopbackHost(host.toLowerCase());
}
