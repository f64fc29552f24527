// Makes the package.json of the build one of an image: what the broker's process needs is a dependency, at the version
// that the lockfile has, and nothing else is. `npm prune` then leaves just that. In package.json these are optional peers,
// so that a service which only imports the guard does not install them.
import { readFileSync, writeFileSync } from 'node:fs';

/** Not for a broker that serves from AWS Secrets Manager. */
const LEFT_OUT = new Map([
  ['libsql', 'the embedded store'],
  ['oidc-provider', 'dev mode'],
  ['axios', 'the client library'],
  ['@nestjs/axios', 'the client library'],
]);

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const {
  devDependencies: _development,
  peerDependencies,
  peerDependenciesMeta: _meta,
  ...manifest
} = JSON.parse(readFileSync('package.json', 'utf8'));

for (const name of Object.keys(peerDependencies)) {
  if (LEFT_OUT.has(name)) continue;
  const locked = packages[`node_modules/${name}`];
  if (locked === undefined) throw new Error(`package-lock.json does not have ${name}.`);
  manifest.dependencies[name] = locked.version;
}
writeFileSync('package.json', `${JSON.stringify(manifest, null, 2)}\n`);
