import { describe, expect, test } from '@jest/globals';
import { Ajv, type ValidateFunction } from 'ajv';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { SECTION_NAMES } from '../../src/config/check-settings.js';
import { SETTING_NAMES, settingOf } from '../../src/config/settings.js';
import { CHARTS_OWN, chartSettings, NOT_IN_PODS } from './support/chart-settings.js';
import { ROOT } from './support/packaging.js';

const CHART = join(ROOT, 'deploy/helm/service-token-broker');
const read = (file: string): Promise<string> => readFile(join(CHART, file), 'utf8');

interface Schema {
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: false | Schema;
  readonly items?: Schema;
}
type Values = Readonly<Record<string, unknown>>;

const schema = async (): Promise<Schema & { readonly properties: Record<string, Schema> }> =>
  JSON.parse(await read('values.schema.json')) as never;
const values = async (): Promise<Values> => parse(await read('values.yaml')) as Values;

let compiled: ValidateFunction | undefined;

/** Where the schema refuses these values. */
async function refused(given: Values): Promise<readonly string[]> {
  const options = { allErrors: true, strict: true, allowUnionTypes: true };
  const validate = (compiled ??= new Ajv(options).compile(await schema()));
  validate(given);
  return (validate.errors ?? []).map(({ instancePath, params }) =>
    [instancePath, (params as { additionalProperty?: string }).additionalProperty]
      .filter((part) => part !== undefined)
      .join('/'),
  );
}

function set(given: Values, path: readonly string[], value: unknown): Values {
  const [first = '', ...rest] = path;
  const inner = (given[first] ?? {}) as Values;
  return { ...given, [first]: rest.length === 0 ? value : set(inner, rest, value) };
}

describe('the values of the chart', () => {
  test('are valid as they stand', async () => {
    expect(await refused(await values())).toEqual([]);
  });

  test('are all described, and no others are allowed', async () => {
    const visit = (path: string, { properties = {}, ...one }: Schema): void => {
      expect([path, one.description]).toEqual([path, expect.stringMatching(/\S.*\.$/s)]);
      const named = Object.entries(properties);
      if (named.length > 0) {
        expect([path, one.additionalProperties]).toEqual([path, false]);
      }
      for (const [name, inner] of named) visit(`${path}.${name}`, inner);
    };
    visit('', await schema());
  });

  test('stand in values.yaml, each with its default', async () => {
    const given = await values();
    const missing: string[] = [];
    const visit = (path: string, one: Schema, value: unknown): void => {
      if (value === undefined) missing.push(path);
      // Of these a user sets some, and the schema has them all.
      if (/^\.(?:settings|secretSettings|file\.sections|resources)$/.test(path)) return;
      for (const [name, inner] of Object.entries(one.properties ?? {})) {
        visit(`${path}.${name}`, inner, (value as Values | undefined)?.[name]);
      }
    };
    visit('', await schema(), given);
    expect(missing).toEqual(['.global']);
  });

  test.each([
    ['replicas', 0],
    ['replicas', '2'],
    ['image.repository', 'registry.example.com/broker:1.0'],
    ['image.repository', 'registry.example.com/broker@sha256:00'],
    ['image.digest', 'sha256:DIGEST'],
    ['settings.BROKER_SECRET_STORE', 'vault'],
    ['settings.BROKER_PROFILE', 'Auth0'],
    ['settings.BROKER_ISSUER', 'TENANT.eu.auth0.com'],
    ['settings.BROKER_CACHE_TTL_SECONDS', 0],
    ['settings.BROKER_CACHE_TTL_SECONDS', '5m'],
    ['settings.BROKER_AUTHORIZE', 'yes'],
    ['settings.AWS_REGION', 'Frankfurt'],
    ['settings.HTTPS_PROXY', 'http://user:password@proxy:3128'],
    ['settings.BROKER_MASTER_KEY', 'c2VjcmV0'],
    ['settings.PORT', 8080],
    ['secretSettings.BROKER_MASTER_KEY', 'c2VjcmV0'],
    ['secretSettings.BROKER_ISSUER', { name: 'provider', key: 'issuer' }],
    ['file.sections.port', 1],
    ['serviceAccount.roleArn', 'service-token-broker'],
    ['service.type', 'NodePort'],
    ['ingress.host', 'https://broker.example.com'],
    ['ingress.paths', []],
    ['persistence.accessMode', 'ReadWriteMany'],
    ['autoscaling.minReplicas', 0],
    ['serviceMonitor.interval', 30],
    ['settings.BROKER_ROTATION_CRON', 'daily'],
    ['podLabels.team', 'a team'],
    ['replicaCount', 2],
  ])('%s is refused as %j, by its name', async (name, value) => {
    const path = name.split('.');
    expect(await refused(set(await values(), path, value))).toEqual([`/${path.join('/')}`]);
  });

  test.each([
    ['image.repository', 'registry.example.com:5000/team/service-token-broker'],
    ['settings.BROKER_CACHE_TTL_SECONDS', '300'],
    ['settings.BROKER_AUDIT', 'stdout'],
    ['settings.HTTPS_PROXY', 'proxy.example.com:3128'],
    ['settings.AWS_REGION', 'us-gov-west-1'],
    ['serviceAccount.roleArn', 'arn:aws-us-gov:iam::123456789012:role/path/service-token-broker'],
    ['ingress.host', 'broker.example.com'],
  ])('%s may be %j', async (name, value) => {
    expect(await refused(set(await values(), name.split('.'), value))).toEqual([]);
  });
});

