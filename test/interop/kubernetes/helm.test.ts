import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { checkSettings } from '../../../src/config/check-settings.js';
import { ROOT } from '../../deploy/support/packaging.js';
import {
  CHART,
  helm,
  programOf,
  render,
  resourcesIn,
  run,
  specOf,
  validate,
  type Resource,
} from './programs.js';
import { AWS, BAD, GOOD, merged } from './values.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'helm-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const ALWAYS = ['ConfigMap', 'Service', 'Deployment'];

interface PodSpec {
  readonly terminationGracePeriodSeconds: number;
  readonly containers: readonly {
    readonly env?: readonly { readonly name: string }[];
    readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
    readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
  }[];
  readonly volumes?: readonly { readonly name: string }[];
}

function podOf(resources: readonly Resource[]): PodSpec {
  const deployment = specOf(resources, 'Deployment') as { template: { spec: PodSpec } };
  return deployment.template.spec;
}

function settingsOf(resources: readonly Resource[]): NodeJS.ProcessEnv {
  const map = resources.find(({ kind, data }) => kind === 'ConfigMap' && data?.['PORT']);
  return { ...map?.data };
}

/** Texts that would be more than a value where a template puts them between quotes, on a line of their own, or into a template. */
test.each([
  'x"\n---\nkind: Secret\n',
  "x' # y",
  '{{ .Release.Name }}{{ fail "x" }}',
  'x: [y]\n  z: &a *b',
])('%j stays the text of a value', async (hostile) => {
  const peers = { [hostile]: { identities: [{ issuer: 'cluster', subject: hostile }] } };
  const issuer = 'https://oidc.eks.eu-central-1.amazonaws.com/id/1';
  const trusted_issuers = { cluster: { kind: 'kubernetes', issuer, jwks_uri: `${issuer}/keys` } };
  const values = merged(AWS, {
    settings: {
      BROKER_AUDIENCE: hostile,
      BROKER_SCOPE: hostile,
      BROKER_PUBLIC_URL: 'https://broker.example.test',
    },
    podAnnotations: { note: hostile },
    extraEnv: [{ name: 'NOTE', value: hostile }],
    file: { sections: { peers, trusted_issuers } },
  });
  const resources = resourcesIn(await render(values, folder));
  expect(resources.map(({ kind }) => kind)).not.toContain('Secret');
  expect(settingsOf(resources)).toMatchObject({ BROKER_AUDIENCE: hostile, BROKER_SCOPE: hostile });
  const file = resources.find(({ data }) => data?.['broker.yml'])?.data?.['broker.yml'] ?? '';
  expect(parse(file)).toEqual({ peers, trusted_issuers });
  const { template } = specOf(resources, 'Deployment') as {
    template: { metadata: { annotations: object } };
  };
  expect(template.metadata.annotations).toMatchObject({ note: hostile });
  expect(podOf(resources).containers[0]?.env).toEqual([{ name: 'NOTE', value: hostile }]);
});

const CUSTOM = 'monitoring.coreos.com/';
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');

