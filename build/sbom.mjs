// Writes what the packages are made of, as CycloneDX, beside their tarballs: `node build/sbom.mjs`, after `npm run pack:all`,
// which runs it. With `--image x64 FILE` the same for the image of an architecture.
//
// The versions, licenses and hashes are the lockfile's: those that the bundle of the command has, and the image.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from './compile.mjs';
import { brokerManifest, kitManifest } from './manifests.mjs';

/**
 * The bill of materials of a package, by CycloneDX 1.6. It depends on nothing but its arguments: the same release gives the
 * same file. Pure.
 *
 * @param manifest the package.json.
 * @param packages `packages` of package-lock.json, which has all that the package needs.
 * @param cpu of the image, by Node's name (`x64`), which holds what is for it alone. Default: none, and what is bound to a
 *   platform is `optional`.
 */
export function billOfMaterials(manifest, packages, cpu) {
  const isImage = cpu !== undefined;
  const { found, edges } = installed(manifest, packages, (path) =>
    isForImage(path, packages[path], cpu),
  );
  const name = isImage ? `${manifest.name}-image-linux-${cpu}` : manifest.name;
  const self = `${name}@${manifest.version}`;
  const references = new Map([...found].map(([path, locked]) => [path, referenceOf(path, locked)]));
  const components = unique([...found].map(([path, locked]) => componentOf(path, locked)));
  const of = (paths) => [...new Set(paths.map((path) => references.get(path)))].toSorted(byText);
  const dependencies = new Map();
  for (const [path, needed] of edges) {
    const ref = path === '' ? self : references.get(path);
    dependencies.set(
      ref,
      [...new Set([...(dependencies.get(ref) ?? []), ...of(needed)])].toSorted(byText),
    );
  }
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: uuidOf(self, JSON.stringify(components)),
    version: 1,
    metadata: {
      lifecycles: [{ phase: 'build' }],
      component: {
        type: isImage ? 'container' : 'library',
        'bom-ref': self,
        name,
        version: manifest.version,
        description: manifest.description,
        licenses: [{ license: { id: manifest.license } }],
        purl: purlOf(manifest.name, manifest.version),
        externalReferences: [
          { type: 'vcs', url: manifest.repository.url },
          { type: 'issue-tracker', url: manifest.bugs.url },
        ],
      },
    },
    components,
    dependencies: [...dependencies]
      .toSorted(([one], [other]) => byText(one, other))
      .map(([ref, dependsOn]) => ({ ref, dependsOn })),
  };
}

/**
 * What a manifest needs of a lockfile: each path in node_modules, with its entry, and which paths it needs. Pure.
 *
 * @param isWanted whether a path is installed, where it is optional. Default: each.
 */
export function installed(manifest, packages, isWanted = () => true) {
  const found = new Map();
  const edges = new Map();
  const visit = (from, { dependencies, optionalDependencies, peerDependencies, ...more }) => {
    const peers = Object.keys(peerDependencies ?? {}).filter(
      (name) => more.peerDependenciesMeta?.[name]?.optional !== true,
    );
    const optional = Object.keys(optionalDependencies ?? {});
    const needed = new Set([...Object.keys(dependencies ?? {}), ...optional, ...peers]);
    const paths = [];
    edges.set(from, paths);
    for (const name of needed) {
      const path = pathOf(packages, from, name);
      if (path === undefined) throw new Error(`package-lock.json does not have ${name}.`);
      const locked = packages[path];
      if (!isWanted(path)) {
        if (optional.includes(name)) continue;
        throw new Error(`${name} is not for this platform.`);
      }
      paths.push(path);
      if (found.has(path)) continue;
      found.set(path, locked);
      visit(path, locked);
    }
  };
  visit('', manifest);
  return { found, edges };
}

/** Where a package finds another one: in its own node_modules, or in those of the folders above. */
function pathOf(packages, from, name) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    const path = at === '' ? `node_modules/${name}` : `${at}/node_modules/${name}`;
    if (path in packages) return path;
    if (at === '') return undefined;
  }
}

