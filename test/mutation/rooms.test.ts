import { existsSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { ROOMS } from './rooms.mjs';

const root = new URL('../../', import.meta.url);
const at = (path: string): string => fileURLToPath(new URL(path, root));

test('the rooms that are mutated, and the tests that judge them, are there', () => {
  expect(Object.keys(ROOMS)).toEqual(['tokens', 'verification', 'rotation', 'peers']);
  for (const [room, tests] of Object.entries(ROOMS)) {
    expect(existsSync(at(`src/${room}`))).toBe(true);
    expect(tests[0]).toBe(`test/${room}`);
    for (const place of tests) {
      expect([place, statSync(at(place.replace('!', ''))).isDirectory()]).toEqual([
        place,
        !place.endsWith('.test.ts'),
      ]);
    }
  }
});

test('the mutators are locked, for every Node.js that the project runs on', () => {
  const { dependencies } = JSON.parse(readFileSync(at('test/mutation/package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const text = readFileSync(at('test/mutation/package-lock.json'), 'utf8');
  const { packages } = JSON.parse(text) as {
    packages: Record<string, { version: string; engines?: { node?: string }; integrity?: string }>;
  };
  const name = '@stryker-mutator/instrumenter';
  const { version, engines } = packages[`node_modules/${name}`] ?? {};
  expect(version).toBe(dependencies[name]);
  expect(engines?.node).toBe('>=20.0.0');
  expect(text).not.toContain('"resolved": "http');
  const { '': _root, ...locked } = packages;
  for (const { integrity } of Object.values(locked)) expect(integrity).toMatch(/^sha512-/);
});
