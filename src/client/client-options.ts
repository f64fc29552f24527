import { isLoopbackHost, parseUrl } from '../tokens/http.js';
import { isJsonObject } from '../tokens/json.js';
import { systemClock, type Clock } from '../tokens/time.js';
import { ClientConfigError, readAll, type TokenRequestError } from './client-errors.js';
import { readPeer, type PeerIdentity, type PeerOptions } from './peer-proof.js';

/** How `createServiceTokenClient` gets the service token. */
export interface ServiceTokenClientOptions {
  /**
   * The brokers, in the order in which they are asked: URLs without `/oauth2/token`, such as
   * `https://broker.internal`. All of them must know the peer, and by the same proof.
   */
  readonly brokers: string | readonly string[];
  /**
   * Who asks, and how it proves that: `{ id, secret }`, `{ workloadToken }` or `{ certificate, key }`. The content of the file
   * that `peers add` wrote fits as it is.
   */
  readonly peer: PeerOptions;
  /**
   * Which token is asked for, by its audience, where the peer may have several: sent as the parameter `audience`. Default: the
   * broker chooses.
   */
  readonly audience?: string;
  /** The same by the standard parameter `resource` (RFC 8707 §2): an absolute URI without a fragment. Default: none. */
  readonly resource?: string;
  /** Allows `http:` to other machines, where a mesh encrypts the traffic. Default false: to this machine only. */
  readonly allowInsecureHttp?: boolean;
  /** How long a token is used before it is requested again, in seconds. From 1 to 86400, default 300. */
  readonly ttlSeconds?: number;
  /** Remaining life in seconds under which a token is no longer returned. From 0 to 3600, default 60. */
  readonly skewSeconds?: number;
  /** The time-out of one attempt at one broker, in seconds. From 0.001 to 600, default 5. */
  readonly timeoutSeconds?: number;
  /** The time-out of one request with all its attempts and pauses, in seconds. From `timeoutSeconds` to 600, default 15. */
  readonly deadlineSeconds?: number;
  /**
   * How often the list of brokers is tried, with growing pauses, while there is no usable token. From 1 to 10,
   * default 3. With a usable token it is tried once: the token is served, and the next refresh tries again.
   */
  readonly rounds?: number;
  /**
   * Learns of a new token at once, at most 15 seconds late where another replica rotated, by a request that waits at the
   * broker, where the broker offers it. It needs direct connections, and is off with a `fetch` of your own. Default true.
   */
  readonly wait?: boolean;
  /** Sends the requests, for proxies and private certificate authorities. Default: the platform's `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
  readonly observer?: ServiceTokenClientObserver;
  /** Default: the clock of the machine. */
  readonly clock?: Clock;
  /** Jitter: from 0 up to, but not including, 1. Default `Math.random`. */
  readonly random?: () => number;
}

/**
 * Notified of how a client fares, for logs and metrics. No event holds a token or a secret; `broker` is a URL as
 * configured, fit for a label. Instants are milliseconds since the Unix epoch. An observer must not throw; if it does, a
 * process warning says so.
 *
 * @example
 * ```ts
 * import { createServiceTokenClient } from 'service-token-kit/client';
 *
 * const tokens = createServiceTokenClient({
 *   ...options,
 *   observer: {
 *     refreshed: ({ durationSeconds }) => refreshSeconds.observe(durationSeconds),
 *     refreshFailed: ({ error }) => log.warn({ err: error }, 'the service token was not refreshed'),
 *   },
 * });
 * ```
 */
export interface ServiceTokenClientObserver {
  /** A broker gave a token. */
  refreshed?(event: TokenRefreshed): void;
  /** No broker gave a token. The current one is served while its life allows. */
  refreshFailed?(event: RefreshFailed): void;
  /** One broker failed; another may have answered after it. */
  brokerFailed?(event: BrokerFailed): void;
  /** Another broker answered than the time before. */
  brokerSwitched?(event: BrokerSwitched): void;
  /** For the first time since the last refresh, a token was returned that should have been refreshed and was not. */
  servedStale?(event: ServedStale): void;
}

