import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { loadConfig } from '../../../src/config/load-config.js';
import { ROOT } from '../../deploy/support/packaging.js';
import { helm, kustomize, resourcesIn, validate } from './programs.js';

/** Blocks of the page: values and kustomizations that say which file they are, and commands. */
interface Page {
  readonly files: readonly {
    readonly name: string;
    readonly beside: string;
    readonly text: string;
  }[];
  readonly commands: readonly string[];
}

async function readPage(): Promise<Page> {
  const page = await readFile(join(ROOT, 'docs/helm.md'), 'utf8');
  const blocks = [...page.matchAll(/^```(ya?ml|sh)\n([\s\S]*?)^```$/gm)];
  const files = blocks.flatMap(([, kind, text = '']) => {
    if (kind === 'sh') return [];
    const [, name = '', beside = ''] =
      /^# ([\w-]+\.yaml)(?:, beside ([\w-]+\.yaml))?/.exec(text) ?? [];
    expect([text, name]).toEqual([text, expect.stringMatching(/./)]);
    return [{ name, beside, text }];
  });
  const commands = blocks.flatMap(([, kind, text = '']) =>
    kind === 'sh'
      ? text
          .trim()
          .split('\n')
          .map((line) => line.replace(/\s+#.*$/, ''))
      : [],
  );
  return { files, commands };
}

let folder = '';
let page: Page = { files: [], commands: [] };
beforeAll(async () => {
  page = await readPage();
  folder = await mkdtemp(join(tmpdir(), 'documented-'));
  for (const name of ['helm', 'kubernetes', 'kustomize']) {
    await cp(join(ROOT, 'deploy', name), join(folder, 'deploy', name), { recursive: true });
  }
  for (const { name, text } of page.files) await writeFile(join(folder, name), text);
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Renders as an installation would; fails unless helm takes it, and Kubernetes what comes out. */
async function rendered(args: readonly string[], name: string): Promise<string> {
  const { code, out, err } = await helm(['template', ...args], folder);
  expect({ args, code, err }).toEqual({ args, code: 0, err: '' });
  const file = join(folder, `rendered-${name}.yml`);
  await writeFile(file, out);
  return file;
}

test('every block of values renders, beside those that it names', async () => {
  const values = page.files.filter(({ name }) => name.startsWith('values'));
  expect(values.map(({ name }) => name)).toEqual([
    'values.yaml',
    'values-eks.yaml',
    'values-peers.yaml',
    'values-monitoring.yaml',
    'values-ingress.yaml',
    'values-alb.yaml',
  ]);
  const outputs = await Promise.all(
    values.map(({ name, beside }) => {
      const given = [beside, name].filter((file) => file !== '');
      const args = ['broker', 'deploy/helm/service-token-broker'];
      return rendered([...args, ...given.flatMap((file) => ['--values', file])], name);
    }),
  );
  // Custom resources are not among the schemas of Kubernetes; helm.test.ts validates them.
  const known = await Promise.all(
    outputs.map(async (output) => {
      const resources = resourcesIn(await readFile(output, 'utf8'));
      const file = `${output}.known.yaml`;
      const own = resources.filter(({ apiVersion }) => !apiVersion.startsWith('monitoring.'));
      await writeFile(file, own.map((resource) => stringify(resource)).join('---\n'));
      return file;
    }),
  );
  await validate(known, folder);

  // And the broker takes the settings, with the file that they lead to.
  let withFile = 0;
  for (const output of outputs) {
    const maps = resourcesIn(await readFile(output, 'utf8')).flatMap(({ data = {} }) => [data]);
    const env: NodeJS.ProcessEnv = { ...maps.find((data) => 'PORT' in data) };
    const text = maps.find((data) => 'broker.yml' in data)?.['broker.yml'];
    expect(env['BROKER_CONFIG'] === undefined).toBe(text === undefined);
    if (text !== undefined) {
      withFile += 1;
      env['BROKER_CONFIG'] = join(folder, 'broker.yml');
      await writeFile(env['BROKER_CONFIG'], text);
    }
    expect(loadConfig({ env }).warnings).toEqual([]);
  }
  expect(withFile).toBe(1);
}, 120_000);

test('every command of helm that installs or upgrades is one that helm takes', async () => {
  const commands = page.commands.filter((line) => /^helm (?:install|upgrade) /.test(line));
  expect(commands).toHaveLength(4);
  for (const [at, line] of commands.entries()) {
    // There is no cluster: what is rendered is the same.
    const args = line.split(/\s+/).slice(2);
    const resources = resourcesIn(await readFile(await rendered(args, `${at}`), 'utf8'));
    const names = resources.filter(({ kind }) => kind === 'Deployment' || kind === 'Service');
    // As the commands of kubectl on the page have it.
    expect(names.map(({ metadata }) => metadata.name)).toEqual([
      'broker-service-token-broker',
      'broker-service-token-broker',
    ]);
  }
});

test('the commands in the pod are those of the notes, which a broker was set up by', async () => {
  const inPod = page.commands.flatMap((line) => {
    const [, args] = /deploy\/broker-service-token-broker -- (node [^<>)]+)/.exec(line) ?? [];
    return args === undefined ? [] : [args.trim()];
  });
  const values = ['--values', 'values.yaml', '--namespace', 'tokens', '--dry-run=client'];
  const { out } = await helm(
    ['install', 'broker', 'deploy/helm/service-token-broker', ...values],
    folder,
  );
  const notes = out.slice(out.indexOf('NOTES:'));
  expect(inPod).toHaveLength(3);
  for (const line of page.commands.filter((command) => command.includes('dist/cli.js'))) {
    expect(notes).toContain(line.trim());
  }
});

test('the commands are all of kinds that are tried, or that only a cluster can try', () => {
  const tried =
    /^\(?(?:umask 077; )?(?:helm (?:install|upgrade|uninstall)|kubectl (?:-n [\w-]+ )?(?:exec|apply -k|create|rollout|port-forward)|curl) /;
  expect(page.commands.filter((line) => !tried.test(line))).toEqual([]);
});

test('the kustomizations build', async () => {
  const targets = page.commands.flatMap((line) => /^kubectl apply -k (\S+)$/.exec(line)?.[1] ?? []);
  expect(targets).toHaveLength(2);
  const own = 'deploy/kustomize/overlays/own';
  await mkdir(join(folder, own));
  await cp(join(folder, 'kustomization.yaml'), join(folder, own, 'kustomization.yaml'));
  for (const target of [...targets, own]) {
    expect(await kustomize(target, folder)).toMatchObject({ code: 0, err: '' });
  }
});

test('what the page shows of contradictions is what the chart says', async () => {
  const text = await readFile(join(ROOT, 'docs/helm.md'), 'utf8');
  const [, shown = ''] = /^```\n(Nothing was made\.[\s\S]*?)^```$/m.exec(text) ?? [];
  const { code, err } = await helm(
    ['template', 'broker', 'deploy/helm/service-token-broker', '--values', 'values.yaml']
      .concat(['--set', 'autoscaling.enabled=true', '--set', 'ingress.enabled=true'])
      .concat(['--set', 'ingress.tls.byController=true']),
    folder,
  );
  expect(code).not.toBe(0);
  expect(err).toContain(shown);
});
