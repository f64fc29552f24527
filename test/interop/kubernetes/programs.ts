import { expect } from '@jest/globals';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import { ROOT } from '../../deploy/support/packaging.js';

export const CHART = join(ROOT, 'deploy/helm/service-token-broker');

/** The Kubernetes versions whose schemas are asked: the oldest that the chart allows, and the newest there is. */
const VERSIONS = ['1.30', '1.37'];

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A resource, as far as tests look into it. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: object;
}

/** Runs a program in a folder, without the settings of whoever runs the tests. */
export function run(
  program: string,
  args: readonly string[],
  folder: string,
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const options = {
    cwd: folder,
    env: { PATH: `${dirname(program)}:${process.env['PATH'] ?? ''}`, HOME: folder, ...env },
    maxBuffer: 16 * 1024 * 1024,
  };
  return new Promise((resolve, reject) => {
    execFile(program, args, options, (error, out, err) => {
      if (error !== null && typeof error.code !== 'number') {
        reject(error);
        return;
      }
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

export function programOf(variable: string): string {
  const value = process.env[variable] ?? '';
  expect(value).not.toBe('');
  return value;
}

/** Runs helm, which finds neither a cluster nor repositories. */
export function helm(args: readonly string[], folder: string): Promise<Ended> {
  return run(programOf('INTEROP_HELM'), args, folder, { KUBECONFIG: join(folder, 'none') });
}

/** Renders the chart; fails unless helm takes the values. */
export async function render(values: object, folder: string): Promise<string> {
  const file = join(folder, `${randomUUID()}.yaml`);
  await writeFile(file, stringify(values));
  const { code, out, err } = await helm(
    ['template', 'broker', CHART, '--namespace', 'tokens', '--values', file],
    folder,
  );
  expect({ code, err }).toEqual({ code: 0, err: '' });
  return out;
}

/** Builds a kustomization with kubectl, or with kustomize where there is no kubectl. */
export function kustomize(target: string, folder: string): Promise<Ended> {
  const program = programOf('INTEROP_KUSTOMIZE');
  return run(program, [basename(program) === 'kubectl' ? 'kustomize' : 'build', target], folder);
}

export function resourcesIn(text: string): readonly Resource[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Resource | null)
    .filter((resource) => resource !== null);
}

/** The spec of the only resource of a kind. */
export function specOf(resources: readonly Resource[], kind: string): object {
  const specs = resources.filter((resource) => resource.kind === kind).map(({ spec }) => spec);
  expect(specs).toEqual([expect.any(Object)]);
  return specs[0] ?? {};
}

/** Validates files by the schemas of Kubernetes, strictly. Custom resources are not among them. */
export async function validate(files: readonly string[], folder: string): Promise<void> {
  const program = join(programOf('INTEROP_CHECKERS'), 'kubernetes-validate');
  for (const version of VERSIONS) {
    const args = ['--strict', '--quiet', '--kubernetes-version', version, ...files];
    expect(await run(program, args, folder)).toEqual({ code: 0, out: '', err: '' });
  }
}
