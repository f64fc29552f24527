import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const WORKFLOWS = readdirSync(join(root, '.github/workflows')).map(
  (name) => `.github/workflows/${name}`,
);
const FORMS = readdirSync(join(root, '.github/ISSUE_TEMPLATE'))
  .filter((name) => name !== 'config.yml')
  .map((name) => `.github/ISSUE_TEMPLATE/${name}`);

interface Workflow {
  readonly permissions: unknown;
  readonly jobs: Readonly<
    Record<
      string,
      { readonly permissions?: unknown; readonly steps?: readonly { readonly run?: string }[] }
    >
  >;
}

describe.each(WORKFLOWS)('%s', (file) => {
  const text = read(file);
  const { permissions, jobs } = parse(text) as Workflow;

  test('names every action and image by its full hash, with the version beside it', () => {
    const used = [...text.matchAll(/^\s*(?:- )?(?:uses|container): (.*)$/gm)]
      .map(([, value = '']) => value)
      .filter((value) => !value.startsWith('./.github/'));
    expect(used.length).toBeGreaterThan(1);
    for (const value of used) {
      expect(value).toMatch(
        /^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$|^[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$/,
      );
    }
  });

  test('may do nothing but what each job says', () => {
    expect(permissions).toEqual({});
    for (const job of Object.values(jobs)) expect(job.permissions).toBeDefined();
  });

  test('runs scripts that there are', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const lines = Object.values(jobs).flatMap(({ steps = [] }) => steps.map(({ run = '' }) => run));
    for (const [, name = ''] of lines.join('\n').matchAll(/npm run (?:--silent )?([\w:]+)/g)) {
      expect(Object.keys(scripts)).toContain(name);
    }
    for (const [, script = ''] of lines.join('\n').matchAll(/bash (\S+)/g)) {
      expect(existsSync(join(root, script))).toBe(true);
    }
  });
});

test('CI is .ci/run, and a release waits for it', () => {
  expect(read('.github/workflows/ci.yml')).toContain('- run: bash .ci/run\n');
  const { jobs } = parse(read('.github/workflows/release.yml')) as {
    jobs: Record<string, { uses?: string; needs?: string | readonly string[] }>;
  };
  expect(jobs['check']?.uses).toBe('./.github/workflows/ci.yml');
  const waitsForCheck = (name: string): boolean =>
    name === 'check' || [jobs[name]?.needs ?? []].flat().some(waitsForCheck);
  expect(Object.keys(jobs).filter((name) => !waitsForCheck(name))).toEqual([]);
});

test('a release is of what is on main, and what it is packed with runs no script before', () => {
  const { jobs } = parse(read('.github/workflows/release.yml')) as Workflow;
  const { steps = [] } = jobs['pack'] ?? {};
  const lines = steps.map(({ run = '' }) => run);
  const atMain = lines.indexOf('git merge-base --is-ancestor "$GITHUB_SHA" origin/main');
  expect(atMain).toBeGreaterThan(0);
  expect(steps[0]).toMatchObject({ with: { 'fetch-depth': 0 } });
  const installed = lines.findIndex((line) => line.startsWith('npm ci --ignore-scripts'));
  expect(installed).toBeGreaterThan(atMain);
  expect(lines.filter((line) => line.startsWith('npm ci'))).toHaveLength(1);
});

test.each(FORMS)('%s asks each thing once, and for no secrets', (file) => {
  const { body } = parse(read(file)) as { body: readonly { type: string; id?: string }[] };
  const ids = body.flatMap(({ id }) => id ?? []);
  expect(new Set(ids).size).toBe(ids.length);
  // What is pasted there is read by everybody.
  const pastes = body.some(({ type }) => type === 'textarea') && !file.includes('feature');
  expect(ids.includes('secrets')).toBe(pastes);
});

test('the templates lead to files that there are, at the address of the project', () => {
  const { homepage } = JSON.parse(read('package.json')) as { homepage: string };
  const files = [...FORMS, '.github/ISSUE_TEMPLATE/config.yml'];
  const links = files.flatMap((file) => read(file).match(/https?:\/\/[^\s)]+/g) ?? []);
  expect(links.length).toBeGreaterThan(3);
  for (const link of links) {
    expect(link.startsWith(`${homepage}/blob/main/`)).toBe(true);
    expect(existsSync(join(root, link.slice(`${homepage}/blob/main/`.length)))).toBe(true);
  }
  const template = read('.github/pull_request_template.md');
  for (const [, path = ''] of template.matchAll(/\]\(([^)]+)\)/g)) {
    expect(existsSync(join(root, '.github', path))).toBe(true);
  }
});

test('SECURITY.md says where to report, at the domain of the project', () => {
  const { homepage } = JSON.parse(read('package.json')) as { homepage: string };
  const domain = new URL(homepage).host.replace(/^git\./, '');
  expect(read('SECURITY.md')).toContain(`<security@${domain}>`);
});
