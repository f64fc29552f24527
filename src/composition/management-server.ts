import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import type { HttpConfig } from '../config/broker-config.js';
import type { OperationsEndpoints } from '../operations/operations-endpoints.js';
import {
  notFound,
  plainPath,
  toEndpointRequest,
  writeAnswer,
  type Endpoint,
} from '../serving/http.js';
import { createListener } from './listener.js';
import { listenError } from './listen-error.js';

/**
 * Health and metrics on a listener of their own, `BROKER_MANAGEMENT_PORT`, open to whoever reaches it. It listens before
 * the broker serves, and until it has served the last request.
 */
export class ManagementServer implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #address: HttpConfig['management'];
  readonly #endpoints: ReadonlyMap<string, Endpoint>;
  #server: Server | undefined;

  constructor(address: HttpConfig['management'], endpoints: OperationsEndpoints) {
    this.#address = address;
    this.#endpoints = new Map([
      ['/health/live', endpoints.live],
      ['/health/ready', endpoints.ready],
      ['/metrics', endpoints.metrics],
    ]);
  }

  /** Where it listens; `undefined` when it does not. */
  get url(): string | undefined {
    const address = this.#server?.address();
    return address === undefined || address === null || typeof address === 'string'
      ? undefined
      : urlOf(address);
  }

  /** @throws {BrokerError} `PORT_IN_USE`, `ADDRESS_UNUSABLE`. */
  async onApplicationBootstrap(): Promise<void> {
    if (this.#address === undefined) return;
    const { host, port } = this.#address;
    const { server } = createListener((request, response) => {
      const endpoint = this.#endpoints.get(plainPath(request.url ?? ''));
      // None of the endpoints rejects: what goes wrong is their answer.
      void (endpoint?.answer(toEndpointRequest(request)) ?? Promise.resolve(notFound())).then(
        (answer) => writeAnswer(response, answer),
      );
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(managementError(error, host, port)));
      server.listen({ host, port }, resolve);
    });
    this.#server = server;
  }

  async onApplicationShutdown(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await new Promise((resolve) => {
      server.close(resolve);
      // Scrapers keep their connections, and would hold the process.
      server.closeAllConnections();
    });
  }
}

/** The URL of an address that a server listens on. */
export function urlOf({ address, family, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

function managementError(error: Error, host: string, port: number): unknown {
  return listenError(error, host, port, '', {
    port: 'BROKER_MANAGEMENT_PORT',
    host: 'BROKER_MANAGEMENT_HOST',
  });
}
