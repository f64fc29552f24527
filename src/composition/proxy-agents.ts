import { Agent as HttpAgent, request, type AgentOptions, type ClientRequest } from 'node:http';
import { Agent as HttpsAgent, type RequestOptions } from 'node:https';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type ConnectionOptions, type SecureContext } from 'node:tls';
import type { NetworkConfig } from '../config/broker-config.js';
import type { ProxyAddress } from '../config/values.js';
import { connectionFailure, retryAfterOf, systemCode } from '../tokens/http.js';
import { ProxyError } from '../tokens/proxy-error.js';
import { systemClock } from '../tokens/time.js';
import { decideRoute, type Route } from './proxy-rules.js';

/**
 * How long the way through a proxy may take, in milliseconds: to reach it, its response, and TLS to the destination. Less
 * than a request may take as a whole, so that the error names the proxy.
 */
export const PROXY_TIMEOUT = 3_000;

/** Whom TLS connections trust; `undefined` for Node's own authorities. */
export interface Trust {
  /** PEM; for a connection that has a certificate of its own. */
  readonly ca: readonly string[];
  /** The same, prepared once: there are some 150 authorities. */
  readonly context: SecureContext;
}

/** What the agents are made of. */
export interface AgentSettings {
  readonly rules: Omit<NetworkConfig, 'caFile'>;
  readonly trust: Trust | undefined;
  /** Default: {@link PROXY_TIMEOUT}. */
  readonly timeoutMs?: number;
}

type Callback = (error: Error | null, stream: Duplex) => void;

/** Node's https agent, through proxies by CONNECT (RFC 9110 §9.3.6) where the rules say so. */
export class TunnelAgent extends HttpsAgent {
  readonly #settings: AgentSettings;

  constructor(settings: AgentSettings, options?: AgentOptions) {
    super(options);
    this.#settings = settings;
  }

