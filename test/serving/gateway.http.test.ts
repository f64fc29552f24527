import { afterEach, describe, expect, test } from '@jest/globals';
import { createOfflineTestIssuer } from '../../src/testing/index.js';
import { createStaticKeySet } from '../../src/verification/keys/key-set.js';
import { createReceivers } from '../../src/verification/receivers.js';
import {
  AUDIENCE,
  basic,
  createBroker,
  peerEntry,
  PEERS_SECRET,
  send,
  SERVERS,
  startApp,
  type RunningApp,
} from './broker.js';

const issuer = await createOfflineTestIssuer({ audience: AUDIENCE });
const receivers = createReceivers({
  receivers: [
    {
      issuer: issuer.issuer,
      profile: 'rfc9068',
      audiences: AUDIENCE,
      keys: createStaticKeySet(issuer.jwks()),
    },
  ],
});
const SECRET = 'gateway-secret-0123456789abcdefghijklmnopqrs';
const service = issuer.serviceToken({ clientId: 'billing' });

describe.each(SERVERS)('what gateways ask, on %s', (server) => {
  let running: RunningApp | undefined;
  afterEach(async () => {
    await running?.app.close();
    running = undefined;
  });

  async function start(authorizes: boolean): Promise<number> {
    const { serving, store } = createBroker({
      authorizes,
      receivers: { get: async () => receivers, peek: () => receivers },
    });
    const peers = { gateway: peerEntry(SECRET, ['introspect']) };
    store.edit(PEERS_SECRET, JSON.stringify({ peers }));
    running = await startApp(serving, server);
    return running.port;
  }

  test('/v1/authorize', async () => {
    const port = await start(true);
    const bearer = { authorization: `Bearer ${service}` };
    for (const method of ['GET', 'GET', 'POST', 'PUT', 'DELETE', 'PATCH']) {
      for (const path of ['?allow=service', '/allow=service/orders/1?allow=customer']) {
        const passed = await send(port, method, `/v1/authorize${path}`, bearer);
        expect([passed.status, passed.text]).toEqual([200, '']);
        expect(passed.headers).toMatchObject({
          'x-principal-kind': 'service',
          'x-principal-client': 'billing',
          'x-principal-issuer': issuer.issuer,
        });
      }
    }
    const two = { authorization: [bearer.authorization, bearer.authorization] };
    expect((await send(port, 'GET', '/v1/authorize?allow=service', two)).status).toBe(401);
    const none = await send(port, 'GET', '/v1/authorize?allow=service');
    expect([none.status, none.headers['www-authenticate']]).toEqual([401, 'Bearer']);
    expect((await send(port, 'GET', '/v1/authorize?allow=customer', bearer)).status).toBe(403);
  });

  test('/v1/authorize is off unless it is configured', async () => {
    const port = await start(false);
    const bearer = { authorization: `Bearer ${service}` };
    for (const path of ['?allow=service', '/allow=service/']) {
      expect((await send(port, 'GET', `/v1/authorize${path}`, bearer)).status).toBe(404);
    }
  });

  test('/oauth2/introspect', async () => {
    const port = await start(false);
    const form = new URLSearchParams({ token: service }).toString();
    const headers = {
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': String(form.length),
      authorization: basic('gateway', SECRET),
    };
    const answer = await send(port, 'POST', '/oauth2/introspect', headers, form);
    expect([answer.status, JSON.parse(answer.text).kind]).toEqual([200, 'service']);
  });
});
