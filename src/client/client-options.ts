import { isLoopbackHost, parseUrl, bareError, systemCode } from '../tokens/http.js';
import { ClientConfigError, readAll, TokenRequestError } from './client-errors.js';
import { isJsonObject } from '../tokens/json.js';
import { systemClock, type Clock, withDeadline } from '../tokens/time.js';

/**
 * The brokers' URLs, checked: `https:`, or `http:` on this very machine (or anywhere, with `allowInsecureHttp`), without
 * a user, password, query, fragment and the token endpoint's path.
 *
 * @returns each without a slash at the end.
 * @throws {ClientConfigError} naming every entry that cannot be used. The text itself is not repeated: it may hold a password.
 */
function readBrokerUrls(
  value: string | readonly string[],
  allowInsecureHttp: boolean,
): readonly string[] {
  const texts: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (texts.length === 0) throw new ClientConfigError('"brokers" must name at least one broker.');
  const urls = readAll<readonly string[]>(
    texts.map((text, index) => () => {
      const name = Array.isArray(value) ? `"brokers[${index}]"` : '"brokers"';
      return readUrl(name, text, allowInsecureHttp);
    }),
  );
  const twice = urls.find((url, index) => urls.indexOf(url) < index);
  if (twice !== undefined) throw new ClientConfigError(`"brokers" names ${twice} twice.`);
  return urls;
}

function readUrl(name: string, text: unknown, allowInsecureHttp: boolean): string {
  const url = typeof text === 'string' ? parseUrl(text) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new ClientConfigError(`${name} must be an absolute https: URL.`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new ClientConfigError(
      `${name} must have no user and password: they belong into "peer", where they do not end up in logs.`,
    );
  }
  if (url.search !== '' || url.hash !== '') {
    throw new ClientConfigError(`${name} must have no query and no fragment.`);
  }
  const path = url.pathname.replace(/\/+$/, '');
  if (path.endsWith('/oauth2/token')) {
    throw new ClientConfigError(`${name} must be without the path /oauth2/token.`);
  }
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname) && !allowInsecureHttp) {
    throw new ClientConfigError(
      `${name} is plain HTTP to another machine, which would show the peer's secret and the token to the network. Use ` +
        'https:, or say allowInsecureHttp: true where a mesh encrypts what it carries.',
    );
  }
  return `${url.origin}${path}`;
}

/** Who asks: a peer of the broker, as `service-token-broker peers add` made it. */
export interface PeerOptions {
  readonly id: string;
  /**
   * The peer's secret, or a function that gives it. The function is called anew for each request, so that a secret that
   * was replaced in a mounted file or a vault is used at once. White space and a byte-order mark around it are left out.
   */
  readonly secret: string | (() => string | Promise<string>);
}

/** How `createServiceTokenClient` gets the service token. Spans are in milliseconds. */
export interface ServiceTokenClientOptions {
  /**
   * The brokers, in the order in which they are asked: URLs without `/oauth2/token`, such as
   * `https://broker.internal`. All of them must know the peer by the same secret.
   */
  readonly brokers: string | readonly string[];
  /** The content of the file that `peers add` wrote fits as it is. */
  readonly peer: PeerOptions;
  /** Allows `http:` to other machines, where a mesh encrypts what it carries. Default false: to this machine only. */
  readonly allowInsecureHttp?: boolean;
  /** How long a token is used before it is asked for again. From 1 000 to 86 400 000, default 300 000. */
  readonly ttlMs?: number;
  /** Remaining life under which a token is not handed out any more. From 0 to 3 600 000, default 60 000. */
  readonly skewMs?: number;
  /** For one attempt at one broker. From 1 to 600 000, default 5 000. */
  readonly timeoutMs?: number;
  /** For one request with all its attempts and pauses. From `timeoutMs` to 600 000, default 15 000. */
  readonly deadlineMs?: number;
  /**
   * How often the list of brokers is gone through, with growing pauses, while there is no token at hand. From 1 to 10,
   * default 3. With a token at hand it is gone through once: the token is served, and the next refresh tries again.
   */
  readonly rounds?: number;
  /** How to send requests, for proxies and private certificate authorities. Default: the platform's `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
  readonly observer?: ServiceTokenClientObserver;
  /** Default: the clock of the machine. */
  readonly clock?: Clock;
  /** Jitter: from 0 up to, but not including, 1. Default `Math.random`. */
  readonly random?: () => number;
}

