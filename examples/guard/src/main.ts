import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { AppModule } from './app.module.js';
import { readSettings } from './settings.js';

const settings = readSettings(process.env);
const app = await NestFactory.create<NestFastifyApplication>(
  AppModule.with(settings),
  new FastifyAdapter(),
  { logger: ['warn', 'error'] },
);
app.enableShutdownHooks();
await app.listen(settings.port, '127.0.0.1');
process.stdout.write(
  `The example listens at ${await app.getUrl()}, for tokens of ${settings.issuer}.\n`,
);
