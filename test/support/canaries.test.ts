import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { redactText } from '../../src/tokens/redaction.js';
import { assertNoCanary, CANARIES, createCanaries, findCanaries, formsOf } from './canaries.js';

const SECRETS = [
  ['jwt', CANARIES.jwt],
  ['client secret', CANARIES.clientSecret],
  ['peer secret', CANARIES.peerSecret],
  ['master key', CANARIES.masterKey],
  ['private key', CANARIES.privateJwk['d'] ?? ''],
] as const;

describe.each(SECRETS)('the canary %s', (name, secret) => {
  test.each<[string, (text: string) => string]>([
    ['plain', (text) => `before ${text} after`],
    ['in JSON', (text) => JSON.stringify({ a: text })],
    ['in JSON in JSON', (text) => JSON.stringify(JSON.stringify({ a: text }))],
    ['inspected', (text) => inspect({ a: { b: [text] } }, { depth: 5 })],
    ['URL-encoded', (text) => `?a=${encodeURIComponent(text)}`],
    ['in a form', (text) => new URLSearchParams({ a: text }).toString()],
    ['in hex', (text) => Buffer.from(text).toString('hex').toUpperCase()],
    ['in base64', (text) => Buffer.from(text).toString('base64')],
    ['in base64url', (text) => Buffer.from(text).toString('base64url')],
    ['in Basic credentials', (text) => `Basic ${Buffer.from(`p:${text}`).toString('base64')}`],
    [
      'in other Basic credentials',
      (text) => `Basic ${Buffer.from(`pe:${text}`).toString('base64')}`,
    ],
    ['in base64 of more', (text) => Buffer.from(`{"a":"${text}"}`).toString('base64')],
    ['in base64url of more', (text) => Buffer.from(`xx${text}yy`).toString('base64url')],
  ])('is found %s', (_how, write) => {
    const output = `${'x'.repeat(50)}${write(secret)}`;
    expect(findCanaries(output).map((found) => found.name)).toContain(name);
    expect(() => assertNoCanary(output)).toThrow(name);
  });

  test('is hidden by redaction', () => {
    expect(() => assertNoCanary(redactText(`it was ${secret}, alas`))).not.toThrow();
  });
});

test('a part of the JWT is found', () => {
  const [, claims = '', signature = ''] = CANARIES.jwt.split('.');
  expect(() => assertNoCanary(`…${claims}`)).toThrow('claims of the jwt');
  expect(() => assertNoCanary(`…${signature}`)).toThrow('signature of the jwt');
});

test('letters that need escapes are found', () => {
  const secret = 'a"b\\c/d&e f%ü';
  for (const output of [
    JSON.stringify({ secret }),
    JSON.stringify(JSON.stringify({ secret })),
    encodeURIComponent(secret),
  ]) {
    expect(formsOf(secret).some(([, text]) => output.includes(text))).toBe(true);
  }
});

test('honest output passes, and no canary is a canary of another process', () => {
  expect(() => assertNoCanary('')).not.toThrow();
  const others = createCanaries();
  expect(() => assertNoCanary(JSON.stringify(others))).not.toThrow();
  expect(findCanaries(JSON.stringify(others), others)).toHaveLength(7);
});

test('the failure does not quote the canary', () => {
  const failure = ((): string => {
    try {
      assertNoCanary(CANARIES.clientSecret);
      return '';
    } catch (error) {
      return String(error);
    }
  })();
  expect(failure).toContain('client secret (plain, at character 0)');
  expect(failure).not.toContain(CANARIES.clientSecret);
});
