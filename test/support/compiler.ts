import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../', import.meta.url));

const { config } = ts.readConfigFile(`${root}tsconfig.json`, (name) => ts.sys.readFile(name)) as {
  config: object;
};
const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, root);
const disk = ts.createCompilerHost(options);

/** The files of the libraries are the same for every program: reading them takes longest. */
const known = new Map<string, ts.SourceFile | undefined>();
function parsed(
  ...[name, settings]: Parameters<ts.CompilerHost['getSourceFile']>
): ts.SourceFile | undefined {
  if (!known.has(name)) known.set(name, disk.getSourceFile(name, settings));
  return known.get(name);
}

/** The program made last: what imports lead to need not be found out again. */
let before: ts.Program | undefined;

/**
 * The compiler's complaints about a file, each as `LINE: MESSAGE`.
 *
 * @param file an absolute path.
 * @param text taken as the file's content, whatever is in it.
 */
export function complaintsAbout(file: string, text: string): readonly string[] {
  const host: ts.CompilerHost = {
    ...disk,
    getSourceFile: (name, settings) =>
      name === file ? ts.createSourceFile(name, text, settings, true) : parsed(name, settings),
  };
  const program = ts.createProgram([file], options, host, before);
  before = program;
  const source = program.getSourceFile(file);
  return [
    ...program.getSyntacticDiagnostics(source),
    ...program.getSemanticDiagnostics(source),
  ].map(({ messageText, start = 0 }) => {
    const line = text.slice(0, start).split('\n').length;
    return `${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

/** How many lines of a text are expected not to compile, and how many of them do not. */
export function expectedErrors(file: string, text: string): { expected: number; seen: number } {
  const complaints = complaintsAbout(file, text.replaceAll('@ts-expect-error', 'must not compile'));
  return {
    expected: text.match(/\/\/ @ts-expect-error/g)?.length ?? 0,
    seen: new Set(complaints.map((complaint) => complaint.split(':')[0])).size,
  };
}
