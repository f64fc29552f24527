import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../', import.meta.url));
const file = fileURLToPath(new URL('./types/narrowing.ts', import.meta.url));

/** The compiler's complaints about the file, with `text` as its content. */
function complaintsAbout(text: string): readonly string[] {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, (name) => ts.sys.readFile(name)) as {
    config: object;
  };
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, root);
  const host = ts.createCompilerHost(options);
  const readSourceFile = host.getSourceFile.bind(host);
  host.getSourceFile = (name, settings) =>
    name === file
      ? ts.createSourceFile(name, text, settings, true)
      : readSourceFile(name, settings);
  const program = ts.createProgram([file], options, host);
  const source = program.getSourceFile(file);
  return [
    ...program.getSyntacticDiagnostics(source),
    ...program.getSemanticDiagnostics(source),
  ].map(({ messageText, start = 0 }) => {
    const line = text.slice(0, start).split('\n').length;
    return `${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

describe('the types of the guard', () => {
  const text = readFileSync(file, 'utf8');

  test('what must compile does, and what must not does not', () => {
    expect(complaintsAbout(text)).toEqual([]);
  });

  test('each expected error is one that the compiler sees', () => {
    const expected = text.match(/\/\/ @ts-expect-error/g)?.length;
    const complaints = complaintsAbout(text.replaceAll('@ts-expect-error', 'must not compile'));
    const lines = new Set(complaints.map((complaint) => complaint.split(':')[0]));
    expect(lines.size).toBe(expected);
  });
});
