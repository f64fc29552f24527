import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';

const DOCS = new URL('../docs/', import.meta.url);

/** In what a page says about the machine: enough to judge the figures by, and nothing that names it. */
export function measuredOn(flags) {
  const date = new Date().toISOString().slice(0, 10);
  const { version, platform, arch } = process;
  return `Node.js ${version.slice(1)}, ${platform} ${arch}, ${availableParallelism()} virtual cores, ${date}; ${flags.rounds} rounds of ${flags.seconds} s, ${flags.starts} starts.`;
}

/** Replaces what stands between `<!-- NAME:start -->` and `<!-- NAME:end -->` in a page under docs. */
export async function writeIntoPage(page, name, text) {
  const file = fileURLToPath(new URL(page, DOCS));
  const [start, end] = ['start', 'end'].map((edge) => `<!-- ${name}:${edge} -->`);
  const parts = (await readFile(file, 'utf8')).split(new RegExp(`${start}|${end}`));
  if (parts.length !== 3) throw new Error(`${page} has no place for ${name}.`);
  const written = `${parts[0]}${start}\n\n${text}\n\n${end}${parts[2]}`;
  const options = await resolveConfig(file);
  await writeFile(file, await format(written, { ...options, parser: 'markdown' }));
}

/** Writes a plot into docs/plots. */
export async function writePlot(name, svg) {
  await mkdir(new URL('plots/', DOCS), { recursive: true });
  await writeFile(new URL(`plots/${name}.svg`, DOCS), svg);
}
