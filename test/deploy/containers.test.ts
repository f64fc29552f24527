import { describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, parseAllDocuments } from 'yaml';
import { checkSettings } from '../../src/config/check-settings.js';
import type { BrokerConfig } from '../../src/config/broker-config.js';
import { ROOT } from './support/packaging.js';

const read = (file: string): Promise<string> => readFile(join(ROOT, 'deploy', file), 'utf8');

/** A broker's configuration, from settings whose placeholders are filled in. */
function configured(env: NodeJS.ProcessEnv): BrokerConfig {
  const config = checkSettings({ env });
  expect(config.warnings).toEqual([]);
  expect(config.secrets.store).toBe('aws');
  expect(config.tokens[0].secretId).toBe('service-token-broker/dev/token');
  expect(config.secrets.peersSecretId).toBe('service-token-broker/dev/peers');
  expect(config.http).toMatchObject({
    port: 3000,
    publicUrl: 'https://broker.example.test',
    management: { port: 8081, host: '0.0.0.0' },
  });
  return config;
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: NodeJS.ProcessEnv;
  readonly spec?: unknown;
}

async function manifests(): Promise<readonly Manifest[]> {
  const documents = parseAllDocuments(await read('kubernetes/broker.yaml'));
  return documents.map((document) => document.toJS() as Manifest);
}

async function specOf<Spec>(kind: string): Promise<Spec> {
  return (await manifests()).find((manifest) => manifest.kind === kind)?.spec as Spec;
}

describe('the settings of the manifests are the broker’s', () => {
  test('for Kubernetes', async () => {
    const settings = (await manifests()).find(({ kind }) => kind === 'ConfigMap')?.data ?? {};
    const filledIn = Object.entries(settings).map(([name, value = '']) => [
      name,
      value
        .replace('STAGE', 'dev')
        .replace('BROKER_HOST', 'broker.example.test')
        // As Entra ID and Okta have them: an issuer without a slash at the end, an audience without a scheme.
        .replace(/^ISSUER$/, 'https://issuer.example.test/tenant')
        .replace(/^AUDIENCE$/, 'services')
        .replace(/^PROFILE$/, 'entra'),
    ]);
    configured(Object.fromEntries(filledIn) as NodeJS.ProcessEnv);
  });

  test('for ECS', async () => {
    const template = parse(await read('ecs/service.yml'), { logLevel: 'silent' }) as {
      readonly Resources: {
        readonly TaskDefinition: {
          readonly Properties: {
            readonly ContainerDefinitions: readonly {
              readonly Environment: readonly { readonly Name: string; readonly Value: string }[];
            }[];
          };
        };
      };
    };
    const given: Readonly<Record<string, string>> = {
      PublicUrl: 'https://broker.example.test',
      Issuer: 'https://issuer.example.test/',
      Audience: 'https://audience.example.test',
      Profile: 'rfc9068',
    };
    const [container] = template.Resources.TaskDefinition.Properties.ContainerDefinitions;
    configured(
      Object.fromEntries(
        (container?.Environment ?? []).map(({ Name, Value }) => [
          Name,
          given[Value] ?? Value.replace('${Stage}', 'dev'),
        ]),
      ),
    );
  });
});

describe('the pods', () => {
  interface PodSpec {
    readonly enableServiceLinks?: boolean;
    readonly terminationGracePeriodSeconds: number;
    readonly containers: readonly {
      readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
    }[];
  }
  const podSpec = async (): Promise<PodSpec> =>
    (await specOf<{ readonly template: { readonly spec: PodSpec } }>('Deployment')).template.spec;

  test('get no variables of Services, which would look like settings', async () => {
    expect(await podSpec()).toMatchObject({ enableServiceLinks: false });
  });

  test('have time for the pause, for the delay, and for ten seconds to end', async () => {
    const { terminationGracePeriodSeconds: all, containers } = await podSpec();
    const settings = (await manifests()).find(({ kind }) => kind === 'ConfigMap')?.data;
    const delay = Number(settings?.['BROKER_SHUTDOWN_DELAY_SECONDS'] ?? 0);
    const pause = containers[0]?.lifecycle.preStop.sleep.seconds ?? Number.NaN;
    expect(pause).toBeGreaterThan(0);
    expect(all).toBeGreaterThanOrEqual(pause + delay + 10);
  });

  test('reach the agent of EKS Pod Identity on its port alone, and not the role of their node', async () => {
    const { egress } = await specOf<{
      readonly egress: readonly {
        readonly to?: readonly { readonly ipBlock: { readonly cidr: string } }[];
        readonly ports: readonly { readonly port: number }[];
      }[];
    }>('NetworkPolicy');
    const addresses = egress.flatMap(({ to = [], ports }) =>
      to.map(({ ipBlock }) => `${ipBlock.cidr} ${ports.map(({ port }) => port).join()}`),
    );
    // https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
    expect(addresses).toEqual(['169.254.170.23/32 80', 'fd00:ec2::23/128 80']);
    const everywhere = egress.filter(({ to }) => to === undefined);
    expect(everywhere.flatMap(({ ports }) => ports.map(({ port }) => port))).toEqual([53, 53, 443]);
  });
});

