import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { openStore } from '../../../src/composition/open-store.js';
import { loadConfig } from '../../../src/config/load-config.js';
import { keyErrorOf, KmsKeyWrapping } from '../../../src/secrets/aws/kms-key-wrapping.js';
import { SecretStoreError } from '../../../src/secrets/secret-store.js';
import { systemClock, type Clock } from '../../../src/tokens/time.js';
import { temporaryFolders } from '../../support/temporary-folder.js';
import {
  answer,
  isolateAwsSettings,
  refuse,
  startScriptedEndpoint,
  type ScriptedEndpoint,
} from './scripted-endpoint.js';

const newFolder = temporaryFolders('kms-key-wrapping');
const UUID = '1234abcd-12ab-34cd-56ef-1234567890ab';
const ARN = `arn:aws:kms:eu-central-1:123456789012:key/${UUID}`;
const STORE = Buffer.alloc(16, 0xab);
const CONTEXT = { 'service-token-broker:store': 'ab'.repeat(16) };
const KEY = randomBytes(32);
const WRAPPED = { keyId: ARN, wrapped: Buffer.from('what KMS gave') };

let endpoint: ScriptedEndpoint;
let restore: () => void = () => undefined;
beforeAll(async () => {
  endpoint = await startScriptedEndpoint();
});
afterAll(() => endpoint.close());
beforeEach(() => {
  restore = isolateAwsSettings(1);
});
afterEach(() => restore());

const open = (...keyIds: readonly string[]): KmsKeyWrapping => {
  const [first = 'alias/broker', ...others] = keyIds;
  return new KmsKeyWrapping({ keyIds: [first, ...others], endpoint: endpoint.url });
};

async function failureOf(call: Promise<unknown>): Promise<SecretStoreError> {
  const error = await call.then(
    () => 'the call succeeded',
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SecretStoreError);
  return error as SecretStoreError;
}

test('a master key is made by the first key, and bound to the store', async () => {
  endpoint.play((_, response) =>
    answer(response, {
      KeyId: ARN,
      Plaintext: KEY.toString('base64'),
      CiphertextBlob: WRAPPED.wrapped.toString('base64'),
    }),
  );
  const made = await open('alias/broker', ARN).generate(STORE);
  expect(made.keyId).toBe(ARN);
  expect(Buffer.from(made.key).equals(KEY)).toBe(true);
  expect(Buffer.from(made.wrapped).equals(WRAPPED.wrapped)).toBe(true);
  expect(endpoint.received).toMatchObject([
    {
      operation: 'GenerateDataKey',
      body: { KeyId: 'alias/broker', KeySpec: 'AES_256', EncryptionContext: CONTEXT },
    },
  ]);
});

test.each([
  [['alias/broker'], ['alias/broker']],
  // The one that is named beside the wrapped key comes first; one that nobody configured is never asked.
  [['alias/new', 'alias/old', UUID], [UUID]],
  [['alias/new', ARN], [ARN]],
])('a master key is unwrapped by a configured key: %j', async (keyIds, asked) => {
  endpoint.play((_, response) =>
    answer(response, { KeyId: ARN, Plaintext: KEY.toString('base64') }),
  );
  const key = await open(...keyIds).unwrap(WRAPPED, STORE);
  expect(Buffer.from(key).equals(KEY)).toBe(true);
  expect(endpoint.received.map(({ body }) => body['KeyId'])).toEqual(asked);
  expect(endpoint.received[0]?.body).toMatchObject({ EncryptionContext: CONTEXT });
});

test('keys are tried in turn while they refuse; the first refusal is reported', async () => {
  endpoint.play(({ body }, response) =>
    body['KeyId'] === 'alias/old'
      ? answer(response, { KeyId: ARN, Plaintext: KEY.toString('base64') })
      : refuse(response, 'IncorrectKeyException', 'The key ID in the request does not identify'),
  );
  await open('alias/new', 'alias/old').unwrap(WRAPPED, STORE);
  expect(endpoint.received).toHaveLength(2);
  endpoint.play((_, response) => refuse(response, 'IncorrectKeyException', 'canary'));
  const error = await failureOf(open('alias/new', 'alias/other').unwrap(WRAPPED, STORE));
  expect(error).toMatchObject({ code: 'STORE_KEY_WRONG', kind: 'misconfigured' });
  expect(error.message).toMatch(/"alias\/new".*BROKER_MASTER_KEY_KMS_ID too, after a comma/);
  expect(error.message).not.toContain('canary');
});

