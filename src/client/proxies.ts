import { Agent } from 'node:http';
import { ClientConfigError } from './client-errors.js';
import { isObject } from '../tokens/json.js';

// Plain http is not encrypted, also not within the tunnel of a proxy. It is allowed to this very machine, and to networks in
// which nobody can listen: a proxy is in neither.

/**
 * An agent to use in the place of one that leads through a proxy; `undefined` when the agent may be used.
 *
 * @param agent what the request names; `undefined` for Node's own, which is one with `NODE_USE_ENV_PROXY`.
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

/** Where Node's own fetch and the package undici look for the dispatcher of requests that name none. */
const FIRST: unique symbol = Symbol.for('undici.globalDispatcher.1');
const SECOND: unique symbol = Symbol.for('undici.globalDispatcher.2');
const globals = globalThis as { readonly [FIRST]?: unknown; readonly [SECOND]?: unknown };

/**
 * What `fetch` is to use as its `dispatcher`, so that a request does not go through a proxy; `undefined` when it does not go
 * through one as it is, as far as can be seen.
 *
 * @param dispatcher what the request names.
 * @throws {ClientConfigError} when it would, and there is no way around.
 */
export function directDispatcher(dispatcher: unknown): Dispatcher | undefined {
  if (isObject(dispatcher)) return aroundProxy(dispatcher);
  return aroundProxy(globals[FIRST]) ?? aroundProxy(globals[SECOND]);
}

type Dispatcher = NonNullable<RequestInit['dispatcher']>;

/** Those that were found to use no proxy: one is asked for with each request. */
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