/** The options, checked and with defaults. */
export interface ClientSettings {
  /** Without a slash at the end. */
  readonly brokers: readonly string[];
  readonly peerId: string;
  readonly readSecret: () => unknown;
  readonly ttlMs: number;
  readonly skewMs: number;
  readonly timeoutMs: number;
  readonly deadlineMs: number;
  readonly rounds: number;
  readonly fetch: typeof globalThis.fetch;
  readonly observer: ServiceTokenClientObserver;
  readonly clock: Clock;
  readonly random: () => number;
}

const KNOWN: Readonly<Record<keyof ServiceTokenClientOptions, true>> = {
  brokers: true,
  peer: true,
  allowInsecureHttp: true,
  ttlMs: true,
  skewMs: true,
  timeoutMs: true,
  deadlineMs: true,
  rounds: true,
  fetch: true,
  observer: true,
  clock: true,
  random: true,
};

/**
 * Checks the options and fills in the defaults. Callers without TypeScript are checked as well: an option whose name is
 * not known is refused rather than passed over.
 *
 * @throws {ClientConfigError} naming every mistake.
 */
export function readClientOptions(options: ServiceTokenClientOptions): ClientSettings {
  if (!isJsonObject(options)) {
    throw new ClientConfigError('The client needs options: brokers and peer.');
  }
  const { timeoutMs = 5_000, allowInsecureHttp = false } = options;
  const {
    peer,
    unknown: _,
    insecure: __,
    ...settings
  } = readAll({
    unknown: () => refuseUnknown(options),
    insecure: () => requireFlag('allowInsecureHttp', allowInsecureHttp),
    // An unusable flag is its own mistake, and must not look like another one of each URL.
    brokers: () => readBrokerUrls(options.brokers, allowInsecureHttp),
    peer: () => readPeer(options.peer),
    ttlMs: () => requireSpan('ttlMs', options.ttlMs ?? 300_000, 1_000, 86_400_000),
    skewMs: () => requireSpan('skewMs', options.skewMs ?? 60_000, 0, 3_600_000),
    timeoutMs: () => requireSpan('timeoutMs', timeoutMs, 1, 600_000),
    deadlineMs: () => {
      const least = isSpan(timeoutMs, 1, 600_000) ? timeoutMs : 1;
      const value = options.deadlineMs ?? Math.max(15_000, least);
      return requireSpan('deadlineMs', value, least, 600_000);
    },
    rounds: () => requireRounds(options.rounds ?? 3),
    fetch: () => requireFunction('fetch', options.fetch ?? globalThis.fetch),
    observer: () => requireObserver(options.observer ?? {}),
    clock: () => requireClock(options.clock ?? systemClock),
    random: () => requireFunction('random', options.random ?? Math.random),
  });
  return { ...settings, ...peer };
}

function refuseUnknown(options: object): void {
  const unknown = Object.keys(options).filter((name) => !Object.hasOwn(KNOWN, name));
  if (unknown.length === 0) return;
  const names = Object.keys(KNOWN).join(', ');
  throw new ClientConfigError(
    unknown.map((name) => `There is no option "${name}". There are ${names}.`),
  );
}

/** The id without the white space that a pasted one ends with. */
function readPeer(peer: PeerOptions): Pick<ClientSettings, 'peerId' | 'readSecret'> {
  if (!isJsonObject(peer))
    throw new ClientConfigError('"peer" must have the peer\'s id and secret.');
  const { id, secret } = peer;
  return readAll({
    peerId: () => {
      if (typeof id === 'string' && id.trim() !== '') return id.trim();
      throw new ClientConfigError('"peer.id" must be the id that the broker knows the peer by.');
    },
    readSecret: (): (() => unknown) => {
      if (typeof secret === 'function') return () => secret();
      if (typeof secret === 'string' && secret.trim() !== '') return () => secret;
      throw new ClientConfigError(
        '"peer.secret" must be the peer\'s secret, or a function that gives it.',
      );
    },
  });
}

function isSpan(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && value >= least && value <= most;
}

function requireFlag(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw new ClientConfigError(`"${name}" must be true or false.`);
}

function requireSpan(name: string, value: number, least: number, most: number): number {
  if (isSpan(value, least, most)) return value;
  throw new ClientConfigError(
    `"${name}" must be a number of milliseconds from ${least} to ${most}.`,
  );
}

function requireRounds(value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= 10) return value;
  throw new ClientConfigError('"rounds" must be a whole number from 1 to 10.');
}