  override createConnection(
    options: RequestOptions,
    callback: Callback = () => undefined,
  ): Duplex | null | undefined {
    const { rules, trust } = this.#settings;
    const secured = { ...options, ...trusting(trust, options) };
    const { host, port } = placeOf(options, '443');
    const { proxy } = decideRoute({ protocol: 'https:', hostname: host, port }, rules);
    if (proxy === undefined) return super.createConnection(secured, callback);
    void deliver(openTunnel(proxy, { host, port }, secured, this.#settings), callback);
    return undefined;
  }
}

/** Node's http agent; where the rules say so it sends requests to a proxy, with their whole URL (RFC 9112 §3.2.2). */
export class ForwardAgent extends HttpAgent {
  readonly #settings: AgentSettings;

  constructor(settings: AgentSettings, options?: AgentOptions) {
    super(options);
    this.#settings = settings;
  }

  // Node calls it with each request before its head is made. Its types leave it out.
  addRequest(sent: ClientRequest, options: RequestOptions): void {
    const { host, port } = placeOf(options, '80');
    const { proxy } = decideRoute(
      { protocol: 'http:', hostname: host, port },
      this.#settings.rules,
    );
    if (proxy === undefined) {
      addRequest.call(this, sent, options);
      return;
    }
    sent.path = `http://${authorityOf(host, port)}${sent.path}`;
    for (const [name, value] of Object.entries(loginTo(proxy))) sent.setHeader(name, value);
    const { host: proxyHost, port: proxyPort } = placeOfProxy(proxy);
    addRequest.call(this, sent, { ...options, host: proxyHost, port: proxyPort, [VIA]: proxy });
  }

  override createConnection(
    options: RequestOptions & { readonly [VIA]?: ProxyAddress },
    callback: Callback = () => undefined,
  ): Duplex | null | undefined {
    const { [VIA]: proxy } = options;
    if (proxy === undefined) return super.createConnection(options, callback);
    const { trust, timeoutMs = PROXY_TIMEOUT } = this.#settings;
    const reached = withinTime(timeoutMs, proxy, 'it could be reached', (ending) =>
      reachProxy(proxy, trust, ending),
    );
    void deliver(reached, callback);
    return undefined;
  }
}

/** The proxy of a connection, among Node's options for it. */
const VIA = Symbol('proxy');

const { addRequest } = HttpAgent.prototype as unknown as {
  readonly addRequest: (this: HttpAgent, sent: ClientRequest, options: object) => void;
};

async function deliver(connection: Promise<Duplex>, callback: Callback): Promise<void> {
  let socket: Duplex;
  try {
    socket = await connection;
  } catch (error) {
    // Node takes no socket with an error, and its types demand one.
    callback(error as Error, undefined as unknown as Duplex);
    return;
  }
  callback(null, socket);
}

/** What a request trusts: its own authorities, if it has some; a certificate of its own needs them as text. */
function trusting(trust: Trust | undefined, { ca, cert }: RequestOptions): object {
  if (trust === undefined || ca !== undefined) return {};
  return cert === undefined ? { secureContext: trust.context } : { ca: trust.ca };
}

interface Place {
  /** Without brackets. */
  readonly host: string;
  readonly port: string;
}

function placeOf({ host, port }: RequestOptions, usual: string): Place {
  return { host: (host ?? 'localhost').replace(/^\[|\]$/g, ''), port: String(port ?? usual) };
}

function placeOfProxy({ url }: ProxyAddress): Place & { readonly isTls: boolean } {
  const { protocol, hostname, port } = new URL(url);
  const isTls = protocol === 'https:';
  return { ...placeOf({ host: hostname, port: port || (isTls ? '443' : '80') }, ''), isTls };
}

function authorityOf(host: string, port: string): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** A proxy in messages: `proxy.example.com:3128`. */
export function nameOfProxy(proxy: ProxyAddress): string {
  const { host, port } = placeOfProxy(proxy);
  return authorityOf(host, port);
}

function loginTo({ login }: ProxyAddress): Record<string, string> {
  return login === undefined
    ? {}
    : { 'proxy-authorization': `Basic ${Buffer.from(login.reveal()).toString('base64')}` };
}

/**
 * A TLS connection to a place through a proxy.
 *
 * @throws {ProxyError} for whatever the proxy does wrong; Node's own error when the destination's TLS fails.
 */
export function openTunnel(
  proxy: ProxyAddress,
  { host, port }: Place,
  options: RequestOptions & Pick<ConnectionOptions, 'secureContext'>,
  { trust, timeoutMs = PROXY_TIMEOUT }: Pick<AgentSettings, 'trust' | 'timeoutMs'>,
): Promise<Duplex> {
  const target = authorityOf(host, port);
  return withinTime(timeoutMs, proxy, `it had connected to ${target}`, async (ending) => {
    const socket = await reachProxy(proxy, trust, ending);
    const tunnel = await askForTunnel(proxy, target, socket);
    return secure(tunnel, proxy, target, {
      ...options,
      servername: options.servername ?? (isIP(host) === 0 ? host : ''),
    });
  });
}

/** Ends what is under way when the time is over. */
async function withinTime(
  milliseconds: number,
  proxy: ProxyAddress,
  goal: string,
  work: (ending: Ending) => Promise<Duplex>,
): Promise<Duplex> {
  const ending: Ending = { socket: undefined };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(
        new ProxyError('PROXY_UNAVAILABLE', {
          why: `${subjectOf(proxy)} took more than ${milliseconds / 1000} s before ${goal}`,
          advice: 'Is it overloaded, or does a firewall drop the connection behind it?',
        }),
      );
      ending.socket?.destroy();
    }, milliseconds);
  });
  try {
    return await Promise.race([work(ending), late]);
  } catch (error) {
    ending.socket?.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** The connection to the proxy, once there is one. */
interface Ending {
  socket: Socket | undefined;
}

function subjectOf(proxy: ProxyAddress): string {
  return `the proxy ${nameOfProxy(proxy)}`;
}

/** A connection to the proxy itself. */
function reachProxy(
  proxy: ProxyAddress,
  trust: Trust | undefined,
  ending: Ending,
): Promise<Socket> {
  const { host, port, isTls } = placeOfProxy(proxy);
  return new Promise((resolve, reject) => {
    const socket = isTls
      ? connectTls({
          host,
          port: Number(port),
          ...(isIP(host) === 0 && { servername: host }),
          ...trusting(trust, {}),
        })
      : connectTcp({ host, port: Number(port) });
    ending.socket = socket;
    socket.once(isTls ? 'secureConnect' : 'connect', () => resolve(socket));
    // For good: who uses it next may not listen yet when it breaks.
    socket.on('error', (error) => reject(unreachable(error, proxy)));
  });
}

function unreachable(error: unknown, proxy: ProxyAddress): ProxyError {
  const failure = connectionFailure(error);
  const why = failure?.why ?? 'the connection failed';
  if (failure?.kind === 'tls') {
    return new ProxyError('PROXY_REFUSED', {
      why: `${subjectOf(proxy)} offers no trusted TLS connection: ${why}`,
      advice: `Is it an http: proxy? For a private authority, set BROKER_CA_FILE or NODE_EXTRA_CA_CERTS.`,
    });
  }
  return new ProxyError('PROXY_UNAVAILABLE', {
    why: `${subjectOf(proxy)} cannot be reached: ${why}`,
    advice: 'Check HTTPS_PROXY (or HTTP_PROXY), and whether the proxy runs.',
    isBrief: true,
  });
}

function askForTunnel(proxy: ProxyAddress, target: string, socket: Socket): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const sent = request({
      method: 'CONNECT',
      path: target,
      headers: { host: target, ...loginTo(proxy) },
      createConnection: () => socket,
    });
    sent.once('connect', (answer, tunnel, head) => {
      const { statusCode: status = 0, headers } = answer;
      if (status < 200 || status > 299) {
        const received = new Headers();
        for (const name of ['proxy-authenticate', 'retry-after', 'date'] as const) {
          const value = headers[name];
          if (typeof value === 'string') received.set(name, value);
        }
        reject(refusalOf(proxy, target, status, received, systemClock.now()));
      } else if (head.length > 0) {
        // In TLS the client speaks first.
        reject(notATunnel(proxy, target));
      } else {
        resolve(tunnel);
      }
    });
    sent.once('error', (error) => {
      const code = systemCode(error) ?? 'unknown reason';
      reject(
        code.startsWith('HPE_')
          ? new ProxyError('PROXY_REFUSED', {
              why: `${subjectOf(proxy)} does not speak HTTP (${code})`,
              advice:
                'Check the port and the scheme of HTTPS_PROXY: is it an https: proxy, or one for SOCKS, which is not supported?',
            })
          : new ProxyError('PROXY_UNAVAILABLE', {
              why: `${subjectOf(proxy)} closed the connection in place of a response (${code})`,
              advice: `Its log says why. Does it allow ${target}?`,
              isBrief: true,
            }),
      );
    });
    sent.end();
  });
}

