import { randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { character, fc } from '../support/properties.js';
import {
  isRedactedKey,
  looksSecret,
  REDACTED,
  redactKeys,
  redactText,
} from '../../src/tokens/redaction.js';

const JWT =
  'eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIn0.c2lnbmF0dXJlLXdpdGgtcGxlbnR5LW9mLWJ5dGVz';
const PEER_SECRET = 'Zk3vX0mQ8sT1yB6nC4wH7jR2pL5dF9gA-eU_iO3kMx0';

describe('what is hidden', () => {
  test.each([
    ['a JWT', `got ${JWT} from it`, 'got [redacted] from it'],
    ['a JWT right behind a word', `token${JWT}`, '[redacted]'],
    ['a JWT that was cut short', `got ${JWT.slice(0, 40)}… then`, 'got [redacted]… then'],
    ['the claims of a JWT alone', `part ${JWT.split('.')[1] ?? ''}`, 'part [redacted]'],
    ['a JWE with an empty key part', `${JWT.split('.')[0] ?? ''}..aXY.Y2lwaGVy.dGFn`, '[redacted]'],
    ['Basic credentials', 'sent Basic dXNlcjpwYXNz!', 'sent Basic [redacted]!'],
    ['Bearer credentials', 'sent bearer abc.DEF-123', 'sent bearer [redacted]'],
    ['a repeated scheme', 'Bearer Bearer s3cr3t', 'Bearer [redacted] [redacted]'],
    ['URL-encoded credentials', 'Basic%20dXNlcjpwYXNz', 'Basic%20[redacted]'],
    [
      'a header to its end',
      'Authorization: Custom one two\nnext',
      'Authorization: [redacted]\nnext',
    ],
    [
      'a quoted header',
      `{ authorization: 'Custom one', a: 1 }`,
      `{ authorization: '[redacted]', a: 1 }`,
    ],
    ['a cookie', 'set-cookie: sid="abc"; Path=/', 'set-cookie: [redacted]'],
    ['a form member', 'a=1&client_secret=s3cr%20et&b=2', 'a=1&client_secret=[redacted]&b=2'],
    ['an encoded form member', 'client_secret%3Dabc', 'client_secret%3D[redacted]'],
    ['a JSON member', '{"client_secret":"a b","x":1}', '{"client_secret":"[redacted]","x":1}'],
    [
      'a JSON member with quotes inside',
      '{"password":"a\\"b","x":1}',
      '{"password":"[redacted]","x":1}',
    ],
    [
      'JSON inside JSON',
      String.raw`"{\"access_token\":\"op aque\",\"x\":1}"`,
      String.raw`"{\"access_token\":\"[redacted]\",\"x\":1}"`,
    ],
    [
      'a JSON member that was cut short',
      '{"client_secret":"abc de',
      '{"client_secret":"[redacted]"',
    ],
    ['a list', '{"client_secrets":["a]b", "c"],"x":1}', '{"client_secrets":[redacted],"x":1}'],
    ['a list of passwords', '{"passwords":["a]b", "c"],"x":1}', '{"passwords":[redacted],"x":1}'],
    ['an inspected list', `{ apiKeys: [ 'a b', 'c' ], x: 1 }`, '{ apiKeys: [redacted], x: 1 }'],
    ['one of several, quoted', 'refresh_tokens="a b"', 'refresh_tokens="[redacted]"'],
    [
      'an inspected object',
      `{ refreshToken: 'abc', x: 1 }`,
      `{ refreshToken: '[redacted]', x: 1 }`,
    ],
    ['an environment variable', 'BROKER_MASTER_KEY=abc=', 'BROKER_MASTER_KEY=[redacted]'],
    ['a plain name with an equals sign', 'token=expired', 'token=[redacted]'],
    ['a password in a URL', 'http://me:pass@host/x', 'http://[redacted]@host/x'],
    [
      'a PEM private key',
      'x -----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY----- y',
      'x [redacted] y',
    ],
    ['a PEM key that was cut short', '-----BEGIN PRIVATE KEY-----\\nMIIE abc', '[redacted]'],
    [
      'a private JWK',
      '{"kty":"EC","x":"public","d":"abcdefghijklmnopqrst"}',
      '{"kty":"EC","x":"public","d":"[redacted]"}',
    ],
    ['a random run', `the value ${PEER_SECRET} is wrong`, 'the value [redacted] is wrong'],
    [
      '32 bytes of base64',
      `key ${Buffer.alloc(32, 251).toString('base64')} end`,
      'key [redacted] end',
    ],
  ])('%s', (_what, text, expected) => {
    expect(redactText(text)).toBe(expected);
    expect(looksSecret(text)).toBe(true);
  });
});

describe('what people need stays', () => {
  test.each([
    'The token secret does not hold a service token: it is not JSON. Rotate to write a good one.',
    'The token secret: read failed.',
    '"access_token" must be a non-empty string',
    'connect ECONNREFUSED 127.0.0.1:4566',
    'getaddrinfo ENOTFOUND secretsmanager.eu-central-1.amazonaws.com',
    'https://login.example.com/oauth2/token?api-version=2',
    'User: arn:aws:sts::123456789012:assumed-role/broker is not authorized on arn:aws:secretsmanager:eu-central-1:123456789012:secret:service-token-broker/token-Ab3dEf',
    'version 018f3c5e-7a1b-7c2d-8e3f-0123456789ab is AWSCURRENT',
    'no key with kid "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" in the JWKS',
    'at Router.execute (file:///srv/App1/node_modules/@nestjs/core/router/router-execution-context.js:46:28)',
    'TransformInterceptorNotFoundExceptionForSomeModule',
    'Send HTTP Basic authentication.',
    'grant_type=client_credentials&scope=read',
    '{"token_type":"Bearer","expires_in":300}',
    '-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----',
    'authorityKeyIdentifier is missing',
    'the refresh tokens: revoked, all passwords: changed',
    '{"tokens":["default","reports"],"secrets":["service-token-broker/peers"]}',
    '',
  ])('%s', (text) => {
    expect(redactText(text)).toBe(text);
    expect(looksSecret(text)).toBe(false);
  });
});

const base64url = (bytes: number, seed: number): string =>
  Buffer.from(
    Uint8Array.from({ length: bytes }, (_, at) => (seed * (at + 7) * 2_654_435_761) >>> 13),
  ).toString('base64url');

/** Texts that are made of what surrounds secrets in real life, and of noise. */
const surroundings = fc
  .array(
    fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.string({ unit: character, maxLength: 6 }),
      fc.constantFrom(
        'Bearer ',
        'Basic ',
        '"',
        "'",
        '\\"',
        '`',
        '[',
        ']',
        '{',
        '}',
        ':',
        '=',
        ' ',
        '\n',
        '://',
        '@',
        '&',
        ',',
        'client_secret',
        'token',
        'authorization',
        'cookie',
        'kid',
        'eyJ',
        'ey',
        '.',
        '..',
        REDACTED,
        '[redacted',
        '-----BEGIN PRIVATE KEY-----',
        'd',
        'password',
        '%3D',
        '=>',
        PEER_SECRET,
        JWT,
        'abc',
        'Az09_-',
      ),
    ),
    { maxLength: 10 },
  )
  .map((parts) => parts.join(''));

