import { spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin, type PluginBuild } from 'esbuild';
import { BASE_ENVIRONMENT, CLI } from '../support/broker-process.js';
import { packagesBuild } from '../support/packages-build.js';

/** An example application in a process of its own. */
export interface ExampleProcess {
  /** Where it listens, without a slash at the end. */
  readonly url: string;
  /** All it has written so far. */
  output(): string;
  /** Ends it, and waits until it has ended. @returns its exit code; `null` when a signal ended it. */
  stop(): Promise<number | null>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Milliseconds after which an example that has not said where it listens counts as hanging. */
const START_DEADLINE = 150_000;

/** Compiles `examples/NAME`, whose types `types.test.ts` checks, for the packages as they were built. */
export async function compileExample(name: string): Promise<void> {
  const folder = `${ROOT}examples/${name}`;
  const script = new URL('../../build/compile.mjs', import.meta.url).href;
  const { compile } = (await import(script)) as {
    readonly compile: (folders: { readonly from: string; readonly to: string }) => Promise<object>;
  };
  await packagesBuild();
  await compile({ from: `${folder}/src`, to: `${folder}/dist` });
}

/**
 * Bundles programs of an example that was compiled, each with all that it loads, and has them start the bundle of the command
 * line: an example of several processes takes half of the processor time.
 *
 * @returns the folder of the bundles.
 */
export async function bundleExample(name: string, programs: readonly string[]): Promise<string> {
  const compiled = `${ROOT}examples/${name}/dist`;
  const outdir = join(compiled, 'bundled');
  await rm(outdir, { recursive: true, force: true });
  const script = new URL('../../build/packages.mjs', import.meta.url).href;
  const { withoutUnused } = (await import(script)) as { readonly withoutUnused: Plugin };
  await build({
    entryPoints: programs.map((program) => join(compiled, `${program}.js`)),
    outdir,
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    keepNames: true,
    logLevel: 'warning',
    plugins: [exceptAxios(withoutUnused)],
    define: { 'import.meta.resolve': 'resolveBroker' },
    // CommonJS packages in the bundle load modules of Node.js with it.
    banner: {
      js: `import { createRequire as createRequireOfBundle } from 'node:module';
const require = createRequireOfBundle(import.meta.url);
const resolveBroker = () => ${JSON.stringify(new URL('../package.json', pathToFileURL(CLI)))};`,
    },
  });
  return outdir;
}

/** An example uses it, the command does not. */
function exceptAxios({ name, setup }: Plugin): Plugin {
  return {
    name,
    setup: (bundling: PluginBuild) =>
      setup({
        ...bundling,
        onResolve: (options, resolve) =>
          bundling.onResolve(options, (args) =>
            args.path === '@nestjs/axios' ? undefined : resolve(args),
          ),
      }),
  };
}

/** Starts `examples/NAME` on a free port and waits until it listens. */
export async function startExample(name: string, env: NodeJS.ProcessEnv): Promise<ExampleProcess> {
  const child = spawn(process.execPath, [`${ROOT}examples/${name}/dist/main.js`], {
    cwd: tmpdir(),
    env: { ...BASE_ENVIRONMENT, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const listens = new Promise<string>((resolve, reject) => {
    const fail = (what: string): void => {
      clearTimeout(deadline);
      child.kill('SIGKILL');
      reject(new Error(`The example ${what}. It wrote:\n${output}`));
    };
    const deadline = setTimeout(() => fail('did not start in time'), START_DEADLINE);
    const look = (text: string): void => {
      output += text;
      const url = /listens at (http:\S+?),/.exec(output)?.[1];
      if (url === undefined) return;
      clearTimeout(deadline);
      resolve(url);
    };
    child.stdout.setEncoding('utf8').on('data', look);
    child.stderr.setEncoding('utf8').on('data', look);
    void ended.then((code) => fail(`ended (${code ?? 'by a signal'})`));
  });
  return {
    url: await listens,
    output: () => output,
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}
