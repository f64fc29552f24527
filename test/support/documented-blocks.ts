import { expect } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { TEMPORARY } from './temporary-folder.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** A fenced block of a page. */
export interface DocumentedBlock {
  /** The path of the page from the repository's folder. */
  readonly page: string;
  /** `PAGE:LINE` of the opening fence. */
  readonly at: string;
  /** As the fence names it; empty when it does not. */
  readonly language: string;
  readonly text: string;
}

/** Folders with pages; what is below `node_modules` and what is built is none. */
const FOLDERS = ['.', '.github', 'bench', 'deploy', 'docs', 'examples'];

/** Every page of the repository that people read, with the changelog left out: it tells of other versions. */
export const PAGES: readonly string[] = FOLDERS.flatMap((folder) =>
  markdownIn(folder, folder !== '.'),
).filter((page) => page !== 'CHANGELOG.md');

/** Every fenced block of {@link PAGES}, those in lists too. */
export const BLOCKS: readonly DocumentedBlock[] = PAGES.flatMap((page) => {
  const text = readFileSync(join(root, page), 'utf8');
  return [...text.matchAll(/^( *)```(.*)\n([\s\S]*?)^ *```$/gm)].map(
    ([, indent = '', language = '', code = ''], index, { [index]: match }) => ({
      page,
      at: `${page}:${text.slice(0, match?.index).split('\n').length}`,
      language: language.trim(),
      text: code.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    }),
  );
});

function markdownIn(folder: string, recursive: boolean): readonly string[] {
  let entries;
  try {
    entries = readdirSync(join(root, folder), { recursive, withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map(({ parentPath, name }) => join(parentPath, name).slice(root.length))
    .filter((page) => !page.split('/').includes('node_modules') && dirname(page) !== 'dist')
    .toSorted();
}

/** A call as the shell makes it. */
export interface Call {
  readonly at: string;
  readonly words: readonly string[];
}

/**
 * Runs the blocks in one bash that knows no program: it records each call with its words, and makes none. Redirections are
 * left out, so that no file is read or written.
 */
export async function callsIn(blocks: readonly DocumentedBlock[]): Promise<readonly Call[]> {
  const folder = await mkdtemp(join(TEMPORARY, 'documented-code-'));
  try {
    const script = blocks.map(({ at, page, text }, index) => {
      const file = join(folder, `${index}.sh`);
      return {
        at,
        page,
        file,
        run: `BLOCK=${index}; . '${file}'`,
        // The last line shows that bash came so far. (Without it, bash leaves a subshell after a list with &&.)
        text: `${text.replaceAll(REDIRECTION, '')}\n${END}\n`,
      };
    });
    await Promise.all(script.map(({ file, text }) => writeFile(file, text)));
    // What a page defines, its later blocks use.
    const pages = PAGES.map((one) =>
      script.filter(({ page }) => page === one).map(({ run }) => run),
    );
    await writeFile(
      join(folder, 'all.sh'),
      `PATH=/nowhere BILLING_URL=https://billing.example.com
       command_not_found_handle() { printf '%s\\0' "$BLOCK" "$@" $'\\x1e' >> "$HOME/calls"; }
       cd() { :; }; kill() { :; }; wait() { :; }
       ${pages.map((runs) => `( ${[...runs, 'builtin wait'].join('\n')} )`).join('\n')}`,
    );
    await writeFile(join(folder, 'calls'), '');
    const { stderr } = await promisify(execFile)('bash', ['all.sh'], {
      cwd: folder,
      env: { HOME: folder },
      timeout: 60_000,
    });
    expect(stderr).toBe('');
    const records = (await readFile(join(folder, 'calls'), 'utf8')).split('\0\x1e\0');
    const calls = records.filter(Boolean).map((record): Call => {
      const [index = '', ...words] = record.split('\0');
      return { at: script[Number(index)]?.at ?? '', words };
    });
    const ended = calls.filter(({ words }) => words[0] === END).map(({ at }) => at);
    expect(ended.toSorted()).toEqual(blocks.map(({ at }) => at).toSorted());
    return calls.filter(({ words }) => words[0] !== END);
  } finally {
    await rm(folder, { recursive: true });
  }
}
/** Ends each block: a name that no program has. */
const END = 'the-block-ends';
/** Where a command reads from or writes to, beside its words. */
export const REDIRECTION = /(?<=\s)(?:>>|>|<)\s*(?:"[^"\n]*"|[^\s&|;()"]+)/g;
