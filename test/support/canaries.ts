import { createHmac, generateKeyPairSync, randomBytes } from 'node:crypto';

/** Secrets that no honest output contains, one of each kind that the broker handles. New in every test process. */
export interface Canaries {
  /** A JWT with a real header, claims and a signature. */
  readonly jwt: string;
  /** A client secret, as a provider makes them. */
  readonly clientSecret: string;
  /** A peer's secret: 32 random bytes in base64url. */
  readonly peerSecret: string;
  /** A master key: 32 random bytes in base64. */
  readonly masterKey: string;
  /** A private key as a JWK. */
  readonly privateJwk: Readonly<Record<string, string>>;
}

/** One canary that was found. */
export interface FoundCanary {
  readonly name: string;
  /** How it was written: `plain`, `base64`, `hex`, … */
  readonly form: string;
  /** Where, in characters. */
  readonly at: number;
}

/** Makes canaries. */
export function createCanaries(): Canaries {
  return {
    jwt: createJwt(),
    clientSecret: `Canary_${randomBytes(24).toString('base64url')}-7aZ`,
    peerSecret: mixed(() => randomBytes(32).toString('base64url')),
    masterKey: mixed(() => randomBytes(32).toString('base64')),
    privateJwk: createPrivateJwk(),
  };
}

/** The canaries of this test process. */
export const CANARIES: Canaries = createCanaries();

/**
 * Fails when the output holds a canary: plain, in base64 or base64url (at any alignment, so also inside of Basic
 * credentials), in hex, URL-encoded, or escaped as in JSON. The message never quotes the canary.
 *
 * @param output everything that was written: logs, answers, files, error texts.
 */
export function assertNoCanary(output: string, canaries: Canaries = CANARIES): void {
  const found = findCanaries(output, canaries);
  if (found.length === 0) return;
  const list = found.map(({ name, form, at }) => `${name} (${form}, at character ${at})`);
  throw new Error(`The output holds ${list.join(', ')}.`);
}

/** Every canary in the output, with the first place and form it was found in. */
export function findCanaries(output: string, canaries: Canaries = CANARIES): FoundCanary[] {
  const found: FoundCanary[] = [];
  for (const [name, secret] of secretsOf(canaries)) {
    for (const [form, text] of formsOf(secret)) {
      const at = form === 'hex' ? output.toLowerCase().indexOf(text) : output.indexOf(text);
      if (at < 0) continue;
      found.push({ name, form, at });
      break;
    }
  }
  return found;
}

/** Each canary by name. A part of a JWT is a leak as well, unless everybody's tokens have it. */
function secretsOf(canaries: Canaries): [string, string][] {
  const [, claims = '', signature = ''] = canaries.jwt.split('.');
  return [
    ['jwt', canaries.jwt],
    ['claims of the jwt', claims],
    ['signature of the jwt', signature],
    ['client secret', canaries.clientSecret],
    ['peer secret', canaries.peerSecret],
    ['master key', canaries.masterKey],
    ['private key', canaries.privateJwk['d'] ?? ''],
  ];
}

/** The ways in which a secret may be written. */
export function formsOf(secret: string): [form: string, text: string][] {
  const bytes = Buffer.from(secret);
  return [
    ['plain', secret],
    ['escaped as in JSON', JSON.stringify(secret).slice(1, -1)],
    ['escaped as in JSON twice', JSON.stringify(JSON.stringify(secret)).slice(3, -3)],
    ['URL-encoded', encodeURIComponent(secret)],
    ['URL-encoded as a form', new URLSearchParams([['', secret]]).toString().slice(1)],
    ['hex', bytes.toString('hex')],
    ...[0, 1, 2].flatMap((before): [string, string][] => [
      ['base64', encodedCore(bytes, before, 'base64')],
      ['base64url', encodedCore(bytes, before, 'base64url')],
    ]),
  ];
}

/** The characters that encode nothing but the secret when as many other bytes stand before it. */
function encodedCore(bytes: Buffer, before: number, encoding: 'base64' | 'base64url'): string {
  const text = Buffer.concat([Buffer.alloc(before), bytes])
    .toString(encoding)
    .replace(/=+$/, '');
  const start = Math.ceil((before * 8) / 6);
  const end = Math.floor(((before + bytes.length) * 8) / 6);
  return text.slice(start, end);
}

function createJwt(): string {
  const encode = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const head = encode({ alg: 'HS256', typ: 'at+jwt' });
  const claims = encode({ iss: 'https://canary.example', jti: randomBytes(12).toString('hex') });
  const signature = createHmac('sha256', randomBytes(32))
    .update(`${head}.${claims}`)
    .digest('base64url');
  return `${head}.${claims}.${signature}`;
}

function createPrivateJwk(): Record<string, string> {
  for (;;) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const jwk = privateKey.export({ format: 'jwk' }) as Record<string, string>;
    if (isMixed(jwk['d'] ?? '')) return jwk;
  }
}

function mixed(make: () => string): string {
  let text = make();
  while (!isMixed(text)) text = make();
  return text;
}

/**
 * One in a thousand random values lacks a digit. Without a name beside it, redaction cannot tell it from a long
 * identifier; a canary must not be that one.
 */
function isMixed(text: string): boolean {
  return /[a-z]/.test(text) && /[A-Z]/.test(text) && /[0-9]/.test(text);
}
