import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

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
