import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunningBroker } from '../../../src/composition/http-server.js';
import { startTestIssuer, type TestIssuer } from '../../../src/testing/index.js';
import { GATEWAYS, startAskedBroker, type Gateway } from './start-gateway.js';

// Envoy appends the path that the caller chose to the one that it asks the broker for.

const envoy = GATEWAYS.find(({ name }) => name === 'Envoy');
const DOCUMENTED = 'path_prefix: /v1/authorize/allow=service&allow=customer/';

/** What the gateway is configured with: that only services may pass. */
const SERVICES_ONLY = [
  ['a prefix, as it is documented', 'path_prefix: /v1/authorize/allow=service/'],
  ['a prefix without a slash at its end', 'path_prefix: /v1/authorize/allow=service'],
  ['one path for all', 'path_override: /v1/authorize?allow=service'],
] as const;

/** What a caller may ask for. */
const TARGETS = [
  '/',
  '//',
  '/orders?allow=customer&allow=service',
  '/?allow=customer',
  '/allow=customer',
  '//allow=customer/',
  '/../allow=customer',
  '/../../v1/authorize/allow=customer/',
  '/..%2fallow=customer',
  '/%2e%2e/allow=customer/',
  '/%2E%2E/%2e%2e/?allow=customer',
  '/%2e%2e%2f%2e%2e%2fv1%2fauthorize?allow=customer',
  '/\\..\\allow=customer',
  '/./allow=customer',
  '/&allow=customer',
  '/;allow=customer',
  '/%26allow=customer',
  '/ALLOW=CUSTOMER',
  '/V1/AUTHORIZE/ALLOW=customer',
  '/v1/authorize?allow=customer',
  '/?audience=urn:other&scope=none',
  '/%zz?%',
  '/%c0%af',
  '/%00',
  `/${'a'.repeat(4_000)}`,
];

/** What no server has to understand, and what could reach behind the prefix without a slash. */
const MALFORMED = [
  '&allow=customer',
  'allow=customer',
  '?allow=customer',
  '*',
  '/a#allow=customer',
];

const METHODS = ['HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'TRACE'];

let folder = '';
let issuer: TestIssuer;
let broker: RunningBroker;
let service: Server;
const started: Gateway[] = [];

/** The path and the kind of caller of each request that reached the service. */
let reached: (readonly [string | undefined, unknown])[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'envoy-'));
  issuer = await startTestIssuer();
  broker = await startAskedBroker(issuer);
  service = createServer((request, response) => {
    reached.push([request.url, request.headers['x-principal-kind']]);
    response.end();
  });
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  for (const gateway of started) gateway.stop();
  service?.closeAllConnections();
  service?.close();
  await broker?.close();
  await issuer?.close();
  await rm(folder, { recursive: true, force: true });
});

async function startBehind(
  own: string,
  line: string,
  asked = new URL(broker.url).host,
): Promise<Gateway> {
  if (envoy === undefined) throw new Error('There is no Envoy.');
  const { port } = service.address() as AddressInfo;
  const gateway = await envoy.start({
    folder: join(folder, own),
    service: `127.0.0.1:${port}`,
    broker: asked,
    change: (documented) => {
      expect(documented).toContain(DOCUMENTED);
      return documented.replace(DOCUMENTED, line);
    },
  });
  started.push(gateway);
  reached = [];
  return gateway;
}

/** Sends a request with its target as it is. @returns the status. */
async function ask(
  { port }: Gateway,
  target: string,
  token: string,
  more: readonly string[] = [],
  method = 'GET',
): Promise<number> {
  const socket = connect(port, '127.0.0.1');
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'Host: shop.example',
    `Authorization: Bearer ${token}`,
    'Connection: close',
    ...more,
  ];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  // Envoy leaves a connection open for a second after some answers.
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(bytes.toString('latin1'))?.[1]);
}

(envoy === undefined ? describe.skip : describe)(
  'Envoy, asking with the path of its caller',
  () => {
    describe.each(SERVICES_ONLY)('%s', (own, line) => {
      let gateway: Gateway;
      beforeAll(async () => {
        gateway = await startBehind(own, line);
      });

      test.each(TARGETS)('%.60s: services pass, customers do not', async (target) => {
        reached = [];
        const remembered = issuer.serviceToken();
        for (const token of [remembered, remembered, issuer.serviceToken()]) {
          expect(await ask(gateway, target, token)).toBe(200);
        }
        expect(reached).toEqual([1, 2, 3].map(() => [target, 'service']));
        reached = [];
        const customer = issuer.customerToken();
        for (const token of [customer, customer, 'x']) {
          expect(await ask(gateway, target, token)).toBe(token === 'x' ? 401 : 403);
        }
        expect(reached).toEqual([]);
      });

      test.each(MALFORMED)('%s reaches nobody', async (target) => {
        reached = [];
        for (const token of [issuer.customerToken(), issuer.serviceToken()]) {
          expect(await ask(gateway, target, token)).toBe(400);
        }
        expect(reached).toEqual([]);
      });

      test.each(METHODS)('%s is judged as any other method', async (method) => {
        const body = ['Transfer-Encoding: chunked', '', '5', 'hello', '0'];
        for (const more of [[], body]) {
          reached = [];
          const of = (token: string): Promise<number> => ask(gateway, '/', token, more, method);
          expect(await of(issuer.serviceToken())).toBe(200);
          expect(reached).toHaveLength(1);
          expect(await of(issuer.customerToken())).toBe(403);
          expect(reached).toHaveLength(1);
        }
      });

      test('a method that HTTP does not have reaches nobody', async () => {
        reached = [];
        expect(await ask(gateway, '/', issuer.serviceToken(), [], 'PURGE')).toBe(404);
        expect(reached).toEqual([]);
      });

      test('a header that some services take for one of ours is refused', async () => {
        reached = [];
        const forged = ['X_Principal_Kind: customer'];
        expect(await ask(gateway, '/', issuer.serviceToken(), forged)).toBe(400);
        expect(reached).toEqual([]);
      });
    });

    test('a broker that does not answer in time lets nobody pass', async () => {
      const silent = createServer(() => {});
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      const { port } = silent.address() as AddressInfo;
      const gateway = await startBehind('silent', DOCUMENTED, `127.0.0.1:${port}`);
      expect(await ask(gateway, '/', issuer.serviceToken())).toBe(503);
      expect(reached).toEqual([]);
      silent.closeAllConnections();
      silent.close();
    });

    test.each([
      ['no policy', 'path_prefix: /v1/authorize'],
      ['no policy, and a slash', 'path_prefix: /v1/authorize/'],
      ['the policy as a query', 'path_prefix: /v1/authorize?allow=service'],
    ])('with %s in the prefix it is of no use', async (own, line) => {
      const gateway = await startBehind(own, line);
      for (const token of [issuer.serviceToken(), issuer.customerToken()]) {
        for (const target of ['/orders', '/orders?allow=service', '/orders&allow=service']) {
          expect(await ask(gateway, target, token)).toBe(400);
        }
      }
      expect(reached).toEqual([]);
    });
  },
);