/** See {@link ServiceTokenClientObserver.refreshed}. */
export interface TokenRefreshed {
  readonly broker: string;
  /** Attempts and pauses in all. */
  readonly durationSeconds: number;
  /** When the token expires. */
  readonly expiresAt: number;
}

/** See {@link ServiceTokenClientObserver.refreshFailed}. */
export interface RefreshFailed {
  readonly error: unknown;
  /** 1 for the first failure after a success. */
  readonly consecutiveFailures: number;
  /** Until when the current token is served; `undefined` when there is none. */
  readonly servedUntil: number | undefined;
}

/** See {@link ServiceTokenClientObserver.brokerFailed}. */
export interface BrokerFailed {
  readonly broker: string;
  readonly error: TokenRequestError;
  readonly durationSeconds: number;
}

/** See {@link ServiceTokenClientObserver.brokerSwitched}. */
export interface BrokerSwitched {
  readonly from: string;
  readonly to: string;
}

/** See {@link ServiceTokenClientObserver.servedStale}. */
export interface ServedStale {
  /** When the token was requested. */
  readonly readAt: number;
  /** When it expires. */
  readonly expiresAt: number;
}

/** The options, checked and with defaults; spans in milliseconds. */
export interface ClientSettings {
  /** Without a slash at the end. */
  readonly brokers: readonly string[];
  readonly peer: PeerIdentity;
  readonly audience: string | undefined;
  readonly resource: string | undefined;
  readonly ttlMs: number;
  readonly skewMs: number;
  readonly timeoutMs: number;
  readonly deadlineMs: number;
  readonly rounds: number;
  readonly wait: boolean;
  readonly fetch: typeof globalThis.fetch;
  readonly observer: ServiceTokenClientObserver;
  readonly clock: Clock;
  readonly random: () => number;
}

const KNOWN: Readonly<Record<keyof ServiceTokenClientOptions, true>> = {
  brokers: true,
  peer: true,
  audience: true,
  resource: true,
  allowInsecureHttp: true,
  ttlSeconds: true,
  skewSeconds: true,
  timeoutSeconds: true,
  deadlineSeconds: true,
  rounds: true,
  wait: true,
  fetch: true,
  observer: true,
  clock: true,
  random: true,
};

/**
 * Checks the options and fills in the defaults. Callers without TypeScript are checked as well: an option with an unknown
 * name is refused, not ignored.
 *
 * @throws {ClientConfigError} naming every mistake.
 */
export function readClientOptions(options: ServiceTokenClientOptions): ClientSettings {
  if (!isJsonObject(options)) {
    throw new ClientConfigError('The client needs options: brokers and peer.');
  }
  const { allowInsecureHttp = false, timeoutSeconds = 5, wait = true } = options;
  const {
    unknown: _,
    insecure: __,
    encrypted: ___,
    ...settings
  } = readAll({
    unknown: () => refuseUnknown(options),
    insecure: () => {
      if (typeof allowInsecureHttp === 'boolean') return;
      throw new ClientConfigError('"allowInsecureHttp" must be true or false.');
    },
    // With an unusable flag every URL is read as if it were true: the flag is the only mistake.
    brokers: () => readBrokerUrls(options.brokers, allowInsecureHttp),
    peer: () => readPeer(options.peer),
    encrypted: () => requireEncryption(options),
    audience: () => readTarget('audience', options.audience),
    resource: () => readTarget('resource', options.resource),
    ttlMs: () => readSpan('ttlSeconds', options.ttlSeconds ?? 300, 1, 86_400),
    skewMs: () => readSpan('skewSeconds', options.skewSeconds ?? 60, 0, 3_600),
    timeoutMs: () => readSpan('timeoutSeconds', timeoutSeconds, 0.001, 600),
    deadlineMs: () => {
      const least = isSpan(timeoutSeconds, 0.001, 600) ? timeoutSeconds : 0.001;
      const value = options.deadlineSeconds ?? Math.max(15, least);
      return readSpan('deadlineSeconds', value, least, 600);
    },
    rounds: () => {
      const rounds = options.rounds ?? 3;
      if (Number.isInteger(rounds) && rounds >= 1 && rounds <= 10) return rounds;
      throw new ClientConfigError('"rounds" must be a whole number from 1 to 10.');
    },
    wait: () => {
      if (typeof wait === 'boolean') return wait && options.fetch === undefined;
      throw new ClientConfigError('"wait" must be true or false.');
    },
    fetch: () => requireFunction('fetch', options.fetch ?? globalThis.fetch),
    observer: () => {
      const observer = options.observer ?? {};
      if (isJsonObject(observer)) return observer;
      throw new ClientConfigError('"observer" must be an object with functions.');
    },
    clock: () => {
      const clock = options.clock ?? systemClock;
      if (typeof clock.now === 'function' && typeof clock.sleep === 'function') return clock;
      throw new ClientConfigError('"clock" must have the functions now and sleep.');
    },
    random: () => requireFunction('random', options.random ?? Math.random),
  });
  return settings;
}

