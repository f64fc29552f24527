import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { REFUSED, TAKEN } from '../../deploy/support/option-cases.js';
import {
  EVERY_OPTION,
  NEEDED,
  packageStack,
  ROOT,
  SEVERAL_TOKENS,
} from '../../deploy/support/packaging.js';
import { drawStack } from '../../deploy/support/template.js';
import { madeBySls, madeByTerraform, type TerraformResource } from './made.js';
import { variableName, variablesOf } from './variables.js';

const MODULE = join(ROOT, 'deploy/terraform');
/** From a configuration's folder: a module by an absolute path would be copied, without what stands beside it. */
const SOURCE = '../deploy/terraform';
const HOME = process.env['INTEROP_TERRAFORM'] ?? '';
/** OpenTofu where it was built, and Terraform where the machine has it: at least one of them. */
const TOOLS: readonly (readonly [string, string])[] = [
  ...(existsSync(join(HOME, 'tofu')) ? ([['OpenTofu', join(HOME, 'tofu')]] as const) : []),
  ...(spawnSync('terraform', ['version']).status === 0
    ? ([['Terraform', 'terraform']] as const)
    : []),
];

let folder = '';
/** A copy of the module, beside what it reads of the repository. */
let module = '';
beforeAll(async () => {
  expect(HOME).not.toBe('');
  folder = await mkdtemp(join(tmpdir(), 'terraform-'));
  for (const part of ['terraform', 'tokens.cjs', 'schedule.cjs']) {
    await cp(join(ROOT, 'deploy', part), join(folder, 'deploy', part), { recursive: true });
  }
  module = join(folder, 'deploy/terraform');
  const { bundleDeployment } = (await import(
    pathToFileURL(join(ROOT, 'build/bundle-lambda.mjs')).href
  )) as { readonly bundleDeployment: (folder: string) => Promise<void> };
  const functions = join(folder, 'dist-lambda');
  await mkdir(functions);
  await bundleDeployment(functions);
  for (const name of ['rotation', 'http']) {
    await writeFile(join(functions, `${name}.mjs`), 'export const handler = () => undefined;\n');
  }
}, 120_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Peers and brokers of other accounts, and other ways for what else can differ. */
const OTHERS = {
  ...NEEDED,
  peers: 'arn:aws:iam::999999999999:role/billing,arn:aws:iam::123456789012:role/orders',
  brokerRoles: 'arn:aws:iam::888888888888:role/broker,arn:aws:iam::123456789012:role/broker',
  administrators: 'arn:aws:iam::999999999999:role/Platform*',
  schedule: 'cron(0 3 1 * ? *)',
  tokenLifetime: '60d',
  vpcId: 'vpc-0a1b2c3d4e5f60718',
  subnetIds: 'subnet-0a1b2c3d4e5f60718',
  secretsManagerEndpoint: 'false',
  replicaRegions: 'eu-west-1',
  clientAuthentication: 'kms',
  clientId: 'broker',
  kmsKeyArn: 'arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab',
} as const;

/** What `plan -json` says of a mistake. */
interface Diagnostic {
  readonly summary: string;
  readonly detail: string;
  readonly address?: string;
  readonly snippet?: { readonly context: string | null; readonly code: string };
}

interface Ended {
  readonly code: number | null;
  readonly out: string;
}

/** Runs a tool, which finds the providers for tests and no settings of anybody's. */
async function run(tool: string, cwd: string, ...args: readonly string[]): Promise<Ended> {
  const child = spawn(tool, args, {
    cwd,
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      TF_CLI_CONFIG_FILE: join(HOME, 'tofurc'),
      CHECKPOINT_DISABLE: '1',
      TF_IN_AUTOMATION: '1',
    },
  });
  const code = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out: `${out}${err}` };
}

async function succeed(tool: string, cwd: string, ...args: readonly string[]): Promise<string> {
  const { code, out } = await run(tool, cwd, ...args);
  if (code !== 0) throw new Error(`${tool} ${args.join(' ')} ended with ${code}:\n${out}`);
  return out;
}

/** A folder with a configuration, where `init` was run. */
async function configuration(
  tool: string,
  name: string,
  files: Readonly<Record<string, string>>,
): Promise<string> {
  const at = join(folder, name);
  await mkdir(at, { recursive: true });
  for (const [file, content] of Object.entries(files)) await writeFile(join(at, file), content);
  await succeed(tool, at, 'init', '-no-color', '-input=false');
  return at;
}

/** A call of a module, in Terraform's JSON. */
const calls = (
  modules: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  more: object = {},
): string => JSON.stringify({ module: modules, ...more }, null, 2);

