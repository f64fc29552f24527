import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The build that is measured: its command line, and its modules by their path under `src`. */
export function openBuild(dist) {
  const folder = resolve(dist);
  const cli = join(folder, 'cli.js');
  if (!existsSync(cli)) throw new Error(`There is no build in ${folder}: run "npm run build".`);
  return { cli, load: (path) => import(pathToFileURL(join(folder, path)).href) };
}
