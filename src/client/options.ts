import { systemClock, type Clock } from '../tokens/clock.js';
import { readBrokerUrls } from './broker-urls.js';
import { ClientConfigError, readAll } from './errors.js';
import type { ServiceTokenClientObserver } from './observer.js';

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
  if (!isObject(options)) {
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
  if (!isObject(peer)) throw new ClientConfigError('"peer" must have the peer\'s id and secret.');
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
  if (isObject(value)) return value;
  throw new ClientConfigError('"observer" must be an object with functions.');
}

function requireClock(value: Clock): Clock {
  if (isObject(value) && typeof value.now === 'function' && typeof value.sleep === 'function') {
    return value;
  }
  throw new ClientConfigError('"clock" must have the functions now and sleep.');
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
