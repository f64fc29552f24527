import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { readdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { openStore } from '../../src/composition/open-store.js';
import { loadConfig } from '../../src/config/load-config.js';
import { systemClock } from '../../src/tokens/time.js';
import {
  answer,
  isolateAwsSettings,
  startScriptedEndpoint,
  type ScriptedEndpoint,
} from '../secrets/aws/scripted-endpoint.js';
import { temporaryFolders } from '../support/temporary-folder.js';

const temporaryFolder = temporaryFolders('open-store');

describe('the embedded store', () => {
  test.each([
    ['has its three secrets at once', {}, true],
    ['is left without them, for who only looks', { createsSecrets: false }, false],
  ])('%s', async (_what, options, exist) => {
    const config = loadConfig({ env: { BROKER_DATA_DIR: join(await temporaryFolder(), 'data') } });
    const store = await openStore(config, systemClock, options);
    const [{ credentialsSecretId, secretId: tokenSecretId }] = config.tokens;
    const { peersSecretId } = config.secrets;
    for (const secretId of [credentialsSecretId, tokenSecretId, peersSecretId]) {
      const found = await store.describe(secretId).then(
        () => true,
        () => false,
      );
      expect(found).toBe(exist);
    }
    await store.close();
  });
});

describe('a data folder without a store', () => {
  test('is named by its absolute path and left as it is, when none may be created', async () => {
    const folder = await temporaryFolder();
    const config = loadConfig({ env: { BROKER_DATA_DIR: relative('.', folder) } });
    await expect(openStore(config, systemClock, { createsStore: false })).rejects.toMatchObject({
      code: 'STORE_MISSING',
      kind: 'misconfigured',
      message: expect.stringMatching(/holds no embedded store\. Check BROKER_DATA_DIR/),
    });
    await expect(openStore(config, systemClock, { createsStore: false })).rejects.toThrow(folder);
    expect(await readdir(folder)).toEqual([]);
  });

  test('gets one otherwise, which is reported once', async () => {
    const folder = await temporaryFolder();
    const config = loadConfig({ env: { BROKER_DATA_DIR: folder } });
    const made: string[] = [];
    const onNewStore = (dataDir: string): number => made.push(dataDir);
    for (const options of [{ onNewStore }, { onNewStore, createsStore: false }]) {
      await (await openStore(config, systemClock, options)).close();
    }
    expect(made).toEqual([folder]);
  });

  test('whose log is left is not taken for new', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'secrets.db-wal'), 'a log');
    const config = loadConfig({ env: { BROKER_DATA_DIR: folder } });
    await expect(openStore(config, systemClock, { createsStore: false })).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
    });
  });
});

describe('AWS Secrets Manager', () => {
  let endpoint: ScriptedEndpoint;
  let restore: () => void;
  /** The Regions that were asked, as the signature of each request names them. */
  let asked: string[];

  beforeEach(async () => {
    restore = isolateAwsSettings(1);
    asked = [];
    endpoint = await startScriptedEndpoint();
    process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'] = endpoint.url;
    endpoint.play((_received, response, request) => {
      const scope = /Credential=[^/]+\/\d+\/([^/]+)\//.exec(request.headers.authorization ?? '');
      const region = scope?.[1] ?? '';
      asked.push(region);
      if (region !== 'us-east-1') response.destroy();
      else answer(response, { VersionId: 'v', CreatedDate: 1_790_000_000, SecretString: region });
    });
  });
  afterEach(async () => {
    restore();
    await endpoint.close();
  });

  test.each([
    ['', ['eu-central-1'], 'STORE_UNAVAILABLE', []],
    ['us-east-1', ['eu-central-1', 'us-east-1'], 'us-east-1', ['us-east-1 STORE_UNAVAILABLE']],
    [
      'eu-west-1,us-east-1',
      ['eu-central-1', 'eu-west-1', 'us-east-1'],
      'us-east-1',
      ['us-east-1 STORE_UNAVAILABLE'],
    ],
  ])('with the fallback Regions "%s" asks %j', async (regions, order, outcome, observed) => {
    const env = { BROKER_SECRET_STORE: 'aws', BROKER_AWS_FALLBACK_REGIONS: regions };
    const told: string[] = [];
    const store = await openStore(loadConfig({ env }), systemClock, {
      observer: { answeredElsewhere: (region, _id, code) => told.push(`${region} ${code}`) },
    });
    const read = await store.read('token').then(
      ({ value }) => value,
      (error: { code: string }) => error.code,
    );
    expect({ asked, read, told }).toEqual({ asked: order, read: outcome, told: observed });
    await store.close();
  });
});
