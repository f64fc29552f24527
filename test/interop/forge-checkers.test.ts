import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('../../', import.meta.url));
const ACTIONLINT = process.env['INTEROP_ACTIONLINT'];
const FORMS = ['bug.yml', 'feature.yml', 'question.yml'];

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'forge-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
}

async function run(program: string, args: readonly string[]): Promise<Ended> {
  const child = spawn(program, args, {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', HOME: folder, NO_COLOR: '1' },
  });
  const code = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out: out + err };
}

function checker(name: string): string {
  const programs = process.env['INTEROP_CHECKERS'] ?? '';
  expect(programs).not.toBe('');
  return join(programs, name);
}

/** A file of the repository with something changed, elsewhere. */
async function changed(file: string, from: string, to: string): Promise<string> {
  const before = await readFile(join(root, file), 'utf8');
  expect(before).toContain(from);
  const other = join(folder, file);
  await mkdir(dirname(other), { recursive: true });
  await writeFile(other, before.replace(from, to));
  return other;
}

async function workflows(): Promise<readonly string[]> {
  const names = await readdir(join(root, '.github/workflows'));
  return names.map((name) => join(root, '.github/workflows', name));
}

describe('the schemas of the forge, by check-jsonschema', () => {
  const check = (schema: string, ...files: readonly string[]): Promise<Ended> =>
    run(checker('check-jsonschema'), ['--builtin-schema', schema, ...files]);

  test('take the workflows, the forms, their list, and what keeps the pins', async () => {
    const forms = FORMS.map((name) => join(root, '.github/ISSUE_TEMPLATE', name));
    const list = join(root, '.github/ISSUE_TEMPLATE/config.yml');
    for (const [schema, files] of [
      ['vendor.github-workflows', await workflows()],
      ['custom.github-workflows-require-timeout', await workflows()],
      ['vendor.github-issue-forms', forms],
      ['vendor.github-issue-config', [list]],
      ['vendor.dependabot', [join(root, '.github/dependabot.yml')]],
    ] as const) {
      expect(await check(schema, ...files)).toMatchObject({ code: 0 });
    }
  }, 120_000);

  test.each([
    ['vendor.github-workflows', '.github/workflows/ci.yml', 'runs-on:', 'run-on:'],
    ['vendor.github-issue-forms', '.github/ISSUE_TEMPLATE/bug.yml', 'type: dropdown', 'type: menu'],
    ['vendor.github-issue-config', '.github/ISSUE_TEMPLATE/config.yml', 'about:', 'says:'],
  ])(
    '%s would not take %s with a mistake',
    async (schema, file, from, to) => {
      expect((await check(schema, await changed(file, from, to))).code).not.toBe(0);
    },
    120_000,
  );
});

describe('zizmor, which looks for what attackers of workflows use', () => {
  const audit = (...files: readonly string[]): Promise<Ended> =>
    run(checker('zizmor'), ['--offline', '--no-progress', ...files]);

  test('finds nothing', async () => {
    const { code, out } = await audit('.github');
    expect(out).toContain('No findings');
    expect(code).toBe(0);
  }, 120_000);

  test('would find: an action by its tag, a title in a script', async () => {
    const unpinned = await changed(
      '.github/workflows/ci.yml',
      '@de0fac2e4500dabe0009e67214ff5f5447ce83dd',
      '@v6',
    );
    expect((await audit(unpinned)).out).toContain('unpinned-uses');
    const injected = await changed(
      '.github/workflows/ci.yml',
      'bash .ci/run',
      'echo ${{ github.event.pull_request.title }}',
    );
    expect((await audit(injected)).out).toContain('template-injection');
  }, 120_000);
});

(ACTIONLINT === undefined ? describe.skip : describe)('actionlint', () => {
  test('finds nothing', async () => {
    expect(await run(ACTIONLINT ?? '', await workflows())).toEqual({ code: 0, out: '' });
  }, 120_000);

  test('would find: the output of a job that is not waited for', async () => {
    const file = await changed(
      '.github/workflows/release.yml',
      'needs: [pack, npm, image]',
      'needs: [pack, npm]',
    );
    expect((await run(ACTIONLINT ?? '', [file])).out).toContain('"image"');
  }, 120_000);
});