function notATunnel(proxy: ProxyAddress, target: string): ProxyError {
  return new ProxyError('PROXY_REFUSED', {
    why: `${subjectOf(proxy)} answers in place of ${target}: what comes through its tunnel is not TLS, but perhaps a web page`,
    advice: `Does it want a login by a form, or block the host? Allow ${target} in the proxy, or put the host into NO_PROXY.`,
  });
}

/**
 * What a proxy's refusal means: 407, another refusal, or a failure that may pass. Pure.
 *
 * @param target `host:port`.
 * @param now milliseconds since the Unix epoch, for a `Retry-After` that names a date.
 */
export function refusalOf(
  proxy: ProxyAddress,
  target: string,
  status: number,
  headers: Headers,
  now: number,
): ProxyError {
  const retryAfterSeconds = retryAfterOf(headers, now);
  // tinyproxy answers a wrong password with 401.
  if (status === 407 || status === 401) {
    const offered = headers.get('proxy-authenticate') ?? '';
    const isBasic = offered === '' || /(?:^|[\s,])basic\b/i.test(offered);
    return new ProxyError('PROXY_REFUSED', {
      why:
        proxy.login === undefined
          ? `${subjectOf(proxy)} wants a login (status ${status})`
          : `${subjectOf(proxy)} does not accept the user and password of HTTPS_PROXY (status ${status})`,
      advice: isBasic
        ? 'Set HTTPS_PROXY to USER:PASSWORD@HOST:PORT, with %40 for "@" in the password.'
        : 'It offers no Basic login, and no other is supported: let it admit this machine by its address, or run a proxy in between that logs in.',
    });
  }
  if (status === 408 || status === 429 || status >= 500) {
    return new ProxyError('PROXY_UNAVAILABLE', {
      why: `${subjectOf(proxy)} has no connection to ${target} (status ${status})`,
      advice: 'Does the proxy resolve and reach that host? Its log says more.',
      retryAfterSeconds,
      isBrief: retryAfterSeconds === undefined,
    });
  }
  return new ProxyError('PROXY_REFUSED', {
    why: `${subjectOf(proxy)} does not allow a connection to ${target} (status ${status})`,
    advice:
      status === 403
        ? 'Allow that host and port in the proxy, or put the host into NO_PROXY if it is reached without one.'
        : 'Is it a proxy that takes CONNECT? Allow that host and port in it, or put the host into NO_PROXY if it is reached without one.',
  });
}

/** TLS through a tunnel. */
function secure(
  tunnel: Socket,
  proxy: ProxyAddress,
  target: string,
  options: RequestOptions,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ ...(options as object), socket: tunnel });
    socket.once('secureConnect', () => resolve(socket));
    socket.on('error', (error) => {
      tunnel.destroy();
      reject(failureIn(error, proxy, target));
    });
  });
}

/** What is not the proxy's doing stays as it is: a certificate that is not trusted. */
function failureIn(error: Error, proxy: ProxyAddress, target: string): Error {
  const code = systemCode(error) ?? '';
  if (
    /^(?:EPROTO|ERR_SSL_(?:WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|UNKNOWN_PROTOCOL|\w*_RECORD\w*))$/.test(
      code,
    )
  ) {
    return notATunnel(proxy, target);
  }
  if (/^(?:ECONN|EPIPE)/.test(code)) {
    return new ProxyError('PROXY_UNAVAILABLE', {
      why: `${subjectOf(proxy)} closed the tunnel to ${target} (${code})`,
      advice: `Its log says why. Does it allow ${target}, and does that host speak TLS?`,
      isBrief: true,
    });
  }
  return error;
}

/** How a URL is reached, in words: `through the proxy proxy.example.com:3128 (HTTPS_PROXY)`. */
export function describeRoute(route: Route): string {
  if (route.proxy !== undefined) {
    return `through the proxy ${nameOfProxy(route.proxy)} (${route.setting})`;
  }
  return { 'no proxy': 'directly', 'this machine': 'directly', NO_PROXY: 'directly (NO_PROXY)' }[
    route.because
  ];
}
