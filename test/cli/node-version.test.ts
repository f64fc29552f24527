import { readFile } from 'node:fs/promises';
import { describe, expect, test } from '@jest/globals';
import { isSupported, neededNode } from '../../build/node-version.mjs';
import { unsupportedNode } from '../../src/cli/node-version.js';

test.each([
  '20.19.0',
  '20.20.2',
  '22.12.0',
  '22.13.1',
  '24.0.0',
  '24.9.3',
  '25.1.0',
  '26.0.0',
  '30.1.2',
])('%s works', (version) => {
  expect(unsupportedNode(version)).toBeUndefined();
});

test.each([
  '12.22.12',
  '18.20.8',
  '20.10.0',
  '20.18.3',
  '21.7.3',
  '22.0.0',
  '22.11.0',
  '23.11.1',
  '',
])('%s does not, and what is needed is said in one line', (version) => {
  const words = unsupportedNode(version);
  expect(words).toMatch(/^service-token-broker needs Node\.js [^\n]+ newer: this is [\d.]*\.$/);
  expect(words).toContain(`this is ${version}.`);
});

test.each([
  '12.22.12',
  '18.20.8',
  '20.18.3',
  '20.19.0',
  '21.7.3',
  '22.12.0',
  '23.11.1',
  '24.0.0',
  '30.1.2',
])('the scripts of a clone say the same of %s as the command', async (version) => {
  const { engines } = JSON.parse(await readFile('package.json', 'utf8')) as {
    readonly engines: { readonly node: string };
  };
  const words = isSupported(version, engines.node) ? undefined : neededNode(version, engines.node);
  expect(words).toBe(unsupportedNode(version));
});

describe('the versions are those that the package says', () => {
  test('in its engines', async () => {
    const { engines } = JSON.parse(await readFile('package.json', 'utf8')) as {
      readonly engines: { readonly node: string };
    };
    const ranges = engines.node.split(' || ');
    expect(ranges).toHaveLength(3);
    for (const [index, range] of ranges.entries()) {
      const [, sign, major = '', minor = ''] = /^(\^|>=)(\d+)\.(\d+)\.0$/.exec(range) ?? [];
      expect(sign).toBe(index === ranges.length - 1 ? '>=' : '^');
      expect(unsupportedNode(`${major}.${minor}.0`)).toBeUndefined();
      const before =
        Number(minor) > 0 ? `${major}.${Number(minor) - 1}.9` : `${Number(major) - 1}.99.9`;
      expect(unsupportedNode(before)).toContain(`${major}${Number(minor) > 0 ? `.${minor}` : ''}`);
    }
  });
});
