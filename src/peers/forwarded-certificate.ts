import type { CertificateName, NameKind } from './certificate-names.js';

/**
 * The names of the client certificate in `X-Forwarded-Client-Cert`, as Envoy writes it: elements between commas, one for each
 * proxy on the way, and in each one pairs `Key=value` between semicolons; a value in quotes may hold both. Only the last element
 * counts, which the nearest proxy has written, and in it the pairs `URI` and `DNS`. Takes time in proportion to the length.
 *
 * @returns `undefined` when the header is malformed; an empty list when the element has no name.
 *
 * @example
 * ```ts
 * forwardedNames('By=spiffe://a/proxy;Hash=00;Subject="CN=x";URI=spiffe://prod.example.com/settle;DNS=settle.shop.svc');
 * // [{ kind: 'uri', value: 'spiffe://prod.example.com/settle' }, { kind: 'dns', value: 'settle.shop.svc' }]
 * ```
 */
export function forwardedNames(header: string): readonly CertificateName[] | undefined {
  let names: CertificateName[] = [];
  let rest = 0;
  for (;;) {
    PAIR.lastIndex = rest;
    const [pair, key = '', quoted, plain = '', end] = PAIR.exec(header) ?? [];
    if (pair === undefined) return undefined;
    const kind = KINDS[key.toLowerCase()];
    const value = quoted === undefined ? plain.trimEnd() : quoted.replaceAll(/\\(.)/g, '$1');
    // Envoy writes "URI=" where the certificate has none.
    if (kind !== undefined && value !== '') names.push({ kind, value });
    rest += pair.length;
    if (end === '') return names;
    if (end === ',') names = [];
  }
}

/** A key, a value with quotes or without, and what ends them. No control characters, no quote within plain text. */
const PAIR =
  /[ \t]*([A-Za-z]{1,32})=(?:"((?:[^"\\\p{Cc}]|\\[^\p{Cc}])*)"[ \t]*|([^",;\p{Cc}]*))([,;]|$)/uy;

const KINDS: Readonly<Record<string, NameKind | undefined>> = Object.assign(
  Object.create(null) as object,
  { uri: 'uri', dns: 'dns' } as const,
);