test('ECS runs what the image was built for', async () => {
  const { Parameters, Resources } = parse(await read('ecs/service.yml'), {
    customTags: [{ tag: '!Ref', resolve: (name: string) => ({ Ref: name }) }],
    logLevel: 'silent',
  }) as {
    readonly Parameters: Readonly<Record<string, { readonly AllowedValues?: readonly string[] }>>;
    readonly Resources: {
      readonly TaskDefinition: { readonly Properties: { readonly RuntimePlatform: object } };
    };
  };
  expect(Parameters['CpuArchitecture']?.AllowedValues).toEqual(['ARM64', 'X86_64']);
  expect(Resources.TaskDefinition.Properties.RuntimePlatform).toMatchObject({
    CpuArchitecture: { Ref: 'CpuArchitecture' },
  });
});

describe('the image', () => {
  test('is built from a base image that is given by its digest, and from no other', async () => {
    const dockerfile = await read('container/Dockerfile');
    expect(dockerfile.match(/^FROM .*$/gm)).toEqual([
      'FROM --platform=$BUILDPLATFORM node:24-slim@${NODE_DIGEST} AS build',
      'FROM node:24-slim@${NODE_DIGEST}',
    ]);
    // Without a default: an empty digest is no reference to an image, and the build stops.
    expect(dockerfile.match(/^ARG .*$/gm)).toEqual(['ARG NODE_DIGEST']);
  });

  test('holds nothing that is compiled for one architecture, so that any builder makes it for all', async () => {
    const { packages } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
      readonly packages: Readonly<Record<string, LockedPackage>>;
    };
    const inside = new Map<string, LockedPackage>();
    const add = (from: string, name: string): void => {
      const path = installedFor(packages, from, name);
      const locked = path === undefined ? undefined : packages[path];
      if (path === undefined || locked === undefined || inside.has(path)) return;
      inside.set(path, locked);
      const { dependencies, optionalDependencies, peerDependencies } = locked;
      const needed = { ...dependencies, ...optionalDependencies, ...peerDependencies };
      for (const dependency of Object.keys(needed)) add(path, dependency);
    };
    for (const name of Object.keys(await imageDependencies())) add('', name);
    expect(inside.size).toBeGreaterThan(100);
    const bound = [...inside].filter(
      ([, { cpu, os, hasInstallScript }]) => cpu ?? os ?? hasInstallScript,
    );
    expect(bound).toEqual([]);
  });

  test('has what the broker’s process needs, at the versions of the lockfile, and nothing for development', async () => {
    const dependencies = await imageDependencies();
    const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
      readonly dependencies: object;
    };
    const needed = Object.keys(manifest.dependencies);
    expect(needed.length).toBeGreaterThan(10);
    expect(Object.keys(dependencies).toSorted()).toEqual(
      needed.filter((name) => !['libsql', 'oidc-provider'].includes(name)).toSorted(),
    );
    for (const version of Object.values(dependencies)) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test('is built of files that its context has', async () => {
    const [dockerfile, ignored] = await Promise.all([
      read('container/Dockerfile'),
      read('container/Dockerfile.dockerignore'),
    ]);
    const kept = ignored.split('\n').filter((line) => line.startsWith('!'));
    for (const name of [
      'package.json',
      'package-lock.json',
      'src',
      'build',
      '.swcrc',
      'tsconfig.json',
      'deploy/container/production.mjs',
    ]) {
      expect(kept).toContain(`!${name}`);
    }
    expect(dockerfile).toContain('npm run build:packages && node deploy/container/production.mjs');
    expect(ignored.startsWith('*\n')).toBe(true);
  });
});

interface LockedPackage {
  readonly cpu?: readonly string[];
  readonly os?: readonly string[];
  readonly hasInstallScript?: boolean;
  readonly dependencies?: object;
  readonly optionalDependencies?: object;
  readonly peerDependencies?: object;
}

/** What production.mjs leaves in package.json. */
async function imageDependencies(): Promise<Readonly<Record<string, string>>> {
  const folder = await mkdtemp(join(tmpdir(), 'image-'));
  try {
    for (const name of ['package.json', 'package-lock.json']) {
      await copyFile(join(ROOT, name), join(folder, name));
    }
    const script = join(ROOT, 'deploy/container/production.mjs');
    await promisify(execFile)(process.execPath, [script], { cwd: folder });
    const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
      readonly dependencies: Readonly<Record<string, string>>;
      readonly devDependencies?: object;
    };
    expect(manifest.devDependencies).toBeUndefined();
    return manifest.dependencies;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Where a package finds another one: in its own node_modules, or in those of the folders above. */
function installedFor(packages: object, from: string, name: string): string | undefined {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    const path = at === '' ? `node_modules/${name}` : `${at}/node_modules/${name}`;
    if (path in packages) return path;
    if (at === '') return undefined;
  }
}
