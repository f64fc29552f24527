// Runs before the tests: bundles the programs that they start as processes of their own, out of what `npm run build` has
// built, and keeps what V8 compiles of them: both together take two thirds off a start, and there are some 350. Makes the keys
// of `rsa-key.ts`, and begins to build the packages.
import { spawn } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withoutUnused } from '../../build/packages.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const dist = join(root, 'dist');
const cache = join(root, 'node_modules/.cache/programs');
const keys = join(root, 'node_modules/.cache/rsa-keys');
const packages = join(root, 'node_modules/.cache/packages-build');
/** Milliseconds after which a broker that is not ready counts as hanging. */
const START_DEADLINE = 150_000;
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

/** What dev mode loads of its provider by name, so that no bundle takes it in. */
const PROVIDER = ['provider', 'helpers/errors', 'adapters/memory_adapter'].map(
  (file) => `oidc-provider/lib/${file}.js`,
);

const COMMAND_LINE = 'dist/cli/program.js';
/** Stands in the place of {@link COMMAND_LINE} in the bundles. */
const CACHED = 'test/support/cached-program.mjs';

/** Has the programs take their command line from `cached-program.mjs`, beside this file. */
const cachedCommandLine = {
  name: 'cached command line',
  setup({ onResolve }) {
    onResolve({ filter: /\/cli\/program\.js$/ }, () => ({
      path: './cli/program.js',
      external: true,
    }));
  },
};

/** Native code, and what fails in a bundle: with the AWS SDK in it, a broker on Secrets Manager answers 500. */
const EXTERNAL = ['@aws-sdk/*', 'libsql'];

/** Sets TEST_PROGRAMS to the folder of the bundles, and TEST_RSA_KEYS to that of the keys. */
export default async function bundlePrograms(_, { testMatch }) {
  // What the machine trusts is not what tests are about, and each process would read it: with the 140 authorities of a
  // system, twice the time that Node.js takes to start. Others' servers are fetched with it.
  if (!testMatch.some((pattern) => pattern.includes('/interop/'))) {
    delete process.env['NODE_EXTRA_CA_CERTS'];
  }
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
  await build({
    ...common,
    entryPoints: PROGRAMS,
    outdir: join(partial, 'dist'),
    plugins: [withoutUnused, cachedCommandLine],
  });
  // V8 keeps what it compiles of a script, and not of a module.
  const script = {
    ...common,
    splitting: false,
    format: 'cjs',
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': 'importMetaUrl' },
    banner: {
      js: "(function (require, __filename) {\nconst module = { exports: {} };\nconst importMetaUrl = require('node:url').pathToFileURL(__filename).href;",
    },
    footer: { js: 'return module.exports;\n})' },
  };
  await build({
    ...script,
    entryPoints: [COMMAND_LINE],
    outfile: join(partial, 'dist/chunks/program.cjs'),
  });
  await build({
    ...script,
    stdin: {
      contents: PROVIDER.map((file) => `export * as '${file}' from '${file}';`).join('\n'),
      resolveDir: root,
    },
    outfile: join(partial, 'dist/chunks/provider.cjs'),
  });
  mkdirSync(join(partial, 'dist/cli'));
  copyFileSync(join(root, CACHED), join(partial, 'dist/cli/program.js'));
  // The command reads its version from the package.json beside its folder.
  copyFileSync(join(root, 'package.json'), join(partial, 'package.json'));
  // The status page its runbook likewise.
  cpSync(join(root, 'docs/runbook.md'), join(partial, 'docs/runbook.md'));
  await compile(partial);
  rename(partial, folder);
}

/** Runs a broker with its embedded provider once, and keeps what has been compiled. @throws Error with what it wrote. */
async function compile(programs) {
  const dataDir = mkdtempSync(join(tmpdir(), 'compile-'));
  const child = spawn(process.execPath, [join(programs, 'dist/cli.js'), 'dev'], {
    env: {
      COMPILED_FOR_TESTS: 'true',
      BROKER_DATA_DIR: dataDir,
      HOST: '127.0.0.1',
      PORT: '0',
      BROKER_DEV_PROVIDER_PORT: '0',
    },
    // A broker that hangs would hold up all tests.
    timeout: START_DEADLINE,
    killSignal: 'SIGKILL',
  });
  let output = '';
  const take = (text) => {
    const wasReady = output.includes('Try:');
    output += text;
    if (!wasReady && output.includes('Try:')) child.kill();
  };
  child.stdout.setEncoding('utf8').on('data', take);
  child.stderr.setEncoding('utf8').on('data', take);
  const [code] = await once(child, 'close');
  rmSync(dataDir, { recursive: true });
  if (code !== 0) throw new Error(`The broker ended with ${code}. It wrote:\n${output}`);
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
    ...[...Object.values(PROGRAMS), CACHED].map((path) => join(root, path)),
    ...readdirSync(dist, { recursive: true, encoding: 'utf8' }).map((name) => join(dist, name)),
  ];
  const hash = createHash('sha256').update(process.version);
  for (const path of inputs) {
    const { mtimeMs, size } = statSync(path);
    hash.update(`${path} ${mtimeMs} ${size}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}
