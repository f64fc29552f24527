import { systemClock, type Clock } from '../../tokens/clock.js';
import { BrokerError } from '../../tokens/errors.js';
import { KeyFetchError, VerifierConfigError } from '../errors.js';
import { readKeysUri, whyUnreachable, type Fetch } from './fetch-keys.js';

/** How {@link createRemoteKeySet} fetches and keeps an issuer's keys. */
export interface RemoteKeySetOptions {
  /**
   * The issuer's `jwks_uri`, or a function that finds it out (discovery). The function is asked before every fetch, within the time-out.
   */
  readonly jwksUri: string | (() => Promise<string>);
  /** Default: the clock of the machine. */
  readonly clock?: Clock;
  /** Default: the platform's `fetch`. */
  readonly fetch?: Fetch;
  /**
   * How long keys are used without asking again. The provider's `Cache-Control` may shorten it (never below the
   * cooldown), and never lengthens it: this bounds how long a withdrawn key is trusted. Default 600 seconds.
   */
  readonly maxAgeSeconds?: number;
  /**
   * How long keys past their age are still used while the provider cannot be reached. Longer survives longer outages;
   * shorter bounds how long somebody who blocks the way to the provider keeps a withdrawn key alive.
   * Default 3600 seconds; 0 to use none.
   */
  readonly staleSeconds?: number;
  /**
   * How often unknown key ids may cause a fetch: once in this time, and after a failed one not before it is over. Up to
   * four fetches may follow each other after a quiet time. Default 30 seconds.
   */
  readonly cooldownSeconds?: number;
  /** The longest a fetch may take, discovery and body included. Default 5 seconds. */
  readonly timeoutSeconds?: number;
  /** The largest answer, in bytes. Default 262144 (256 KiB). */
  readonly maxBytes?: number;
  /** Allows plain `http` to other machines. Default false: whoever can change the answer can sign tokens. */
  readonly allowInsecureHttp?: boolean;
  /** A number from 0 up to 1 that spreads the refreshes of many replicas. Default `Math.random`. */
  readonly random?: () => number;
}

/** The options with their defaults; spans in milliseconds. */
export interface RemoteKeySetSettings {
  /** Rejects with a `KeyFetchError`, and with nothing else. */
  readonly findUri: () => Promise<URL>;
  readonly clock: Clock;
  readonly fetch: Fetch;
  readonly maxAge: number;
  readonly stale: number;
  readonly cooldown: number;
  readonly timeout: number;
  readonly maxBytes: number;
  readonly random: () => number;
}

/**
 * Fills in the defaults.
 *
 * @throws {VerifierConfigError} for numbers out of range.
 * @throws {KeyFetchError} `KEYS_URI_REFUSED` for a fixed address that may not be used.
 */
export function readRemoteOptions(options: RemoteKeySetOptions): RemoteKeySetSettings {
  const { jwksUri, allowInsecureHttp = false } = options;
  return {
    findUri: uriFinder(jwksUri, allowInsecureHttp),
    clock: options.clock ?? systemClock,
    fetch: options.fetch ?? globalThis.fetch,
    maxAge: milliseconds('maxAgeSeconds', options.maxAgeSeconds ?? 600, 1),
    stale: milliseconds('staleSeconds', options.staleSeconds ?? 3600, 0),
    cooldown: milliseconds('cooldownSeconds', options.cooldownSeconds ?? 30, 1),
    timeout: milliseconds('timeoutSeconds', options.timeoutSeconds ?? 5, 0.001),
    maxBytes: atLeast('maxBytes', options.maxBytes ?? 262_144, 1),
    random: options.random ?? Math.random,
  };
}

function uriFinder(
  jwksUri: RemoteKeySetOptions['jwksUri'],
  allowInsecureHttp: boolean,
): () => Promise<URL> {
  if (typeof jwksUri === 'function') {
    return async () => readKeysUri(await found(jwksUri), allowInsecureHttp);
  }
  const uri = readKeysUri(jwksUri, allowInsecureHttp);
  return async () => uri;
}

async function found(jwksUri: () => Promise<string>): Promise<string> {
  try {
    return await jwksUri();
  } catch (error) {
    // What is not ours may quote anything: only the system's code is told of it.
    const why = error instanceof BrokerError ? error.message : `${whyUnreachable(error)}.`;
    throw new KeyFetchError(
      'KEYS_URI_UNKNOWN',
      `The address of the issuer's keys could not be found out: ${why}`,
      { cause: error },
    );
  }
}

function milliseconds(name: string, seconds: number, least: number): number {
  return atLeast(name, seconds, least) * 1000;
}

function atLeast(name: string, value: number, least: number): number {
  if (!Number.isFinite(value) || value < least) {
    throw new VerifierConfigError(`"${name}" must be a number, at least ${least}.`);
  }
  return value;
}
