// The command line of the programs that `bundle-programs.mjs`, beside this file, has bundled, with what V8 has compiled of
// it in an earlier process: compiling is two fifths of what a broker takes to start.
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

// What a test asks of a process is over before V8's best compilers pay. Later versions of Node.js wait longer by themselves.
if (process.version.startsWith('v20.')) {
  setFlagsFromString('--interrupt-budget=675840');
  setFlagsFromString('--wasm-tiering-budget=180000000');
}

/**
 * Runs a script of the bundle. With COMPILED_FOR_TESTS, keeps what has been compiled of it when the process ends.
 *
 * @returns what it exports.
 */
function load(name) {
  const filename = fileURLToPath(new URL(`../chunks/${name}.cjs`, import.meta.url));
  const cacheFile = `${filename}.cache`;
  const cachedData = statSync(cacheFile, { throwIfNoEntry: false }) && readFileSync(cacheFile);
  const script = new Script(readFileSync(filename, 'latin1'), { filename, cachedData });
  if (process.env['COMPILED_FOR_TESTS'] !== undefined) {
    process.once('exit', () => writeFileSync(cacheFile, script.createCachedData()));
  }
  const require = createRequire(filename);
  let provider;
  const requireOfBundle = (id) =>
    id.startsWith('oidc-provider/') ? (provider ??= load('provider'))[id] : require(id);
  return script.runInThisContext()(requireOfBundle, filename);
}

/** As in `src/cli/program.ts`. */
export const { runProgram } = load('program');
