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
import { listenError } from './listen-error.js';
import type { BrokerRuntime } from './runtime.js';

/** A broker that listens. */
export interface RunningBroker {
  /** Where it listens, as a URL; with the port that was found when any free one was asked for. */
  readonly url: string;
  readonly port: number;
  /** Finishes the requests in flight and a running rotation, and closes the store. */
  close(): Promise<void>;
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
  const { host, port } = core.config.http;
  const withHotLane = hotLaneServerFactory(
    createHotLane(serving.token, {
      onAnswer: (request, answer) => {
        annotate(request, { cache: headerOf(answer, 'X-Cache') });
        return requestIdHeader(request);
      },
    }),
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
    await app.close();
    throw listenError(error, host, port);
  }
  const address = app.getHttpServer().address() as AddressInfo;
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return { url: `http://${name}:${address.port}`, port: address.port, close: () => app.close() };
}
