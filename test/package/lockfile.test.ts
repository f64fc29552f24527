import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

test('the lockfile lists the optional packages of every platform, without which npm ci refuses it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lockfile-'));
  mkdirSync(join(folder, '.ci'));
  for (const file of ['package-lock.json', '.ci/complete-lockfile.mjs']) {
    cpSync(join(root, file), join(folder, file));
  }
  const said = execFileSync(process.execPath, ['.ci/complete-lockfile.mjs'], { cwd: folder });
  rmSync(folder, { recursive: true });
  expect(said.toString()).toContain(' 0 optional packages added');
});

test('the lockfile names no registry', () => {
  expect(read('package-lock.json')).not.toContain('"resolved": "http');
});

test('what is installed with our packages runs no script at that', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { hasInstallScript?: boolean; dev?: boolean }>;
  };
  const scripted = Object.entries(packages).filter(([, one]) => one.hasInstallScript === true);
  // They are known by this member.
  expect(scripted.map(([path]) => path)).toContain('node_modules/esbuild');
  expect(scripted.filter(([, one]) => one.dev !== true)).toEqual([]);
});

test('what our packages need, and what they are built with on Linux, is known by its hash', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<
      string,
      { integrity?: string; dev?: boolean; optional?: boolean; os?: string[] }
    >;
  };
  const { '': _root, ...locked } = packages;
  const unknown = Object.entries(locked).filter(
    ([, { integrity = '' }]) => !/^sha512-[\w+/]{86}==$/.test(integrity),
  );
  // Tools for other machines, which the registry did not offer where the file was written.
  const tools = /^node_modules\/(?:@oxlint(?:-tsgolint)?|@swc|@unrs)\//;
  for (const [path, { dev, optional }] of unknown) {
    expect([path, dev, optional]).toEqual([expect.stringMatching(tools), true, true]);
  }
  for (const cpu of ['x64', 'arm64']) {
    expect(unknown.map(([path]) => path)).not.toContain(`node_modules/@swc/core-linux-${cpu}-gnu`);
  }
});

test('every example builds the package before it is compiled, as a clean clone needs', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const examples = Object.entries(scripts).filter(([name]) => name.startsWith('example:'));
  expect(examples.length).toBeGreaterThan(1);
  for (const [, script] of examples)
    expect(script).toMatch(/^npm run --silent build:packages && tsc /);
});
