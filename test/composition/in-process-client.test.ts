import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { HttpService } from '@nestjs/axios';
import { Controller, Get, Inject, Module, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { ServiceClientModule } from '../../src/client/nest/index.js';
import { BrokerModule } from '../../src/composition/broker.module.js';
import { BrokerRuntime } from '../../src/composition/runtime.js';
import { writeSecret } from '../../src/composition/secret-file.js';
import { loadConfig } from '../../src/config/load-config.js';
import { AllowService, JwtGuardModule } from '../../src/guard/index.js';
import { createLogger } from '../../src/operations/log.js';
import { addPeer } from '../../src/peers/peer-admin.js';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { TEMPORARY } from '../support/temporary-folder.js';

// One application that is everything: the broker, a guarded service, and a caller of others.

let dataDir: string;
let provider: ProviderServer;
let issuer: TestIssuer;
let callee: Server;
let received: (string | undefined)[] = [];
let app: INestApplication;
let url: string;
let peer: { id: string; secret: string };

beforeAll(async () => {
  dataDir = await mkdtemp(join(TEMPORARY, 'in-process-'));
  [provider, issuer] = await Promise.all([startProviderServer(), startTestIssuer()]);
  callee = createServer((request, response) => {
    received.push(request.headers.authorization);
    response.end('{}');
  });
  await new Promise<void>((resolve) => callee.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(callee.address() as AddressInfo).port}`;

  @Controller()
  class CallingController {
    constructor(@Inject(HttpService) private readonly http: HttpService) {}

    @Get('call')
    @AllowService()
    async call(): Promise<string> {
      await this.http.axiosRef.get(`${origin}/`);
      return 'called';
    }

    @Get('forgotten')
    forgotten(): string {
      return 'open';
    }
  }

  const config = loadConfig({
    env: {
      BROKER_DATA_DIR: dataDir,
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: 'https://services.example.test',
      BROKER_ROTATION: 'disabled',
    },
  });
  const broker = BrokerModule.forRoot({ config, log: createLogger({ level: 'silent' }) });

  @Module({
    imports: [
      broker,
      JwtGuardModule.forRoot(issuer.verifierOptions()),
      ServiceClientModule.forRootAsync({
        imports: [broker],
        inject: [BrokerRuntime],
        useFactory: ({ tokens }: BrokerRuntime) => ({
          tokens,
          outsideCalls: 'service',
          origins: [{ origin }],
        }),
      }),
    ],
    controllers: [CallingController],
  })
  class EverythingModule {}

  app = await NestFactory.create(EverythingModule, new FastifyAdapter(), {
    logger: false,
    abortOnError: false,
  });
  await app.listen(0, '127.0.0.1');
  url = await app.getUrl();
  const { store, clock } = app.get<BrokerRuntime>(BrokerRuntime).core;
  await writeSecret(
    store,
    config.tokens[0].credentialsSecretId,
    '{"client_id":"broker","client_secret":"right-secret"}',
  );
  peer = await addPeer({ store, secretId: config.secrets.peersSecretId, clock }, 'orders', [
    'token',
    'admin',
  ]);
});

afterAll(async () => {
  await app?.close();
  callee.close();
  await Promise.all([provider.close(), issuer.close()]);
  await rm(dataDir, { recursive: true, force: true });
});

test('the guard of the application leaves the broker’s own routes to the broker', async () => {
  const authorization = `Basic ${Buffer.from(`${peer.id}:${peer.secret}`).toString('base64')}`;
  const rotated = await fetch(`${url}/v1/rotate`, { method: 'POST', headers: { authorization } });
  expect(rotated.status).toBe(200);
  const served = await fetch(`${url}/v1/token`, { headers: { authorization } });
  expect(served.status).toBe(200);
  expect((await fetch(`${url}/v1/token`)).status).toBe(401);
  for (const path of ['health/live', 'health/ready']) {
    expect((await fetch(`${url}/${path}`)).status).toBe(200);
  }
  expect((await fetch(`${url}/metrics`)).status).toBe(401);
  expect((await fetch(`${url}/metrics`, { headers: { authorization } })).status).toBe(200);
  expect((await fetch(`${url}/forgotten`)).status).toBe(403);
});

test('a call without a customer carries the token that the broker serves', async () => {
  received = [];
  const answer = await fetch(`${url}/call`, {
    headers: { authorization: `Bearer ${issuer.serviceToken()}` },
  });
  expect(await answer.text()).toBe('called');
  const served = await app.get<BrokerRuntime>(BrokerRuntime).tokens.getToken();
  expect(received).toEqual([`Bearer ${served.accessToken}`]);
  expect(JSON.stringify(served)).not.toContain('eyJ');
});
