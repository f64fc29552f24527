import { afterAll } from '@jest/globals';
import { fork, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Template } from './template.js';

/** The repository. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** What a first deployment has to give. */
export const NEEDED = {
  issuer: 'https://tenant.example.test/',
  audience: 'https://services.example.test',
} as const;

/** Everything that can be switched on or given. */
export const EVERY_OPTION = {
  ...NEEDED,
  profile: 'auth0',
  scope: 'services',
  resource: 'https://orders.example.test,https://billing.example.test',
  tokenEndpoint: 'https://tenant.example.test/oauth/token',
  jwksUri: 'https://tenant.example.test/jwks',
  clientAuthentication: 'client_secret_post',
  serviceClientIds: 'broker',
  otherAudiences: 'account',
  customerClientIds: 'web',
  tokenTyp: 'at+jwt',
  peers:
    'arn:aws:iam::123456789012:role/billing,token+admin=arn:aws:iam::123456789012:role/operations',
  brokerRoles: 'arn:aws:iam::123456789012:role/broker-in-a-container',
  administrators: 'arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/*/Platform_*',
  alertEmails: 'platform@example.test,security@example.test',
  logRetentionDays: '365',
  replicaRegions: 'eu-west-1,eu-north-1',
  vpcId: 'vpc-0a1b2c3d4e5f60718',
  subnetIds: 'subnet-0a1b2c3d4e5f60718,subnet-1a1b2c3d4e5f60718',
} as const;

/** The key of a provider of {@link SEVERAL_TOKENS}. */
export const SIGNING_KEY =
  'arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';

/** The broker's configuration file with further tokens, providers and a peer. */
export const SEVERAL_TOKENS = `
cache_ttl_seconds: 240
providers:
  entra: { issuer: 'https://login.example.test/v2.0', profile: entra }
  signing:
    issuer: https://signing.example.test/
    client_id: broker
    client_authentication: kms
    kms_key_id: ${SIGNING_KEY}
tokens:
  default: {}
  ledger: { provider: default, audience: https://ledger.example.test, rotation: { cron: '0 5,17 * * *' } }
  mail-eu: { provider: entra, scope: 'api://mail/.default' }
  vault: { provider: signing, audience: https://vault.example.test }
peers:
  settle: { identities: [{ iam: 'arn:aws:iam::999999999999:role/services/settle' }], tokens: [ledger] }
`;
/** What osls did with serverless.yml. */
export interface Packaged {
  readonly code: number;
  /** Both outputs, for people. */
  readonly output: string;
  /** CloudFormation's template as osls wrote it, if it did. */
  readonly template: string | undefined;
  /** The broker's configuration as the functions' packages have it, if there is one. */
  readonly config: string | undefined;
}

/** The values of parameters, by their names in serverless.yml. */
export type Parameters = Readonly<Record<string, string>>;

/** The broker's configuration file in the folder that is packaged, for the parameter `config`. */
export const CONFIG_FILE = 'broker.yml';

/**
 * Packages serverless.yml in a folder of its own, without a network and without AWS credentials. Placeholders stand for
 * the bundles, which are not looked into here.
 *
 * @param config the text of {@link CONFIG_FILE}. Default: there is none.
 */
