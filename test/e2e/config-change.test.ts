import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { startBroker, type BrokerProcess } from '../support/broker-process.js';
import { temporaryFolders } from '../support/temporary-folder.js';

const US = 'https://broker.example.com';
const APPLIED = 'its peers and trusted issuers apply from now on';
const newFolder = temporaryFolders('config-change');

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await startTestIssuer();
});
afterAll(() => issuer.close());

const bearer = (sub: string): Record<string, string> => {
  const now = Math.floor(Date.now() / 1_000);
  const token = issuer.sign({ iss: issuer.issuer, aud: US, sub, iat: now, exp: now + 600 });
  return { authorization: `Bearer ${token}` };
};

/** The lines of the log with this message. */
const lines = (broker: BrokerProcess, message: string): readonly Record<string, unknown>[] =>
  broker
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.includes(message))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  for (let turn = 0; !(await isSo()); turn += 1) {
    if (turn > 1_500) throw new Error('it did not happen');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('a running broker follows its file: by itself, and at once at SIGHUP', async () => {
  const folder = await newFolder();
  const file = join(folder, 'broker.yaml');
  const text = (...peers: readonly string[]): string =>
    [
      `public_url: ${US}`,
      'issuer: https://provider.example.com/',
      'rotation: disabled',
      `data_dir: ${join(folder, 'store')}`,
      'trusted_issuers:',
      `  ci: { kind: oidc, issuer: '${issuer.issuer}', jwks_uri: '${issuer.jwksUri}' }`,
      'peers:',
      ...peers.map(
        (id) => `  ${id}: { identities: [{ issuer: ci, subject: 'job:${id}' }], roles: [admin] }`,
      ),
      '',
    ].join('\n');
  /** As an editor writes it: whole, under another name first. */
  const write = async (content: string): Promise<void> => {
    await writeFile(`${file}.new`, content);
    await rename(`${file}.new`, file);
  };
  await write(text('one'));
  const broker = await startBroker(['serve'], { BROKER_CONFIG: file, BROKER_LOG_LEVEL: 'info' });
  // An admin sees the metrics; anybody else is refused.
  const metrics = (id: string): Promise<Response> =>
    fetch(`${broker.url}/metrics`, { headers: bearer(`job:${id}`) });
  const statusOf = async (id: string): Promise<number> => (await metrics(id)).status;
  const gauge = async (id: string): Promise<string | undefined> =>
    /^service_token_broker_config_file_valid (\S+)$/m.exec(await (await metrics(id)).text())?.[1];
  expect([await statusOf('one'), await statusOf('two')]).toEqual([200, 401]);
  expect(await gauge('one')).toBe('1');

  // Changed, and noticed without a signal.
  await write(text('two'));
  const appliedTimes = (): number => lines(broker, APPLIED).length;
  await until(() => appliedTimes() === 1);
  expect([await statusOf('one'), await statusOf('two')]).toEqual([401, 200]);

  // Half written: nothing changes, one line, and the metric.
  await write(text('two', 'one').slice(0, -20));
  process.kill(broker.pid, 'SIGHUP');
  await until(async () => (await gauge('two')) === '0');
  process.kill(broker.pid, 'SIGHUP');
  expect([await statusOf('one'), await statusOf('two')]).toEqual([401, 200]);

  // The whole one takes effect; what has to wait is named, without its value.
  await write(`${text('two', 'one')}cache_ttl_seconds: 60\n`);
  process.kill(broker.pid, 'SIGHUP');
  await until(() => appliedTimes() === 2);
  expect([await statusOf('one'), await gauge('two')]).toEqual([200, '1']);

  // A signal without a change reads the file, and changes nothing.
  process.kill(broker.pid, 'SIGHUP');
  expect([await statusOf('one'), await statusOf('two')]).toEqual([200, 200]);
  expect((await broker.stop()).code).toBe(0);

  expect(lines(broker, APPLIED)).toMatchObject([
    { level: 'info', file, peers: 1, trustedIssuers: 1 },
    { level: 'info', file, peers: 2, trustedIssuers: 1 },
  ]);
  expect(lines(broker, 'the configuration file has mistakes')).toMatchObject([
    { level: 'error', file, mistakes: [expect.stringContaining(file)] },
  ]);
  expect(lines(broker, 'the configuration file has no mistakes any more')).toHaveLength(1);
  expect(lines(broker, 'take effect at the next start')).toMatchObject([
    { level: 'warn', file, keys: ['cache_ttl_seconds'] },
  ]);
  expect(broker.stderr()).toBe('');
});
