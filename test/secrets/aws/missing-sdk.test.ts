import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const SCRIPT = `
import { createAwsStore } from './dist/secrets/aws/aws-store.js';
const { code, kind, message } = await createAwsStore().read('token').catch((error) => error);
console.log(JSON.stringify({ code, kind, message }));
`;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'missing-sdk-'));
  for (const room of ['tokens', 'secrets']) {
    await cp(join('dist', room), join(folder, 'dist', room), { recursive: true });
  }
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  await writeFile(join(folder, 'main.js'), SCRIPT);
});
afterAll(() => rm(folder, { recursive: true }));

test('where the SDK is not installed, the store can be made, and its first call says what to install', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['main.js'], { cwd: folder });
  const { code, kind, message } = JSON.parse(stdout) as Record<string, string>;
  expect({ code, kind }).toEqual({ code: 'STORE_UNAVAILABLE', kind: 'misconfigured' });
  expect(message).toContain('npm install @aws-sdk/client-secrets-manager');
});
