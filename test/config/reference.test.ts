import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/load-config.js';
import {
  CONFIG_MARKERS,
  CONFIG_REFERENCE,
  configReferenceMarkdown,
  configReferenceText,
  sectionMarkers,
  sectionReferenceMarkdown,
} from '../../src/config/reference.js';
import { PROVIDER_MEMBERS, TOKEN_MEMBERS } from '../../src/config/named-tokens.js';
import { fileKey, PROFILE_NAMES, SETTING_NAMES } from '../../src/config/settings.js';
import { PROFILE_NAMES as BUILT_IN } from '../../src/verification/index.js';

/** A table without what a formatter may change: the width of its columns. */
function cells(table: string): string[][] {
  return table
    .trim()
    .split('\n')
    .map((row) => row.split('|').map((cell) => cell.trim().replace(/^-+$/, '---')));
}

const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');

describe('the configuration table', () => {
  test('has a row for every setting, and every row says everything', () => {
    expect(CONFIG_REFERENCE.map(({ name }) => name)).toEqual(['BROKER_CONFIG', ...SETTING_NAMES]);
    for (const row of CONFIG_REFERENCE) {
      for (const text of [row.default, row.allowed, row.does]) {
        expect(text).toMatch(/\S/);
        // A bar would end the table's cell.
        expect(text).not.toContain('|');
      }
    }
  });

  test('its defaults are the ones that are used', () => {
    const values = CONFIG_REFERENCE.filter(({ defaultIsValue }) => defaultIsValue);
    const env = Object.fromEntries(values.map((row) => [row.name, row.default]));
    expect(values.length).toBeGreaterThan(15);
    expect(loadConfig({ env })).toEqual(loadConfig({ env: {} }));
  });

  test('file keys are distinct', () => {
    expect(new Set(SETTING_NAMES.map(fileKey)).size).toBe(SETTING_NAMES.length);
    expect(fileKey('BROKER_SECRET_STORE')).toBe('secret_store');
    expect(fileKey('PORT')).toBe('port');
  });

  test('as Markdown', () => {
    const rows = cells(configReferenceMarkdown());
    expect(rows).toHaveLength(CONFIG_REFERENCE.length + 2);
    for (const row of rows) expect(row).toHaveLength(7);
    expect(configReferenceMarkdown()).toContain(
      '| `PORT` | `port` | `3000` | a port from 1 to 65535, or 0 for any free one | Where the broker listens. |',
    );
  });

  test('as text for the terminal', () => {
    const text = configReferenceText(80);
    for (const { name, fileKey: key } of CONFIG_REFERENCE) {
      const heading = key === undefined ? name : `${name} (in the file: ${key})`;
      expect(text.split('\n')).toContain(`  ${heading}`);
    }
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(text).toContain('Default: PORT + 1');
  });

  test('is the one of docs/configuration.md', () => {
    const [, after = ''] = page.split(CONFIG_MARKERS.start);
    const [table = ''] = after.split(CONFIG_MARKERS.end);
    expect(cells(table)).toEqual(cells(configReferenceMarkdown()));
  });

  test.each(['tokens', 'providers'] as const)(
    '%s: the table of docs/several-tokens.md',
    (section) => {
      const text = readFileSync(new URL('../../docs/several-tokens.md', import.meta.url), 'utf8');
      const { start, end } = sectionMarkers(section);
      const [, after = ''] = text.split(start);
      expect(cells(after.split(end)[0] ?? '')).toEqual(cells(sectionReferenceMarkdown(section)));
      // A row for every member that the reader of the section knows.
      const members =
        section === 'tokens'
          ? ['provider', ...Object.keys(TOKEN_MEMBERS)]
          : Object.keys(PROVIDER_MEMBERS);
      expect(
        [...(after.split(end)[0]?.matchAll(/^\| `([^`]+)`/gm) ?? [])].map(([, name]) => name),
      ).toEqual(members);
    },
  );

  test('names the profiles once each', () => {
    expect(new Set(PROFILE_NAMES).size).toBe(16);
  });
});

// The two rooms do not import each other, so that each can be used alone; here they are held together.
test('every built-in profile can be configured, and no other', () => {
  expect([...PROFILE_NAMES].sort()).toEqual([...BUILT_IN].sort());
});