function refuseUnknown(options: object): void {
  const unknown = Object.keys(options).filter((name) => !Object.hasOwn(KNOWN, name));
  if (unknown.length === 0) return;
  const names = Object.keys(KNOWN).join(', ');
  throw new ClientConfigError(
    unknown.map((name) => {
      const current = name.replace(/Ms$/, 'Seconds');
      return current !== name && Object.hasOwn(KNOWN, current)
        ? `"${name}" is now "${current}", in seconds.`
        : `There is no option "${name}". There are ${names}.`;
    }),
  );
}

/** @returns each without a slash at the end. The mistakes do not repeat a URL as it was given: it may hold a password. */
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
        'https:, or set allowInsecureHttp: true where a mesh encrypts the traffic.',
    );
  }
  return `${url.origin}${path}`;
}

/** Mutual TLS needs TLS: over plain HTTP the certificate would not be presented, and the broker would see nobody. */
function requireEncryption({ brokers, peer, fetch }: ServiceTokenClientOptions): void {
  if (!isJsonObject(peer) || peer.certificate === undefined) return;
  const texts: readonly unknown[] = Array.isArray(brokers) ? brokers : [brokers];
  const isPlain = texts.some((text) => typeof text === 'string' && /^\s*http:/i.test(text));
  const mistakes = [
    ...(isPlain
      ? ['A client certificate is presented over https: alone: "brokers" names an http: URL.']
      : []),
    ...(fetch === undefined
      ? []
      : [
          '"fetch" cannot be set with "peer.certificate", which the client presents itself. Leave it out, or present the ' +
            'certificate in your own function.',
        ]),
  ];
  if (mistakes.length > 0) throw new ClientConfigError(mistakes);
}

/** The longest `audience` and `resource`, in characters. */
const MAX_TARGET_LENGTH = 1_024;

function readTarget(name: 'audience' | 'resource', value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (
    typeof value !== 'string' ||
    !/^[^\s\p{Cc}]+$/u.test(value) ||
    value.length > MAX_TARGET_LENGTH
  ) {
    throw new ClientConfigError(`"${name}" must be a text without white space.`);
  }
  if (name === 'resource' && (parseUrl(value) === undefined || value.includes('#'))) {
    throw new ClientConfigError(
      '"resource" must be an absolute URI without a fragment (RFC 8707).',
    );
  }
  return value;
}

/** @param value in seconds, as `least` and `most` are. @returns whole milliseconds. */
function readSpan(name: string, value: number, least: number, most: number): number {
  if (isSpan(value, least, most)) return Math.round(value * 1_000);
  throw new ClientConfigError(`"${name}" must be a number of seconds from ${least} to ${most}.`);
}

function isSpan(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && value >= least && value <= most;
}

function requireFunction<Value extends (...args: never[]) => unknown>(
  name: string,
  value: Value,
): Value {
  if (typeof value === 'function') return value;
  throw new ClientConfigError(`"${name}" must be a function.`);
}
