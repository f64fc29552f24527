import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { runCommand, startBroker, type BrokerProcess } from '../../support/broker-process.js';
import { startProviderServer, type ProviderServer } from '../../support/provider-server.js';
import { TEMPORARY } from '../../support/temporary-folder.js';
import { getToken, basic } from '../../e2e/peer-http.js';
import { CHART, helm, render, resourcesIn, specOf } from './programs.js';
import { EMBEDDED, merged } from './values.js';

const CREDENTIALS = '{"client_id":"broker","client_secret":"right-secret"}';

let folder = '';
let provider: ProviderServer;
let values: object;
beforeAll(async () => {
  folder = await mkdtemp(join(TEMPORARY, 'chart-broker-'));
  provider = await startProviderServer({});
  values = merged(EMBEDDED, {
    settings: {
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: 'https://services.example.test',
      BROKER_ALLOW_INSECURE_HTTP: true,
    },
    file: { sections: { peers: {} } },
    networkPolicy: { extraEgress: [{ ports: [{ port: 8080 }] }] },
  });
});
afterAll(async () => {
  await provider.close();
  await rm(folder, { recursive: true, force: true });
});

/**
 * The variables of the rendered pod: those of its ConfigMap, and those from Secrets, which the test has. Its volumes are
 * folders of the test; its ports are free ones.
 */
async function environmentOfPod(): Promise<NodeJS.ProcessEnv> {
  const resources = resourcesIn(await render(values, folder));
  const map = (name: string): Readonly<Record<string, string>> =>
    resources.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === name)?.data ??
    {};
  const { template } = specOf(resources, 'Deployment') as {
    readonly template: { readonly spec: PodSpec };
  };
  const { spec } = template;
  const [container] = spec.containers;
  const secrets: Readonly<Record<string, string>> = {
    'broker-master-key/master-key': randomBytes(32).toString('base64'),
  };
  const env: Record<string, string> = {};
  for (const { configMapRef } of container?.envFrom ?? [])
    Object.assign(env, map(configMapRef.name));
  for (const { name, valueFrom } of container?.env ?? []) {
    env[name] = secrets[`${valueFrom.secretKeyRef.name}/${valueFrom.secretKeyRef.key}`] ?? '';
  }

  for (const { name, mountPath } of container?.volumeMounts ?? []) {
    const volume = spec.volumes.find((one) => one.name === name);
    const mounted = join(folder, 'mounted', name);
    await mkdir(mounted, { recursive: true });
    // As fsGroup leaves a volume: its group may write.
    await chmod(mounted, 0o2775);
    for (const [file, text] of Object.entries(map(volume?.configMap?.name ?? ''))) {
      await writeFile(join(mounted, file), text);
    }
    for (const [variable, value] of Object.entries(env)) {
      if (value.startsWith(`${mountPath}/`)) env[variable] = value.replace(mountPath, mounted);
    }
  }
  return { ...env, PORT: '0', HOST: '127.0.0.1', BROKER_MANAGEMENT_PORT: '0' };
}

interface PodSpec {
  readonly containers: readonly {
    readonly envFrom: readonly { readonly configMapRef: { readonly name: string } }[];
    readonly env: readonly {
      readonly name: string;
      readonly valueFrom: {
        readonly secretKeyRef: { readonly name: string; readonly key: string };
      };
    }[];
    readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  }[];
  readonly volumes: readonly {
    readonly name: string;
    readonly configMap?: { readonly name: string };
  }[];
}

/** What the notes of the installation say to run in the pod: the arguments of the command line. */
async function commandsOfNotes(): Promise<readonly (readonly string[])[]> {
  const file = join(folder, 'notes.yaml');
  await writeFile(file, stringify(values));
  const { out } = await helm(['install', 'broker', CHART, '-f', file, '--dry-run=client'], folder);
  const notes = out.slice(out.indexOf('NOTES:'));
  return [...notes.matchAll(/-- node dist\/cli\.js ([a-z][^<>\n]*)/g)].map(([, args = '']) =>
    args.trim().split(' '),
  );
}

/** Asks the port that the pod's probes ask. */
async function statusOf(broker: BrokerProcess, path: string): Promise<number> {
  const [, url = ''] = /"managementUrl":"([^"]+)"/.exec(broker.stdout()) ?? [];
  return (await fetch(new URL(path, url))).status;
}

test('a broker with what the chart gives it becomes ready by what its notes say, and serves a peer', async () => {
  const env = await environmentOfPod();
  expect(env['BROKER_DATA_DIR']).toBe(join(folder, 'mounted/data/data'));
  expect(env['BROKER_CONFIG']).toBe(join(folder, 'mounted/file/broker.yml'));
  const broker = await startBroker(['serve'], env);
  expect(await statusOf(broker, '/health/live')).toBe(200);
  expect(await statusOf(broker, '/health/ready')).toBe(503);

  const commands = await commandsOfNotes();
  expect(commands.map((args) => args.join(' '))).toEqual([
    'status',
    'credentials set',
    'rotate',
    'peers add billing --show-secret',
  ]);
  let secret = '';
  for (const args of commands.slice(1)) {
    const input = args[0] === 'credentials' ? CREDENTIALS : '';
    const { code, stdout, stderr } = await runCommand(args, env, { input });
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) });
    secret = /[\w-]{43}/.exec(stdout)?.[0] ?? '';
  }
  // What a failed read has left behind ends after seconds.
  let ready = 0;
  for (let at = 0; at < 100 && ready !== 200; at += 1) {
    ready = await statusOf(broker, '/health/ready');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  expect(ready).toBe(200);
  expect(await runCommand(['status'], env)).toMatchObject({ code: 0 });
  expect(await getToken(broker.url, basic('billing', secret))).toMatchObject({
    status: 200,
    body: { token_type: 'Bearer' },
  });
  expect(await broker.stop()).toMatchObject({ code: 0 });
}, 120_000);
