import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { Ajv } from 'ajv';

const root = fileURLToPath(new URL('../../', import.meta.url));

interface Component {
  readonly type: string;
  readonly 'bom-ref': string;
  readonly group?: string;
  readonly name: string;
  readonly version: string;
  readonly scope: string;
  readonly purl: string;
  readonly hashes: readonly { readonly alg: string; readonly content: string }[];
  readonly licenses: readonly { readonly license?: { readonly id: string } }[];
}
interface Bill {
  readonly serialNumber: string;
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}
interface Locked {
  readonly version: string;
  readonly integrity: string;
  readonly license: string;
}
type Packages = Readonly<Record<string, Locked>>;

const { billOfMaterials, installed } = (await import(
  new URL('../../build/sbom.mjs', import.meta.url).href
)) as {
  billOfMaterials: (manifest: object, packages: Packages, cpu?: string) => Bill;
  installed: (manifest: object, packages: Packages) => { found: ReadonlyMap<string, Locked> };
};
const { brokerManifest, kitManifest } = (await import(
  new URL('../../build/manifests.mjs', import.meta.url).href
)) as Readonly<Record<'brokerManifest' | 'kitManifest', (shared: object) => object>>;

const json = async (file: string): Promise<unknown> =>
  JSON.parse(await readFile(join(root, file), 'utf8')) as unknown;
const shared = (await json('package.json')) as object;
const { packages } = (await json('package-lock.json')) as { readonly packages: Packages };
const broker = brokerManifest(shared);

