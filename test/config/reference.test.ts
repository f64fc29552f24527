import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/load-config.js';
import {
  CONFIG_MARKERS,
  CONFIG_REFERENCE,
  configReferenceMarkdown,
  configReferenceText,
} from '../../src/config/reference.js';
import { fileKey, PROFILE_NAMES, SETTING_NAMES } from '../../src/config/settings.js';

/** A table without what a formatter may change: the width of its columns. */
function cells(table: string): string[][] {
  return table
    .trim()
    .split('\n')
    .map((row) => row.split('|').map((cell) => cell.trim().replace(/^-+$/, '---')));
}

const README = new URL('../../README.md', import.meta.url);
const readme = existsSync(README) ? readFileSync(README, 'utf8') : '';

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
    for (const { name } of CONFIG_REFERENCE) expect(text).toMatch(new RegExp(`^ {2}${name}$`, 'm'));
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(text).toContain('Default: PORT + 1');
  });

  const [, after] = readme.split(CONFIG_MARKERS.start);
  // Skipped only while README.md has no markers to put the table between.
  const whenMarked = after === undefined ? test.skip : test;
  whenMarked('is the one of README.md', () => {
    const [table = ''] = (after ?? '').split(CONFIG_MARKERS.end);
    expect(cells(table)).toEqual(cells(configReferenceMarkdown()));
  });

  test('names the profiles once each', () => {
    expect(new Set(PROFILE_NAMES).size).toBe(15);
  });
});
