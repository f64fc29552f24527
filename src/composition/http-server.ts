import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { NestLogger } from '../operations/nest-logger.js';
import { annotate, createRequestLog, requestIdHeader } from '../operations/request-log.js';
import { createHotLane, hotLaneServerFactory } from '../serving/hot-lane.js';
import { headerOf } from '../serving/http.js';
import { ServingErrorFilter } from '../serving/serving-error.filter.js';
import { BrokerModule } from './broker.module.js';
import { decideConnectionLimit, descriptorLimit, watchDescriptors } from './descriptors.js';
import { listenError } from './listen-error.js';
import { createListener, type Listener, type ListenerObserver } from './listener.js';
import type { BrokerRuntime } from './runtime.js';

/** A broker that listens. */
export interface RunningBroker {
  /** Where it listens, as a URL; with the port that was found when any free one was asked for. */
  readonly url: string;
  readonly port: number;
  /** From now on every answer ends its connection. Connections are still accepted. */
  endConnections(): void;
  /**
   * Finishes the requests in flight and a running rotation, and closes the store. Connections that are still in use after
   * `patienceMs` are closed.
   */
  close(patienceMs: number): Promise<void>;
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
  const { host, port, maxConnections } = core.config.http;
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
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
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
    BrokerModule.forRuntime(runtime),
    adapter,
    { logger: new NestLogger(log), abortOnError: false },
  );
  app.useGlobalFilters(new ServingErrorFilter(servingObserver));
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
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${name}:${address.port}`,
    port: address.port,
    endConnections: () => listeners.forEach((listener) => listener.endConnections()),
    close: async (patienceMs) => {
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
