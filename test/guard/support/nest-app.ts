import type { AddressInfo } from 'node:net';
import type { INestApplication, LoggerService, Type, DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';

export const PLATFORMS = ['fastify', 'express'] as const;
export type Platform = (typeof PLATFORMS)[number];

/** Keeps every line that Nest logs. */
export class KeptLog implements LoggerService {
  readonly lines: string[] = [];
  log = (...parts: readonly unknown[]): void => this.#keep('log', parts);
  error = (...parts: readonly unknown[]): void => this.#keep('error', parts);
  warn = (...parts: readonly unknown[]): void => this.#keep('warn', parts);
  debug = (...parts: readonly unknown[]): void => this.#keep('debug', parts);
  verbose = (...parts: readonly unknown[]): void => this.#keep('verbose', parts);

  of(level: string): readonly string[] {
    return this.lines.filter((line) => line.startsWith(`${level} `));
  }

  #keep(level: string, parts: readonly unknown[]): void {
    const texts = parts.map((part) =>
      part instanceof Error ? `${part.stack} ${String(part.cause)}` : String(part),
    );
    this.lines.push([level, ...texts].join(' '));
  }
}

/** An application on 127.0.0.1, not yet listening. It throws what a start-up check throws. */
export function createApp(
  module: Type | DynamicModule,
  platform: Platform,
  logger: LoggerService = new KeptLog(),
): Promise<INestApplication> {
  const adapter = platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
  return NestFactory.create(module, adapter, { logger, abortOnError: false });
}

/** Starts it. @returns its address, such as `http://127.0.0.1:1234`. */
export async function listen(app: INestApplication): Promise<string> {
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return `http://127.0.0.1:${port}`;
}