describe.each(GOOD)('%s', (_what, values, kinds) => {
  let text = '';
  let resources: readonly Resource[] = [];
  beforeAll(async () => {
    text = await render(values, folder);
    resources = resourcesIn(text);
  });

  test('makes what it should, and no Secret', () => {
    const account = 'serviceAccount' in values && 'create' in (values.serviceAccount as object);
    const expected = [...ALWAYS, ...(account ? [] : ['ServiceAccount']), ...kinds];
    expect(resources.map(({ kind }) => kind).toSorted()).toEqual(expected.toSorted());
  });

  test('has settings that the broker takes, and paths that are mounted', () => {
    const settings = settingsOf(resources);
    const mounts = podOf(resources).containers[0]?.volumeMounts ?? [];
    for (const [name, value = ''] of Object.entries(settings)) {
      if (!/_(?:FILE|DIR|CONFIG)$/.test(name)) continue;
      expect(mounts.filter(({ mountPath }) => value.startsWith(`${mountPath}/`))).toHaveLength(1);
    }
    const volumes = (podOf(resources).volumes ?? []).map((volume) => volume.name);
    expect(volumes.toSorted()).toEqual(mounts.map((mount) => mount.name).toSorted());
    // The files themselves are the cluster's; what the settings say to each other counts here.
    const { BROKER_CONFIG: _file, ...env } = settings;
    expect(checkSettings({ env }).warnings).toEqual([]);
  });

  test('gives a stopping pod its time', () => {
    const { terminationGracePeriodSeconds: all, containers } = podOf(resources);
    const pause = containers[0]?.lifecycle.preStop.sleep.seconds ?? Number.NaN;
    const delay = Number(settingsOf(resources)['BROKER_SHUTDOWN_DELAY_SECONDS']);
    expect(all).toBeGreaterThanOrEqual(pause + delay + 10);
  });

  test('passes helm lint --strict', async () => {
    const file = join(folder, 'lint.yaml');
    await writeFile(file, stringify(values));
    const { code, out } = await helm(['lint', '--strict', CHART, '--values', file], folder);
    expect(out).toContain('0 chart(s) failed');
    expect(out).not.toMatch(/WARNING|ERROR/);
    expect(code).toBe(0);
  });
});

test('everything passes the schemas of Kubernetes', async () => {
  const files = await Promise.all(
    GOOD.map(async ([, values], at) => {
      const known = resourcesIn(await render(values, folder)).filter(
        ({ apiVersion }) => !apiVersion.startsWith(CUSTOM),
      );
      const file = join(folder, `rendered-${at}.yaml`);
      await writeFile(file, known.map((resource) => stringify(resource)).join('---\n'));
      return file;
    }),
  );
  await validate(files, folder);
}, 120_000);

describe('nothing is made of values that contradict, and the value is named', () => {
  test.each(BAD)('%s', async (name, values) => {
    const file = join(folder, 'bad.yaml');
    await writeFile(file, stringify(values));
    const { code, out, err } = await helm(['template', 'broker', CHART, '-f', file], folder);
    expect(code).not.toBe(0);
    expect(out).toBe('');
    const path = name.split('.');
    const last = path.at(-1) ?? '';
    // As a line of the chart's own, or as helm names what the schema refuses.
    const own = err.split('\n').some((line) => line.startsWith(`- ${name}: `));
    const schema =
      err.includes(`at '/${path.join('/')}'`) ||
      (err.includes(`additional properties '${last}' not allowed`) &&
        err.includes(
          `at '${path
            .slice(0, -1)
            .map((part) => `/${part}`)
            .join('')}'`,
        ));
    expect([own || schema, err]).toEqual([true, err]);
  });

  test.each(['settings', 'ingress', 'networkPolicy', 'podLabels'])(
    '%s, which is not there at all',
    async (name) => {
      const file = join(folder, 'none.yaml');
      await writeFile(file, stringify({ ...AWS, [name]: null }));
      const { code, err } = await helm(['template', 'broker', CHART, '-f', file], folder);
      expect(code).not.toBe(0);
      expect(err).toContain(`missing property '${name}'`);
    },
  );

  test('all of them at once, at an installation too', async () => {
    const { code, err } = await helm(['install', 'broker', CHART, '--dry-run=client'], folder);
    expect(code).not.toBe(0);
    for (const name of ['image.repository', 'AWS_REGION', 'BROKER_ISSUER', 'BROKER_AUDIENCE']) {
      expect(err).toContain(name);
    }
  });
});

test('alerts link to the runbook that a value names', async () => {
  const rules = async (prometheusRule: object): Promise<string> =>
    render(merged(AWS, { prometheusRule: { enabled: true, ...prometheusRule } }), folder);
  const linked = await rules({ runbookUrl: 'https://wiki.example.test/runbook' });
  expect(linked).toContain('runbook_url: https://wiki.example.test/runbook#no-metrics');
  expect(linked).not.toContain('docs/runbook.md#');
  expect(await rules({})).toContain('runbook: docs/runbook.md#no-metrics');
});

