import { isLoopbackHost } from '../../tokens/loopback.js';
import { ClientConfigError, readAll } from '../errors.js';
import { parseUrl } from '../../tokens/parse-url.js';

/** A place that tokens may be sent to. */
export interface AllowedOrigin {
  /**
   * Scheme, host and port, such as `https://billing.internal` or `https://billing.internal:8443`. It is compared whole:
   * neither subdomains nor other ports are meant along. `https`, or `http` to this very machine.
   */
  readonly origin: string;
  /**
   * Whether customers' tokens may be sent there. Default `false`: it gets the service token alone, and a call on a
   * customer's behalf is an error.
   */
  readonly acceptsCustomers?: boolean;
  /** Allows plain `http` to another machine. Default `false`: whoever can read the traffic can use the token. */
  readonly allowInsecureHttp?: boolean;
}

/** What is known of an origin on the list. */
export interface OriginRule {
  readonly acceptsCustomers: boolean;
}

/** The allow-list, by origin as `URL.origin` writes it. */
export type AllowedOrigins = ReadonlyMap<string, OriginRule>;

/** @throws {ClientConfigError} for an empty list, and naming every entry that is no origin, is insecure, or is there twice. */
export function readAllowedOrigins(list: readonly AllowedOrigin[]): AllowedOrigins {
  if (!Array.isArray(list) || list.length === 0) {
    throw new ClientConfigError(
      '"origins" must list the origins that tokens may be sent to, such as [{ origin: "https://billing.internal" }].',
    );
  }
  const allowed = new Map<string, OriginRule>();
  readAll(
    list.map((entry: AllowedOrigin, index) => () => {
      const name = `origins[${index}]`;
      const { origin, acceptsCustomers } = readEntry(name, entry);
      if (allowed.has(origin)) throw new ClientConfigError(`"${name}" repeats ${origin}.`);
      allowed.set(origin, { acceptsCustomers });
    }),
  );
  return allowed;
}

function readEntry(name: string, entry: AllowedOrigin): OriginRule & { readonly origin: string } {
  return readAll({
    origin: () => readOrigin(name, entry),
    acceptsCustomers: () => flag(name, entry, 'acceptsCustomers'),
  });
}

/** The origin of an absolute `http` or `https` URL; `undefined` for everything else. */
export function originOf(url: string): string | undefined {
  const parsed = parseUrl(url);
  return parsed?.protocol === 'https:' || parsed?.protocol === 'http:' ? parsed.origin : undefined;
}

/**
 * The listed origin of a URL that begins with just that and a slash: what follows is a path, whatever it consists of.
 * `undefined` for every other URL, also for those that lead to a listed origin in another notation.
 */
export function plainOrigin(url: string, origins: AllowedOrigins): string | undefined {
  for (const origin of origins.keys()) {
    if (url.startsWith(origin) && url[origin.length] === '/') return origin;
  }
  return undefined;
}

function readOrigin(name: string, entry: AllowedOrigin): string {
  const text: unknown = (entry as AllowedOrigin | undefined)?.origin;
  if (typeof text !== 'string' || originOf(text) === undefined) {
    throw new ClientConfigError(
      `"${name}.origin" must be an https origin, such as "https://billing.internal".`,
    );
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new ClientConfigError(`"${name}.origin" must not hold a user name or a password.`);
  }
  if (url.pathname !== '/' || text.includes('?') || text.includes('#')) {
    throw new ClientConfigError(
      `"${name}.origin" must end after the port: ${url.origin}. A path does not narrow down who gets the token.`,
    );
  }
  if (url.hostname.includes('*')) {
    throw new ClientConfigError(`"${name}.origin" must name one host: there are no wildcards.`);
  }
  const allowsHttp = flag(name, entry, 'allowInsecureHttp');
  if (url.protocol !== 'https:' && !isLoopbackHost(url.hostname) && !allowsHttp) {
    throw new ClientConfigError(
      `"${name}.origin" is ${url.origin}: use https, or say allowInsecureHttp: true for a network in which nobody can listen.`,
    );
  }
  return url.origin;
}

function flag(
  name: string,
  entry: AllowedOrigin,
  key: 'acceptsCustomers' | 'allowInsecureHttp',
): boolean {
  const value: unknown = (entry as AllowedOrigin | undefined)?.[key];
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw new ClientConfigError(`"${name}.${key}" must be true or false.`);
}
