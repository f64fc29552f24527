import { BlockList, isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import type { NetworkConfig } from '../config/broker-config.js';
import type { ProxyAddress } from '../config/values.js';
import { isLoopbackHost } from '../tokens/http.js';

/** How a destination is reached: through a proxy, or directly and why. */
export type Route =
  | { readonly proxy: ProxyAddress; readonly setting: 'HTTPS_PROXY' | 'HTTP_PROXY' }
  | { readonly proxy: undefined; readonly because: 'no proxy' | 'this machine' | 'NO_PROXY' };

/** What a route depends on. `hostname` may have the brackets of a URL. */
interface Destination {
  readonly protocol: string;
  readonly hostname: string;
  /** Empty for the protocol's own. */
  readonly port: string;
}

/**
 * Decides how a destination is reached. This machine, and the addresses at which a cloud gives a machine its credentials
 * (link-local, RFC 3927), are never behind a proxy. Pure.
 */
export function decideRoute(
  { protocol, hostname, port }: Destination,
  { httpsProxy, httpProxy, noProxy }: Omit<NetworkConfig, 'caFile'>,
): Route {
  const isTls = protocol === 'https:';
  const proxy = isTls ? httpsProxy : httpProxy;
  if (proxy === undefined) return { proxy, because: 'no proxy' };
  const host = hostname
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
  if (isLoopbackHost(host) || isIn(OWN_ADDRESSES, host)) {
    return { proxy: undefined, because: 'this machine' };
  }
  return isExcepted(host, port === '' ? (isTls ? '443' : '80') : port, noProxy)
    ? { proxy: undefined, because: 'NO_PROXY' }
    : { proxy, setting: isTls ? 'HTTPS_PROXY' : 'HTTP_PROXY' };
}

/** Loopback, and the metadata and credentials endpoints of machines, containers and pods. */
const OWN_ADDRESSES = new BlockList();
OWN_ADDRESSES.addSubnet('127.0.0.0', 8, 'ipv4');
OWN_ADDRESSES.addAddress('::1', 'ipv6');
OWN_ADDRESSES.addSubnet('169.254.0.0', 16, 'ipv4');
OWN_ADDRESSES.addSubnet('fd00:ec2::', 32, 'ipv6');

function isIn(list: BlockList, host: string): boolean {
  const version = isIP(host);
  return version !== 0 && list.check(host, version === 4 ? 'ipv4' : 'ipv6');
}

/**
 * Whether `NO_PROXY` excepts a host, as curl and Go read it: `*` excepts everything; `example.com`, `.example.com` and
 * `*.example.com` except it and every name below it; an IP address excepts itself, a range those in it; with a port only
 * that port. Entries are separated by commas or white space; what is none of these excepts nothing. Pure.
 *
 * @param host in lower case, without brackets.
 */
export function isExcepted(host: string, port: string, noProxy: string): boolean {
  return noProxy
    .toLowerCase()
    .split(/[,\s]+/)
    .some((entry) => fits(entry, host, port));
}

function fits(entry: string, host: string, port: string): boolean {
  if (entry === '' || entry === '*') return entry === '*';
  const [, address = '', bits = ''] = /^\[?([\d.a-f:]+)\]?\/(\d{1,3})$/.exec(entry) ?? [];
  if (bits !== '') return isInRange(host, address, Number(bits));
  if (isIP(entry) !== 0) return isInRange(host, entry);
  const [, bracketed, plain, only = port] =
    /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(entry) ?? [];
  const name = bracketed ?? plain ?? '';
  if (only !== port) return false;
  if (isIP(name) !== 0) return isInRange(host, name);
  const written = name.replace(/^\*?\./, '').replace(/\.$/, '');
  // As URLs have it: `xn--mller-kva.example` for `müller.example`.
  const domain = /\P{ASCII}/u.test(written) ? domainToASCII(written) : written;
  return domain !== '' && isIP(host) === 0 && (host === domain || host.endsWith(`.${domain}`));
}

function isInRange(host: string, address: string, prefix?: number): boolean {
  const version = isIP(address);
  const most = version === 4 ? 32 : 128;
  if (version === 0 || (prefix ?? most) > most) return false;
  // Node takes IPv4 for the part of IPv6 that stands for it (RFC 4291 §2.5.5.2): `::/0` is not about IPv4.
  if (version === 6 && isIP(host) === 4 && (prefix ?? most) < 96) return false;
  const range = new BlockList();
  range.addSubnet(address, prefix ?? most, version === 4 ? 'ipv4' : 'ipv6');
  return isIn(range, host);
}
