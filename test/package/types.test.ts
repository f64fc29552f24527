import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from '@jest/globals';
import ts from 'typescript';
import { packagesBuild } from '../support/packages-build.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Pages whose TypeScript is meant to be pasted. Each block is a module of its own. */
const PAGES = [
  'README.md',
  'docs/configuration.md',
  'docs/guard.md',
  'docs/client.md',
  'docs/packages/service-token-kit.md',
];

const EXAMPLES = ['guard', 'mesh'];

/** What is declared to compile and not to. */
const NARROWING = join(root, 'test/guard/types/narrowing.ts');
const USAGE = join(root, 'test/client/attachment/types/usage.ts');
const WITHOUT_NEST = join(root, 'test/guard/types/without-nest.ts');
const DECLARED = [NARROWING, WITHOUT_NEST, USAGE];

/** As strict as an application of NestJS may be. */
const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
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

/** The blocks of the pages, beside the examples: there the packages are found by their names, as they were built. */
function blocks(): ReadonlyMap<string, string> {
  return new Map(
    PAGES.flatMap((page) =>
      [...readFileSync(join(root, page), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(
        ([, code = ''], index): [string, string] => [
          join(root, `examples/${basename(page)}-${index + 1}.ts`),
          code,
        ],
      ),
    ),
  );
}

function sourcesOf(example: string): readonly string[] {
  const folder = join(root, 'examples', example, 'src');
  return readdirSync(folder).map((name) => join(folder, name));
}

const disk = ts.createCompilerHost(OPTIONS);
/** The files of the libraries are the same for every program: reading them takes longest. */
const known = new Map<string, ts.SourceFile | undefined>();
let before: ts.Program | undefined;

/**
 * The compiler's complaints about files, each as `FILE:LINE: MESSAGE`. What there is against what they import is for
 * `npm run typecheck` to say.
 *
 * @param texts taken as the content of the files of these names, whatever is on the disk.
 */
function complaints(
  files: readonly string[],
  texts: ReadonlyMap<string, string>,
): readonly string[] {
  const program = ts.createProgram({
    rootNames: files,
    options: OPTIONS,
    host: {
      ...disk,
      fileExists: (name) => texts.has(name) || disk.fileExists(name),
      readFile: (name) => texts.get(name) ?? disk.readFile(name),
      getSourceFile: (name, settings) => {
        const text = texts.get(name);
        if (text !== undefined) return ts.createSourceFile(name, text, settings, true);
        if (!known.has(name)) known.set(name, disk.getSourceFile(name, settings));
        return known.get(name);
      },
    },
    ...(before && { oldProgram: before }),
  });
  before = program;
  expect([...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()]).toEqual([]);
  return files.flatMap((name) => {
    const file = program.getSourceFile(name);
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ messageText, start = 0 }) => {
        const line = (file?.getLineAndCharacterOfPosition(start).line ?? 0) + 1;
        return `${name.slice(root.length)}:${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
      },
    );
  });
}

beforeAll(packagesBuild, 120_000);

// All here, because reading the libraries takes the compiler longer than what it is asked.
describe('the compiler', () => {
  test('takes the TypeScript of the pages as it stands there, the examples, and what must compile', () => {
    const texts = blocks();
    expect(texts.size).toBeGreaterThan(8);
    const examples = EXAMPLES.flatMap(sourcesOf);
    expect(examples.length).toBeGreaterThan(10);
    expect(complaints([...texts.keys(), ...examples, ...DECLARED], texts)).toEqual([]);
  });

  test('sees each error where one is expected', () => {
    const MARK = '// @ts-expect-error';
    const files = DECLARED;
    const texts = new Map(files.map((name) => [name, readFileSync(name, 'utf8')]));
    const unmarked = new Map(
      [...texts].map(([name, text]) => [name, text.replaceAll(MARK, '// must not compile')]),
    );
    const lines = complaints(files, unmarked).map((complaint) => complaint.split(': ')[0]);
    for (const [name, text] of texts) {
      const expected = text.split(MARK).length - 1;
      expect(expected).toBeGreaterThan(0);
      const seen = new Set(lines.filter((line) => line?.startsWith(name.slice(root.length))));
      expect({ name, seen: seen.size }).toEqual({ name, seen: expected });
    }
  });
});
