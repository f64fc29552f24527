import { describe, expect, test } from '@jest/globals';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, parseAllDocuments } from 'yaml';
import { checkSettings } from '../../src/config/check-settings.js';
import type { BrokerConfig } from '../../src/config/broker-config.js';
import { SETTINGS } from '../../src/config/settings.js';
import { startBroker } from '../support/broker-process.js';
import { fixedPort } from '../support/fixed-port.js';
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
    expect(dockerfile.match(/^ARG .*$/gm)).toEqual(['ARG NODE_DIGEST', 'ARG TARGETARCH']);
  });

  test.each(['x64', 'arm64'])(
    'holds for %s what is compiled for it, and else nothing that is compiled',
    async (cpu) => {
      const { packages } = await imageFiles(cpu);
      const { '': own, ...inside } = packages;
      expect(Object.keys(own?.dependencies ?? {}).length).toBeGreaterThan(10);
      expect(Object.keys(inside).length).toBeGreaterThan(100);
      const bound = Object.entries(inside).filter(([, one]) => one.cpu ?? one.os);
      expect(bound.map(([path]) => path)).toEqual([
        `node_modules/@libsql/linux-${cpu}-gnu`,
        'node_modules/libsql',
      ]);
      for (const [, one] of bound)
        expect(one).toMatchObject({ os: expect.arrayContaining(['linux']) });
      for (const [, one] of bound)
        expect(one).toMatchObject({ cpu: expect.arrayContaining([cpu]) });
      expect(Object.values(inside).filter(({ hasInstallScript }) => hasInstallScript)).toEqual([]);
      expect(Object.entries(inside).filter(([, one]) => one.integrity === undefined)).toEqual([]);
    },
  );

  test('has what the broker needs, dev mode and the embedded store too, at the versions of the lockfile, and nothing for development', async () => {
    const { manifest } = await imageFiles('x64');
    const all = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
      readonly dependencies: object;
    };
    const needed = Object.keys(all.dependencies);
    expect(needed).toEqual(expect.arrayContaining(['libsql', 'oidc-provider']));
    expect(Object.keys(manifest.dependencies).toSorted()).toEqual(needed.toSorted());
    for (const version of Object.values(manifest.dependencies)) {
      expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    }
    expect(manifest.devDependencies).toBeUndefined();
  });

  test('runs as a user without rights, by its number, and the process of the broker gets the signals', async () => {
    const dockerfile = await read('container/Dockerfile');
    expect(dockerfile).toMatch(/^USER 1000:1000$/m);
    // In the form of a list: no shell stands between.
    expect(dockerfile).toMatch(/^ENTRYPOINT \["node", "dist\/cli\.js"\]\nCMD \["serve"\]$/m);
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
      'deploy/container/healthcheck.mjs',
      // Without it the packages are not built.
      'docs/runbook.md',
    ]) {
      expect(kept).toContain(`!${name}`);
    }
    expect(dockerfile).toMatch(
      /npm run pack:all\n[^]*node \/build\/deploy\/container\/production\.mjs "\$cpu"/,
    );
    expect(ignored.startsWith('*\n')).toBe(true);
  });
});

