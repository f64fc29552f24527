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
  expect(config.secrets.tokenSecretId).toBe('service-token-broker/dev/token');
  expect(config.secrets.peersSecretId).toBe('service-token-broker/dev/peers');
  expect(config.http).toMatchObject({
    port: 3000,
    publicUrl: 'https://broker.example.test',
    management: { port: 8081, host: '0.0.0.0' },
  });
  return config;
}

describe('the settings of the manifests are the broker’s', () => {
  test('for Kubernetes', async () => {
    const documents = parseAllDocuments(await read('kubernetes/broker.yaml')).map(
      (document) => document.toJS() as { readonly kind: string; readonly data?: NodeJS.ProcessEnv },
    );
    const settings = documents.find(({ kind }) => kind === 'ConfigMap')?.data ?? {};
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

describe('the image', () => {
  test('has what the broker’s process needs, at the versions of the lockfile, and nothing for development', async () => {
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
      const command = await readFile(join(ROOT, 'src/cli.ts'), 'utf8');
      const [, list = ''] = /const PACKAGES = \[([^\]]+)\]/.exec(command) ?? [];
      const needed = [...list.matchAll(/'([^']+)'/g)].map(([, name = '']) => name);
      expect(needed.length).toBeGreaterThan(10);
      expect(Object.keys(manifest.dependencies).toSorted()).toEqual(
        [
          'jose',
          ...needed.filter((name) => !['libsql', 'oidc-provider'].includes(name)),
        ].toSorted(),
      );
      for (const [name, version] of Object.entries(manifest.dependencies)) {
        if (name !== 'jose') expect(version).toMatch(/^\d+\.\d+\.\d+$/);
      }
      expect(manifest.devDependencies).toBeUndefined();
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
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
      'deploy/container/production.mjs',
    ]) {
      expect(kept).toContain(`!${name}`);
    }
    expect(dockerfile).toContain('node deploy/container/production.mjs');
    expect(ignored.startsWith('*\n')).toBe(true);
  });
});