test.each([
  ['AccessDeniedException', 400, 'STORE_ACCESS_DENIED', 'misconfigured', /Allow kms:Decrypt/],
  ['DisabledException', 400, 'STORE_KEY_WRONG', 'misconfigured', /disabled. Enable it/],
  ['NotFoundException', 400, 'STORE_KEY_WRONG', 'misconfigured', /no key has that id/],
  ['KMSInvalidStateException', 400, 'STORE_KEY_WRONG', 'misconfigured', /pending deletion/],
  ['InvalidCiphertextException', 400, 'STORE_KEY_WRONG', 'misconfigured', /not for this store/],
  ['InvalidKeyUsageException', 400, 'STORE_KEY_WRONG', 'misconfigured', /ENCRYPT_DECRYPT/],
  ['KeyUnavailableException', 500, 'STORE_UNAVAILABLE', 'retry', /failed inside/],
  ['KMSInternalException', 500, 'STORE_UNAVAILABLE', 'retry', /failed inside/],
  ['ThrottlingException', 400, 'STORE_THROTTLED', 'retry', /too many requests/],
  ['UnrecognizedClientException', 400, 'STORE_CREDENTIALS', 'misconfigured', /credentials/],
  ['SomethingNewException', 400, 'STORE_UNAVAILABLE', 'misconfigured', /please report it/],
])('%s', async (exception, status, code, kind, message) => {
  endpoint.play((_, response) => refuse(response, exception, 'canary', status));
  const error = await failureOf(open().unwrap(WRAPPED, STORE));
  expect(error).toMatchObject({ code, kind, message: expect.stringMatching(message) });
  expect(error.message).toMatch(/kms:Decrypt with the key "alias\/broker"/);
  expect(error.message).not.toContain('canary');
});

test('a connection that ends, an answer without a key, a page of a proxy', async () => {
  endpoint.play((_, response) => response.destroy());
  expect(await failureOf(open().unwrap(WRAPPED, STORE))).toMatchObject({ kind: 'retry' });
  endpoint.play((_, response) => answer(response, { KeyId: ARN, Plaintext: 'AAAA' }));
  for (const call of [open().unwrap(WRAPPED, STORE), open().generate(STORE)]) {
    expect(await failureOf(call)).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringContaining('not complete'),
    });
  }
  endpoint.play((_, response) => {
    response.writeHead(403, { 'content-type': 'text/html' });
    response.end('<html>canary</html>');
  });
  const error = await failureOf(open().generate(STORE));
  expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'misconfigured' });
  expect(error.message).not.toContain('canary');
});

test('a missing package is named', () => {
  const missing = Object.assign(new Error('no such module'), { code: 'ERR_MODULE_NOT_FOUND' });
  expect(keyErrorOf(missing, 'kms:Decrypt', 'k')).toMatchObject({
    kind: 'misconfigured',
    message: expect.stringContaining('npm install @aws-sdk/client-kms'),
  });
});

test('a proxy that refuses is named, with what to do, and no store is made', async () => {
  const proxy = createServer().on('connect', (_request, socket: Socket) =>
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<h1>canary</h1>'),
  );
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const { port } = proxy.address() as AddressInfo;
  process.env['AWS_ENDPOINT_URL_KMS'] = 'https://kms.test';
  const dataDir = join(await newFolder(), 'data');
  const config = loadConfig({
    env: {
      BROKER_DATA_DIR: dataDir,
      BROKER_MASTER_KEY_KMS_ID: 'alias/broker',
      HTTPS_PROXY: `http://user:secret@127.0.0.1:${port}`,
    },
  });
  const error = await failureOf(openStore(config, systemClock));
  proxy.close();
  expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'misconfigured' });
  expect(error.message).toContain(`the proxy 127.0.0.1:${port}`);
  expect(error.message).toContain('kms:GenerateDataKey with the key "alias/broker"');
  expect(error.message).not.toMatch(/canary|secret@|user:/);
  expect(existsSync(join(dataDir, 'secrets.db'))).toBe(false);
});

describe('a broker that starts while KMS is out of reach', () => {
  const keys = new Map<string, string>();
  const playKms = (): void =>
    endpoint.play(({ operation, body }, response) => {
      if (operation === 'GenerateDataKey') {
        const blob = randomBytes(20).toString('base64');
        keys.set(blob, randomBytes(32).toString('base64'));
        return answer(response, { KeyId: ARN, Plaintext: keys.get(blob), CiphertextBlob: blob });
      }
      answer(response, { KeyId: ARN, Plaintext: keys.get(String(body['CiphertextBlob'])) });
    });

  test('waits for it, and says so; a command does not wait; a refusal is not waited for', async () => {
    process.env['AWS_ENDPOINT_URL_KMS'] = endpoint.url;
    const env = {
      BROKER_DATA_DIR: join(await newFolder(), 'data'),
      BROKER_MASTER_KEY_KMS_ID: 'alias/broker',
    };
    const config = loadConfig({ env });
    playKms();
    const waits: number[] = [];
    const clock: Clock = {
      now: () => 0,
      sleep: async (milliseconds) => {
        waits.push(milliseconds);
        if (waits.length === 3) playKms();
      },
    };
    await (await openStore(config, clock)).close();

    endpoint.play((_, response) => refuse(response, 'KMSInternalException', '', 500));
    await expect(openStore(config, clock)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(waits).toEqual([]);
    const told: string[] = [];
    const store = await openStore(config, clock, { onKeyDelay: ({ code }) => told.push(code) });
    expect(told).toEqual(Array.from({ length: 3 }, () => 'STORE_UNAVAILABLE'));
    expect(waits).toEqual([5_000, 5_000, 5_000]);
    await store.close();

    endpoint.play((_, response) => refuse(response, 'AccessDeniedException', ''));
    await expect(
      openStore(config, clock, { onKeyDelay: ({ code }) => told.push(code) }),
    ).rejects.toMatchObject({ code: 'STORE_ACCESS_DENIED' });
    expect(told).toHaveLength(3);
  });
});
