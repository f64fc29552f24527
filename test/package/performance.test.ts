import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { judge } from '../../bench/growth/expectations.js';
import { comparison, promise } from '../../bench/peers/comparison.js';
import { orderOf } from '../../bench/rounds.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

describe('how a figure grows', () => {
  test.each([
    ['flat', 1.3, [40, 44, 41], 41 / 40, true],
    ['flat', 1.3, [40, 44, 60], 1.5, false],
    // What is constant, and noise among the small ones, do not count: from 10 to 100.
    ['linear', 2, [500, 480, 660], 2, true],
    ['linear', 2, [500, 480, 750], 3, false],
    ['exact', 1, [1, 1, 1], 1, true],
    ['exact', 1, [1, 3, 1], 3, false],
  ])('%s, at most %d: %p', (kind, most, values, found, met) => {
    const points = [1, 10, 100].map((size, at) => [size, values[at]]);
    expect(judge({ kind, most }, points)).toEqual({ found, met });
  });

  test('is compared round by round, where its rounds are known', () => {
    const [small, large] = [
      [10, 90, 20],
      [12, 99, 25],
    ];
    const points = [
      [1, 20, small],
      [10, 25, large],
    ];
    expect(judge({ kind: 'flat', most: 1.22 }, points)).toEqual({ found: 1.2, met: true });
  });

  test('is never judged by a rule that does not exist', () => {
    expect(() =>
      judge({ kind: 'falling', most: 1 }, [
        [1, 1],
        [2, 1],
      ]),
    ).toThrow('falling');
  });
});

describe('the order of turns', () => {
  test.each([1, 2, 3, 5, 6])('is fair to each of %d', (count) => {
    const orders = Array.from({ length: 60 }, (_, turn) => orderOf(count, turn));
    const all = Array.from({ length: count }, (_, index) => index);
    for (const order of orders) expect(order.toSorted((one, other) => one - other)).toEqual(all);
    const firsts = all.map((index) => orders.filter(([first]) => first === index).length);
    expect(new Set(firsts)).toEqual(new Set([60 / count]));
  });

  test('lets each of five come after each of the others as often', () => {
    const pairs = new Map<string, number>();
    for (let turn = 0; turn < 20; turn += 1) {
      const order = orderOf(5, turn);
      for (const [at, index] of order.slice(1).entries()) {
        const pair = `${order[at]} ${index}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
      }
    }
    expect([...pairs.values()]).toEqual(Array.from({ length: 20 }, () => 4));
  });
});

describe('side by side', () => {
  const figure = { title: 'processor time', key: 'each', format: (value: number) => `${value} µs` };
  const own = [{ each: 10 }, { each: 20 }, { each: 12 }];
  const other = [{ each: 5 }, { each: 40 }, { each: 12 }];

  test('each figure is the median, with the ratio round by round', () => {
    expect(comparison({ own, other, absent: 'no cargo' }, [figure])).toEqual([
      ['', 'processor time'],
      ['own', '12 µs'],
      ['other', '12 µs (1.00×)'],
      ['absent', 'skipped: no cargo'],
    ]);
  });

  test('a promise is kept, missed, or skipped for want of the other', () => {
    const met = (limit: { most?: number; least?: number }): unknown =>
      promise('it', [own, other], figure, limit).met;
    expect(met({ most: 1 })).toBe(true);
    expect(met({ most: 0.9 })).toBe(false);
    expect(met({ least: 1 })).toBe(true);
    expect(met({ least: 1.1 })).toBe(false);
    expect(promise('it', [own, 'no cargo'], figure, { most: 1 })).toEqual({
      name: 'it',
      measured: 'SKIPPED: no cargo',
      target: 'at most 1 times',
    });
  });

  test('what is installed for it is locked, by its hash, and runs no script', () => {
    const lockfile = read('bench/peers/package-lock.json');
    expect(lockfile).not.toContain('"resolved": "http');
    const { packages } = JSON.parse(lockfile) as {
      packages: Record<string, { integrity?: string; hasInstallScript?: boolean }>;
    };
    const { '': _root, ...locked } = packages;
    expect(Object.keys(locked)).toContain('node_modules/passport-jwt');
    for (const [path, { integrity, hasInstallScript }] of Object.entries(locked)) {
      expect([path, integrity, hasInstallScript]).toEqual([
        path,
        expect.stringMatching(/^sha512-/),
        undefined,
      ]);
    }
  });
});

describe('the page about performance', () => {
  const page = read('docs/performance.md');

  test('names a command for each promise, and every command is there', () => {
    const [, promises = ''] = page.split('## What is promised');
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const rows = promises
      .split('\n\n')[1]
      ?.split('\n')
      .slice(2)
      .map((row) => /`npm run ([\w:]+)(?: -- --only=([\w,-]+))?` *\|$/.exec(row)?.slice(1));
    expect(rows?.length).toBeGreaterThan(8);
    for (const [script, parts] of rows?.map((row) => row ?? []) ?? []) {
      expect(Object.keys(scripts)).toContain(script);
      const source = read(/^node (\S+)$/.exec(scripts[script ?? ''] ?? '')?.[1] ?? '');
      for (const part of parts?.split(',') ?? []) {
        expect(source).toMatch(new RegExp(`^ {2}'?${part}'?: `, 'm'));
      }
    }
  });

  test('shows figures of a run in every part', () => {
    const parts = [...page.matchAll(/<!-- ([\w-]+):start -->\n([^]*?)<!-- \1:end -->/g)];
    expect(parts.map(([, name]) => name)).toEqual([
      'peers-tokens',
      'peers-calls',
      'peers-verifiers',
      'peers-routes',
      'growth-peers',
      'growth-tokens',
      'growth-replicas',
      'growth-remembered',
    ]);
    for (const [, name, text = ''] of parts) {
      expect([name, /rounds of 4 s/.test(text)]).toEqual([name, true]);
    }
  });
});
