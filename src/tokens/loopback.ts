/**
 * True for the names and addresses of this very machine: `localhost`, 127.0.0.0/8 and `::1`, the last one also in the
 * brackets of a URL. Only to these may secrets and keys travel by plain HTTP.
 *
 * @param hostname in lower case, as `URL.hostname` gives it.
 */
export function isLoopbackHost(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname === '[::1]' ||
    hostname === '::1' ||
    /^127(?:\.\d{1,3}){3}$/.test(hostname)
  );
}
