import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { say } from './say.js';

/** Starts a service of the mesh on a free port, and writes where. */
export async function serve(name: string, module: Type): Promise<void> {
  const app = await NestFactory.create<NestFastifyApplication>(module, new FastifyAdapter(), {
    logger: ['warn', 'error'],
  });
  app.enableShutdownHooks();
  await app.listen(0, '127.0.0.1');
  say(name, `listens at ${await app.getUrl()}`);
}
