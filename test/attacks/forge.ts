import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { rsaKeyPair } from '../support/rsa-key.js';

/** One line of `tokens.jsonl`: a good service token, changed in one way, and the code that must come back. */
export interface Attack {
  readonly name: string;
  /** The code of the refusal. */
  readonly code: string;
  /**
   * Members that replace those of the good header or claims. A text that starts with `@` is special: `@remove`,
   * `@now+60` (seconds), `@raw:1e400` (JSON as it stands), `@repeat:10:x`, `@nest:50` (lists in lists), `@jwk` (the
   * attacker's own public key).
   */
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
  /** JSON members written once more after the others. */
  readonly headerExtra?: string;
  readonly claimsExtra?: string;
  /** The whole part, instead of members: a text, or bytes in hexadecimal after `@hex:`. */
  readonly headerText?: string;
  readonly claimsText?: string;
  /** Whose key signs. Default `own`. */
  readonly signer?: keyof typeof SIGNERS;
  /** The signature part, instead of a signature. */
  readonly signature?: string;
  /** Done to the finished text, in this order: `[what, argument]`. */
  readonly then?: readonly (readonly ['append' | 'prepend' | 'insert' | 'swap-last', string])[];
  /** The whole token, instead of all that; `@repeat` works here too. */
  readonly token?: string;
}

const ec = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const OWN = ec();
const OTHER = ec();
const STRANGER = ec();
const RSA = rsaKeyPair();
const WEAK = generateKeyPairSync('rsa', { modulusLength: 1024 });

export const ISSUER = 'https://issuer.example/';
export const OTHER_ISSUER = 'https://other.example/';
export const AUDIENCE = 'https://orders.example';

const jwk = (key: KeyObject, kid: string, alg: string): object => ({
  ...key.export({ format: 'jwk' }),
  kid,
  alg,
});
/** What the issuer publishes; one of its keys is too short, and must not be used. */
export const ISSUER_KEYS = {
  keys: [
    jwk(OWN.publicKey, 'own', 'ES256'),
    jwk(RSA.publicKey, 'rsa', 'RS256'),
    jwk(WEAK.publicKey, 'weak', 'RS256'),
  ],
};
/** What the other issuer publishes: another key under the same id. */
export const OTHER_ISSUER_KEYS = { keys: [jwk(OTHER.publicKey, 'own', 'ES256')] };

type Sign = (input: string) => string;
const es256 =
  (key: KeyObject): Sign =>
  (input) =>
    sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url');
const rs256 =
  (key: KeyObject): Sign =>
  (input) =>
    sign('sha256', Buffer.from(input), key).toString('base64url');
const hmac =
  (secret: string | Buffer): Sign =>
  (input) =>
    createHmac('sha256', secret).update(input).digest('base64url');

const SIGNERS = {
  own: es256(OWN.privateKey),
  'own-der': (input: string) =>
    sign('sha256', Buffer.from(input), OWN.privateKey).toString('base64url'),
  rsa: rs256(RSA.privateKey),
  weak: rs256(WEAK.privateKey),
  stranger: es256(STRANGER.privateKey),
  'other-issuer': es256(OTHER.privateKey),
  'hmac-of-public-pem': hmac(RSA.publicKey.export({ type: 'spki', format: 'pem' })),
  'hmac-of-public-der': hmac(RSA.publicKey.export({ type: 'spki', format: 'der' })),
  'hmac-of-nothing': hmac(''),
} as const satisfies Record<string, Sign>;

/** Makes the token of a line. @param seconds the present, in seconds since the Unix epoch. */
export function forge(attack: Attack, seconds: number): string {
  if (attack.token !== undefined) return special(attack.token, seconds, String);
  const header =
    attack.headerText ?? members(goodHeader(), attack.header, attack.headerExtra, seconds);
  const claims =
    attack.claimsText ?? members(goodClaims(seconds), attack.claims, attack.claimsExtra, seconds);
  const input = `${encode(header)}.${encode(claims)}`;
  let text = `${input}.${attack.signature ?? SIGNERS[attack.signer ?? 'own'](input)}`;
  for (const [what, argument] of attack.then ?? []) text = alter(text, what, argument);
  return text;
}

function goodHeader(): Readonly<Record<string, unknown>> {
  return { alg: 'ES256', kid: 'own', typ: 'JWT' };
}

function goodClaims(seconds: number): Readonly<Record<string, unknown>> {
  return {
    iss: ISSUER,
    aud: AUDIENCE,
    sub: 'job@clients',
    azp: 'job',
    gty: 'client-credentials',
    iat: seconds,
    exp: seconds + 3600,
  };
}

function members(
  good: Readonly<Record<string, unknown>>,
  changes: Readonly<Record<string, unknown>> = {},
  extra: string | undefined,
  seconds: number,
): string {
  const written = Object.entries({ ...good, ...changes })
    .filter(([, value]) => value !== '@remove')
    .map(([name, value]) => {
      const json =
        typeof value === 'string' ? special(value, seconds, JSON.stringify) : JSON.stringify(value);
      return `${JSON.stringify(name)}:${json}`;
    });
  return `{${[...written, ...(extra === undefined ? [] : [extra])].join(',')}}`;
}

function special(text: string, seconds: number, plain: (text: string) => string): string {
  if (!text.startsWith('@')) return plain(text);
  const [name = '', ...rest] = text.slice(1).split(/[:+]/);
  const argument = text.slice(name.length + 2);
  switch (name) {
    case 'now':
      return String(seconds + Number(argument));
    case 'raw':
      return argument;
    case 'repeat':
      return plain((rest[1] ?? '').repeat(Number(rest[0])));
    case 'nest':
      return '['.repeat(Number(argument)) + ']'.repeat(Number(argument));
    case 'jwk':
      return JSON.stringify(STRANGER.publicKey.export({ format: 'jwk' }));
    default:
      throw new Error(`Unknown word @${name}.`);
  }
}

function encode(part: string): string {
  const bytes = part.startsWith('@hex:') ? Buffer.from(part.slice(5), 'hex') : Buffer.from(part);
  return bytes.toString('base64url');
}

function alter(text: string, what: string, argument: string): string {
  switch (what) {
    case 'append':
      return text + argument;
    case 'prepend':
      return argument + text;
    case 'insert':
      return text.replace('.', `${argument}.`);
    default:
      // The same bytes in another spelling: the last of 86 characters carries four bits too many.
      return text.slice(0, -1) + nextLetter(text.at(-1) ?? '');
  }
}

function nextLetter(letter: string): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return letters[letters.indexOf(letter) + 1] ?? 'B';
}
