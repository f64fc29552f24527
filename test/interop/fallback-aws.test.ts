import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand, startBroker } from '../support/broker-process.js';
import { rotationScene, withCoreOf } from '../support/rotation-scene.js';
import { startAwsFront, type AwsFront } from './aws-front.js';
import { createSecrets, MOTO, replicate } from './aws-secrets.js';

const OWN = 'eu-central-1';
const OTHER = 'us-east-1';

let folder = '';
let front: AwsFront;
let env: NodeJS.ProcessEnv;
let authorization = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fallback-aws-'));
  const scene = await rotationScene(folder);
  const secrets = await createSecrets();
  const { BROKER_SECRET_STORE: _store, ...ids } = secrets;
  await replicate(Object.values(ids), OTHER);
  front = await startAwsFront(MOTO);
  env = {
    ...scene.env,
    ...secrets,
    AWS_REGION: OWN,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: front.url,
    AWS_MAX_ATTEMPTS: '1',
    BROKER_AWS_FALLBACK_REGIONS: OTHER,
    BROKER_CACHE_TTL_SECONDS: '1',
  };
  await withCoreOf({ ...scene.env, ...secrets }, ({ rotator }) =>
    rotator.rotate({ trigger: 'cli' }),
  );
  const file = join(folder, 'orders.json');
  await runCommand(['peers', 'add', 'orders', '--secret-file', file], env);
  const peer = JSON.parse(await readFile(file, 'utf8')) as { id: string; secret: string };
  authorization = `Basic ${btoa(`${peer.id}:${peer.secret}`)}`;
});
afterAll(async () => {
  await front.close();
  await rm(folder, { recursive: true, force: true });
});

/** A read past the cache, which is allowed once a second: X-Cache says whether it was one. */
async function readThrough(url: string): Promise<Response> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const response = await fetch(`${url}/v1/token`, {
      headers: { authorization, 'cache-control': 'no-cache' },
    });
    if (response.headers.get('x-cache') !== 'HIT' || Date.now() > deadline) return response;
  }
}

describe('while the own Region is down', () => {
  test('a running broker serves what the other Region says, and tells so', async () => {
    const broker = await startBroker(['serve'], env);
    const before = await readThrough(broker.url);
    expect(before.status).toBe(200);
    front.down.add(OWN);
    const during = await readThrough(broker.url);
    expect(during.status).toBe(200);
    expect(during.headers.get('x-cache')).toBe('REFRESH');
    expect(during.headers.get('etag')).toBe(before.headers.get('etag'));
    const metrics = await (await fetch(`${broker.url}/metrics`)).text();
    expect(metrics).toMatch(
      /^service_token_broker_store_fallback_reads_total\{region="us-east-1"\} [1-9]/m,
    );
    await broker.stop();
    expect(broker.stdout()).toContain('a replica in another Region was read instead');
    front.down.clear();
  });

  test('a broker that starts then serves all the same, and no command writes elsewhere', async () => {
    front.down.add(OWN);
    const broker = await startBroker(['serve'], env);
    expect((await readThrough(broker.url)).status).toBe(200);
    await broker.stop();
    for (const args of [['rotate'], ['peers', 'add', 'other', '--show-secret']]) {
      expect(await runCommand(args, env)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('STORE_UNAVAILABLE'),
      });
    }
    front.down.clear();
  });

  test('nothing is served when the other Region is down as well', async () => {
    front.down.add(OWN).add(OTHER);
    const broker = await startBroker(['serve'], env);
    const response = await fetch(`${broker.url}/v1/token`, { headers: { authorization } });
    expect(response.status).toBe(503);
    await broker.stop();
    expect(broker.stdout()).toContain('No fallback Region could answer: us-east-1');
    front.down.clear();
  });

  test('doctor tells whether the other Region could stand in', async () => {
    const checks = async (overrides: NodeJS.ProcessEnv = {}): Promise<unknown> => {
      const { stdout } = await runCommand(['--json', 'doctor'], { ...env, ...overrides });
      return (JSON.parse(stdout) as { checks: unknown }).checks;
    };
    expect(await checks()).toContainEqual(
      expect.objectContaining({ check: 'fallback Regions', state: 'ok' }),
    );
    expect(await checks({ BROKER_AWS_FALLBACK_REGIONS: 'eu-west-2' })).toContainEqual(
      expect.objectContaining({
        check: 'fallback Regions',
        state: 'failed',
        message: expect.stringContaining('eu-west-2 (SECRET_NOT_FOUND)'),
      }),
    );
  });
});