describe.each(TOOLS)('%s', (title, tool) => {
  const at = (name: string): string => `${title}-${name}`;

  test('finds the module formatted and valid, and its example', async () => {
    await succeed(tool, MODULE, 'fmt', '-check', '-recursive', '-diff');
    const example = await readFile(join(module, 'examples/complete/main.tf'), 'utf8');
    const where = await configuration(tool, at('example'), {
      'main.tf': example.replace('../..', SOURCE),
    });
    expect(await succeed(tool, where, 'validate', '-no-color')).toContain('Success!');
  }, 120_000);

  test('would not take an argument that the provider does not have', async () => {
    const broken = join(folder, at('broken-module'));
    await cp(module, broken, { recursive: true });
    const file = join(broken, 'rotation.tf');
    const rotation = await readFile(file, 'utf8');
    await writeFile(file, rotation.replace('rotate_immediately ', 'rotate_immediatly '));
    const where = await configuration(tool, at('broken'), {
      'main.tf.json': calls({ broker: { source: `../${at('broken-module')}`, ...NEEDED } }),
    });
    const { code, out } = await run(tool, where, 'validate', '-no-color');
    expect(code).not.toBe(0);
    expect(out).toContain('"rotate_immediatly" is not expected here');
  }, 120_000);

  test('takes and refuses the values that serverless.yml takes and refuses, and names the variable', async () => {
    // What decides, without the resources.
    const rules = join(folder, at('rules'));
    await mkdir(rules);
    for (const file of ['versions.tf', 'variables.tf', 'main.tf', 'modules', 'read-config.mjs']) {
      await cp(join(module, file), join(rules, file), { recursive: true });
    }
    const cases = [
      ...TAKEN.map(([parameters]) => ({ parameters, isRefused: false })),
      ...REFUSED.map(([parameters]) => ({ parameters, isRefused: true })),
    ];
    // Wrong types end a plan before rules are looked at, and rules of variables before those of the module: those that are
    // refused leave, until nobody is.
    let left = cases.map((_, index) => index);
    const refusals = new Map<number, string>();
    for (let count = -1; count < refusals.size;) {
      count = refusals.size;
      const modules = Object.fromEntries(
        left.map((index) => [
          `case${index}`,
          {
            source: `../${at('rules')}`,
            stage: `case${index}`,
            ...NEEDED,
            ...variablesOf(cases[index]?.parameters ?? {}),
          },
        ]),
      );
      const where = await configuration(tool, at('options'), { 'main.tf.json': calls(modules) });
      const { out } = await run(tool, where, 'plan', '-json', '-input=false');
      for (const line of out.split('\n').filter((text) => text.includes('"diagnostic":'))) {
        const { diagnostic } = JSON.parse(line) as { readonly diagnostic: Diagnostic };
        const { address = '', snippet, summary, detail } = diagnostic;
        // A rule of the whole module names the stack.
        const place = `${address} ${snippet?.context ?? ''} ${detail}`;
        const index = Number(/\b(?:module\.|broker-)case(\d+)\b/.exec(place)?.[1]);
        if (Number.isNaN(index)) throw new Error(line);
        const words = `${summary}\n${detail}\n${snippet?.code ?? ''}\n`;
        refusals.set(index, `${refusals.get(index) ?? ''}${words}`);
      }
      left = left.filter((index) => !refusals.has(index));
    }
    const wrong: string[] = [];
    cases.forEach(({ parameters, isRefused }, index) => {
      const own = refusals.get(index) ?? '';
      const isNamed = Object.keys(parameters).some((name) => own.includes(variableName(name)));
      if (isRefused !== (own !== '') || (isRefused && !isNamed)) {
        wrong.push(`${JSON.stringify(parameters)}: ${own || 'taken'}`);
      }
    });
    expect(wrong).toEqual([]);
  }, 240_000);

  test.each([
    ['tags', { tags: { service: 'mine' } }, 'sets service and stage itself'],
    ['tags', { tags: { 'aws:team': 'a' } }, 'no name begins with aws:'],
    ['tags', { tags: { team: 'a<b' } }, 'letters, digits, spaces'],
    ['audience', { audience: ' https://services.example.test' }, 'begins or ends with a space'],
    ['token_lifetimes', { token_lifetimes: { mail: '12h' } }, 'there is none'],
    [
      'token_lifetimes',
      { config: '${path.module}/main.tf.json', token_lifetimes: { default: '12h' } },
      'whose life is token_lifetime',
    ],
  ])('refuses what serverless.yml has no parameter for: %s', async (variable, given, why) => {
    const where = await configuration(tool, at('own'), {
      'main.tf.json': calls({ broker: { source: SOURCE, ...NEEDED, ...given } }),
    });
    const { code, out } = await run(tool, where, 'plan', '-no-color', '-input=false');
    expect(code).not.toBe(0);
    const words = out.replaceAll(/[\s│]+/g, ' ');
    expect(words).toContain(`${variable} `);
    expect(words).toContain(why);
  });

  test('names its own variables where the configuration file is read by the rules of serverless.yml', async () => {
    const where = join(folder, at('lifetimes'));
    await mkdir(where);
    const config = join(where, 'broker.yml');
    await writeFile(config, 'tokens: { default: {}, mail: { audience: mail } }\n');
    await configuration(tool, at('lifetimes'), {
      'main.tf.json': calls({
        broker: { source: SOURCE, ...NEEDED, config, token_lifetimes: { mial: '12h' } },
      }),
    });
    const { out } = await run(tool, where, 'plan', '-no-color', '-input=false');
    expect(out.replaceAll(/[\s│]+/g, ' ')).toContain('token_lifetimes names mial');
  }, 120_000);

  test('reads schedules as serverless.yml does', async () => {
    const { readSchedule } = createRequire(import.meta.url)('../../../deploy/schedule.cjs') as {
      readonly readSchedule: (given: object) => {
        readonly expression: string;
        readonly missing: { readonly period: number; readonly periods: number; isSeen: boolean };
        readonly expiringSeconds: number;
      };
    };
    const wanted = SCHEDULES.map(([schedule, window, tokenLifetime]) => {
      try {
        const { expression, missing, expiringSeconds } = readSchedule({
          schedule,
          window,
          tokenLifetime,
        });
        const { period, periods, isSeen } = missing;
        return [schedule, expression, period, periods, isSeen, expiringSeconds];
      } catch {
        return [schedule, 'refused'];
      }
    });
    expect(wanted.filter(({ length }) => length > 2).length).toBeGreaterThan(10);
    const modules = Object.fromEntries(
      SCHEDULES.map(([schedule, window, token_lifetime], index) => [
        `case${index}`,
        { source: `${SOURCE}/modules/schedule`, schedule, window, token_lifetime },
      ]),
    );
    const output = {
      all: { value: SCHEDULES.map((_, index) => `\${module.case${index}}`) },
    };
    const where = await configuration(tool, at('schedules'), {
      'main.tf.json': calls(modules, { output }),
    });
    await succeed(tool, where, 'apply', '-auto-approve', '-no-color');
    const all = JSON.parse(await succeed(tool, where, 'output', '-json', 'all')) as readonly {
      readonly mistakes: readonly string[];
      readonly expression: string;
      readonly expiring_seconds: number;
      readonly missing: { readonly period: number; readonly periods: number; is_seen: boolean };
    }[];
    expect(
      all.map(({ mistakes, expression, missing, expiring_seconds }, index) => {
        const schedule = SCHEDULES[index]?.[0];
        if (mistakes.length > 0) return [schedule, 'refused'];
        const { period, periods, is_seen } = missing;
        return [schedule, expression, period, periods, is_seen, expiring_seconds];
      }),
    ).toEqual(wanted);
  }, 240_000);

  describe.each([
    ['without options', NEEDED, undefined],
    ['with every option', EVERY_OPTION, undefined],
    ['for other accounts, with a schedule of a month', OTHERS, undefined],
    [
      'with several tokens',
      { ...EVERY_OPTION, peersSecrets: '3', tokenLifetime: '24h,ledger=30h' },
      SEVERAL_TOKENS,
    ],
  ] as const)('%s', (options, parameters, config) => {
    let resources: readonly TerraformResource[] = [];
    let where = '';
    beforeAll(async () => {
      where = join(folder, at(options.replaceAll(/\W/g, '-')));
      await mkdir(where);
      if (config !== undefined) await writeFile(join(where, 'broker.yml'), config);
      const variables = {
        ...variablesOf(parameters),
        ...(config !== undefined && { config: join(where, 'broker.yml') }),
      };
      await configuration(tool, at(options.replaceAll(/\W/g, '-')), {
        'main.tf.json': calls({ broker: { source: SOURCE, ...variables } }),
      });
      await succeed(tool, where, 'apply', '-auto-approve', '-no-color', '-input=false');
      const shown = JSON.parse(await succeed(tool, where, 'show', '-json')) as {
        readonly values: {
          readonly root_module: {
            readonly child_modules: readonly { readonly resources: readonly TerraformResource[] }[];
          };
        };
      };
      resources = shown.values.root_module.child_modules.flatMap((made) => made.resources);
    }, 240_000);

    test('makes what serverless.yml makes', async () => {
      const template = await packageStack(
        { ...parameters, ...(config !== undefined && { config: 'broker.yml' }) },
        'dev',
        config,
      );
      const stack = madeBySls(drawStack(template));
      expect(Object.keys(stack)).toContain('alarms');
      expect(madeByTerraform(resources)).toEqual(stack);
      const withoutOne = resources.filter(({ type }) => type !== 'aws_sns_topic_policy');
      expect(madeByTerraform(withoutOne)).not.toEqual(stack);
    }, 240_000);

    test('has nothing to change when it is applied again', async () => {
      const { code, out } = await run(tool, where, 'plan', '-detailed-exitcode', '-no-color');
      expect(out).toContain('No changes');
      expect(code).toBe(0);
    }, 120_000);
  });

  test('a mistake in the configuration file ends the plan, with its place', async () => {
    const where = join(folder, at('bad-config'));
    await mkdir(where);
    const config = join(where, 'broker.yml');
    await writeFile(config, 'tokens: { default: {}, mail: { provider: nobody } }\n');
    await configuration(tool, at('bad-config'), {
      'main.tf.json': calls({ broker: { source: SOURCE, ...NEEDED, config } }),
    });
    const { code, out } = await run(tool, where, 'plan', '-no-color', '-input=false');
    expect(code).not.toBe(0);
    expect(out).toContain('tokens.mail');
  }, 120_000);

  test('functions that are not there end the plan, and it says what makes them', async () => {
    const where = await configuration(tool, at('no-functions'), {
      'main.tf.json': calls({
        broker: { source: SOURCE, ...NEEDED, functions_folder: join(folder, 'nowhere') },
      }),
    });
    const { code, out } = await run(tool, where, 'plan', '-no-color', '-input=false');
    expect(code).not.toBe(0);
    expect(out.replaceAll(/\s+/g, ' ')).toContain('npm run build:lambda');
  }, 120_000);

  test('every block of HCL in the documentation is valid', async () => {
    const pages = await Promise.all(
      ['docs/terraform.md', 'deploy/terraform/README.md'].map((page) =>
        readFile(join(ROOT, page), 'utf8'),
      ),
    );
    const blocks = pages.flatMap((page) =>
      [...page.matchAll(/^```hcl\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block),
    );
    expect(blocks.length).toBeGreaterThan(2);
    for (const [index, block] of blocks.entries()) {
      const where = await configuration(tool, at(`block-${index}`), {
        'main.tf': block.replaceAll(
          /source( +)= "[^"]*deploy\/terraform[^"]*"/g,
          `source$1= "${SOURCE}"`,
        ),
        ...(block.includes('broker.yml') && { 'broker.yml': 'tokens: { default: {} }\n' }),
      });
      expect(await succeed(tool, where, 'validate', '-no-color')).toContain('Success!');
    }
  }, 240_000);
});

/** Schedules with a window and a life: what Secrets Manager takes, and what it does not. */
const SCHEDULES: readonly (readonly [schedule: string, window: string, tokenLifetime: string])[] = [
  ['cron(0 3/12 * * ? *)', '1h', '24h'],
  ['cron(0 3/12 * * ? *)', '', '1440m'],
  ['cron(0 3/12 * * ? *)', '13h', '24h'],
  ['cron(0 3 * * ? *)', '1h', '24h'],
  ['cron(0 3 * * ? *)', '', '30d'],
  ['cron(0 3 * * ? *)', '22h', '30d'],
  ['rate(12 hours)', '1h', '25h'],
  ['rate(1 day)', '', '30d'],
  ['rate(1 hours)', '1h', '24h'],
  ['rate(999 days)', '1h', '1000d'],
  ['rate(1000 days)', '1h', '2000d'],
  ['rate(0 days)', '1h', '24h'],
  ['cron(0 3 * * ? 2026)', '1h', '30d'],
  ['cron(5 3 * * ? *)', '1h', '30d'],
  ['cron(0 3 * * * *)', '1h', '30d'],
  ['cron(0 3 ? * ? *)', '1h', '30d'],
  ['cron(0 3 L * ? *)', '1h', '60d'],
  ['cron(0 3 ? * 6L *)', '1h', '60d'],
  ['cron(0 3 ? * 2#1 *)', '2h', '60d'],
  ['cron(0 3 ? * L *)', '1h', '8d'],
  ['cron(0 3,15 ? * mon,THU *)', '', '8d'],
  ['cron(0 3 29 2 ? *)', '1h', '900d'],
  ['cron(0 3 31 2 ? *)', '1h', '900d'],
  ['cron(0 25 * * ? *)', '1h', '30d'],
  ['cron(0 9-3 * * ? *)', '1h', '30d'],
  ['cron(0 1-9/4 1,15 JAN-MAR ? *)', '1h', '900d'],
  ['cron(0 0,3 * * ? *)', '1h', '30d'],
  ['cron( 0  03 * * ? * )', '1h', '30d'],
  ['daily', '1h', '30d'],
  ['', '1h', '30d'],
  ['cron(0 3-4-5 * * ? *)', '1h', '30d'],
  ['cron(0 3/12 * * ? *)', '90m', '24h'],
  ['cron(0 3/12 * * ? *)', '1h', '1 day'],
];
