import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { transformFileSync } from '@swc/core';
import { parseRetryAfter } from '../../src/tokens/http.js';

const NOW = Date.parse('2026-11-22T12:00:00.250Z');

describe('parseRetryAfter', () => {
  test.each([
    [null, undefined],
    ['', undefined],
    ['0', 0],
    ['120', 120],
    [' 120 ', 120],
    ['99999999999', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['1e3', undefined],
    ['soon', undefined],
    ['2026', 2026],
    ['Sun, 22 Nov 2026 12:00:10 GMT', 10],
    ['Sunday, 22-Nov-26 12:00:10 GMT', 10],
    ['Sun Nov 22 12:00:10 2026 GMT', 10],
    ['Sun, 22 Nov 2026 11:00:00 GMT', 0],
    ['Sun, 99 Nov 2026 11:00:00 GMT', undefined],
  ])('%j is %j seconds', (header, expected) => {
    expect(parseRetryAfter(header, NOW)).toBe(expected);
  });

  test.each(['UTC', 'America/New_York', 'Asia/Kolkata'])(
    'each form of an HTTP date is in UTC where the clocks show %s',
    (zone) => {
      const forms = [
        'Sun, 22 Nov 2026 12:00:10 GMT',
        'Sunday, 22-Nov-26 12:00:10 GMT',
        'Sun Nov 22 12:00:10 2026',
      ];
      expect(parseAllIn(zone, forms)).toEqual(forms.map(() => 10));
    },
  );
});

/** What a process in another time zone makes of the headers; in this one the zone is fixed from the start. */
function parseAllIn(zone: string, headers: readonly string[]): unknown {
  const file = fileURLToPath(new URL('../../src/tokens/http.ts', import.meta.url));
  const { code } = transformFileSync(file, {
    configFile: false,
    swcrc: false,
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
  });
  const program = `${code}
    const seconds = ${JSON.stringify(headers)}.map((header) => parseRetryAfter(header, ${NOW}));
    process.stdout.write(JSON.stringify(seconds));`;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
    env: { ...process.env, TZ: zone },
  });
  return JSON.parse(output);
}
