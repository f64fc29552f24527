import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const run = promisify(execFile);
const SCRIPT = new URL('../../build/bundle-lambda.mjs', import.meta.url).href;
const root = fileURLToPath(new URL('../../', import.meta.url));

/** What esbuild tells of a bundle. */
interface Output {
  readonly bytes: number;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly imports: readonly { readonly path: string }[];
}

let folder: string;
let outputs: Readonly<Record<string, Output>>;

/** Runs a script in a folder without any package, and gives what it prints. */
async function node(script: string): Promise<string> {
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], {
    cwd: folder,
    maxBuffer: 16_000_000,
  });
  return stdout;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bundle-'));
  const script = `
    const { bundleLambda } = await import(${JSON.stringify(SCRIPT)});
    console.log(JSON.stringify(await bundleLambda(process.cwd())));
  `;
  const metafile = JSON.parse(await node(script)) as { outputs: Record<string, Output> };
  outputs = Object.fromEntries(
    Object.entries(metafile.outputs).map(([file, output]) => [file.split('/').at(-1), output]),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(['rotation.mjs', 'http.mjs'])('%s', (file) => {
  const output = (): Output => {
    const found = outputs[file];
    if (found === undefined) throw new Error(`${file} was not built.`);
    return found;
  };

  test('is one file under 400 kB, with its source map beside it', async () => {
    expect(output().bytes).toBeLessThan(400_000);
    expect(await readdir(folder)).toEqual(expect.arrayContaining([file, `${file}.map`]));
  });

  test('carries the packages that it needs, and no Nest, no logger, no database', () => {
    const packages = Object.keys(output().inputs)
      .map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1])
      .filter((name) => name !== undefined);
    expect([...new Set(packages)].toSorted()).toEqual(['croner', 'jose', 'oauth4webapi', 'zod']);
    const rooms = Object.keys(output().inputs).filter((path) => path.includes('src/secrets/'));
    expect(rooms.filter((path) => path.includes('embedded'))).toEqual([]);
  });

  test('leaves the AWS SDK to the runtime', () => {
    const others = output()
      .imports.map(({ path }) => path)
      // Nothing of the embedded store and its key: no configuration of a function loads it.
      .filter((path) => !/^node:|\/secrets\/embedded\/|\/kms-key-wrapping\b/.test(path));
    expect([...new Set(others)].toSorted()).toEqual([
      '@aws-sdk/client-kms',
      '@aws-sdk/client-secrets-manager',
      '@aws-sdk/client-sts',
    ]);
  });

  test('exports its handler alone; errors and functions keep their names', async () => {
    const script = `
      const bundle = await import(${JSON.stringify(pathToFileURL(join(folder, file)).href)});
      const context = { awsRequestId: 'one', getRemainingTimeInMillis: () => 1000 };
      const error = await bundle.handler({}, context).catch((reason) => reason);
      console.error(JSON.stringify({
        names: Object.keys(bundle),
        error: error.name,
        code: error.code,
        stack: error.stack,
      }));
    `;
    const { stderr } = await run(process.execPath, ['--input-type=module', '-e', script], {
      cwd: folder,
    });
    expect(JSON.parse(stderr)).toEqual({
      names: ['handler'],
      error: 'FunctionError',
      code: 'FUNCTION_EVENT_INVALID',
      stack: expect.stringMatching(/at (?:readRotationEvent|requireHttpEvent|stepOf) /),
    });
  });
});

test('the package offers the rotation function to those who bundle it themselves', async () => {
  const { stdout } = await run(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { handler } from 'service-token-broker/lambda'; console.log(typeof handler);`,
    ],
    { cwd: root },
  );
  expect(stdout.trim()).toBe('function');
});