const jwt = fc
  .tuple(
    fc.constantFrom(
      '{"alg":"RS256"',
      '{"typ":"JWT","alg":"ES256"',
      '{ "alg": "RS256"',
      '{\n  "alg": "none"',
      '{"_x":1',
    ),
    fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 4 }),
    fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 6 }),
    fc.constantFrom(32, 64, 256),
    fc.integer({ min: 1, max: 2 ** 30 }),
  )
  .map(([start, header, claims, bytes, seed]) => {
    const rest = JSON.stringify(header).slice(1);
    const encode = (text: string): string => Buffer.from(text).toString('base64url');
    const head = encode(rest === '}' ? `${start}}` : `${start},${rest}`);
    return `${head}.${encode(JSON.stringify({ iss: 'x', ...claims }))}.${base64url(bytes, seed)}`;
  });

describe('properties', () => {
  test('idempotent', () => {
    fc.assert(
      fc.property(surroundings, (text) => {
        const once = redactText(text);
        expect(redactText(once)).toBe(once);
        expect(looksSecret(once)).toBe(false);
      }),
      { numRuns: 3000 },
    );
  });

  test('no part of a JWT survives, wherever it is planted', () => {
    fc.assert(
      fc.property(surroundings, jwt, surroundings, (before, token, after) => {
        // A second token in the surroundings must not be taken for the planted one.
        const output = redactText(before + token + after);
        const [header = '', claims = '', signature = ''] = token.split('.');
        expect(output).not.toContain(token);
        expect(output).not.toContain(claims);
        expect(output).not.toContain(signature);
        expect(output).not.toContain(header.slice(0, 12));
      }),
      { numRuns: 2000 },
    );
  });

  const opaque = fc
    .string({
      unit: fc.constantFrom(...'ABCXYZabcxyz0189-_.~!*'.split('')),
      minLength: 4,
      maxLength: 60,
    })
    .map((text) => `Q7${text}z9`);

  test.each([
    ['form', (secret: string) => `client_secret=${encodeURIComponent(secret)}&a=1`],
    ['JSON', (secret: string) => JSON.stringify({ x: 1, client_secret: secret, y: 2 })],
    ['JSON in JSON', (secret: string) => JSON.stringify(JSON.stringify({ password: secret }))],
    ['list', (secret: string) => JSON.stringify({ client_secrets: ['first', secret], y: 2 })],
    ['Bearer', (secret: string) => `Bearer ${secret}`],
    ['header', (secret: string) => `Authorization: Weird ${secret}`],
    ['URL', (secret: string) => `https://user:${encodeURIComponent(secret)}@host.example/path`],
  ])('no opaque secret survives in a %s', (_where, plant) => {
    fc.assert(
      fc.property(surroundings, opaque, (before, secret) => {
        // RFC 6750 §2.1 has a smaller alphabet than other credentials.
        const allowed = secret.replace(/[!*]/g, 'x');
        expect(redactText(`${before} ${plant(allowed)}`)).not.toContain(allowed);
      }),
    );
  });

  test('no peer secret of 32 random bytes survives on its own', () => {
    for (let count = 0; count < 200; count += 1) {
      const secret = `${randomBytes(31).toString('base64url')}aZ9`;
      // A secret that happens to hold the start of a JWT takes the full stop along, as a JWT's next part.
      expect(redactText(`it said ${secret}.`)).toMatch(/^it said \[redacted\]\.?$/);
    }
  });

  test('long texts take no quadratic time', () => {
    // A quadratic rule needs minutes for these; the test's own limit is what fails.
    const units = [
      'a',
      'aB0',
      'eyJ',
      'Bearer ',
      'token ',
      'token: ',
      '://',
      'a.',
      '[',
      '\\"',
      '=',
      ' ',
    ];
    const starts = [
      '',
      'token:["a"',
      'client_secret:',
      '{"client_secret":"',
      'authorization',
      'd:"',
    ];
    for (const start of starts) {
      for (const unit of units) {
        const text = start + unit.repeat(100_000 / unit.length);
        expect(redactText(text).length).toBeLessThanOrEqual(text.length * 3);
      }
    }
  });
});

describe('structured fields', () => {
  test.each([
    ['client_secret', 'x'],
    ['clientSecret', 'x'],
    ['Set-Cookie', ['a']],
    ['RotationToken', 'x'],
    ['BROKER_MASTER_KEY', 'x'],
    ['d', 'abcdefghijklmnopqrst'],
    ['oth', [{}]],
    ['passwords', ['a']],
    ['apiKeys', ['a']],
  ])('%s is hidden', (name, value) => {
    expect(isRedactedKey(name, value)).toBe(true);
  });

  test.each([
    ['tokenSecretId', 'service-token-broker/token'],
    ['p', 99],
    ['d', 'short'],
    ['versionId', 'abcdefghijklmnopqrst'],
    ['tokens', ['default']],
  ])('%s is shown', (name, value) => {
    expect(isRedactedKey(name, value)).toBe(false);
  });

  test('the list is in the form that names are compared in', () => {
    for (const name of redactKeys) expect(name).toMatch(/^[a-z]+$/);
    expect(new Set(redactKeys).size).toBe(redactKeys.length);
  });
});
