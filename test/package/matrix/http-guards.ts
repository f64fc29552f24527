// Compiled and run in the projects of the matrix that have Express and Fastify, and no NestJS.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import fastify from 'fastify';
import { createExpressGuard } from 'service-token-kit/guard/express';
import { fastifyGuard } from 'service-token-kit/guard/fastify';
import { createOfflineTestIssuer } from 'service-token-kit/testing';

const issuer = await createOfflineTestIssuer();
const options = issuer.verifierOptions();

const guard = createExpressGuard(options);
const app = express();
app.use(guard.openCalls());
app.get('/', guard.requireToken({ allow: 'service' }), (request, response) => {
  response.json({ kind: request.principal?.kind });
});
const server = createServer(app).listen(0, '127.0.0.1');
await once(server, 'listening');

const other = fastify();
await other.register(fastifyGuard, options);
other.get('/', { config: { access: { allow: 'service' } } }, (request, reply) => {
  reply.send({ kind: request.principal?.kind });
});
other.get('/undeclared', (_request, reply) => {
  reply.send({});
});
const fastifyUrl = await other.listen({ port: 0, host: '127.0.0.1' });

async function requireAnswer(
  url: string,
  token: string | undefined,
  expected: string,
): Promise<void> {
  const headers: Record<string, string> =
    token === undefined ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(url, { headers });
  const seen = `${response.status} ${await response.text()}`;
  if (!seen.startsWith(expected)) throw new Error(`${url} answers ${seen}, not ${expected}`);
}

for (const url of [
  `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
  `${fastifyUrl}/`,
]) {
  await requireAnswer(url, undefined, '401 {"statusCode":401,');
  await requireAnswer(url, issuer.customerToken(), '403 ');
  await requireAnswer(url, issuer.serviceToken(), '200 {"kind":"service"}');
}
await requireAnswer(`${fastifyUrl}/undeclared`, issuer.serviceToken(), '403 ');
await other.close();
server.closeAllConnections();
server.close();