function requireFunction<Value extends (...args: never[]) => unknown>(
  name: string,
  value: Value,
): Value {
  if (typeof value === 'function') return value;
  throw new ClientConfigError(`"${name}" must be a function.`);
}

function requireObserver(value: ServiceTokenClientObserver): ServiceTokenClientObserver {
  if (isJsonObject(value)) return value;
  throw new ClientConfigError('"observer" must be an object with functions.');
}

function requireClock(value: Clock): Clock {
  if (isJsonObject(value) && typeof value.now === 'function' && typeof value.sleep === 'function') {
    return value;
  }
  throw new ClientConfigError('"clock" must have the functions now and sleep.');
}

/**
 * The peer's secret as it is now, without the white space and the byte-order mark that files begin and end with: `trim`
 * takes both off.
 *
 * @param timeoutMs milliseconds that a function may take to give it.
 * @throws {TokenRequestError} `PEER_SECRET_UNREADABLE`, `PEER_SECRET_INVALID`.
 */
export async function readPeerSecret(
  { clock, readSecret }: Pick<ClientSettings, 'clock' | 'readSecret'>,
  timeoutMs: number,
): Promise<string> {
  let secret: unknown;
  try {
    secret = await withDeadline(
      clock,
      timeoutMs,
      async () => readSecret(),
      () => unreadable(`gave none within ${Math.ceil(timeoutMs / 100) / 10} s`),
    );
  } catch (error) {
    if (error instanceof TokenRequestError) throw error;
    // What it threw may quote the secret, as the error of a JSON parser does.
    const cause = bareError(error);
    throw unreadable(`failed (${systemCode(error) ?? cause.message})`, cause);
  }
  if (typeof secret === 'string' && secret.trim() !== '') return secret.trim();
  throw new TokenRequestError(
    'PEER_SECRET_INVALID',
    "The function that gives the peer's secret gave none: it must give a text that is not empty.",
  );
}

function unreadable(why: string, cause?: Error): TokenRequestError {
  return new TokenRequestError(
    'PEER_SECRET_UNREADABLE',
    `The function that gives the peer's secret ${why}.`,
    { cause },
  );
}

/**
 * Is told how a client fares, for logs and metrics. Nothing it is told holds a token or a secret; `broker` is a URL as
 * configured, fit for a label. It must not throw; if it does, a process warning says so.
 *
 * @example
 * ```ts
 * import { createServiceTokenClient } from 'service-token-broker/client';
 *
 * const tokens = createServiceTokenClient({
 *   ...options,
 *   observer: {
 *     refreshed: ({ durationMs }) => refreshSeconds.observe(durationMs / 1000),
 *     refreshFailed: ({ error }) => log.warn({ err: error }, 'the service token was not refreshed'),
 *   },
 * });
 * ```
 */
export interface ServiceTokenClientObserver {
  /** A token came. */
  refreshed?(event: TokenRefreshed): void;
  /** No broker gave a token. The one at hand is served on while its life allows. */
  refreshFailed?(event: RefreshFailed): void;
  /** One broker was asked in vain; another may have answered after it. */
  brokerFailed?(event: BrokerFailed): void;
  /** Another broker answered than the time before. */
  brokerSwitched?(event: BrokerSwitched): void;
  /** For the first time since the last refresh, a token was handed out that should have been refreshed and was not. */
  servedStale?(event: ServedStale): void;
}

/** See {@link ServiceTokenClientObserver.refreshed}. */
export interface TokenRefreshed {
  readonly broker: string;
  /** Milliseconds, attempts and pauses in all. */
  readonly durationMs: number;
  /** When the token expires, in milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** See {@link ServiceTokenClientObserver.refreshFailed}. */
export interface RefreshFailed {
  readonly error: unknown;
  /** 1 for the first failure after a success. */
  readonly consecutiveFailures: number;
  /** Until when the token at hand is served, in milliseconds since the Unix epoch; `undefined` when there is none. */
  readonly servedUntil: number | undefined;
}

/** See {@link ServiceTokenClientObserver.brokerFailed}. */
export interface BrokerFailed {
  readonly broker: string;
  readonly error: TokenRequestError;
  readonly durationMs: number;
}

/** See {@link ServiceTokenClientObserver.brokerSwitched}. */
export interface BrokerSwitched {
  readonly from: string;
  readonly to: string;
}

/** See {@link ServiceTokenClientObserver.servedStale}. Instants in milliseconds since the Unix epoch. */
export interface ServedStale {
  /** When the token was asked for. */
  readonly readAt: number;
  /** When it expires. */
  readonly expiresAt: number;
}
