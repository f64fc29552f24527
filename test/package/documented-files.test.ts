import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { parse, parseDocument } from 'yaml';
import { loadConfig } from '../../src/config/load-config.js';
import { fileKey, SETTING_NAMES } from '../../src/config/settings.js';
import { readDeployment } from '../../src/lambda/deployment-file.js';
import { BLOCKS, type DocumentedBlock } from '../support/documented-blocks.js';
import { TEMPORARY } from '../support/temporary-folder.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Top-level keys of the YAML of other programs, of `serverless.yml`, and of the Helm chart's values. */
const OF_OTHERS = new Set([
  'params',
  'brokerRoles',
  'spec',
  'steps',
  'http',
  'http_filters',
  'forward_client_cert_details',
  'spring.security.oauth2.client',
  'resources',
  'image',
  'settings',
  'ingress',
  'serviceMonitor',
]);
/** The list of `serverless.yml`'s parameter, which is a section of the broker's own file by another form. */
const isParameter = (content: object): boolean =>
  'peers' in content && typeof content.peers === 'string';

/** The YAML of the pages that is meant to be a broker's configuration file. */
function configurationFiles(): readonly DocumentedBlock[] {
  return BLOCKS.filter(({ at, language, text }) => {
    if (language !== 'yaml') return false;
    const document = parseDocument(text);
    expect({ at, errors: document.errors }).toEqual({ at, errors: [] });
    const content = document.toJS() as object;
    return !isParameter(content) && !Object.keys(content).some((key) => OF_OTHERS.has(key));
  });
}

/** What a deployment on AWS gives beside its file. */
const PARAMETERS = {
  BROKER_ISSUER: 'https://tenant.example/',
  BROKER_AUDIENCE: 'https://services.example.com',
};

const blocks = configurationFiles();

test('there are such files for several tokens, for a deployment, and for every identity in a file', () => {
  expect(new Set(blocks.map(({ page }) => page))).toEqual(
    new Set([
      'docs/deploying.md',
      'docs/several-tokens.md',
      'docs/single-machine.md',
      ...readdirSync(join(root, 'docs/identities'))
        .filter((name) => name !== 'secret.md')
        .map((name) => `docs/identities/${name}`),
    ]),
  );
});

describe('the broker reads without a mistake and without a warning', () => {
  test.each(blocks.filter(({ page }) => page !== 'docs/deploying.md'))('$at', ({ text }) => {
    const { warnings, tokens } = loadConfig({
      env: { BROKER_CONFIG: 'broker.yml' },
      readFile: () => text,
    });
    expect(warnings).toEqual([]);
    expect(tokens.length).toBeGreaterThan(0);
  });

  test.each(blocks.filter(({ page }) => page === 'docs/deploying.md'))('$at', async ({ text }) => {
    const folder = await mkdtemp(join(TEMPORARY, 'documented-files-'));
    const file = join(folder, 'broker.yml');
    try {
      await writeFile(file, text);
      const options = { prefix: 'service-token-broker/dev', parameters: {}, env: PARAMETERS };
      expect(readDeployment(file, options).tokens.length).toBeGreaterThan(0);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('a file of another program is known by its keys, and none of these is a key of the broker', () => {
  const keys = [...SETTING_NAMES.map(fileKey), 'providers', 'tokens', 'trusted_issuers', 'peers'];
  expect(keys.filter((key) => OF_OTHERS.has(key))).toEqual([]);
});

test('parameters of a stage are those of serverless.yml', () => {
  const known = (
    parse(readFileSync(join(root, 'serverless.yml'), 'utf8'), {
      logLevel: 'silent',
    }) as { params: { default: object } }
  ).params.default;
  const stages = BLOCKS.filter(
    ({ language, text }) => language === 'yaml' && /^params:/m.test(text),
  );
  expect(stages.length).toBeGreaterThan(1);
  for (const { at, text } of stages) {
    const { params } = parseDocument(text).toJS() as { params: Record<string, object> };
    const names = Object.values(params).flatMap((stage) => Object.keys(stage));
    const odd = names.filter((name) => !(name in known) && !/^(?:issuer|audience)$/.test(name));
    expect({ at, odd }).toEqual({ at, odd: [] });
  }
});
