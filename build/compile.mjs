// Compiles src into dist with swc, without checking types: `npm run build`. A file that has not changed since is not compiled again.
import './node-version.mjs';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** Beside the output: which source, by its hash, each file was made of. */
const RECORD = '.compiled.json';

/**
 * Compiles TypeScript sources into modules with source maps, and deletes what came of sources that are gone.
 *
 * @param from the folder of the sources.
 * @param to the folder of the output.
 * @param files the sources to compile, relative to `from`; default: all.
 * @param module `es6` or `commonjs`.
 * @returns how many sources there are, and how many were compiled.
 */
export async function compile({ from, to, files = sourcesIn(from), module = 'es6' }) {
  const text = new Map(files.map((file) => [file, readFileSync(join(from, file), 'utf8')]));
  const before = readRecord(to);
  const settings = hash(
    JSON.stringify([module, lockedVersion()]),
    readFileSync(join(root, '.swcrc')),
    readFileSync(fileURLToPath(import.meta.url)),
  );
  const isSame = before.settings === settings;
  if (!isSame) rmSync(to, { recursive: true, force: true });
  const now = Object.fromEntries([...text].map(([file, source]) => [file, hash(source)]));
  const changed = files.filter((file) => !isSame || before.files[file] !== now[file]);
  const gone = isSame ? Object.keys(before.files).filter((file) => !(file in now)) : [];
  if (changed.length === 0 && gone.length === 0) return { files: files.length, compiled: 0 };
  for (const file of gone) {
    for (const output of outputsOf(file)) rmSync(join(to, output), { force: true });
  }
  // Loaded only when there is something to compile: that takes longer than all of the above.
  const { transform } = await import('@swc/core');
  await Promise.all(
    changed.map(async (file) => {
      const [script, map] = outputsOf(file).map((output) => join(to, output));
      mkdirSync(dirname(script), { recursive: true });
      const { code, map: mappings } = await transform(text.get(file), {
        filename: join(from, file),
        sourceFileName: relative(dirname(script), join(from, file)).replaceAll('\\', '/'),
        configFile: join(root, '.swcrc'),
        module: { type: module },
        sourceMaps: true,
      });
      writeFileSync(script, `${code}//# sourceMappingURL=${basename(map)}\n`);
      writeFileSync(map, mappings);
    }),
  );
  writeFileSync(join(to, RECORD), JSON.stringify({ settings, files: now }));
  return { files: files.length, compiled: changed.length };
}

/** The TypeScript sources of a folder, relative to it. */
export function sourcesIn(folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.replaceAll('\\', '/'))
    .toSorted();
}

/** A SHA-256 of texts, as hexadecimal digits. */
export function hash(...texts) {
  const sum = createHash('sha256');
  for (const text of texts) sum.update(text).update('\0');
  return sum.digest('hex');
}

function outputsOf(file) {
  const script = file.replace(/\.ts$/, '.js');
  return [script, `${script}.map`];
}

function readRecord(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, RECORD), 'utf8'));
  } catch {
    // Nothing was compiled there, or by something else.
    return { files: {} };
  }
}

function lockedVersion() {
  return JSON.parse(readFileSync(join(root, 'node_modules/@swc/core/package.json'), 'utf8'))
    .version;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const startedAt = performance.now();
  const { files, compiled } = await compile({ from: join(root, 'src'), to: join(root, 'dist') });
  if (compiled > 0) {
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    process.stdout.write(`Compiled ${compiled} of ${files} files with swc in ${seconds} s.\n`);
  }
}
