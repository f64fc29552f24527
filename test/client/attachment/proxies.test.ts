import { createRequire } from 'node:module';
import { once } from 'node:events';
import { Agent, createServer, request, type ClientRequestArgs, type Server } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import axios, { type AxiosRequestConfig } from 'axios';
import {
  asService,
  attachAuthorization,
  createAuthorizedFetch,
  createServiceTokenClient,
  runInCallContext,
  type AxiosLike,
} from '../../../src/client/index.js';
import { directAgent, directDispatcher } from '../../../src/client/proxies.js';
import { serveTokens, PEER_SECRET } from '../client-fixture.js';
import { startCallee } from './support/callee.js';
import { selfSignedCertificate } from '../../support/certificates.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN } from './support/principals.js';
import { ScriptedTokens } from './support/scripted-tokens.js';

const TOKEN = 'Bearer token';
const VARIABLES = ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [
  name,
  name.toUpperCase(),
]);
const commonJsAxios = createRequire(import.meta.url)('axios') as typeof axios;

/** A proxy: what it forwards, and what it sees of it. */
let proxy: { readonly url: string; readonly port: number; readonly seen: string[] };
let server: Server;
const sockets = new Set<Socket>();
const environment = new Map<string, string | undefined>();

beforeEach(async () => {
  const seen: string[] = [];
  server = createServer((incoming, response) => {
    const { authorization } = incoming.headers;
    seen.push(`${incoming.method} ${incoming.url} ${authorization}`);
    const { method, headers, url = '' } = incoming;
    const forwarded = request(url, { method: method ?? '', headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    incoming.pipe(forwarded);
  });
  server.on('connect', (incoming, socket: Socket) => {
    seen.push(`CONNECT ${incoming.url} ${incoming.headers.authorization}`);
    const { hostname, port } = new URL(`http://${incoming.url}`);
    const target = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(target).pipe(socket);
    });
    for (const one of [socket, target]) {
      sockets.add(one);
      one.on('error', () => undefined);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  proxy = { url: `http://127.0.0.1:${port}`, port, seen };
  for (const name of VARIABLES) {
    environment.set(name, process.env[name]);
    Reflect.deleteProperty(process.env, name);
  }
});

afterEach(async () => {
  for (const [name, value] of environment) {
    if (value === undefined) Reflect.deleteProperty(process.env, name);
    else process.env[name] = value;
  }
  for (const socket of sockets) socket.destroy();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

/** What `http-proxy-agent` and its like do: all requests go to the proxy, which has their `proxy` for a name. */
class ProxyingAgent extends Agent {
  readonly proxy = new URL(proxy.url);

  override createConnection(options: ClientRequestArgs): Socket {
    return super.createConnection({ ...options, host: '127.0.0.1', port: proxy.port }) as Socket;
  }
}

describe.each([
  ['the http adapter', axios, { adapter: 'http' }],
  ['the http adapter without redirects', axios, { adapter: 'http', maxRedirects: 0 }],
  ['an adapter that is a function', axios, { adapter: axios.getAdapter('http') }],
  ['axios of CommonJS', commonJsAxios, {}],
] as const)('a token to an http: origin, by %s', (_name, library, defaults) => {
  async function rig() {
    const callee = await startCallee();
    const http = library.create(defaults);
    attachAuthorization(http, {
      tokens: new ScriptedTokens('token'),
      origins: [{ origin: callee.origin, acceptsCustomers: true }],
    });
    return { callee, http };
  }

  test.each(['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'])(
    'goes through no proxy of the environment: %s',
    async (name) => {
      const { callee, http } = await rig();
      process.env[name] = proxy.url;
      await http.get(callee.origin, asService);
      await runInCallContext(CUSTOMER_CALL, () => http.post(`${callee.origin}/a`, {}));
      expect(callee.tokens()).toEqual([TOKEN, `Bearer ${CUSTOMER_TOKEN}`]);
      expect(proxy.seen).toEqual([]);
      // Without a token of ours it goes as ever.
      await http.get(callee.origin, { headers: { authorization: 'Own' } });
      expect(proxy.seen).toEqual([`GET ${callee.origin}/ Own`]);
    },
  );

  test.each<[string, () => AxiosRequestConfig]>([
    ['proxy', () => ({ proxy: { protocol: 'http', host: '127.0.0.1', port: proxy.port } })],
    ['httpAgent', () => ({ httpAgent: new ProxyingAgent() })],
    [
      'both',
      () => ({ httpAgent: new ProxyingAgent(), proxy: { host: '127.0.0.1', port: proxy.port } }),
    ],
  ])('goes through none of the configuration, which stays as it was: %s', async (_option, make) => {
    const { callee, http } = await rig();
    const config = make();
    const answer = await http.get(callee.origin, { ...config, ...asService });
    expect(callee.tokens()).toEqual([TOKEN]);
    expect(proxy.seen).toEqual([]);
    expect(answer.config.proxy).toEqual(config.proxy);
    expect(answer.config.httpAgent).toBe(config.httpAgent);
  });

  test('goes through none after a redirect within the origin either', async () => {
    const callee = await startCallee(({ url }) =>
      url === '/' ? { status: 302, headers: { location: '/b' } } : {},
    );
    const http = library.create(defaults);
    attachAuthorization(http, {
      tokens: new ScriptedTokens('token'),
      origins: [{ origin: callee.origin }],
    });
    process.env['HTTP_PROXY'] = proxy.url;
    await http.get(callee.origin, { ...asService, validateStatus: null });
    expect(new Set(callee.tokens())).toEqual(new Set([TOKEN]));
    expect(proxy.seen).toEqual([]);
  });

  test('to an https: origin goes through a tunnel, in which the proxy sees nothing', async () => {
    const tls = selfSignedCertificate();
    const callee = await startCallee(undefined, tls);
    // Node.js 26 takes no address as the server name of TLS, and axios gives it the host.
    const origin = callee.origin.replace('127.0.0.1', 'localhost');
    const httpsAgent = new TlsAgent({ ca: tls.cert });
    const http = library.create({ ...defaults, httpsAgent });
    attachAuthorization(http, { tokens: new ScriptedTokens('token'), origins: [{ origin }] });
    process.env['HTTPS_PROXY'] = proxy.url;
    await http.get(origin, asService);
    expect(callee.tokens()).toEqual([TOKEN]);
    expect(proxy.seen).toEqual([`CONNECT ${new URL(origin).host} undefined`]);
  });
});

describe('a version of axios that makes no tunnels', () => {
  /** axios before 1.16.1, as far as its way to a proxy goes: it says the whole URL to it. */
  function oldAxios(isProxied: (url: string) => boolean): AxiosLike {
    const library = axios.create();
    return Object.assign(library, {
      create: () =>
        Object.assign(axios.create(), {
          request: async (config: AxiosRequestConfig & { proxy?: unknown }) => {
            const { url = '' } = config;
            const isAsWhole = config.proxy !== undefined || isProxied(url);
            const path = isAsWhole ? url : new URL(url).pathname;
            return (config.transport as typeof import('node:http')).request({ path });
          },
        }),
    });
  }

  test('gets no token for a request that its proxy could read', async () => {
    const tls = selfSignedCertificate();
    const [shown, direct] = [await startCallee(undefined, tls), await startCallee(undefined, tls)];
    const instance = oldAxios((url) => url.startsWith(shown.origin)) as unknown as typeof axios;
    instance.defaults.httpsAgent = new TlsAgent({ ca: tls.cert });
    attachAuthorization(instance, {
      tokens: new ScriptedTokens('token'),
      origins: [{ origin: shown.origin }, { origin: direct.origin }],
    });
    await expect(instance.get(`${shown.origin}/a`, asService)).rejects.toMatchObject({
      code: 'CLIENT_MISCONFIGURED',
      message: expect.stringContaining('1.16'),
    });
    expect((await instance.get(`${direct.origin}/a`, asService)).status).toBe(200);
    expect((await instance.get(`${shown.origin}/a`, { ...asService, proxy: false })).status).toBe(
      200,
    );
    expect([shown.tokens(), direct.tokens()]).toEqual([[TOKEN], [TOKEN]]);
  });
});

/** The dispatchers of undici, as far as they are looked at: whom they lead to is what the test decides. */
class Dispatcher {
  readonly dispatched: string[] = [];
  dispatch({ path }: { readonly path: string }): never {
    this.dispatched.push(path);
    throw new Error('dispatched');
  }
}
class ProxyAgent extends Dispatcher {}
class CompanyAgent extends ProxyAgent {}
const WITHOUT: unique symbol = Symbol('no proxy agent');
class EnvHttpProxyAgent extends Dispatcher {
  readonly [WITHOUT] = new Dispatcher();
}

const GLOBAL: unique symbol = Symbol.for('undici.globalDispatcher.1');

async function withGlobalDispatcher(dispatcher: object, run: () => Promise<void>): Promise<void> {
  // Node.js has put its own there, for good, once it has fetched anything.
  const global = globalThis as { [GLOBAL]?: object };
  const { [GLOBAL]: before } = global;
  global[GLOBAL] = dispatcher;
  try {
    await run();
  } finally {
    if (before === undefined) Reflect.deleteProperty(globalThis, GLOBAL);
    else global[GLOBAL] = before;
  }
}

describe('a token to an http: origin, by fetch', () => {
  const origin = 'http://127.0.0.1:65535';
  const options = { tokens: new ScriptedTokens('token'), origins: [{ origin }] };
  const byFetch = createAuthorizedFetch(options);
  const byAxios = axios.create({ adapter: 'fetch' });
  attachAuthorization(byAxios, options);
  const senders: readonly [string, (dispatcher?: object) => Promise<unknown>][] = [
    [
      'fetch',
      (dispatcher) =>
        byFetch(origin, { as: 'service', ...(dispatcher && ({ dispatcher } as object)) }),
    ],
    [
      'a Request',
      (dispatcher) =>
        byFetch(new Request(origin), {
          as: 'service',
          ...(dispatcher && ({ dispatcher } as object)),
        }),
    ],
    [
      'axios',
      (dispatcher) =>
        byAxios.get(origin, { ...asService, ...(dispatcher && { fetchOptions: { dispatcher } }) }),
    ],
  ];

  test.each(senders)('is refused when its dispatcher is a proxy: %s', async (_name, send) => {
    for (const agent of [new ProxyAgent(), new CompanyAgent()]) {
      await expect(send(agent)).rejects.toMatchObject({ code: 'CLIENT_MISCONFIGURED' });
      await withGlobalDispatcher(agent, () =>
        expect(send()).rejects.toMatchObject({ code: 'CLIENT_MISCONFIGURED' }),
      );
      expect(agent.dispatched).toEqual([]);
    }
  });

  test.each(senders)('goes around the proxies of the environment: %s', async (_name, send) => {
    const agent = new EnvHttpProxyAgent();
    const { [WITHOUT]: direct } = agent;
    await expect(send(agent)).rejects.toThrow();
    await withGlobalDispatcher(agent, () => expect(send()).rejects.toThrow());
    expect([agent.dispatched.length, direct.dispatched.length]).toEqual([0, 2]);
  });

  test('does not concern the http adapter', async () => {
    const callee = await startCallee();
    const http = axios.create({ adapter: 'http' });
    attachAuthorization(http, { ...options, origins: [{ origin: callee.origin }] });
    await withGlobalDispatcher(new ProxyAgent(), async () => {
      expect((await http.get(callee.origin, asService)).status).toBe(200);
    });
  });

  test('and so does the secret of a peer, to an http: broker', async () => {
    const broker = await serveTokens();
    const client = (fetch?: typeof globalThis.fetch) =>
      createServiceTokenClient({
        brokers: broker.origin,
        peer: { id: 'orders', secret: PEER_SECRET },
        ...(fetch && { fetch }),
      });
    await withGlobalDispatcher(new ProxyAgent(), () =>
      expect(client().getToken()).rejects.toMatchObject({ code: 'CLIENT_MISCONFIGURED' }),
    );
    expect(broker.received('token')).toEqual([]);
    const agent = new EnvHttpProxyAgent();
    const given: unknown[] = [];
    await withGlobalDispatcher(agent, async () => {
      const seen = client((_input, init) => {
        given.push((init as { dispatcher?: unknown }).dispatcher);
        return Promise.reject(new TypeError('fetch failed'));
      });
      await expect(seen.getToken()).rejects.toThrow();
    });
    expect(given[0]).toBe(agent[WITHOUT]);
  });

  test('an https: origin may be reached through one', async () => {
    const secure = createAuthorizedFetch({
      tokens: new ScriptedTokens('token'),
      origins: [{ origin: 'https://billing.internal' }],
    });
    const agent = new ProxyAgent();
    const init = { as: 'service', dispatcher: agent } as object;
    await expect(secure('https://billing.internal/', init)).rejects.toThrow();
    expect(agent.dispatched).toEqual(['/']);
  });
});

describe('what counts as a proxy', () => {
  const plain = new Agent();
  test.each<[string, unknown, Agent, boolean]>([
    ['none', undefined, plain, false],
    ['an agent', new Agent({ keepAlive: true }), plain, false],
    ['no object', 7, plain, false],
    ['http-proxy-agent, socks-proxy-agent, hpagent', { proxy: new URL('http://a') }, plain, true],
    ['tunnel', { proxyOptions: { host: 'a' } }, plain, true],
    ['proxy-agent', { getProxyForUrl: () => '' }, plain, true],
    ['Node with proxyEnv', { options: { proxyEnv: { HTTP_PROXY: 'a' } } }, plain, true],
    ['NODE_USE_ENV_PROXY', undefined, { options: { proxyEnv: {} } } as unknown as Agent, true],
    ['global-agent', undefined, { isProxyConfigured: () => true } as unknown as Agent, true],
  ])('%s', (_name, agent, globalAgent, counts) => {
    expect(directAgent(agent, globalAgent) instanceof Agent).toBe(counts);
  });

  test('a dispatcher without one is left alone', () => {
    expect(directDispatcher(undefined)).toBeUndefined();
    expect(directDispatcher(new Dispatcher())).toBeUndefined();
    expect(directDispatcher(null)).toBeUndefined();
  });
});
