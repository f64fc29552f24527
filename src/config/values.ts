import { BlockList, isIP } from 'node:net';
import { inspect } from 'node:util';
import { Cron } from 'croner';
// The form of zod that bundlers make small: 25 kB less in each function on AWS Lambda.
import * as z from 'zod/mini';
import { isLoopbackHost, parseUrl } from '../tokens/http.js';

/**
 * A schema that reads one setting from its text. It has a message only where the list of allowed values does not say
 * enough; no message quotes the text.
 */
type Reader<Value> = z.ZodMiniType<Value, string>;

/** What is wrong with a text; `undefined` when nothing is. */
type Problem = (text: string) => string | undefined;

function checked(problem: Problem): Reader<string> {
  return z.string().check((context) => {
    const message = problem(context.value);
    if (message !== undefined) {
      context.issues.push({ code: 'custom', message, input: context.value });
    }
  });
}

/** A text of this form. */
export function matching(form: RegExp): Reader<string> {
  return z.string().check(z.regex(form));
}

/** A whole number between two bounds, both allowed. */
export function wholeNumber(least: number, most: number): Reader<number> {
  return z.pipe(
    z.pipe(matching(/^[0-9]{1,10}$/), z.transform(Number)),
    z.number().check(z.gte(least), z.lte(most)),
  );
}

/** One of several words. */
export function oneOf<const Word extends string>(words: readonly Word[]): Reader<Word> {
  return z.enum(words);
}

/** One of two words, the first of which means true. */
export function either(yes: string, no: string): Reader<boolean> {
  return z.pipe(
    z.enum([yes, no]),
    z.transform((word) => word === yes),
  );
}

/** Text without control characters. */
export const line: Reader<string> = matching(/^[^\p{Cc}]+$/u);

/** A comma-separated list of texts that a schema reads; white space around them is dropped. */
export function list<Value>(item: Reader<Value>): Reader<readonly Value[]> {
  return z.pipe(
    z.pipe(
      z.string(),
      z.transform((text) => text.split(',').map((part) => part.trim())),
    ),
    z.array(item),
  );
}

/** An address to listen on. */
export const host: Reader<string> = checked((text) =>
  isIP(text) !== 0 ||
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i.test(text)
    ? undefined
    : 'it is neither an IP address nor a host name',
);

/** IP addresses that share their first bits. */
export interface AddressRange {
  readonly address: string;
  readonly family: 'ipv4' | 'ipv6';
  /** How many bits they share. */
  readonly prefix: number;
}

/** An IP address, or a range of them in the notation of RFC 4632 §3.1: `10.0.0.0/24`. */
export const addressRange: Reader<AddressRange> = z.pipe(
  checked((text) => {
    const [address = '', bits] = text.split('/', 2);
    const most = isIP(address) === 4 ? 32 : 128;
    if (isIP(address) === 0 || address.includes('%'))
      return 'each one must be an IP address or a range';
    if (text !== (bits === undefined ? address : `${address}/${bits}`))
      return 'a range has one "/"';
    if (bits === undefined) return undefined;
    if (!/^[1-9]\d{0,2}$/.test(bits) || Number(bits) > most)
      return `the length of a prefix must be from 1 to ${most}`;
    // All addresses are nobody in particular.
    return fitsAllOfIpv4(address, Number(bits)) ? 'it fits every IPv4 address' : undefined;
  }),
  z.transform((text): AddressRange => {
    const [address = '', bits] = text.split('/', 2);
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
    return { address, family, prefix: Number(bits ?? (family === 'ipv4' ? 32 : 128)) };
  }),
);

/** Whether a range of IPv6 addresses has all those that stand for IPv4 ones (RFC 4291 §2.5.5.2). */
function fitsAllOfIpv4(address: string, prefix: number): boolean {
  if (isIP(address) !== 6) return false;
  const range = new BlockList();
  range.addSubnet(address, prefix, 'ipv6');
  return range.check('0.0.0.0') && range.check('255.255.255.255');
}

/** Keys in base64 (RFC 4648 §4, with padding) of exactly as many bytes, separated by commas; white space is dropped. */
export function keyRing(length: number): Reader<readonly HiddenBytes[]> {
  const split = (text: string): readonly string[] => text.split(',').map((key) => key.trim());
  return z.pipe(
    checked((text) => {
      const keys = split(text);
      const problems = keys.map((key, index) => {
        const bytes = Buffer.from(key, 'base64');
        if (bytes.toString('base64') !== key) return 'it is not base64';
        if (bytes.length !== length) return `it holds ${bytes.length} bytes, not ${length}`;
        return keys.indexOf(key) < index ? 'it repeats an earlier one' : undefined;
      });
      const wrong = problems.findIndex((problem) => problem !== undefined);
      return keys.length > 1 && wrong >= 0
        ? `of its keys, number ${wrong + 1}: ${problems[wrong]}`
        : problems[wrong];
    }),
    z.transform((text) => split(text).map((key) => new HiddenBytes(Buffer.from(key, 'base64')))),
  );
}

