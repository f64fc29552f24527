// Makes the package.json of the build one of an image: what the broker's process needs, at the version that the lockfile
// has, and nothing else. `npm prune` then leaves just that.
import { readFileSync, writeFileSync } from 'node:fs';

/** Not for a broker that serves from AWS Secrets Manager. */
const LEFT_OUT = new Map([
  ['libsql', 'the embedded store'],
  ['oidc-provider', 'dev mode'],
]);

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const { devDependencies: _development, ...manifest } = JSON.parse(
  readFileSync('package.json', 'utf8'),
);

const names = Object.keys(manifest.dependencies).filter((name) => !LEFT_OUT.has(name));
manifest.dependencies = Object.fromEntries(
  names.map((name) => {
    const locked = packages[`node_modules/${name}`];
    if (locked === undefined) throw new Error(`package-lock.json does not have ${name}.`);
    return [name, locked.version];
  }),
);
writeFileSync('package.json', `${JSON.stringify(manifest, null, 2)}\n`);