describe('the settings of the chart are the broker’s', () => {
  test('in the schema, each as src/config describes it', async () => {
    expect((await schema()).properties['settings']?.properties).toEqual(chartSettings());
  });

  test('and each is a value, or what the chart decides, or not for pods', () => {
    const known = [...Object.keys(chartSettings()), ...Object.keys(CHARTS_OWN), ...NOT_IN_PODS];
    expect(known.toSorted()).toEqual([...SETTING_NAMES, 'BROKER_CONFIG', 'AWS_REGION'].toSorted());
  });

  test('in the templates, whatever they mention', async () => {
    const files = (await readdir(join(CHART, 'templates'))).map((name) => `templates/${name}`);
    const texts = await Promise.all([...files, 'values.yaml'].map(read));
    const mentioned = new Set(texts.join('\n').match(/\bBROKER_[A-Z_]+\b/g));
    expect(mentioned.size).toBeGreaterThan(20);
    const known: readonly string[] = [...SETTING_NAMES, 'BROKER_CONFIG'];
    // The prefix itself, and a link of a Service, in a comment.
    const others = ['BROKER_', 'BROKER_PORT'];
    expect([...mentioned].filter((name) => ![...known, ...others].includes(name))).toEqual([]);
    const helpers = await read('templates/_helpers.tpl');
    for (const name of Object.keys(CHARTS_OWN).filter((one) => one !== 'BROKER_MASTER_KEY')) {
      expect(helpers).toMatch(new RegExp(`^${name}: `, 'm'));
    }
  });

  test('and those that are secret come from Secrets', async () => {
    const { properties } = await schema();
    const secret = SETTING_NAMES.filter((name) => settingOf(name).secret === true);
    expect(Object.keys(properties['secretSettings']?.properties ?? {})).toEqual(
      expect.arrayContaining(secret),
    );
    expect(properties['settings']?.properties).not.toHaveProperty('BROKER_MASTER_KEY');
  });

  test('and its file has the sections of the broker’s', async () => {
    const sections = (await schema()).properties['file']?.properties?.['sections']?.properties;
    expect(Object.keys(sections ?? {}).toSorted()).toEqual([...SECTION_NAMES].toSorted());
  });
});

test('the chart has the version of the package', async () => {
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    readonly version: string;
  };
  expect(parse(await read('Chart.yaml'))).toMatchObject({ version, appVersion: version });
});

test('the chart’s rules are deploy/prometheus-rules.yml, and hold what the templates replace', async () => {
  const rules = await read('files/prometheus-rules.yml');
  // cp deploy/prometheus-rules.yml deploy/helm/service-token-broker/files/
  expect(rules).toBe(await readFile(join(ROOT, 'deploy/prometheus-rules.yml'), 'utf8'));
  const template = await read('templates/monitoring.yaml');
  const replaced = [...template.matchAll(/replace "([^"]+)"/g)].map(([, text = '']) => text);
  expect(replaced).toHaveLength(2);
  for (const text of replaced) expect(rules.split(text)).toHaveLength(2);
});
