import { Agent } from 'node:http';
import { ClientConfigError } from './client-errors.js';
import { isObject } from '../tokens/json.js';

// Plain http is not encrypted, even within the tunnel of a proxy. It is allowed to this very machine, and to networks in
// which nobody can listen: a proxy is in neither.

/**
 * The agent to use instead of one that leads through a proxy; `undefined` when the agent may be used.
 *
 * @param agent what the request names; `undefined` for Node's own, which uses proxies with `NODE_USE_ENV_PROXY`.
 */
export function directAgent(agent: unknown, globalAgent: Agent): Agent | undefined {
  return isProxyAgent(agent ?? globalAgent)
    ? (direct ??= new Agent({ keepAlive: true }))
    : undefined;
}

let direct: Agent | undefined;

/** Node's own agent with `proxyEnv`, and those of the common packages. */
function isProxyAgent(agent: unknown): boolean {
  if (!isObject(agent)) return false;
  const { options } = agent;
  return (
    (isObject(options) && Boolean(options['proxyEnv'])) ||
    // http-proxy-agent, https-proxy-agent, socks-proxy-agent, hpagent
    Boolean(agent['proxy']) ||
    // tunnel
    Boolean(agent['proxyOptions']) ||
    // proxy-agent, global-agent
    typeof agent['getProxyForUrl'] === 'function' ||
    typeof agent['isProxyConfigured'] === 'function'
  );
}

/** Where Node's own fetch and the package undici keep their default dispatcher. */
const FIRST: unique symbol = Symbol.for('undici.globalDispatcher.1');
const SECOND: unique symbol = Symbol.for('undici.globalDispatcher.2');
const globals = globalThis as { readonly [FIRST]?: unknown; readonly [SECOND]?: unknown };

/**
 * The `dispatcher` for `fetch` with which a request does not go through a proxy; `undefined` when it goes through none
 * anyway, as far as can be seen.
 *
 * @param dispatcher what the request names.
 * @throws {ClientConfigError} when it cannot go around the proxy.
 */
export function directDispatcher(dispatcher: unknown): Dispatcher | undefined {
  if (isObject(dispatcher)) return aroundProxy(dispatcher);
  return aroundProxy(globals[FIRST]) ?? aroundProxy(globals[SECOND]);
}

type Dispatcher = NonNullable<RequestInit['dispatcher']>;

/** Dispatchers that were found to use no proxy: each request looks at one. */
const withoutProxy = new WeakSet<object>();

function aroundProxy(dispatcher: unknown): Dispatcher | undefined {
  if (!isObject(dispatcher) || withoutProxy.has(dispatcher)) return undefined;
  const symbols = Object.getOwnPropertySymbols(dispatcher);
  const part = (description: string): unknown => {
    const symbol = symbols.find((one) => one.description === description);
    return symbol && Reflect.get(dispatcher, symbol);
  };
  // EnvHttpProxyAgent, which NODE_USE_ENV_PROXY installs, has an agent for what its environment excepts.
  const without = part('no proxy agent');
  if (isObject(without)) return without as unknown as Dispatcher;
  if (!namesOf(dispatcher).some((name) => name.includes('Proxy'))) {
    withoutProxy.add(dispatcher);
    return undefined;
  }
  throw new ClientConfigError(
    'A request to an http: origin would go through the proxy of the "dispatcher" of fetch, which could read its token or ' +
      'secret. Use https, or a dispatcher without a proxy.',
  );
}

function namesOf(value: object): readonly string[] {
  const names: string[] = [];
  for (let one: object | null = value; one !== null; one = Reflect.getPrototypeOf(one)) {
    const { constructor } = one as { readonly constructor?: unknown };
    if (typeof constructor === 'function') names.push(constructor.name);
  }
  return names;
}
