// Bundles the functions for AWS Lambda, each into one file: `npm run build:lambda [FOLDER]`, by default dist-lambda.
import './node-version.mjs';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The functions by the name of their bundle. Each exports `handler`. */
export const FUNCTIONS = { rotation: 'src/lambda.ts', http: 'src/lambda-http.ts' };

/** What `serverless.yml` reads the broker's configuration file with; not part of a function. */
const DEPLOYMENT = { deployment: 'src/lambda/deployment-file.ts' };

/** CommonJS packages in a bundle load modules of Node.js with it. */
const REQUIRE = `import { createRequire as createRequireOfBundle } from 'node:module';
const require = createRequireOfBundle(import.meta.url);`;

/**
 * Writes `deployment.mjs` into a folder: `readDeployment`, for the deployment with several tokens.
 */
export async function bundleDeployment(folder = join(root, 'dist-lambda')) {
  await build({
    absWorkingDir: root,
    entryPoints: DEPLOYMENT,
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    keepNames: true,
    banner: { js: REQUIRE },
    // Never loaded: no secret is touched here.
    external: ['@aws-sdk/*', 'libsql'],
    logLevel: 'warning',
  });
}

/** What each setting does is for the reference of the settings alone: functions go without. The lines stay as many. */
const withoutReference = {
  name: 'without the reference of the settings',
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/config\/settings\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(/(?<=^ +does:\s*)'(?:[^'\\]|\\.)*'/gm, "''"),
      loader: 'ts',
    }));
  },
};

/**
 * Writes `rotation.mjs` and `http.mjs` into a folder, with their source maps beside them.
 *
 * @returns esbuild's metafile: what went into which bundle, and how large each is.
 */
export async function bundleLambda(folder = join(root, 'dist-lambda')) {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: FUNCTIONS,
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    minify: true,
    // Errors are named after their classes, and stack traces after functions.
    keepNames: true,
    // Beside the bundle, for people: not deployed, and not looked for at run time.
    sourcemap: 'external',
    external: [
      // Lambda's runtime brings it.
      '@aws-sdk/*',
      // A function keeps nothing on its disk: its configuration refuses this store, so that this is never loaded.
      './src/secrets/embedded/*',
      './src/secrets/aws/kms-key-wrapping.ts',
    ],
    plugins: [withoutReference],
    metafile: true,
    logLevel: 'warning',
  });
  return metafile;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { outputs } = await bundleLambda(process.argv[2]);
  await bundleDeployment(process.argv[2]);
  for (const [file, { bytes, entryPoint }] of Object.entries(outputs)) {
    if (entryPoint !== undefined) process.stdout.write(`${basename(file)}: ${bytes} bytes\n`);
  }
}
