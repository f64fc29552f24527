// What is written by hand in an afternoon: a Nest controller that serves the token from a map in which it stays for five minutes, to
// whoever sends the one secret that all services share. No log, no metrics, no health. Started by `fork`; it is sent
// { platform, env, secretId, authorization } once, and says on which port it listens.
import 'reflect-metadata';
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { Controller, Get, Headers, Module, UnauthorizedException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const KEPT_MS = 300_000;

process.once('message', (wanted) => {
  start(wanted).then(
    (port) => process.send({ port }),
    (error) => process.send({ error: String(error) }),
  );
});

async function start({ platform, env, secretId, authorization: shared }) {
  Object.assign(process.env, env);
  const client = new SecretsManagerClient({});
  const kept = new Map();
  class TokenController {
    async token(authorization) {
      if (authorization !== shared) throw new UnauthorizedException();
      const found = kept.get(secretId);
      if (found !== undefined && found.until > Date.now()) return answerOf(found.document);
      const { SecretString } = await client.send(new GetSecretValueCommand({ SecretId: secretId }));
      const document = JSON.parse(SecretString);
      kept.set(secretId, { document, until: Date.now() + KEPT_MS });
      return answerOf(document);
    }
  }
  const { prototype } = TokenController;
  Get('token')(prototype, 'token', Object.getOwnPropertyDescriptor(prototype, 'token'));
  Headers('authorization')(prototype, 'token', 0);
  Controller()(TokenController);
  class App {}
  Module({ controllers: [TokenController] })(App);
  const app = await NestFactory.create(App, await adapter(platform), { logger: false });
  await app.listen(0, '127.0.0.1');
  return app.getHttpServer().address().port;
}

function answerOf({ access_token, token_type, expires_at }) {
  const expires_in = Math.floor((Date.parse(expires_at) - Date.now()) / 1000);
  return { access_token, token_type, expires_in };
}

async function adapter(platform) {
  if (platform === 'fastify') {
    const { FastifyAdapter } = await import('@nestjs/platform-fastify');
    return new FastifyAdapter();
  }
  const { ExpressAdapter } = await import('@nestjs/platform-express');
  return new ExpressAdapter();
}
