import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Inject, Injectable, Module, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import request from 'supertest';
import {
  BrokerModule,
  type BrokerModuleAsyncOptions,
  type BrokerModuleOptions,
  type BrokerOptionsFactory,
} from '../../src/composition/broker.module.js';
import { BrokerRuntime } from '../../src/composition/runtime.js';
import { writeSecret } from '../../src/composition/secret-file.js';
import { coreOf } from '../../src/composition/core.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import { addPeer } from '../../src/peers/peer-admin.js';
import { MemorySecretStore } from '../support/memory-store.js';
import { answers, startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { TEMPORARY } from '../support/temporary-folder.js';

const OPTIONS = Symbol('options');

describe.each(['fastify', 'express'])('the broker inside an application on %s', (framework) => {
  let dataDir: string;
  let provider: ProviderServer;
  let app: INestApplication;
  let runtime: BrokerRuntime;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(TEMPORARY, 'broker-module-'));
    provider = await startProviderServer();
    const config = loadConfig({
      env: {
        BROKER_DATA_DIR: dataDir,
        BROKER_ISSUER: provider.issuer,
        BROKER_AUDIENCE: 'https://services.example.test',
        BROKER_ROTATION: 'disabled',
        BROKER_MANUAL_ROTATION_SECONDS: '0',
      },
    });
    const options = { config, log: createLogger({ level: 'silent' }) };

    @Module({ providers: [{ provide: OPTIONS, useValue: options }], exports: [OPTIONS] })
    class OptionsModule {}

    const broker =
      framework === 'fastify'
        ? BrokerModule.forRoot(options)
        : BrokerModule.forRootAsync({
            imports: [OptionsModule],
            inject: [OPTIONS],
            useFactory: (given: typeof options) => given,
          });
    const adapter = framework === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
    app = await NestFactory.create(broker, adapter, { logger: false });
    await app.listen(0, '127.0.0.1');
    runtime = app.get(BrokerRuntime);
    const { store, clock } = runtime.core;
    await writeSecret(
      store,
      config.tokens[0].credentialsSecretId,
      '{"client_id":"broker","client_secret":"right-secret"}',
    );
    const admin = { store, secretId: config.secrets.peersSecretId, clock };
    peer = await addPeer(admin, 'orders', ['token', 'admin']);
  });

  let peer: { id: string; secret: string };

  afterAll(async () => {
    await app.close();
    await provider.close();
    await rm(dataDir, { recursive: true, force: true });
  });

  test('is not ready before the first rotation, and says why', async () => {
    const open = await request(app.getHttpServer()).get('/health/ready');
    expect([open.status, open.body]).toEqual([503, { status: 'error' }]);
    const { status, body } = await request(app.getHttpServer())
      .get('/health/ready')
      .auth(peer.id, peer.secret);
    expect(status).toBe(503);
    expect(JSON.stringify(body)).toContain('TOKEN_SECRET_EMPTY');
    const answer = await request(app.getHttpServer()).get('/v1/token').auth(peer.id, peer.secret);
    expect(answer.status).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });

  test('rotates and serves by HTTP, and is ready then', async () => {
    const rotated = await request(app.getHttpServer())
      .post('/v1/rotate')
      .auth(peer.id, peer.secret);
    expect(rotated).toMatchObject({ status: 200, body: { outcome: 'rotated' } });
    const answer = await request(app.getHttpServer())
      .post('/oauth2/token')
      .type('form')
      .auth(peer.id, peer.secret)
      .send({ grant_type: 'client_credentials' });
    expect(answer).toMatchObject({ status: 200, body: { token_type: 'Bearer' } });
    await coreOf(runtime.core).source.verify({
      accessToken: (answer.body as { access_token: string }).access_token,
      tokenType: 'Bearer',
      expiresAt: 0,
      generatedAt: 0,
      issuer: provider.issuer,
      audience: [],
    });
    expect((await request(app.getHttpServer()).get('/health/ready')).status).toBe(200);
    const metrics = await request(app.getHttpServer()).get('/metrics').auth(peer.id, peer.secret);
    expect(metrics.text).toContain(
      'service_token_broker_provider_mints_total{token="default",code="OK"} 1',
    );
  });

  test('serves on while the provider refuses, and tells who asks to rotate', async () => {
    provider.always('token', answers.throttled('3600'));
    const rotated = await request(app.getHttpServer())
      .post('/v1/rotate')
      .auth(peer.id, peer.secret);
    expect(rotated.status).toBe(503);
    expect(JSON.stringify(rotated.body)).toContain('PROVIDER_THROTTLED');
    const answer = await request(app.getHttpServer()).get('/v1/token').auth(peer.id, peer.secret);
    expect(answer.status).toBe(200);
    const health = await request(app.getHttpServer()).get('/health/ready');
    // The broker does not rotate by itself here, so a failed rotation by hand is no state of its health.
    expect(health.status).toBe(200);
  });
});

describe('forRootAsync takes the options from', () => {
  const given: BrokerModuleOptions = {
    config: loadConfig({
      env: { BROKER_ISSUER: 'https://issuer.test/', BROKER_AUDIENCE: 'https://services.test' },
    }),
    store: new MemorySecretStore(),
    log: createLogger({ level: 'silent' }),
  };

  @Module({ providers: [{ provide: OPTIONS, useValue: given }], exports: [OPTIONS] })
  class OptionsModule {}

  @Injectable()
  class Factory implements BrokerOptionsFactory {
    constructor(@Inject(OPTIONS) private readonly options: BrokerModuleOptions) {}

    async createBrokerOptions(): Promise<BrokerModuleOptions> {
      return Promise.resolve(this.options);
    }
  }

  @Module({ imports: [OptionsModule], providers: [Factory], exports: [Factory] })
  class FactoryModule {}

  test.each<[string, BrokerModuleAsyncOptions]>([
    ['a function', { useFactory: () => given }],
    ['a function that waits', { useFactory: () => Promise.resolve(given) }],
    [
      'a function of other providers',
      {
        imports: [OptionsModule],
        inject: [OPTIONS],
        useFactory: (options: BrokerModuleOptions) => options,
      },
    ],
    ['a class', { imports: [OptionsModule], useClass: Factory }],
    ['a provider that exists', { imports: [FactoryModule], useExisting: Factory }],
  ])('%s', async (_, options) => {
    const app = await NestFactory.create(BrokerModule.forRootAsync(options), { logger: false });
    try {
      await app.init();
      const { core, log } = app.get<BrokerRuntime>(BrokerRuntime);
      expect(core.config).toBe(given.config);
      expect(core.store).toBe(given.store);
      expect(log).toBe(given.log);
      expect((await request(app.getHttpServer()).get('/health/live')).status).toBe(200);
    } finally {
      await app.close();
    }
  });

  test('a function that fails: the application does not start, and says why', async () => {
    const broken = BrokerModule.forRootAsync({
      useFactory: () => Promise.reject(new Error('no options')),
    });
    const start = NestFactory.create(broken, { logger: false, abortOnError: false });
    await expect(start).rejects.toThrow('no options');
  });
});