/** The JSON schemas of CycloneDX, as its own library has them. */
function schemaCheck(): (bill: Bill) => unknown {
  const library = dirname(
    createRequire(import.meta.url).resolve('@cyclonedx/cyclonedx-library/package.json'),
  );
  const schema = (name: string): object =>
    JSON.parse(
      readFileSync(join(library, `res/schema/${name}.SNAPSHOT.schema.json`), 'utf8'),
    ) as object;
  const ajv = new Ajv({ strict: false, validateFormats: false });
  for (const name of ['spdx', 'jsf-0.82']) {
    ajv.addSchema(schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
  }
  const check = ajv.compile(schema('bom-1.6'));
  return (bill) => (check(bill) ? undefined : check.errors);
}
const violations = schemaCheck();

describe.each<[string, Bill]>([
  ['the broker', billOfMaterials(broker, packages)],
  ['the kit', billOfMaterials(kitManifest(shared), packages)],
  ['the image for amd64', billOfMaterials(broker, packages, 'x64')],
  ['the image for arm64', billOfMaterials(broker, packages, 'arm64')],
])('the bill of materials of %s', (_what, bill) => {
  test('is right for the schema of CycloneDX', () => {
    expect(violations(bill)).toBeUndefined();
    expect(
      violations({ ...bill, components: [{ ...bill.metadata.component, type: 'other' }] }),
    ).toBeDefined();
  });

  test('has of each package the version, the license and the hash that npm checks', () => {
    for (const { group, name, version, hashes, licenses, purl } of bill.components) {
      const full = group === undefined ? name : `${group}/${name}`;
      const locked = Object.entries(packages).filter(
        ([path, one]) => path.endsWith(`node_modules/${full}`) && one.version === version,
      );
      expect(locked).not.toHaveLength(0);
      const [[, { integrity, license }]] = locked as [[string, Locked]];
      const [hash] = hashes;
      expect(hash?.alg).toBe('SHA-512');
      expect(`sha512-${Buffer.from(hash?.content ?? '', 'hex').toString('base64')}`).toBe(
        integrity,
      );
      expect(licenses[0]?.license?.id).toBe(license);
      expect(purl).toBe(`pkg:npm/${full.replace('@', '%40')}@${version}`);
    }
  });

  test('says what needs what, and names nothing that is not there', () => {
    const known = [bill.metadata.component, ...bill.components].map((one) => one['bom-ref']);
    expect(bill.dependencies.map(({ ref }) => ref).toSorted()).toEqual(known.toSorted());
    const needed = new Set(bill.dependencies.flatMap(({ dependsOn }) => dependsOn));
    expect(bill.components.filter((one) => !needed.has(one['bom-ref']))).toEqual([]);
    for (const one of needed) expect(known).toContain(one);
  });
});

test('the same sources give the same file, and another package another number', () => {
  const [one, other] = [billOfMaterials(broker, packages), billOfMaterials(broker, packages)];
  expect(one).toEqual(other);
  expect(billOfMaterials(broker, packages, 'x64').serialNumber).not.toBe(one.serialNumber);
});

test('the kit is jose; the broker has what its command bundles, and nothing of development', () => {
  const named = (bill: Bill): readonly string[] => bill.components.map(({ purl }) => purl);
  expect(named(billOfMaterials(kitManifest(shared), packages))).toEqual([
    expect.stringMatching(/^pkg:npm\/jose@/),
  ]);
  const all = named(billOfMaterials(broker, packages)).join(' ');
  for (const name of ['%40nestjs/core', 'fastify', 'libsql', 'oidc-provider', 'pino']) {
    expect(all).toContain(`pkg:npm/${name}@`);
  }
  for (const name of ['express', 'jest', 'typescript', 'socket.io']) {
    expect(all).not.toContain(`pkg:npm/${name}@`);
  }
});

test('an image has the native packages of its own architecture, and what works everywhere', () => {
  const native = (cpu?: string): readonly string[] =>
    billOfMaterials(broker, packages, cpu)
      .components.filter(({ group }) => group === '@libsql')
      .map(({ name }) => name);
  expect(native('x64')).toEqual(['linux-x64-gnu']);
  expect(native('arm64')).toEqual(['linux-arm64-gnu']);
  expect(native()).toEqual(
    expect.arrayContaining(['darwin-arm64', 'linux-x64-musl', 'win32-x64-msvc']),
  );
  const { found } = installed(broker, packages);
  const everywhere = [...found.keys()].filter((path) => !path.includes('@libsql/'));
  const unique = new Set(
    everywhere.map(
      (path) => `${path.replace(/^.*node_modules\//, '')} ${found.get(path)?.version}`,
    ),
  );
  expect(billOfMaterials(broker, packages, 'arm64').components).toHaveLength(unique.size + 1);
});

test('what the lockfile does not tell is not made up', () => {
  const path = 'node_modules/jose';
  for (const missing of [{ integrity: undefined }, { license: undefined }]) {
    const changed = {
      ...packages,
      [path]: { ...packages[path], ...missing },
    } as unknown as Packages;
    expect(() => billOfMaterials(kitManifest(shared), changed)).toThrow(
      /no hash or no license of jose/,
    );
  }
  const { [path]: _gone, ...others } = packages;
  expect(() => billOfMaterials(kitManifest(shared), others)).toThrow(/does not have jose/);
});

describe('what a lockfile may say of a package', () => {
  const strong = `sha512-${'A'.repeat(86)}==`;
  const bill = (locked: object): Bill =>
    billOfMaterials(
      { ...broker, dependencies: { a: '1' }, optionalDependencies: {} },
      {
        'node_modules/a': { version: '1.0.0', integrity: strong, license: 'MIT', ...locked },
      },
    );

  test.each([
    ['another name than its folder', { name: '@b/c' }, { name: 'c', purl: 'pkg:npm/%40b/c@1.0.0' }],
    [
      'a version with a build',
      { version: '1.0.0+x?y' },
      { name: 'a', purl: 'pkg:npm/a@1.0.0%2Bx%3Fy' },
    ],
    [
      'several hashes',
      { integrity: `sha1-${'A'.repeat(27)}= ${strong}` },
      { hashes: [{ alg: 'SHA-512', content: '00'.repeat(64) }] },
    ],
  ])('%s is told as it is', (_what, locked, expected) => {
    expect(bill(locked).components).toMatchObject([expected]);
  });

  test.each([
    { integrity: 'md5-AAAA' },
    { integrity: 'sha512-AAAA' },
    { integrity: undefined, resolved: 'git+ssh://git@git.example.test/a.git' },
    { license: undefined },
  ])('%j is refused', (locked) => {
    expect(() => bill(locked)).toThrow('no hash or no license of a');
  });
});