/**
 * Whether a package works in the image, which has Linux with glibc, for a processor. The lockfile has no `libc`: the names of
 * libsql's packages say it. Pure.
 *
 * @param cpu by Node's name. Default: any, and any system.
 */
export function isForImage(path, { os, cpu: cpus }, cpu) {
  if (cpu === undefined) return true;
  const isLinux = os?.includes('linux') ?? true;
  return isLinux && (cpus?.includes(cpu) ?? true) && !path.includes('musl');
}

const byText = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
/** The name of what is installed, which its folder may hide: `"orders": "npm:other@1"`. */
const nameOf = (path, { name }) =>
  name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
const referenceOf = (path, locked) => `${nameOf(path, locked)}@${locked.version}`;
const purlOf = (name, version) =>
  `pkg:npm/${name.replace('@', '%40')}@${encodeURIComponent(version)}`;
/** Of several hashes npm checks the strongest. */
const HASHES = [
  /(?<=^|\s)sha(512)-([\w+/]{86}==)(?=$|\s)/,
  /(?<=^|\s)sha(1)-([\w+/]{27}=)(?=$|\s)/,
];

function componentOf(path, locked) {
  const { version, integrity = '', license, optional } = locked;
  const name = nameOf(path, locked);
  const [group, short] = name.startsWith('@') ? name.split('/') : [undefined, name];
  const [, algorithm, hash] = HASHES.map((form) => form.exec(integrity)).find(Boolean) ?? [];
  if (hash === undefined || license === undefined) {
    throw new Error(`package-lock.json has no hash or no license of ${name}.`);
  }
  return {
    type: 'library',
    'bom-ref': `${name}@${version}`,
    ...(group && { group }),
    name: short,
    version,
    scope: optional === true ? 'optional' : 'required',
    hashes: [
      {
        alg: algorithm === '1' ? 'SHA-1' : `SHA-${algorithm}`,
        content: Buffer.from(hash, 'base64').toString('hex'),
      },
    ],
    licenses: /[ (]/.test(license) ? [{ expression: license }] : [{ license: { id: license } }],
    purl: purlOf(name, version),
  };
}

/** One of each, by name: a package may be installed in several places. */
function unique(components) {
  const byReference = new Map(components.map((one) => [one['bom-ref'], one]));
  return [...byReference.values()].toSorted((one, other) =>
    one['bom-ref'] < other['bom-ref'] ? -1 : 1,
  );
}

/** A UUID (version 8, RFC 9562) that follows from the content. */
function uuidOf(...texts) {
  const hex = createHash('sha256').update(texts.join('\0')).digest('hex');
  const parts = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
  ];
  return `urn:uuid:${[...parts, hex.slice(20, 32)].join('-')}`;
}

/** Writes the bills of both packages. @returns the files, relative to the repository. */
export function writeBills() {
  const [shared, packages] = sources();
  return [brokerManifest(shared), kitManifest(shared)].map((manifest) => {
    const file = join('dist-packages', `${manifest.name}-${manifest.version}.cdx.json`);
    write(join(root, file), billOfMaterials(manifest, packages));
    return file;
  });
}

function sources() {
  const read = (file) => JSON.parse(readFileSync(join(root, file), 'utf8'));
  const { packages } = read('package-lock.json');
  return [read('package.json'), packages];
}

function write(file, bill) {
  writeFileSync(file, `${JSON.stringify(bill, null, 2)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , flag, cpu, file] = process.argv;
  if (flag === '--image' && cpu !== undefined && file !== undefined) {
    const [shared, packages] = sources();
    write(file, billOfMaterials(brokerManifest(shared), packages, cpu));
  } else if (flag === undefined) {
    for (const written of writeBills()) process.stdout.write(`${written}\n`);
  } else {
    throw new Error('Usage: node build/sbom.mjs [--image x64|arm64 FILE]');
  }
}