test('a number stays a number, whatever its size', async () => {
  const values = merged(AWS, { settings: { BROKER_MIN_REMAINING_SECONDS: 2_592_000 } });
  expect(settingsOf(resourcesIn(await render(values, folder)))).toMatchObject({
    BROKER_MIN_REMAINING_SECONDS: '2592000',
  });
});

test('new settings make new pods, new peers do not', async () => {
  const checksum = async (changes: object): Promise<string> =>
    /checksum\/settings: (\w+)/.exec(await render(merged(AWS, changes), folder))?.[1] ?? '';
  const before = await checksum({});
  expect(before).toMatch(/^[\da-f]{64}$/);
  const peers = { orders: { identities: [] } };
  const withPeer = await checksum({ file: { sections: { peers } } });
  expect(await checksum({ file: { sections: { peers: { ...peers, billing: {} } } } })).toBe(
    withPeer,
  );
  expect(await checksum({ settings: { BROKER_CACHE_TTL_SECONDS: 60 } })).not.toBe(before);
  expect(await checksum({ file: { sections: { peers, tokens: { ledger: {} } } } })).not.toBe(
    withPeer,
  );
});

test('the rules are those of deploy/prometheus-rules.yml, with the figures of the values', async () => {
  const [, values = AWS] = GOOD[1] ?? [];
  const rule = resourcesIn(await render(values, folder)).find(
    ({ kind }) => kind === 'PrometheusRule',
  );
  const source = (await readFile(join(ROOT, 'deploy/prometheus-rules.yml'), 'utf8'))
    .replace('_remaining_seconds < 3600', '_remaining_seconds < 2592000')
    .replace('> 93600', '> 5400');
  expect(rule?.spec).toEqual(parse(source));
});

test('the Prometheus Operator takes its resources', async () => {
  const [, values = AWS] = GOOD[1] ?? [];
  const custom = resourcesIn(await render(values, folder)).filter(({ apiVersion }) =>
    apiVersion.startsWith(CUSTOM),
  );
  expect(custom.map(({ kind }) => kind).toSorted()).toEqual(['PrometheusRule', 'ServiceMonitor']);
  await symlink(join(programOf('INTEROP_CRDS'), 'node_modules'), join(folder, 'node_modules'));
  const models = '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';

  // The types refuse members that there are not …
  const typed = (name: string, resources: readonly Resource[]): Promise<void> =>
    writeFile(
      join(folder, name),
      resources
        .map(
          (resource, at) =>
            `import type { I${resource.kind} } from '${models}/${resource.kind}';\n` +
            `export const r${at}: I${resource.kind} = ${JSON.stringify(resource)};\n`,
        )
        .join(''),
    );
  await typed('right.ts', custom);
  const extra = custom.map((resource) => ({
    ...resource,
    spec: { ...resource.spec, other: [] },
  }));
  await typed('wrong.ts', extra);
  const options = '--noEmit --strict --skipLibCheck --module esnext --moduleResolution bundler';
  const { out } = await run(
    process.execPath,
    [TSC, ...options.split(' '), '--ignoreConfig', 'right.ts', 'wrong.ts'],
    folder,
  );
  expect(out.match(/^\w+\.ts(?=\()/gm)).toEqual(['wrong.ts', 'wrong.ts']);

  // … and the schemas values of another form.
  await writeFile(join(folder, 'custom.json'), JSON.stringify(custom));
  await writeFile(
    join(folder, 'schemas.mjs'),
    `import { readFileSync } from 'node:fs';
    for (const resource of JSON.parse(readFileSync('custom.json', 'utf8'))) {
      const models = await import('${models}/' + resource.kind);
      new models[resource.kind](resource).validate();
      console.log(resource.kind);
    }`,
  );
  const validated = await run(process.execPath, ['schemas.mjs'], folder);
  expect(validated).toMatchObject({ code: 0, err: '' });
  expect(validated.out.trim().split('\n')).toHaveLength(2);
}, 120_000);

test('the chart can be packed', async () => {
  const { code } = await helm(['package', CHART, '--destination', folder], folder);
  expect(code).toBe(0);
  expect((await readdir(folder)).filter((name) => name.endsWith('.tgz'))).toHaveLength(1);
});
