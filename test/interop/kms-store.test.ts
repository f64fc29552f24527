import {
  CreateAliasCommand,
  CreateKeyCommand,
  KMSClient,
  UpdateAliasCommand,
} from '@aws-sdk/client-kms';
import { afterAll, describe, expect, test } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KmsKeyWrapping } from '../../src/secrets/aws/kms-key-wrapping.js';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { runCommand } from '../support/broker-process.js';
import { temporaryFolders } from '../support/temporary-folder.js';

const newFolder = temporaryFolders('kms-store');
const kms = new KMSClient({});
afterAll(() => kms.destroy());

const CREDENTIALS = '{"client_id":"broker","client_secret":"kept-by-kms"}';

async function newKey(): Promise<{ readonly id: string; readonly arn: string }> {
  const { KeyMetadata } = await kms.send(new CreateKeyCommand({}));
  return { id: KeyMetadata?.KeyId ?? '', arn: KeyMetadata?.Arn ?? '' };
}

/** A broker's settings, and its command line with them. */
async function newBroker() {
  const env: NodeJS.ProcessEnv = { BROKER_DATA_DIR: join(await newFolder(), 'data') };
  const run = async (args: readonly string[], more: NodeJS.ProcessEnv = {}, input?: string) => {
    const options = input === undefined ? {} : { input };
    const { stdout, code } = await runCommand(['--json', ...args], { ...env, ...more }, options);
    return { code, value: JSON.parse(stdout) as Record<string, unknown> };
  };
  return { dataDir: env['BROKER_DATA_DIR'] ?? '', run };
}

describe('a master key that KMS wraps', () => {
  test('is on no disk in plain; a backup opens by KMS alone, in any folder', async () => {
    const { id, arn } = await newKey();
    const { dataDir, run } = await newBroker();
    const settings = { BROKER_MASTER_KEY_KMS_ID: id };
    expect((await run(['credentials', 'set'], settings, CREDENTIALS)).code).toBe(0);
    expect(existsSync(join(dataDir, 'master.key'))).toBe(false);
    expect((await run(['store', 'status'], settings)).value).toMatchObject({
      ok: true,
      kept_by: 'kms',
      kms_key_id: arn,
      data_keys: 1,
    });
    const file = join(dataDir, 'backup');
    expect((await run(['store', 'backup', file], settings)).value).toMatchObject({
      kms_key_id: arn,
      versions: 1,
    });
    expect((await run(['store', 'check', file])).value).toMatchObject({
      error: { code: 'STORE_KEY_WRONG' },
    });
    const elsewhere = await newBroker();
    expect((await elsewhere.run(['store', 'restore', file], settings)).code).toBe(0);
    expect((await elsewhere.run(['store', 'check'], settings)).value).toMatchObject({
      sound: true,
      versions: 1,
    });
  });

  test('file to KMS, to another KMS key, to a file, while a store is open', async () => {
    const [a, b] = [await newKey(), await newKey()];
    const { dataDir, run } = await newBroker();
    expect((await run(['credentials', 'set'], {}, CREDENTIALS)).code).toBe(0);
    const wrapping = new KmsKeyWrapping({ keyIds: [a.id, b.id] });
    const running = await openEmbeddedStore({ dataDir, wrapping });
    const readsOn = async (): Promise<void> => {
      const { value } = await running.read('service-token-broker/credentials');
      expect(JSON.parse(value)).toEqual(JSON.parse(CREDENTIALS));
    };
    await readsOn();
    const atA = { BROKER_MASTER_KEY_KMS_ID: a.id };
    expect((await run(['store', 'status'], atA)).value).toMatchObject({
      ok: false,
      next_key: 'kms',
    });
    expect((await run(['store', 'rekey'], atA)).value).toMatchObject({
      result: 'exchanged',
      kept_by: 'kms',
      kms_key_id: a.arn,
    });
    expect(existsSync(join(dataDir, 'master.key'))).toBe(false);
    await readsOn();

    const atB = { BROKER_MASTER_KEY_KMS_ID: b.id };
    expect((await run(['store', 'check'], atB)).code).toBe(1);
    const both = { BROKER_MASTER_KEY_KMS_ID: `${b.id},${a.id}` };
    expect((await run(['store', 'rekey'], both)).value).toMatchObject({ kms_key_id: b.arn });
    expect((await run(['store', 'check'], atB)).code).toBe(0);
    expect((await run(['store', 'check'], atA)).code).toBe(1);
    await readsOn();

    expect((await run(['store', 'rekey', '--leave-kms'], atB)).value).toMatchObject({
      kept_by: 'key file',
    });
    expect((await run(['store', 'check'])).code).toBe(0);
    await readsOn();
    await running.close();
  });

  test('an alias that leads to another key needs the old one beside it until the exchange', async () => {
    const [a, b] = [await newKey(), await newKey()];
    const alias = `alias/${randomUUID()}`;
    await kms.send(new CreateAliasCommand({ AliasName: alias, TargetKeyId: a.id }));
    const { run } = await newBroker();
    await run(['credentials', 'set'], { BROKER_MASTER_KEY_KMS_ID: alias }, CREDENTIALS);
    await kms.send(new UpdateAliasCommand({ AliasName: alias, TargetKeyId: b.id }));
    expect((await run(['store', 'check'], { BROKER_MASTER_KEY_KMS_ID: alias })).code).toBe(1);
    const both = { BROKER_MASTER_KEY_KMS_ID: `${alias},${a.arn}` };
    expect((await run(['store', 'check'], both)).code).toBe(0);
    expect((await run(['store', 'rekey'], both)).value).toMatchObject({ kms_key_id: b.arn });
    expect((await run(['store', 'check'], { BROKER_MASTER_KEY_KMS_ID: alias })).code).toBe(0);
  });

  test('opens for its own store only', async () => {
    const { id } = await newKey();
    const wrapping = new KmsKeyWrapping({ keyIds: [id] });
    const [one, other] = [randomBytes(16), randomBytes(16)];
    const { key, ...wrapped } = await wrapping.generate(one);
    expect(Buffer.from(await wrapping.unwrap(wrapped, one)).equals(key)).toBe(true);
    await expect(wrapping.unwrap(wrapped, other)).rejects.toMatchObject({
      code: 'STORE_KEY_WRONG',
    });
  });
});

test('a KMS key that does not exist creates nothing', async () => {
  const { dataDir, run } = await newBroker();
  const { value } = await run(
    ['credentials', 'set'],
    { BROKER_MASTER_KEY_KMS_ID: randomUUID() },
    CREDENTIALS,
  );
  expect(value).toMatchObject({ error: { code: 'STORE_KEY_WRONG', kind: 'misconfigured' } });
  await expect(readFile(join(dataDir, 'secrets.db'))).rejects.toMatchObject({ code: 'ENOENT' });
});
