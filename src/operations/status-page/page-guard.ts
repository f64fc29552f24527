import { createHmac, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { isLoopbackHost, parseUrl } from '../../tokens/http.js';
import type { EndpointRequest } from '../../serving/endpoint.js';

/**
 * Headers of every answer of the page: it runs its own script and style and nothing else, is shown in no frame, sends its
 * forms to itself, and no other site reads or opens it.
 */
export const PAGE_HEADERS: readonly string[] = [
  'Content-Security-Policy',
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
  'X-Frame-Options',
  'DENY',
  'Referrer-Policy',
  // With no-referrer, browsers send "Origin: null" with forms (Fetch §3.1), and who sent one could not be told.
  'same-origin',
  'Cross-Origin-Opener-Policy',
  'same-origin',
  'Cross-Origin-Resource-Policy',
  'same-origin',
];

/**
 * Whether the page may answer to this `Host`: a name of this machine, an IP address, or one that is configured. A page of
 * somebody else whose name leads to this address (DNS rebinding) has another one. Pure.
 *
 * @param host the header, with or without a port.
 */
export function isOwnHost(host: string | undefined, names: readonly string[]): boolean {
  const name = hostOf(host)?.hostname;
  if (name === undefined) return false;
  const address = name.startsWith('[') ? name.slice(1, -1) : name;
  if (isIP(address) !== 0) return true;
  const plain = name.replace(/\.$/, '');
  return (
    isLoopbackHost(plain) ||
    plain.endsWith('.localhost') ||
    names.some((one) => one.toLowerCase() === plain)
  );
}

/** Whether this machine was asked for by a name or an address that leads nowhere else. Pure. */
export function isLoopbackName(host: string | undefined): boolean {
  const name = hostOf(host)?.hostname ?? '';
  return isLoopbackHost(name) || name.endsWith('.localhost');
}

/** What proxies on this machine add, each its own. `x-forwarded-*` besides. */
const FORWARDING =
  /^(?:forwarded|via|x-forwarded-.+|x-real-ip|x-client-ip|x-original-.+|true-client-ip|cf-.+|fly-.+)$/;

/** Whether somebody passes the request on: who asked then sits elsewhere. Pure. */
export function isForwarded({ headers }: Pick<EndpointRequest, 'headers'>): boolean {
  return Object.keys(headers).some((name) => FORWARDING.test(name));
}

function hostOf(host: string | undefined): URL | undefined {
  if (host === undefined || host === '' || /[/?#@\\\s]/.test(host)) return undefined;
  return parseUrl(`http://${host}`);
}

/**
 * Whether a form was sent by the page itself: browsers name the origin of every form (Fetch §3.1), and `Sec-Fetch-Site`
 * where they know it. Without either it is refused. A proxy may have ended TLS, so that the scheme may differ. Pure.
 */
export function isOwnForm({ headers }: Pick<EndpointRequest, 'headers'>): boolean {
  const [site, otherSite] = headers['sec-fetch-site'] ?? [];
  if (otherSite !== undefined || (site !== undefined && site !== 'same-origin')) return false;
  const [origin, otherOrigin] = headers['origin'] ?? [];
  if (otherOrigin !== undefined) return false;
  if (origin === undefined) return site === 'same-origin';
  const [host = ''] = headers['host'] ?? [];
  const from = parseUrl(origin);
  if (from === undefined || from.origin !== origin || !/^https?:$/.test(from.protocol))
    return false;
  // Both by the same scheme, so that its default port is left out of both.
  return parseUrl(`${from.protocol}//${host}`)?.host === from.host && hostOf(host) !== undefined;
}

/** How long a form may be sent after it was shown, in milliseconds. */
const FORM_LIFE = 600_000;

/**
 * Proves that a form was shown by this process, to this peer, for this action, a while ago. Bound by HMAC-SHA-256, so that
 * nothing is kept.
 */
export class FormTokens {
  /** @param key random bytes, at least 32. */
  constructor(private readonly key: Uint8Array) {}

  /** @param now milliseconds since the Unix epoch. */
  issue(peer: string, what: readonly string[], now: number): string {
    const until = (now + FORM_LIFE).toString(36);
    return `${until}.${this.#sign(until, peer, what).toString('base64url')}`;
  }

  /** Whether {@link issue} made it for the same, at most ten minutes ago. */
  accepts(token: string, peer: string, what: readonly string[], now: number): boolean {
    const [until = '', mac = '', ...rest] = token.split('.');
    if (rest.length > 0 || !/^[0-9a-z]{1,12}$/.test(until) || !/^[\w-]{43}$/.test(mac))
      return false;
    const life = Number.parseInt(until, 36) - now;
    const given = Buffer.from(mac, 'base64url');
    const isOurs = timingSafeEqual(given, this.#sign(until, peer, what));
    return isOurs && given.toString('base64url') === mac && life > 0 && life <= FORM_LIFE;
  }

  #sign(until: string, peer: string, what: readonly string[]): Buffer {
    // As JSON, so that no two lists have the same text.
    return createHmac('sha256', this.key)
      .update(JSON.stringify([until, peer, what]))
      .digest();
  }
}