export async function runOsls(
  parameters: Parameters,
  stage: string,
  config?: string,
): Promise<Packaged> {
  const folder = await mkdtemp(join(tmpdir(), 'stack-'));
  try {
    await cp(join(ROOT, 'serverless.yml'), join(folder, 'serverless.yml'));
    await cp(join(ROOT, 'deploy'), join(folder, 'deploy'), { recursive: true });
    await mkdir(join(folder, 'dist-lambda'));
    for (const name of ['rotation', 'http']) {
      await writeFile(join(folder, 'dist-lambda', `${name}.mjs`), 'export const handler = null;\n');
    }
    if (config !== undefined) {
      await writeFile(join(folder, CONFIG_FILE), config);
      await cp(await deploymentBundle(), join(folder, 'dist-lambda', 'deployment.mjs'));
    }
    const { code, output } = await run(folder, parameters, stage);
    const file = join(folder, '.serverless', 'cloudformation-template-update-stack.json');
    const packaged = join(folder, 'dist-lambda', 'broker.json');
    return {
      code,
      output,
      template: code === 0 ? await readFile(file, 'utf8') : undefined,
      config: await readFile(packaged, 'utf8').catch(() => undefined),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function run(
  folder: string,
  parameters: Parameters,
  stage: string,
): Promise<Pick<Packaged, 'code' | 'output'>> {
  const given = Object.entries(parameters).map(([name, value]) => `--param=${name}=${value}`);
  const turn = last.then(() => runIn(folder, ['package', '--stage', stage, ...given]));
  last = turn.catch(() => undefined);
  return turn;
}

/** One at a time. */
let last: Promise<unknown> = Promise.resolve();
let osls: ChildProcess | undefined;
afterAll(() => {
  osls?.disconnect();
  osls = undefined;
});

async function runIn(
  folder: string,
  args: readonly string[],
): Promise<Pick<Packaged, 'code' | 'output'>> {
  osls ??= fork(fileURLToPath(new URL('osls-process.cjs', import.meta.url)), {
    execArgv: [],
    // Nothing of the machine's own settings for AWS, and nothing written into anybody's home. Compiling osls's own
    // schemas takes most of its time: that is done once.
    env: { PATH: process.env['PATH'], SLS_SCHEMA_CACHE_BASE_DIR: OSLS_CACHE },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const child = osls;
  const ended = new AbortController();
  const { signal } = ended;
  child.send({ folder, args });
  try {
    return await Promise.race([
      once(child, 'message', { signal }).then(
        ([answer]) => answer as Pick<Packaged, 'code' | 'output'>,
      ),
      once(child, 'exit', { signal }).then(([code]) => {
        osls = undefined;
        throw new Error(`osls ended itself with ${String(code)}`);
      }),
    ]);
  } finally {
    ended.abort();
  }
}

/**
 * What was packaged. Packaging takes seconds, and several test files ask for the same: what was packaged once is kept,
 * under a name made of everything that goes into it.
 *
 * @param config as of {@link runOsls}.
 * @throws when osls refuses.
 */
export async function packageOnce(
  parameters: Parameters,
  stage = 'dev',
  config?: string,
): Promise<{ readonly template: string; readonly config?: string }> {
  const cached = join(CACHE, `${await digestOf(parameters, stage, config)}.json`);
  const known = await readFile(cached, 'utf8').catch(() => undefined);
  if (known !== undefined) {
    return JSON.parse(known) as { readonly template: string; readonly config?: string };
  }
  const { code, output, template, config: packaged } = await runOsls(parameters, stage, config);
  if (template === undefined) throw new Error(`osls package failed with ${code}:\n${output}`);
  const result = { template, ...(packaged === undefined ? {} : { config: packaged }) };
  const partial = `${cached}.${process.pid}`;
  await mkdir(CACHE, { recursive: true });
  await writeFile(partial, JSON.stringify(result));
  await rename(partial, cached);
  return result;
}

/**
 * The template of the stack.
 *
 * @param stage default: `dev`.
 */
export async function packageStack(
  parameters: Parameters,
  stage = 'dev',
  config?: string,
): Promise<Template> {
  const { template } = await packageOnce(parameters, stage, config);
  return JSON.parse(template) as Template;
}

const OSLS = createRequire(import.meta.url).resolve('osls/package.json');
const CACHE = join(ROOT, 'node_modules', '.cache', 'stacks');
const OSLS_CACHE = join(ROOT, 'node_modules', '.cache', 'osls');

/** What reads the file, bundled from the sources as `npm run build:lambda` does, once for each process. */
export function deploymentBundle(): Promise<string> {
  bundled ??= (async () => {
    const folder = join(CACHE, `deployment-${process.pid}`);
    const script = pathToFileURL(join(ROOT, 'build/bundle-lambda.mjs')).href;
    const { bundleDeployment } = (await import(script)) as {
      readonly bundleDeployment: (folder: string) => Promise<void>;
    };
    await bundleDeployment(folder);
    return join(folder, 'deployment.mjs');
  })();
  return bundled;
}

let bundled: Promise<string> | undefined;

async function digestOf(
  parameters: Parameters,
  stage: string,
  config: string | undefined,
): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([parameters, stage, config]));
  if (config !== undefined) hash.update(await readFile(await deploymentBundle()));
  const parts = await readdir(join(ROOT, 'deploy'), { recursive: true, withFileTypes: true });
  const files = parts
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
  for (const file of [OSLS, join(ROOT, 'serverless.yml'), ...files]) {
    hash.update(`\0${file}\0`).update(await readFile(file));
  }
  return hash.digest('hex');
}
