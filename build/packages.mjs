// Builds the two packages from src into dist-packages: `npm run build:packages`. With --pack their tarballs as well:
// `npm run pack:all`. What has not changed since is not built again.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compile, hash, root, sourcesIn } from './compile.mjs';
import { BROKER, brokerManifest, KIT, kitManifest } from './manifests.mjs';
import { writeBills } from './sbom.mjs';

const src = join(root, 'src');
const out = join(root, 'dist-packages');
const types = join(out, 'types');
const RUNBOOK = 'docs/runbook.md';
const RECORD = join(out, '.built.json');
/** The examples import the packages by their names, as applications do. */
const LINKS = join(root, 'examples/node_modules');

/** Packages that the command does not bundle: native code, and what most brokers never load. */
const NOT_IN_COMMAND = ['@aws-sdk/*', 'libsql', 'oidc-provider'];
/** NestJS and Fastify load these where they are installed: hundreds of modules, of which the broker uses none. */
const UNUSED =
  /^(?:@fastify\/(?:multipart|static|view)|@grpc\/|@mikro-orm\/|@nestjs\/(?:axios|microservices|mongoose|platform-express|sequelize|typeorm|websockets)|@prisma\/client|class-transformer|class-validator|mongoose|sequelize|typeorm)(?:\/|$)/;

/** To whoever loads one of them, it is not installed. */
export const withoutUnused = {
  name: 'without what is unused',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: UNUSED }, ({ path }) => ({ path, namespace: 'unused' }));
    onLoad({ filter: /^/, namespace: 'unused' }, ({ path }) => ({
      contents: `throw Object.assign(new Error("The command is built without ${path}."), { code: "ERR_MODULE_NOT_FOUND" });`,
    }));
  },
};

/** Builds both packages, unless they are up to date. @returns whether they were built. */
async function buildPackages() {
  const inputs = hash(
    ...sourcesIn(src).flatMap((file) => [file, read(join(src, file))]),
    ...['compile.mjs', 'manifests.mjs', 'packages.mjs'].map((file) =>
      read(join(root, 'build', file)),
    ),
    ...['package.json', 'package-lock.json', 'CHANGELOG.md', 'LICENSE', 'tsconfig.json'].map(
      (file) => read(join(root, file)),
    ),
    ...[BROKER.name, KIT.name].map((name) => read(readme(name))),
    read(join(root, RUNBOOK)),
  );
  if (existsSync(RECORD) && read(RECORD) === inputs) return false;
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  const shared = JSON.parse(read(join(root, 'package.json')));
  writeTypes([...KIT.entries, 'server.ts', 'lambda.ts']);
  await buildKit(stage(KIT, kitManifest(shared)));
  await buildBroker(stage(BROKER, brokerManifest(shared)));
  rmSync(types, { recursive: true });
  for (const { name } of [BROKER, KIT]) link(name);
  writeFileSync(RECORD, inputs);
  return true;
}

/** Makes a package's folder with its manifest, its pages, and the sources that its entries reach. */
function stage({ name, entries }, manifest) {
  const folder = join(out, name);
  const files = reachable(entries);
  for (const file of files) {
    mkdirSync(dirname(join(folder, 'src', file)), { recursive: true });
    copyFileSync(join(src, file), join(folder, 'src', file));
  }
  for (const file of ['CHANGELOG.md', 'LICENSE'])
    copyFileSync(join(root, file), join(folder, file));
  copyFileSync(readme(name), join(folder, 'README.md'));
  writeJson(join(folder, 'package.json'), manifest);
  return { folder, files };
}

/** The kit: a module for each source, as ES modules and as CommonJS, with their types. */
async function buildKit({ folder, files }) {
  const from = join(folder, 'src');
  const [esm, cjs] = ['esm', 'cjs'].map((name) => join(folder, name));
  await compile({ from, to: esm, files });
  await compile({ from, to: cjs, files, module: 'commonjs' });
  for (const format of [esm, cjs]) rmSync(join(format, '.compiled.json'));
  // The same declarations; which modules they describe follows from the package.json beside them.
  for (const format of [esm, cjs]) copyTypes(files, format);
  // The folder alone is CommonJS.
  writeJson(join(cjs, 'package.json'), { type: 'commonjs', sideEffects: false });
  await bundleJose(cjs, files);
}

/** jose is an ES module, which jest cannot load in CommonJS mode: what is used of it stands in one file. */
async function bundleJose(cjs, files) {
  const { build } = await import('esbuild');
  const used = new Set();
  for (const file of files) {
    const script = join(cjs, file.replace(/\.ts$/, '.js'));
    const code = read(script);
    if (!code.includes('require("jose")')) continue;
    for (const [, name] of code.matchAll(/\b_jose\.(\w+)/g)) used.add(name);
    const path = relative(dirname(script), join(cjs, 'vendor/jose.js')).replaceAll('\\', '/');
    writeFileSync(script, code.replaceAll('require("jose")', `require("./${path}")`));
  }
  await build({
    stdin: { contents: `export { ${[...used].join(', ')} } from 'jose';`, resolveDir: root },
    outfile: join(cjs, 'vendor/jose.js'),
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    keepNames: true,
    logLevel: 'warning',
  });
  const license = read(join(root, 'node_modules/jose/LICENSE.md'));
  writeFileSync(join(cjs, 'vendor/LICENSE-jose.md'), license);
}

