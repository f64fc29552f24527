import { describe, expect, test } from '@jest/globals';
import { entityTag, matchesEntityTag, TokenAnswers } from '../../src/serving/token-endpoint.js';
import { fc } from '../support/properties.js';
import { START, tokenAt } from './broker.js';

const versionId = '5f0c8a3e-0000-4000-8000-000000000001';

describe('TokenAnswers', () => {
  const source = {
    value: { token: tokenAt(START), versionId },
    readAt: START,
    state: 'HIT',
  } as const;
  const header = (headers: readonly string[], name: string): string | undefined =>
    headers[headers.indexOf(name) + 1];

  test('expires_in and Age are right at every instant, whatever came before', () => {
    const instants = fc.array(fc.integer({ min: -5_000, max: 90_000_000 }), { maxLength: 30 });
    fc.assert(
      fc.property(instants, fc.integer({ min: 0, max: 999 }), (offsets, fraction) => {
        const answers = new TokenAnswers();
        const token = tokenAt(START, { expiresAt: START + 86_400_000 + fraction });
        const from = { ...source, value: { token, versionId } };
        for (const offset of offsets.flatMap((offset) => [offset, offset + 1, offset + 500])) {
          const { headers, body } = answers.ok(from, START + offset);
          const left = Math.max(0, Math.floor((86_400_000 + fraction - offset) / 1_000));
          expect(JSON.parse(body.toString()).expires_in).toBe(left);
          expect(header(headers, 'Age')).toBe(String(Math.max(0, Math.floor(offset / 1_000))));
          expect(header(headers, 'Content-Length')).toBe(String(body.length));
        }
      }),
      { numRuns: 50 },
    );
  });

  test('within a second the same answer is used again', () => {
    const answers = new TokenAnswers();
    const first = answers.ok(source, START + 1);
    expect(answers.ok(source, START + 999)).toBe(first);
    const later = answers.ok(source, START + 1_000);
    expect(later).not.toBe(first);
    expect(later.body).toBe(first.body);
    expect(answers.ok(source, START + 1_001).body).not.toBe(first.body);
  });

  test('another token is another answer at once', () => {
    const answers = new TokenAnswers();
    answers.ok(source, START);
    const token = tokenAt(START, { accessToken: 'a.b.two' });
    const next = answers.ok({ ...source, value: { token, versionId: 'next' } }, START);
    expect(next.body.toString()).toContain('a.b.two');
    expect(header(next.headers, 'ETag')).toBe('"next"');
  });
});

test.each([
  ['"a"', true],
  ['W/"a"', true],
  ['"b", "a"', true],
  ['"b","c"', false],
  [' * ', true],
  ['a', false],
  ['"A"', false],
  ['', false],
])('If-None-Match: %s', (value, expected) => {
  expect(matchesEntityTag(value, '"a"')).toBe(expected);
});

test('a version id that no entity tag can hold is escaped', () => {
  expect(entityTag('a-1')).toBe('"a-1"');
  expect(entityTag('a"\r\nb é')).toBe('"a%22%0D%0Ab%20%C3%A9"');
});
