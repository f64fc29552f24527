// Makes the package.json and the package-lock.json of the working folder those of an image, for a processor (`x64`): what the
// broker's process needs, at the versions that the lockfile has, and nothing else. `npm ci` then installs just that.
//
// `npm ci --omit=dev` would leave more: whatever development needs and something of the broker could use, such as Express.
import { readFileSync, writeFileSync } from 'node:fs';
import { installed, isForImage } from '../../build/sbom.mjs';

const [, , cpu] = process.argv;
const read = (file) => JSON.parse(readFileSync(file, 'utf8'));
const write = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);

const { devDependencies: _development, overrides: _overrides, ...manifest } = read('package.json');
const { packages, ...lock } = read('package-lock.json');

const { name, version } = manifest;
const { found } = installed(manifest, packages, (path) => isForImage(path, packages[path], cpu));
const dependencies = Object.fromEntries(
  Object.keys(manifest.dependencies).map((one) => [one, found.get(`node_modules/${one}`).version]),
);
write('package.json', { ...manifest, dependencies });

const there = new Set([...found.keys()].map((path) => path.replace(/^.*node_modules\//, '')));
const kept = [...found]
  .toSorted(([one], [other]) => (one < other ? -1 : 1))
  .map(([path, { dev: _dev, devOptional: _either, optionalDependencies = {}, ...locked }]) => {
    // npm refuses a lockfile without an optional package that it names.
    const optional = Object.entries(optionalDependencies).filter(([one]) => there.has(one));
    return [path, { ...locked, optionalDependencies: Object.fromEntries(optional) }];
  });
write('package-lock.json', {
  ...lock,
  packages: { '': { name, version, dependencies }, ...Object.fromEntries(kept) },
});
