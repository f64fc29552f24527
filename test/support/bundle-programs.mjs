// Runs before the tests: bundles the programs that they start as processes of their own, out of what `npm run build` has
// built. A bundle starts in half the processor time, and there are some 400 starts. Makes the keys of `rsa-key.ts`, and
// begins to build the packages.
import { spawn } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withoutUnused } from '../../build/packages.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const dist = join(root, 'dist');
const cache = join(root, 'node_modules/.cache/programs');
const keys = join(root, 'node_modules/.cache/rsa-keys');
const packages = join(root, 'node_modules/.cache/packages-build');
/** Milliseconds after which bundles that are not of the present build are deleted: another run may use them. */
const KEPT = 3_600_000;

/** Entries by the names of their bundles. */
const PROGRAMS = {
  cli: 'dist/cli.js',
  main: 'dist/main.js',
  'config-reader': 'dist/config-reader.js',
  'command-server': 'test/support/command-server.mjs',
  'rotating-process': 'test/support/rotating-process.mjs',
};

const PROVIDER_FOLDER = 'node_modules/oidc-provider';
/** What dev mode loads of its provider by name, so that no bundle takes it in: found beside the programs, where they look first. */
const PROVIDER = ['provider.js', 'helpers/errors.js', 'adapters/memory_adapter.js'].map(
  (file) => `${PROVIDER_FOLDER}/lib/${file}`,
);

/** Native code, and what fails in a bundle: with the AWS SDK in it, a broker on Secrets Manager answers 500. */
const EXTERNAL = ['@aws-sdk/*', 'libsql'];

/** Sets TEST_PROGRAMS to the folder of the bundles, and TEST_RSA_KEYS to that of the keys. */
export default async function bundlePrograms() {
  makeKeys();
  if (process.env['npm_lifecycle_event'] === 'test') beginPackages();
  // Tests that start processes fail then, and say why.
  if (!existsSync(join(dist, 'cli.js'))) return;
  const folder = join(cache, digest());
  process.env['TEST_PROGRAMS'] = join(folder, 'dist');
  if (existsSync(folder)) return;
  mkdirSync(cache, { recursive: true });
  for (const name of readdirSync(cache)) {
    const old = join(cache, name);
    if (Date.now() - statSync(old).mtimeMs > KEPT) rmSync(old, { recursive: true, force: true });
  }
  const partial = `${folder}.${process.pid}`;
  const { build } = await import('esbuild');
  const common = {
    absWorkingDir: root,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    keepNames: true,
    minifyWhitespace: true,
    external: EXTERNAL,
    plugins: [withoutUnused],
    logLevel: 'warning',
    // CommonJS packages in the bundle load modules of Node.js with it.
    banner: {
      js: "import { createRequire as createRequireOfBundle } from 'node:module';\nconst require = createRequireOfBundle(import.meta.url);",
    },
  };
  await build({ ...common, entryPoints: PROGRAMS, outdir: join(partial, 'dist') });
  const provider = join(partial, 'node_modules/oidc-provider');
  await build({ ...common, entryPoints: PROVIDER, outdir: provider, outbase: PROVIDER_FOLDER });
  copyFileSync(join(root, PROVIDER_FOLDER, 'package.json'), join(provider, 'package.json'));
  // The command reads its version from the package.json beside its folder.
  copyFileSync(join(root, 'package.json'), join(partial, 'package.json'));
  // The status page its runbook likewise.
  cpSync(join(root, 'docs/runbook.md'), join(partial, 'docs/runbook.md'));
  rename(partial, folder);
}

/**
 * Builds the packages, which takes one core for seconds, beside the tests that do not need them. The others wait for the
 * exit code in the file at TEST_PACKAGES_BUILD: `packages-build.ts`. jest without `npm test` takes the packages as they are.
 */
function beginPackages() {
  const file = `${packages}.${process.pid}`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, '');
  process.env['TEST_PACKAGES_BUILD'] = file;
  const build = spawn(process.execPath, [join(root, 'build/packages.mjs')], { stdio: 'inherit' });
  build.on('close', (code) => writeFileSync(file, String(code)));
  process.on('exit', () => rmSync(file, { force: true }));
}

/** Two RSA keys of 2048 bits, which later runs use again. */
function makeKeys() {
  process.env['TEST_RSA_KEYS'] = keys;
  if (existsSync(keys)) return;
  const partial = `${keys}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  for (const name of ['one', 'other']) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(join(partial, `${name}.pem`), pem, { mode: 0o600 });
  }
  rename(partial, keys);
}

/** A run that started together with this one may have been faster. */
function rename(partial, folder) {
  if (existsSync(folder)) rmSync(partial, { recursive: true });
  else renameSync(partial, folder);
}

/** Tells a build from another. */
function digest() {
  const inputs = [
    fileURLToPath(import.meta.url),
    join(root, 'build/packages.mjs'),
    join(root, 'package-lock.json'),
    ...Object.values(PROGRAMS).map((path) => join(root, path)),
    ...readdirSync(dist, { recursive: true, encoding: 'utf8' }).map((name) => join(dist, name)),
  ];
  const hash = createHash('sha256');
  for (const path of inputs) {
    const { mtimeMs, size } = statSync(path);
    hash.update(`${path} ${mtimeMs} ${size}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}