/**
 * A KMS key for encryption: its id, its ARN, the name or the ARN of an alias. AWS's own keys (`alias/aws/…`) are for AWS's
 * services alone.
 */
export const kmsKey: Reader<string> = checked((text) => {
  const name = text.replace(
    /^arn:aws[a-z-]*:kms:[a-z]{2,8}(?:-[a-z]{2,12}){1,3}-\d{1,2}:\d{12}:/,
    '',
  );
  if (name.startsWith('alias/aws/'))
    return 'it is a key of an AWS service, which nobody else can use';
  const id = name === text ? name : name.replace(/^key\//, '');
  const isId = /^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$/.test(id);
  if (/^alias\/[A-Za-z0-9/_-]{1,250}$/.test(name) || (isId && (name === text || name !== id))) {
    return undefined;
  }
  return 'each one must be the id, the ARN or the alias of a KMS key';
});

/** The name or the ARN of a secret. */
export const secretId: Reader<string> = matching(/^[A-Za-z0-9/_+=.@:-]{1,512}$/);

/** The name of an AWS Region, such as `eu-central-1` or `us-gov-west-1`. */
export const awsRegion: Reader<string> = checked((text) =>
  /^[a-z]{2,8}(?:-[a-z]{2,12}){1,3}-\d{1,2}$/.test(text)
    ? undefined
    : 'each one must be the name of a Region, such as eu-west-1',
);

/** A peer that AWS IAM authenticates. */
export interface IamPeer {
  /** The ARN of a role or a user. */
  readonly arn: string;
  readonly roles: readonly ('token' | 'admin')[];
}

const IAM_PEER =
  /^(?:(token|admin|token\+admin)=)?(arn:aws[a-z-]*:iam::\d{12}:(?:role|user)\/(?:[!-+\--~]+\/)?[\w+=.@-]{1,128})$/;

/** The ARN of an IAM role or user. */
export const iamPrincipal: Reader<string> = checked((text) =>
  IAM_PEER.exec(text)?.[2] === text ? undefined : 'it is not the ARN of an IAM role or user',
);

/** The ARN of an IAM role, with its path. */
export const iamRole: Reader<string> = checked((text) => {
  if (/^arn:aws[a-z-]*:sts::\d{12}:assumed-role\//.test(text)) {
    return 'it is the ARN of a session; the role itself is arn:aws:iam::ACCOUNT:role/NAME';
  }
  return /^arn:aws[a-z-]*:iam::\d{12}:role\/(?:[!-~]{1,510}\/)?[\w+=,.@-]{1,64}$/.test(text)
    ? undefined
    : 'it is not the ARN of an IAM role';
});

/** An IAM role or user as a peer, with its roles in front: `token+admin=arn:aws:iam::123456789012:role/platform`. */
export const iamPeer: Reader<IamPeer> = z.pipe(
  checked((text) =>
    IAM_PEER.test(text) ? undefined : 'each one must be the ARN of an IAM role or user',
  ),
  z.transform((text): IamPeer => {
    const [, roles = 'token', arn = ''] = IAM_PEER.exec(text) ?? [];
    return { arn, roles: roles.split('+') as ('token' | 'admin')[] };
  }),
);

/** An http or https URL; a rule between settings decides whether http is allowed. */
export function url(options: { readonly query: boolean }): Reader<string> {
  return checked((text) => {
    const parsed = parseUrl(text);
    if (parsed?.protocol !== 'https:' && parsed?.protocol !== 'http:') {
      return 'it is not an http or https URL';
    }
    if (/[\s\p{Cc}]/u.test(text)) return 'it holds white space';
    if (parsed.username !== '' || parsed.password !== '') return 'it holds a user name or password';
    if (text.includes('#')) return 'it has a fragment';
    if (!options.query && text.includes('?')) return 'it has a query';
    return undefined;
  });
}

/** A proxy, and what to log in to it with. */
export interface ProxyAddress {
  /** `http://proxy.example.com:3128`: without user and password. */
  readonly url: string;
  /** `user:password`, decoded; `undefined` when the proxy asks for none. */
  readonly login: HiddenBytes | undefined;
}

/** The URL of a proxy; `http` where it has no scheme, as curl takes it. */
export const proxyUrl: Reader<ProxyAddress> = z.pipe(
  checked((text) => {
    const parsed = parseProxy(text);
    return typeof parsed === 'string' ? parsed : undefined;
  }),
  z.transform((text): ProxyAddress => {
    const parsed = parseProxy(text);
    // What is no proxy was refused before.
    return typeof parsed === 'string' ? { url: '', login: undefined } : parsed;
  }),
);

function parseProxy(text: string): ProxyAddress | string {
  const parsed = parseUrl(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  if (parsed === undefined) return 'it is not the URL of a proxy';
  const { protocol, host: place, username, password } = parsed;
  if (protocol.startsWith('socks')) {
    return 'it is a SOCKS proxy, which is not supported: it must be one for HTTP (CONNECT)';
  }
  if (protocol !== 'http:' && protocol !== 'https:')
    return 'it is neither an http nor an https URL';
  if (/\s/.test(text)) return 'it holds white space';
  if (parsed.pathname !== '/' || parsed.search !== '' || parsed.hash !== '') {
    return 'it has more than a host and a port; characters of a password are written as %2F for "/", %23 for "#", %3F for "?"';
  }
  if (username === '' && password === '') return { url: `${protocol}//${place}`, login: undefined };
  try {
    const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    return { url: `${protocol}//${place}`, login: new HiddenBytes(Buffer.from(login)) };
  } catch {
    return 'its user or password has a "%" that is not followed by two digits: write %25';
  }
}

/** An absolute URI without a fragment (RFC 8707 §2). */
export const resourceUri: Reader<string> = checked((text) =>
  /^[a-z][a-z0-9+.-]*:[^\s#]+$/i.test(text) && parseUrl(text) !== undefined
    ? undefined
    : 'each one must be an absolute URI without a fragment',
);

/** The audience of a client assertion (RFC 7523 §3): a word for one of the provider's URLs, or a URI. */
export const assertionAudience: Reader<string> = checked((text) =>
  text === 'issuer' ||
  text === 'token_endpoint' ||
  (/^[a-z][a-z0-9+.-]*:[^\s\p{Cc}]+$/iu.test(text) && parseUrl(text) !== undefined)
    ? undefined
    : 'it is neither one of the words nor an absolute URI',
);

/** Scope names, separated by single spaces (RFC 6749 §3.3). */
export const scope: Reader<string> = matching(
  /^[\x21\x23-\x5B\x5D-\x7E]+( [\x21\x23-\x5B\x5D-\x7E]+)*$/,
);

/** A fixed date to look ahead from, so that an expression is valid today and tomorrow alike. */
const ANY_YEAR = new Date(Date.UTC(2024, 0, 1));

/** A cron expression of five or six fields that matches some date. */
export const cronExpression: Reader<string> = checked((text) => {
  const fields = text.trim().split(/\s+/).length;
  if (fields !== 5 && fields !== 6) return `it has ${fields} fields`;
  let next: Date | null;
  try {
    next = new Cron(text, { utcOffset: 0 }).nextRun(ANY_YEAR);
  } catch {
    // The library's message repeats the expression.
    return 'it is not a cron expression';
  }
  // No date matches, such as on February 30.
  return next === null ? 'it matches no date' : undefined;
});

/** The names that the IANA database has for UTC. */
const UTC = /^(?:Etc\/)?(?:UTC|UCT|GMT|GMT[+-]?0|Greenwich|Universal|Zulu)$/i;

/**
 * The name of a time zone in the IANA database, in any case; no offset such as `+02:00`, which knows no summer time. Every name of
 * UTC reads as `UTC`.
 */
export const timeZone: Reader<string> = z.pipe(
  checked((text) =>
    /^[A-Za-z][A-Za-z0-9_+/-]*$/.test(text) && isKnownTimeZone(text)
      ? undefined
      : 'it is not the name of a time zone',
  ),
  z.transform((name: string) => (UTC.test(name) ? 'UTC' : name)),
);

function isKnownTimeZone(name: string): boolean {
  try {
    void new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    // Its message repeats the name.
    return false;
  }
}

/** True for `http://localhost`, `127.0.0.0/8` and `[::1]`, and for every https URL. */
export function isSecureOrLoopback(text: string): boolean {
  const { protocol, hostname } = new URL(text);
  if (protocol === 'https:') return true;
  return isLoopbackHost(hostname);
}

/** Shown in place of a secret setting. */
export const HIDDEN = '(hidden)';

/**
 * Bytes that are never shown by accident: printed, logged, inspected, spread or turned into JSON, they read `(hidden)`.
 * Only {@link HiddenBytes.reveal} returns them.
 */
export class HiddenBytes {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = Uint8Array.from(bytes);
  }

  /** A copy of the bytes. The caller is responsible for where it goes. */
  reveal(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}
