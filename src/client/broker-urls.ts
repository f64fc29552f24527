import { isLoopbackHost } from '../tokens/loopback.js';
import { ClientConfigError, readAll } from './errors.js';
import { parseUrl } from '../tokens/parse-url.js';

/**
 * The brokers' URLs, checked: `https:`, or `http:` on this very machine (or anywhere, with `allowInsecureHttp`), without
 * a user, password, query, fragment and the token endpoint's path.
 *
 * @returns each without a slash at the end.
 * @throws {ClientConfigError} naming every entry that cannot be used. The text itself is not repeated: it may hold a password.
 */
export function readBrokerUrls(
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
