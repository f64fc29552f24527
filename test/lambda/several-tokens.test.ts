import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readFunctionConfig } from '../../src/lambda/function-start.js';
import { parseServiceToken } from '../../src/tokens/service-token.js';
import { TEMPORARY } from '../support/temporary-folder.js';
import { oldToken, rotationScene, STEPS, TOKEN_SECRET } from './support/rotation-function.js';

// One function rotates every token: the event's secret says which.

const LEDGER_SECRET = 'broker/ledger';
const LEDGER_ARN = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:broker/ledger-AbCdEf';
const VERSION = 'b1d0b3a2-0000-4000-8000-000000000002';
let folder: string;
let file: string;

beforeAll(async () => {
  folder = await mkdtemp(join(TEMPORARY, 'function-'));
  file = join(folder, 'broker.json');
  await writeFile(
    file,
    JSON.stringify({
      tokens: {
        default: {},
        ledger: { secret: LEDGER_SECRET, audience: 'https://services.example.test', scope: 'post' },
      },
    }),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the secret of the event chooses the token', async () => {
  const scene = await rotationScene({ env: { BROKER_CONFIG: file } });
  const { store, invoke, current, old, lines, labels } = scene;
  store.seed(LEDGER_SECRET);
  store.configure(LEDGER_SECRET, { rotationEnabled: true });
  store.edit(LEDGER_SECRET, oldToken());
  store.registerPending(LEDGER_SECRET, VERSION);
  for (const step of STEPS) {
    await invoke(step, { SecretId: LEDGER_ARN, ClientRequestToken: VERSION });
  }
  const ledger = await store.read(LEDGER_SECRET);
  expect(ledger.versionId).toBe(VERSION);
  expect(parseServiceToken(ledger.value).accessToken).not.toBe('the-token-before');
  // The other one is as it was.
  expect(await current()).toBe(old);
  expect(await labels()).toEqual(['AWSPENDING']);
  const ended = lines().filter(({ message }) => message === 'rotation step ended');
  expect(ended.map((line) => line['tokenName'])).toEqual(STEPS.map(() => 'ledger'));
  await scene.rotate();
  expect(parseServiceToken((await store.read(TOKEN_SECRET)).value).accessToken).not.toBe(
    'the-token-before',
  );
});

test('a secret that is none of theirs is refused, and nothing is read', async () => {
  const { invoke, store } = await rotationScene({ env: { BROKER_CONFIG: file } });
  const invoked = invoke('createSecret', { SecretId: LEDGER_ARN.replace('ledger', 'other') });
  await expect(invoked).rejects.toMatchObject({
    code: 'FUNCTION_SECRET_UNEXPECTED',
    kind: 'misconfigured',
    message: expect.stringContaining('none of the 2 configured tokens'),
  });
  expect(store.calls.describe).toBe(0);
});

test.each([
  ['is not there', undefined, 'it cannot be read'],
  ['is not JSON', '{', 'it is not JSON'],
  ['is a list', '[]', 'it is no object'],
  ['names no secret', '{"tokens":{"ledger":{}}}', 'it is missing'],
])('a file that %s is a mistake', async (_what, content, problem) => {
  const path = join(folder, 'other.json');
  await rm(path, { force: true });
  if (content !== undefined) await writeFile(path, content);
  expect(() => readFunctionConfig({ BROKER_CONFIG: path })).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      mistakes: [expect.objectContaining({ problem })],
    }),
  );
});
