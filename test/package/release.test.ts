import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { decideVersion, notesOf, releaseChangelog, setVersion } from '../../build/release-plan.mjs';
import { fc } from '../support/properties.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

const CHANGELOG = `# Changelog

## [Unreleased]

### Added

- One thing.
- Another thing,
  on two lines.

## [0.1.0] - 2026-01-02

- The first.
`;

describe('the version', () => {
  test.each([
    ['0.1.0', '0.1.1'],
    ['0.1.0', '0.2.0'],
    ['0.9.0', '0.10.0'],
    ['0.1.0', '1.0.0-rc.1'],
    ['1.0.0-rc.1', '1.0.0-rc.2'],
    ['1.0.0-rc.10', '1.0.0'],
  ])('after %s comes %s', (current, wanted) => {
    expect(decideVersion(current, wanted)).toBe(wanted);
  });

  test.each([
    ['0.1.0', undefined, 'name the version'],
    ['0.1.0', '', 'not a version'],
    ['0.1.0', 'v0.2.0', 'not a version'],
    ['0.1.0', '0.2', 'not a version'],
    ['0.1.0', '01.2.3', 'not a version'],
    ['0.1.0', ' 0.2.0', 'not a version'],
    ['0.1.0', '0.2.0; rm', 'not a version'],
    ['0.1.0', '0.1.0', 'not later than 0.1.0'],
    ['0.10.0', '0.9.0', 'not later than 0.10.0'],
    ['1.0.0', '1.0.0-rc.1', 'not later than 1.0.0'],
  ])('after %s there is no %s', (current, wanted, why) => {
    expect(() => decideVersion(current, wanted)).toThrow(why);
  });
});

describe('the changelog', () => {
  test('has what was unreleased under the version, and an empty part for what comes', () => {
    const { text, entries } = releaseChangelog(CHANGELOG, '0.2.0', '2026-11-29');
    expect(entries).toBe(2);
    expect(text).toBe(
      CHANGELOG.replace('## [Unreleased]', '## [Unreleased]\n\n## [0.2.0] - 2026-11-29'),
    );
    expect(notesOf(text, '0.2.0')).toBe(
      '### Added\n\n- One thing.\n- Another thing,\n  on two lines.',
    );
    expect(notesOf(text, '0.1.0')).toBe('- The first.');
    expect(() => releaseChangelog(text, '0.3.0', '2026-11-30')).toThrow('nothing under');
  });

  test('may name its parts in a sentence before them', () => {
    const told = CHANGELOG.replace(
      '# Changelog\n',
      '# Changelog\n\nWhat comes is under `## [Unreleased]`; ### [Unreleased] is no part.\n',
    );
    const { text, entries } = releaseChangelog(told, '0.2.0', '2026-11-29');
    expect(entries).toBe(2);
    expect(text).toBe(
      told.replace('\n## [Unreleased]', '\n## [Unreleased]\n\n## [0.2.0] - 2026-11-29'),
    );
    const atOnce = releaseChangelog('## [Unreleased]\n\n- a\n', '0.2.0', '2026-11-29');
    expect(atOnce.text).toBe('## [Unreleased]\n\n## [0.2.0] - 2026-11-29\n\n- a\n');
  });

  test.each([
    ['without the part', CHANGELOG.replace('Unreleased', 'Later'), '0.2.0', 'no part "## [Unr'],
    [
      'with headings alone',
      '## [Unreleased]\n\n### Added\n\n## [0.1.0]\n\n- a\n',
      '0.2.0',
      'nothing under',
    ],
    ['of a version that it has', CHANGELOG, '0.1.0', 'a part for 0.1.0 already'],
  ])('%s makes no release', (_what, text, version, why) => {
    expect(() => releaseChangelog(text, version, '2026-11-29')).toThrow(why);
  });

  test.each(['29.11.2026', '2026-13-01', '2026-1-1', 'today'])('%s is no date', (date) => {
    expect(() => releaseChangelog(CHANGELOG, '0.2.0', date)).toThrow('is not a date');
  });

  test('loses no line, whatever the entries are', () => {
    const line = fc.stringMatching(/^[ -~]{0,30}$/).filter((text) => !text.startsWith('## '));
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const before = `# C\n\n## [Unreleased]\n- $& $1\n${lines.join('\n')}\n## [0.1.0]\n`;
        const { text } = releaseChangelog(before, '0.2.0', '2026-11-29');
        expect(text.replace('\n\n## [0.2.0] - 2026-11-29', '')).toBe(before);
        expect(notesOf(text, '0.2.0')).toBe(`- $& $1\n${lines.join('\n')}`.trim());
      }),
    );
  });

  test('of this repository can be released', async () => {
    const text = await readFile(join(root, 'CHANGELOG.md'), 'utf8');
    expect(text).toContain('\n## [Unreleased]\n');
    expect(() => notesOf(text, '99.0.0')).toThrow('no part for 99.0.0');
  });
});

describe('the version is set', () => {
  const lock = {
    name: 'p',
    version: '0.1.0',
    packages: { '': { version: '0.1.0' }, a: { version: '0.1.0' } },
  };
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

  test.each([
    ['package.json', json({ name: 'p', version: '0.1.0' }), json({ name: 'p', version: '0.2.0' })],
    [
      'package-lock.json',
      json(lock),
      json({ ...lock, version: '0.2.0', packages: { ...lock.packages, '': { version: '0.2.0' } } }),
    ],
    [
      'deploy/helm/broker/Chart.yaml',
      'apiVersion: v2\nversion: 0.1.0\nappVersion: "0.1.0"\nkubeVersion: ">=1.30.0"\n',
      'apiVersion: v2\nversion: 0.2.0\nappVersion: "0.2.0"\nkubeVersion: ">=1.30.0"\n',
    ],
    [
      'docs/guard.md',
      'npm install service-token-kit-0.1.0.tgz; service-token-kit@0.1.0. jose 0.1.0',
      'npm install service-token-kit-0.2.0.tgz; service-token-kit@0.2.0. jose 0.1.0',
    ],
    [
      'compose.yaml',
      'image: r/service-token-broker:0.1.0\n',
      'image: r/service-token-broker:0.2.0\n',
    ],
    [
      'docs/helm.md',
      'image: { repository: r/service-token-broker, tag: 0.1.0 }\n',
      'image: { repository: r/service-token-broker, tag: 0.2.0 }\n',
    ],
  ])('in %s', (file, before, after) => {
    expect(setVersion(file, before, '0.1.0', '0.2.0')).toBe(after);
  });

  test.each([
    ['CHANGELOG.md', 'service-token-kit-0.1.0.tgz'],
    ['docs/a.md', 'service-token-kit-0.1.0.1 service-token-kit-0.1.0-rc.1 service-token-kit-0x1.0'],
    ['deploy/logo.png', 'service-token-kit-0.1.0'],
  ])('not in %s: %s', (file, text) => {
    expect(setVersion(file, text, '0.1.0', '0.2.0')).toBe(text);
  });

  test.each([
    ['package-lock.json', json({ ...lock, version: '0.0.9' })],
    ['deploy/helm/broker/Chart.yaml', 'version: 0.1.0\nappVersion: 0.0.9\n'],
  ])('not over another one in %s', (file, text) => {
    expect(() => setVersion(file, text, '0.1.0', '0.2.0')).toThrow(
      `${file} has the version 0.0.9, package.json has 0.1.0`,
    );
  });
});
