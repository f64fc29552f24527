// Has Node.js load a file of a package, once for a worker, where jest would load it and all that it imports again for every
// test file: half a second for NestJS alone. The code that jest gets instead exports what Node.js has loaded.
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
/** Changes with every installation. */
const LOCK = fileURLToPath(new URL('../../node_modules/.package-lock.json', import.meta.url));
const version = createHash('sha256')
  .update(readFileSync(fileURLToPath(import.meta.url)))
  .update(String(statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs))
  .digest('hex');

export default {
  process(_source, path, { supportsStaticESM }) {
    // See realm-environment.mjs.
    const loaded = `globalThis[Symbol.for('native require')](${JSON.stringify(path)})`;
    if (!supportsStaticESM) return { code: `module.exports = ${loaded};` };
    const names = Object.keys(require(path));
    const values = names.map((name, index) => `const value${index} = loaded.${name};`);
    const exported = names.map((name, index) => `value${index} as ${name}`);
    return {
      code: `const loaded = ${loaded};\n${values.join('\n')}\nexport { ${exported.join(', ')} };`,
    };
  },
  getCacheKey: (_source, path) => `${version} ${path}`,
};