/** The broker: its command with all that it loads in one bundle, and the doors for applications without their packages. */
async function buildBroker({ folder }) {
  const from = join(folder, 'src');
  const { build } = await import('esbuild');
  const common = {
    absWorkingDir: root,
    outdir: join(folder, 'dist'),
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    keepNames: true,
    sourcemap: 'linked',
    sourcesContent: false,
    metafile: true,
    logLevel: 'warning',
  };
  const { metafile } = await build({
    ...common,
    entryPoints: {
      cli: join(from, 'cli.ts'),
      main: join(from, 'main.ts'),
      'config-reader': join(from, 'config-reader.ts'),
    },
    chunkNames: 'cli/[name]-[hash]',
    // Two fifths of it would be comments of others. V8 holds the source in memory, and at two bytes a character when any
    // character of it, if only in a comment, is outside of Latin 1.
    minifyWhitespace: true,
    lineLimit: 160,
    external: NOT_IN_COMMAND,
    plugins: [withoutUnused],
    // The CommonJS packages in the bundle load modules of Node.js with it.
    banner: {
      js: "import { createRequire as createRequireOfBundle } from 'node:module';\nconst require = createRequireOfBundle(import.meta.url);",
    },
  });
  await build({
    ...common,
    entryPoints: { server: join(from, 'server.ts'), lambda: join(from, 'lambda.ts') },
    chunkNames: 'doors/[name]-[hash]',
    packages: 'external',
  });
  writeFileSync(join(folder, 'dist/THIRD-PARTY-LICENSES.txt'), licensesOf(metafile));
  copyTypes(reachable(['server.ts', 'lambda.ts']), join(folder, 'types'));
  writeJson(join(folder, 'openapi.json'), await openApi(from));
  // The status page shows it.
  mkdirSync(join(folder, 'docs'));
  copyFileSync(join(root, RUNBOOK), join(folder, RUNBOOK));
}

/** The HTTP interface as OpenAPI, which the broker answers at /openapi.json: made by the same code. */
async function openApi(from) {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [join(from, 'operations/openapi.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    logLevel: 'warning',
  });
  const code = Buffer.from(outputFiles[0].contents).toString('base64');
  const { openApiDocument } = await import(`data:text/javascript;base64,${code}`);
  return openApiDocument();
}

/** The licenses of the packages in a bundle. */
function licensesOf({ inputs }) {
  const folders = new Set(
    Object.keys(inputs).flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? []),
  );
  return [...folders]
    .toSorted()
    .map((folder) => {
      const { name, version, license } = JSON.parse(read(join(root, folder, 'package.json')));
      const file = readdirSync(join(root, folder)).find((one) => /^licen[cs]e/i.test(one));
      const text = file === undefined ? '' : `\n${read(join(root, folder, file))}`;
      return `${name} ${version} (${license})\n${text}`;
    })
    .join(`\n${'-'.repeat(80)}\n`);
}

/** Writes the declarations of what some entries reach, with maps to the sources, for {@link copyTypes}. */
function writeTypes(entries) {
  runCompiler(entries, {
    noEmit: false,
    declaration: true,
    declarationMap: true,
    emitDeclarationOnly: true,
    // `npm run typecheck` does that; here it would take most of the time.
    noCheck: true,
    outDir: types,
  });
}

/** Runs TypeScript's compiler on some entries, and returns what it prints. */
function runCompiler(entries, options, ...flags) {
  const project = join(out, 'tsconfig.json');
  writeJson(project, {
    extends: '../tsconfig.json',
    compilerOptions: { ...options, rootDir: src },
    include: [],
    files: entries.map((entry) => join(src, entry)),
  });
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  try {
    return execFileSync(process.execPath, [tsc, '-p', project, ...flags], { encoding: 'utf8' });
  } catch (error) {
    // It prints its complaints on standard output.
    throw new Error(`TypeScript's compiler failed:\n${error.stdout}`, { cause: error });
  } finally {
    rmSync(project);
  }
}

/** Copies the declarations of some sources into a folder beside a package's `src`. */
function copyTypes(files, to) {
  for (const file of files) {
    const name = file.replace(/\.ts$/, '.d.ts');
    const target = join(to, name);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(join(types, name), target);
    const map = JSON.parse(read(join(types, `${name}.map`)));
    map.sources = [relative(dirname(target), join(to, '../src', file)).replaceAll('\\', '/')];
    writeFileSync(`${target}.map`, JSON.stringify(map));
  }
}

/** The sources that some of them import, directly or not, with themselves. */
function reachable(entries) {
  const files = runCompiler(entries, {}, '--listFilesOnly')
    .split('\n')
    .map((file) => file.trim());
  return files.flatMap((file) => {
    const path = relative(src, file).replaceAll('\\', '/');
    return file === '' || path.startsWith('..') ? [] : [path];
  });
}

function link(name) {
  mkdirSync(LINKS, { recursive: true });
  rmSync(join(LINKS, name), { recursive: true, force: true });
  symlinkSync(join(out, name), join(LINKS, name), 'junction');
}

function pack() {
  for (const file of readdirSync(out)) {
    if (file.endsWith('.tgz')) rmSync(join(out, file));
  }
  const flags = ['--ignore-scripts', '--silent', '--pack-destination', '.'];
  const folders = [BROKER, KIT].map(({ name }) => `./${name}`);
  const windows = process.platform === 'win32';
  return execFileSync('npm', ['pack', ...folders, ...flags], {
    cwd: out,
    encoding: 'utf8',
    shell: windows,
  })
    .trim()
    .split('\n');
}

function readme(name) {
  return join(root, 'docs/packages', `${name}.md`);
}

function read(file) {
  return readFileSync(file, 'utf8');
}

function writeJson(file, value) {
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const startedAt = performance.now();
  const built = await buildPackages();
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  if (built) process.stdout.write(`Built ${BROKER.name} and ${KIT.name} in ${seconds} s.\n`);
  if (process.argv.includes('--pack')) {
    const files = [...pack().map((file) => join('dist-packages', file)), ...writeBills()];
    for (const file of files) process.stdout.write(`${file}\n`);
  }
}
