import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { BLOCKS } from '../support/documented-blocks.js';
import { packagesBuild } from '../support/packages-build.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

const EXAMPLES = ['guard', 'mesh'];

/** What is declared to compile and not to. */
const NARROWING = join(root, 'test/guard/types/narrowing.ts');
const USAGE = join(root, 'test/client/attachment/types/usage.ts');
const WITHOUT_NEST = join(root, 'test/guard/types/without-nest.ts');
const DECLARED = [NARROWING, WITHOUT_NEST, USAGE];

/** As strict as an application of NestJS may be. */
const OPTIONS = {
  target: 'es2023',
  lib: ['es2023'],
  module: 'nodenext',
  moduleResolution: 'nodenext',
  types: ['node'],
  strict: true,
  noUncheckedIndexedAccess: true,
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  isolatedModules: true,
  skipLibCheck: true,
  noEmit: true,
  // By its name the repository's own manifest is found, which has no types.
  paths: {
    'service-token-broker/*': [join(root, 'dist-packages/service-token-broker/types/*.d.ts')],
  },
};

/**
 * The TypeScript of every page, which is meant to be pasted: file names and texts. Each block is a module of its own, beside
 * the examples: there the packages are found by their names, as they were built.
 */
function blocks(): readonly (readonly [string, string])[] {
  return BLOCKS.filter(({ language }) => language === 'ts').map(({ at, text }) => [
    `${at.replaceAll('/', '-').replace('.md:', '-')}.ts`,
    text,
  ]);
}

function sourcesOf(example: string): readonly string[] {
  const folder = join(root, 'examples', example, 'src');
  return readdirSync(folder).map((name) => join(folder, name));
}

const MARK = '// @ts-expect-error';

/** What is declared, without the marks; imports by path, since it stands in another folder. */
function unmarked(file: string): string {
  const text = readFileSync(file, 'utf8').replaceAll(MARK, '// must not compile');
  return text.replaceAll(
    /(?<= from )'(\.[^']+)'/g,
    (_, path: string) => `'${join(dirname(file), path)}'`,
  );
}

/** Files that exist while the compiler looks. */
let folder: string;
/** The compiler's complaints, each as `FILE:LINE: MESSAGE`. */
let complaints: readonly string[];

// Once for all, because reading the libraries takes the compiler longer than what it is asked.
beforeAll(async () => {
  await packagesBuild();
  folder = mkdtempSync(join(root, 'examples/.compiled-'));
  const written = [
    ...blocks(),
    ...DECLARED.map((file) => [basename(file), unmarked(file)] as const),
  ];
  for (const [name, text] of written) writeFileSync(join(folder, name), text);
  const project = join(folder, 'tsconfig.json');
  const files = [
    ...written.map(([name]) => join(folder, name)),
    ...EXAMPLES.flatMap(sourcesOf),
    ...DECLARED,
  ];
  writeFileSync(project, JSON.stringify({ compilerOptions: OPTIONS, files }));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const flags = [tsc, '-p', project, '--pretty', 'false'];
  const { status, stdout, stderr } = spawnSync(process.execPath, flags, {
    cwd: root,
    encoding: 'utf8',
  });
  // What must not compile does not.
  expect(stderr).toBe('');
  expect(status).toBeGreaterThan(0);
  complaints = stdout
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith(' '))
    .map((line) => line.replace(/^(\S+)\((\d+),\d+\)/, '$1:$2'));
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Those about a file; what there is against what it imports is for `npm run typecheck` to say. */
function complaintsAbout(file: string): readonly string[] {
  return complaints.filter((line) => line.startsWith(`${relative(root, file)}:`));
}

describe('the compiler', () => {
  test('takes the TypeScript of the pages as it stands there, the examples, and what must compile', () => {
    const pages = blocks().map(([name]) => join(folder, name));
    expect(pages.length).toBeGreaterThan(8);
    const examples = EXAMPLES.flatMap(sourcesOf);
    expect(examples.length).toBeGreaterThan(10);
    expect([...pages, ...examples, ...DECLARED].flatMap(complaintsAbout)).toEqual([]);
  });

  test('sees each error where one is expected', () => {
    for (const file of DECLARED) {
      const expected = readFileSync(file, 'utf8').split(MARK).length - 1;
      expect(expected).toBeGreaterThan(0);
      const lines = complaintsAbout(join(folder, basename(file))).map(
        (line) => line.split(': ')[0],
      );
      expect({ file, seen: new Set(lines).size }).toEqual({ file, seen: expected });
    }
  });

  test('complains about nothing but files', () => {
    expect(complaints.filter((line) => !/^\S+:\d+: /.test(line))).toEqual([]);
  });
});
