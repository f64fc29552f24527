import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { setVersion } from '../../build/release-plan.mjs';
import { temporaryFolders } from '../support/temporary-folder.js';

// Here, and not among the tests that need nothing but Node.js: it needs git.
const root = fileURLToPath(new URL('../../', import.meta.url));
const temporaryFolder = temporaryFolders('release');
const run = promisify(execFile);

const CHANGELOG = `# Changelog

## [Unreleased]

### Added

- One thing.
- Another thing,
  on two lines.

## [0.1.0] - 2026-01-02

- The first.
`;

describe('npm run release', () => {
  const env = {
    ...process.env,
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@example.com',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@example.com',
  };

  interface Repository {
    readonly git: (...args: readonly string[]) => Promise<string>;
    readonly release: (...args: readonly string[]) => Promise<string>;
    readonly read: (file: string) => Promise<string>;
    /** What a release may change: the files, the commits and the tags. */
    readonly state: () => Promise<readonly string[]>;
  }

  /** A repository with the files of this one that carry the version; what is packed is one file. */
  async function repository(
    pack = 'mkdir -p dist-packages && echo $npm_package_version > dist-packages/packed.txt',
  ): Promise<Repository> {
    const folder = await temporaryFolder();
    const command = async (program: string, args: readonly string[]): Promise<string> =>
      (await run(program, args, { cwd: folder, env })).stdout.trim();
    const git = (...args: readonly string[]): Promise<string> => command('git', args);
    const read = (file: string): Promise<string> => readFile(join(folder, file), 'utf8');
    const files = [
      'package.json',
      'package-lock.json',
      'CHANGELOG.md',
      'docs/guard.md',
      '.gitignore',
    ];
    for (const file of files) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await cp(join(root, file), join(folder, file));
    }
    const manifest = JSON.parse(await read('package.json')) as { version: string; scripts: object };
    // Whatever this repository has been released as meanwhile.
    const own = manifest.version;
    const edit = async (file: string, change: (text: string) => string): Promise<void> =>
      writeFile(join(folder, file), change(await read(file)));
    for (const file of files.filter((name) => name !== 'CHANGELOG.md' && name !== '.gitignore')) {
      await edit(file, (text) => setVersion(file, text, own, '0.1.0'));
    }
    await edit('package.json', (text) => {
      const content = JSON.parse(text) as { scripts: Record<string, string> };
      content.scripts = { 'pack:all': pack };
      return `${JSON.stringify(content, null, 2)}\n`;
    });
    await writeFile(join(folder, 'CHANGELOG.md'), CHANGELOG);
    await git('init', '--quiet', '--initial-branch=main');
    await git('add', '.');
    await git('commit', '--quiet', '--message', 'All');
    return {
      git,
      read,
      release: (...args) =>
        command(process.execPath, [join(root, 'build/release.mjs'), '--date=2026-11-29', ...args]),
      state: async () => [
        await git('status', '--porcelain'),
        await git('rev-parse', 'HEAD'),
        await git('tag'),
        await git('write-tree'),
      ],
    };
  }

  test('dry, says each step and makes none', async () => {
    const { release, state, git } = await repository();
    const before = await state();
    const said = await release('0.2.0', '--dry-run');
    expect(said).toContain('Release 0.2.0, after 0.1.0: nothing is done');
    expect(said).toContain('CHANGELOG.md: 2 entries become [0.2.0] - 2026-11-29');
    expect(said).toContain(
      'write the version into docs/guard.md, package-lock.json, package.json, CHANGELOG.md',
    );
    expect(said).toContain('npm run pack:all');
    expect(said).toContain('git push --atomic origin main v0.2.0');
    expect(await state()).toEqual(before);
    expect(await git('status', '--porcelain', '--ignored')).toBe('');
  });

  test('makes the commit and the tag, with the version everywhere', async () => {
    const { release, git, read } = await repository();
    await release('0.2.0');
    expect(await git('status', '--porcelain')).toBe('');
    expect(await git('log', '--format=%s')).toBe('Release 0.2.0\nAll');
    expect(await git('cat-file', '-t', 'v0.2.0')).toBe('tag');
    expect(await git('rev-parse', 'v0.2.0^{commit}')).toBe(await git('rev-parse', 'HEAD'));
    expect(JSON.parse(await read('package.json'))).toMatchObject({ version: '0.2.0' });
    expect(JSON.parse(await read('package-lock.json'))).toMatchObject({
      version: '0.2.0',
      packages: { '': { version: '0.2.0' } },
    });
    expect(await read('docs/guard.md')).toContain('service-token-kit-0.2.0.tgz');
    expect(await read('CHANGELOG.md')).toContain('## [Unreleased]\n\n## [0.2.0] - 2026-11-29\n');
    // Packed after the version was set.
    expect((await read('dist-packages/packed.txt')).trim()).toBe('0.2.0');
    expect(await release('--notes=v0.2.0')).toContain('- One thing.');
    // Nothing is unreleased now.
    await expect(release('0.3.0')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('nothing under'),
    });
  });

  test('leaves everything as it was when a step fails: packing, and the very last one', async () => {
    const failing = await repository('exit 7');
    const before = await failing.state();
    await expect(failing.release('0.2.0')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('the tree is as it was'),
    });
    expect(await failing.state()).toEqual(before);

    const unsigned = await repository();
    await unsigned.git('config', 'tag.gpgSign', 'true');
    await unsigned.git('config', 'gpg.program', 'false');
    const clean = await unsigned.state();
    await expect(unsigned.release('0.2.0')).rejects.toMatchObject({ code: 1 });
    expect(await unsigned.state()).toEqual(clean);
  });

  test('is refused from another branch, with changes, with the tag taken, and with unknown words', async () => {
    const { release, git, read, state } = await repository();
    const refused = async (why: string, ...args: readonly string[]): Promise<void> => {
      const before = await state();
      await expect(release(...args)).rejects.toMatchObject({
        code: 1,
        stderr: expect.stringContaining(why),
      });
      expect(await state()).toEqual(before);
    };
    await refused('not later than 0.1.0', '0.0.9');
    await refused('name the version');
    await refused('one version, not 0.2.0, 0.3.0', '0.2.0', '0.3.0');
    await refused('--dry', '0.2.0', '--dry');
    await refused('no part for 9.9.9', '--notes=9.9.9');
    await git('tag', 'v0.2.0');
    await refused('a tag v0.2.0 already', '0.2.0');
    await git('checkout', '--quiet', '-b', 'feature');
    await refused('made on main, and this is feature', '0.3.0');
    await git('checkout', '--quiet', 'main');
    const folder = await git('rev-parse', '--show-toplevel');
    await writeFile(join(folder, 'docs/guard.md'), `${await read('docs/guard.md')}more\n`);
    await refused('not clean', '0.3.0');
    expect(await readdir(folder)).not.toContain('dist-packages');
  });

  test('packs nothing that git is told to hide, and writes nothing that a link leads to', async () => {
    const { release, git, read } = await repository();
    const folder = await git('rev-parse', '--show-toplevel');
    await git('config', 'status.showUntrackedFiles', 'no');
    await mkdir(join(folder, 'src'));
    await writeFile(join(folder, 'src/other.ts'), '');
    await expect(release('0.2.0')).rejects.toMatchObject({
      stderr: expect.stringContaining('src/other.ts'),
    });
    const outside = join(await temporaryFolder(), 'outside.md');
    await writeFile(outside, 'service-token-kit-0.1.0.tgz');
    await symlink(outside, join(folder, 'docs/linked.md'));
    await git('add', '.');
    await git('commit', '--quiet', '--message', 'More');
    await release('0.2.0');
    expect(await readFile(outside, 'utf8')).toBe('service-token-kit-0.1.0.tgz');
    expect(await read('docs/guard.md')).toContain('service-token-kit-0.2.0.tgz');
  });

  test.each(['0.2.0-rc.lock', '1.0.0-$(touch x)', '--exec=x', '../x', '0.2.0\n'])(
    'takes the version %j for no command and no path',
    async (version) => {
      const { release, state, git } = await repository();
      const before = await state();
      await expect(release('--', version)).rejects.toMatchObject({ code: 1 });
      expect(await state()).toEqual(before);
      expect(await git('status', '--porcelain')).toBe('');
    },
  );
});
