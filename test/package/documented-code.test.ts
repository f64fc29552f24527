import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Pages whose TypeScript is meant to be pasted. Each block is a module of its own. */
const PAGES = [
  'README.md',
  'docs/configuration.md',
  'docs/guard.md',
  'docs/client.md',
  'docs/packages/service-token-kit.md',
];

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
  // The names of the packages, at their sources, so that the test needs no build.
  paths: {
    'service-token-kit': [join(root, 'src/index.ts')],
    'service-token-kit/*': [join(root, 'src/*/index.ts')],
    'service-token-broker/server': [join(root, 'src/server.ts')],
  },
};

/** The blocks of the pages, under file names that stand for where they are. */
function blocks(): ReadonlyMap<string, string> {
  return new Map(
    PAGES.flatMap((page) =>
      [...readFileSync(join(root, page), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(
        ([, code = ''], index): [string, string] => [
          join(root, `${page.replace(/^.*\//, '')}-${index + 1}.ts`),
          code,
        ],
      ),
    ),
  );
}

test('the TypeScript of the pages compiles as it stands there', () => {
  const files = blocks();
  expect(files.size).toBeGreaterThan(8);
  const disk = ts.createCompilerHost(OPTIONS);
  const host: ts.CompilerHost = {
    ...disk,
    fileExists: (name) => files.has(name) || disk.fileExists(name),
    readFile: (name) => files.get(name) ?? disk.readFile(name),
    getSourceFile: (name, languageVersion, ...more) => {
      const code = files.get(name);
      return code === undefined
        ? disk.getSourceFile(name, languageVersion, ...more)
        : ts.createSourceFile(name, code, languageVersion);
    },
  };
  const program = ts.createProgram([...files.keys()], OPTIONS, host);
  // Of the blocks alone: what there is against the sources is for `npm run typecheck` to say.
  const found = [...files.keys()].flatMap((name) => {
    const file = program.getSourceFile(name);
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ messageText, start = 0 }) => ({
        block: name.slice(root.length),
        line: (file?.getLineAndCharacterOfPosition(start).line ?? 0) + 1,
        message: ts.flattenDiagnosticMessageText(messageText, '\n'),
      }),
    );
  });
  expect([...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()]).toEqual([]);
  expect(found).toEqual([]);
});