describe('the health check', () => {
  const script = join(ROOT, 'deploy/container/healthcheck.mjs');
  const check = async (port: number, ...args: readonly string[]): Promise<number | null> => {
    const child = spawn(process.execPath, [script, ...args], { env: { PORT: String(port) } });
    const [code] = (await once(child, 'close')) as [number | null];
    return code;
  };
  const answering = async (status: number): Promise<Server> => {
    const server = createServer((request, response) => {
      response.writeHead(request.url === '/health/live' ? status : 404).end();
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return server;
  };

  test.each([
    [200, 0],
    [503, 1],
  ])('%i of the broker is %i', async (status, expected) => {
    const server = await answering(status);
    try {
      expect(await check((server.address() as AddressInfo).port)).toBe(expected);
    } finally {
      server.close();
    }
  });

  test('a broker that never answers is 1, before the platform gives up', async () => {
    const server = createServer(() => {});
    await once(server.listen(0, '127.0.0.1'), 'listening');
    try {
      expect(await check((server.address() as AddressInfo).port, '100')).toBe(1);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  test('it gives up before the image and compose.yaml end it', async () => {
    const [deadline, ...limits] = await Promise.all(
      (
        [
          [script, /DEADLINE = (\d+)_000;/],
          [join(ROOT, 'deploy/container/Dockerfile'), /HEALTHCHECK .*--timeout=(\d+)s/],
          [join(ROOT, 'compose.yaml'), /timeout: (\d+)s/],
        ] as const
      ).map(async ([file, seconds]) => Number(seconds.exec(await readFile(file, 'utf8'))?.[1])),
    );
    for (const limit of limits) expect(limit).toBeGreaterThan(deadline ?? Number.NaN);
  });

  test('nobody there is 1', async () => {
    const server = await answering(200);
    const { port } = server.address() as AddressInfo;
    await once(server.close(), 'close');
    expect(await check(port)).toBe(1);
  });
});

describe('compose.yaml', () => {
  interface Compose {
    readonly services: {
      readonly broker: {
        readonly build: {
          readonly dockerfile: string;
          readonly args: Readonly<Record<string, string>>;
        };
        readonly command: readonly string[];
        readonly environment: Readonly<Record<string, string>>;
        readonly ports: readonly string[];
        readonly volumes: readonly string[];
        readonly healthcheck: { readonly test: readonly string[] };
        readonly read_only: boolean;
      };
    };
    readonly volumes: object;
  }
  const compose = async (): Promise<Compose['services']['broker']> =>
    (parse(await readFile(join(ROOT, 'compose.yaml'), 'utf8')) as Compose).services.broker;

  test('has settings that the broker knows', async () => {
    const { environment } = await compose();
    expect(checkSettings({ env: environment })).toMatchObject({
      warnings: [],
      http: { port: 3000, management: { port: 8081, host: '0.0.0.0' } },
      dev: { providerPort: 3001 },
    });
  });

  test('publishes each port on this machine alone, under the number that tokens and lines name', async () => {
    const { environment, ports } = await compose();
    const wanted = ['PORT', 'BROKER_DEV_PROVIDER_PORT', 'BROKER_MANAGEMENT_PORT'].map(
      (name) => environment[name],
    );
    expect(ports).toEqual(wanted.map((port) => `127.0.0.1:${port}:${port}`));
  });

  test('goes with the Dockerfile', async () => {
    const { build, volumes, healthcheck } = await compose();
    const dockerfile = await readFile(join(ROOT, build.dockerfile), 'utf8');
    for (const name of Object.keys(build.args)) expect(dockerfile).toContain(`\nARG ${name}\n`);
    const folder = /^WORKDIR (\/broker)$/m.exec(dockerfile)?.[1] ?? '';
    expect(volumes).toEqual([`data:${folder}/${SETTINGS.BROKER_DATA_DIR.default}`]);
    expect(dockerfile).toContain(
      `CMD ${JSON.stringify(healthcheck.test.slice(1)).replace(',', ', ')}`,
    );
  });

  test('starts as it says', async () => {
    const { command, environment, healthcheck } = await compose();
    const [one, other, third] = [fixedPort(), fixedPort(), fixedPort()].map(String);
    const folder = await mkdtemp(join(tmpdir(), 'compose-'));
    const env = {
      ...environment,
      HOST: '0.0.0.0',
      PORT: one,
      BROKER_DEV_PROVIDER_PORT: other,
      BROKER_MANAGEMENT_PORT: third,
    };
    try {
      const broker = await startBroker(command, env, { cwd: folder });
      expect(broker.stdout()).toContain(
        `ready at http://127.0.0.1:${one}, the embedded provider at http://127.0.0.1:${other}`,
      );
      expect(broker.stdout()).toContain(`http://127.0.0.1:${third}/ (the status page`);
      const [, , script = ''] = healthcheck.test;
      await promisify(execFile)(process.execPath, [join(ROOT, 'deploy/container', script)], {
        env: { PORT: one },
      });
      expect(
        (await fetch(`http://127.0.0.1:${other}/.well-known/openid-configuration`)).status,
      ).toBe(200);
      expect(await broker.stop()).toEqual({ code: 0, signal: null });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

interface LockedPackage {
  readonly version: string;
  readonly integrity?: string;
  readonly cpu?: readonly string[];
  readonly os?: readonly string[];
  readonly hasInstallScript?: boolean;
  readonly dependencies?: object;
}

/** What production.mjs makes of package.json and package-lock.json for an architecture. */
async function imageFiles(cpu: string): Promise<{
  readonly manifest: {
    readonly dependencies: Readonly<Record<string, string>>;
    readonly devDependencies?: object;
  };
  readonly packages: Readonly<Record<string, LockedPackage>>;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'image-'));
  const made = async (name: string): Promise<unknown> =>
    JSON.parse(await readFile(join(folder, name), 'utf8'));
  try {
    for (const name of ['package.json', 'package-lock.json']) {
      await copyFile(join(ROOT, name), join(folder, name));
    }
    const script = join(ROOT, 'deploy/container/production.mjs');
    await promisify(execFile)(process.execPath, [script, cpu], { cwd: folder });
    const { packages } = (await made('package-lock.json')) as Awaited<
      ReturnType<typeof imageFiles>
    >;
    const manifest = (await made('package.json')) as Awaited<
      ReturnType<typeof imageFiles>
    >['manifest'];
    return { manifest, packages };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
