import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { parse } from 'yaml';
import {
  CONFIG_FILE,
  EVERY_OPTION,
  NEEDED,
  packageStack,
  ROOT,
  SEVERAL_TOKENS,
} from '../deploy/support/packaging.js';

const SERVICE = join(ROOT, 'deploy/ecs/service.yml');
const CONTAINERS = [
  join(ROOT, 'deploy/container/Dockerfile'),
  join(ROOT, 'deploy/kubernetes/broker.yaml'),
];

let folder = '';
/** The stack without and with its options, with several tokens, and the one for ECS. */
let templates: readonly string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'checkers-'));
  const write = async (
    name: string,
    parameters: Readonly<Record<string, string>>,
    config?: string,
  ): Promise<string> => {
    const file = join(folder, `${name}.json`);
    const template = await packageStack(parameters, 'dev', config);
    await writeFile(file, JSON.stringify(template, null, 2));
    return file;
  };
  const many = { ...EVERY_OPTION, config: CONFIG_FILE, peersSecrets: '3' };
  templates = [
    await write('plain', NEEDED),
    await write('full', EVERY_OPTION),
    await write('many', many, SEVERAL_TOKENS),
    SERVICE,
  ];
}, 240_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a checker. It finds the programs of its own environment only, and no settings of anybody's. */
async function run(program: string, args: readonly string[]): Promise<Ended> {
  const child = spawn(program, args, {
    cwd: folder,
    env: { PATH: `${dirname(program)}:${process.env['PATH'] ?? ''}`, HOME: folder },
  });
  const code = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

function programOf(variable: string, name?: string): string {
  const value = process.env[variable] ?? '';
  expect(value).not.toBe('');
  return name === undefined ? value : join(value, name);
}

describe('cfn-lint', () => {
  const lint = (files: readonly string[]): Promise<Ended> =>
    run(join(dirname(programOf('INTEROP_PYTHON')), 'cfn-lint'), [
      '--format',
      'parseable',
      ...files,
    ]);

  test('warns of nothing, without options and with all of them', async () => {
    expect(await lint(templates)).toEqual({ code: 0, out: '', err: '' });
  }, 180_000);

  test('would warn: of a property that there is not', async () => {
    const file = join(folder, 'wrong.json');
    const template = await packageStack(NEEDED);
    const wrong = { ...template.Resources['Key'], Properties: { EnableKeyRotations: true } };
    await writeFile(
      file,
      JSON.stringify({ ...template, Resources: { ...template.Resources, Key: wrong } }),
    );
    const { code, out } = await lint([file]);
    expect(code).not.toBe(0);
    expect(out).toContain('EnableKeyRotations');
  }, 180_000);
});

describe('checkov', () => {
  interface Finding {
    readonly check_id: string;
    readonly resource: string;
  }
  interface Report {
    readonly results: {
      readonly passed_checks: readonly Finding[];
      readonly failed_checks: readonly Finding[];
      readonly parsing_errors: readonly string[];
    };
  }

  /** Looks nothing up on the internet: the descriptions it would fetch are not needed. */
  const check = async (
    framework: string,
    files: readonly string[],
    kind = 'file',
  ): Promise<readonly Report[]> => {
    const { out, err } = await run(programOf('INTEROP_CHECKERS', 'checkov'), [
      '--skip-download',
      '--framework',
      framework,
      '--output',
      'json',
      ...files.flatMap((file) => [`--${kind}`, file]),
    ]);
    if (!out.trim().startsWith('{') && !out.trim().startsWith('[')) throw new Error(err || out);
    const reports = [JSON.parse(out) as Report | readonly Report[]].flat() as readonly Report[];
    for (const { results } of reports) {
      expect(results.parsing_errors).toEqual([]);
      expect(results.passed_checks.length).toBeGreaterThan(20);
    }
    return reports;
  };
  const failed = (reports: readonly Report[]): readonly string[] => [
    ...new Set(
      reports.flatMap(({ results }) =>
        results.failed_checks.map(({ check_id, resource }) => `${check_id} ${resource}`),
      ),
    ),
  ];

  /** What a file explains, each with the resource. */
  const explained = async (name: string): Promise<readonly string[]> => {
    const findings = parse(await readFile(join(ROOT, name), 'utf8')) as readonly {
      readonly check: string;
      readonly resource: string;
      readonly why: string;
    }[];
    for (const { why } of findings) expect(why).toMatch(/\.$/);
    return findings.map(({ check, resource }) => `${check} ${resource}`).toSorted();
  };

  test('finds in the templates what deploy/checkov.yml explains, all of it, and nothing else', async () => {
    expect(failed(await check('cloudformation', templates)).toSorted()).toEqual(
      await explained('deploy/checkov.yml'),
    );
  }, 300_000);

  test('finds in the Terraform module what deploy/terraform/checkov.yml explains, and nothing else', async () => {
    const found = await check('terraform', [join(ROOT, 'deploy/terraform')], 'directory');
    expect(failed(found).toSorted()).toEqual(await explained('deploy/terraform/checkov.yml'));
  }, 300_000);

  test('finds nothing in the Dockerfile and in the manifests for Kubernetes', async () => {
    for (const framework of ['dockerfile', 'kubernetes']) {
      expect(failed(await check(framework, CONTAINERS))).toEqual([]);
    }
  }, 300_000);

  test('would find: a container that runs as root', async () => {
    const file = join(folder, 'wrong', 'Dockerfile');
    await mkdir(dirname(file));
    const dockerfile = await readFile(join(ROOT, 'deploy/container/Dockerfile'), 'utf8');
    await writeFile(file, dockerfile.replace('USER 1000:1000', 'USER root'));
    expect(failed(await check('dockerfile', [file]))).toEqual([
      expect.stringContaining('CKV_DOCKER_8'),
    ]);
  }, 300_000);
});

describe('kubernetes-validate', () => {
  const validate = (file: string): Promise<Ended> =>
    run(programOf('INTEROP_CHECKERS', 'kubernetes-validate'), ['--strict', file]);

  test('takes every manifest', async () => {
    const { code, out, err } = await validate(join(ROOT, 'deploy/kubernetes/broker.yaml'));
    expect(`${out}${err}`).toContain('deployment/broker');
    expect(code).toBe(0);
  }, 120_000);

  test('would not take: a field that there is not', async () => {
    const file = join(folder, 'wrong.yaml');
    const manifest = await readFile(join(ROOT, 'deploy/kubernetes/broker.yaml'), 'utf8');
    await writeFile(file, manifest.replace('replicas: 2', 'replica: 2'));
    expect((await validate(file)).code).not.toBe(0);
  }, 120_000);
});
