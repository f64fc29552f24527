import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkSettings } from '../../../src/config/check-settings.js';
import { ROOT } from '../../deploy/support/packaging.js';
import { kustomize, resourcesIn, specOf, validate, type Resource } from './programs.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kustomize-'));
  for (const name of ['kubernetes', 'kustomize']) {
    await cp(join(ROOT, 'deploy', name), join(folder, name), { recursive: true });
  }
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function build(target: string): Promise<readonly Resource[]> {
  const { code, out, err } = await kustomize(target, folder);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  await writeFile(join(folder, 'built.yaml'), out);
  await validate([join(folder, 'built.yaml')], folder);
  return resourcesIn(out);
}

const BASE = ['ConfigMap', 'Deployment', 'Namespace', 'NetworkPolicy', 'Service', 'ServiceAccount'];

test('the base is the manifest', async () => {
  const kinds = (await build('kubernetes')).map(({ kind }) => kind);
  expect(kinds.toSorted()).toEqual([...BASE, 'PodDisruptionBudget'].toSorted());
}, 120_000);

describe.each([
  ['aws', ['HorizontalPodAutoscaler', 'Ingress', 'PodDisruptionBudget'], undefined, 'aws'],
  ['embedded', ['PersistentVolumeClaim'], 1, 'embedded'],
])('the overlay %s', (name, more, replicas, store) => {
  let resources: readonly Resource[] = [];
  beforeAll(async () => {
    resources = await build(join('kustomize/overlays', name));
  }, 120_000);
  test('makes what it should, without placeholders', () => {
    expect(resources.map(({ kind }) => kind).toSorted()).toEqual([...BASE, ...more].toSorted());
    expect(JSON.stringify(resources)).not.toMatch(/REGISTRY|DIGEST|ACCOUNT|STAGE|BROKER_HOST"/);
  });

  test('has settings that the broker takes', () => {
    const env = resources.find(({ kind }) => kind === 'ConfigMap')?.data ?? {};
    const config = checkSettings({ env });
    expect(config.warnings).toEqual([]);
    expect(config.secrets.store).toBe(store);
  });

  test('runs as many brokers as its store allows', () => {
    const { replicas: count, strategy } = specOf(resources, 'Deployment') as {
      readonly replicas?: number;
      readonly strategy: { readonly type: string };
    };
    expect(count).toBe(replicas);
    expect(strategy.type).toBe(store === 'embedded' ? 'Recreate' : 'RollingUpdate');
  });
});

test.each([
  ['autoscaling', 'embedded-store', '/spec/replicas'],
  ['embedded-store', 'autoscaling', '/spec/strategy/type'],
])('nothing is made of %s with %s', async (one, other, named) => {
  const target = join('kustomize/overlays', `${one}-first`);
  await mkdir(join(folder, target));
  await writeFile(
    join(folder, target, 'kustomization.yaml'),
    `resources: [../../../kubernetes]\ncomponents: [../../components/${one}, ../../components/${other}]\n`,
  );
  const { code, out, err } = await kustomize(target, folder);
  expect(code).not.toBe(0);
  expect(out).toBe('');
  expect(err).toContain(named);
});
