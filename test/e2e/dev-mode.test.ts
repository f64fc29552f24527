import { execFile } from 'node:child_process';
import { stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { runCommand, startBroker, type BrokerProcess } from '../support/broker-process.js';
import { temporaryFolder } from './folders.js';
import { basic, demoPeer, getToken, type TokenBody } from './peer-http.js';

describe('development mode', () => {
  let dataDir: string;
  let broker: BrokerProcess;
  let login: string;
  let issuer: string;

  const verified = (token: string) =>
    jwtVerify(token, createRemoteJWKSet(new URL('/jwks', issuer)), {
      issuer,
      audience: 'https://services.example.test',
    });

  beforeAll(async () => {
    dataDir = join(await temporaryFolder(), 'data');
    // As a new user has it: the README lets them rotate a moment after the first start.
    broker = await startBroker(['dev'], {
      BROKER_DATA_DIR: dataDir,
      BROKER_MANUAL_ROTATION_SECONDS: undefined,
    });
    issuer = broker.providerUrl;
    const { id, secret } = await demoPeer(dataDir);
    login = basic(id, secret);
  });

  afterAll(async () => {
    await broker.stop();
  });

  test('says loudly what it is, and never shows the secret', async () => {
    const { secret } = await demoPeer(dataDir);
    expect(broker.stdout()).toContain('DEVELOPMENT MODE. Not for production');
    expect(broker.stdout() + broker.stderr()).not.toContain(secret);
    expect(broker.stderr()).toBe('');
  });

  test('prints lines that a shell takes as they are', async () => {
    const lines = broker.stdout().split('\n');
    const from = lines.findIndex((line) => line.startsWith('  login='));
    const script = `curl() { printf '%s ' "$@"; echo; }\n${lines.slice(from, from + 4).join('\n')}`;
    const { stdout } = await promisify(execFile)('sh', ['-c', script], { cwd: tmpdir() });
    const { secret } = await demoPeer(dataDir);
    expect(stdout.trimEnd().split(' \n')).toEqual([
      `-s -u demo:${secret} ${broker.url}/v1/token`,
      `-s -u demo:${secret} -d grant_type=client_credentials ${broker.url}/oauth2/token`,
      `-s -u demo:${secret} -X POST ${broker.url}/v1/rotate`,
    ]);
  });

  test('the demo peer is written for its owner alone', async () => {
    expect(await demoPeer(dataDir)).toEqual({ id: 'demo', secret: expect.any(String) });
    expect((await stat(join(dataDir, 'demo-peer.json'))).mode & 0o777).toBe(0o600);
  });

  test('the token of the standard grant verifies by the keys of the provider', async () => {
    const response = await fetch(`${broker.url}/oauth2/token`, {
      method: 'POST',
      headers: { authorization: login },
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
    });
    expect(response.status).toBe(200);
    const body = (await response.json()) as TokenBody;
    const { payload, protectedHeader } = await verified(body.access_token);
    expect(protectedHeader.typ).toBe('at+jwt');
    expect(payload['sub']).toBe(payload['client_id']);
    expect(body.token_type).toBe('Bearer');
    const life = (payload.exp ?? 0) - Date.now() / 1000;
    expect(body.expires_in).toBeLessThanOrEqual(life + 1);
    expect(body.expires_in).toBeGreaterThan(life - 30);
  });

  test('rotating under load: no request fails, the ETag changes, the old token stays valid', async () => {
    const before = await getToken(broker.url, login);
    const seen = new Map<string | null, number>();
    const statuses = new Set<number>();
    let rotated = false;
    const load = Array.from({ length: 16 }, async () => {
      for (let after = 0; after < 20; after += rotated ? 1 : 0) {
        const { status, etag } = await getToken(broker.url, login);
        statuses.add(status);
        seen.set(etag, (seen.get(etag) ?? 0) + 1);
      }
    });
    const response = await fetch(`${broker.url}/v1/rotate`, {
      method: 'POST',
      headers: { authorization: login },
    });
    rotated = true;
    await Promise.all(load);
    const { version_id } = (await response.json()) as { version_id: string };
    expect(response.status).toBe(200);
    expect([...statuses]).toEqual([200]);
    expect(new Set(seen.keys())).toEqual(new Set([before.etag, `"${version_id}"`]));
    const after = await getToken(broker.url, login);
    expect(after.etag).toBe(`"${version_id}"`);
    expect(after.body.access_token).not.toBe(before.body.access_token);
    await verified(before.body.access_token);
    await verified(after.body.access_token);
  });

  test('health is ready, and metrics tell of the rotations', async () => {
    const ready = await fetch(`${broker.url}/health/ready`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({
      status: 'ok',
      details: { token: { status: 'up' }, rotation: { status: 'up' }, coverage: { status: 'up' } },
    });
    const metrics = await (await fetch(`${broker.url}/metrics`)).text();
    expect(metrics).toMatch(
      /service_token_broker_rotations_total\{token="default",trigger="schedule",result="rotated",code="OK"\} 1/,
    );
  });

  test('the command line works beside it, without a setting', async () => {
    const env = { BROKER_DATA_DIR: dataDir };
    expect(broker.stdout()).toMatch(
      new RegExp(
        `^ {2}PORT=${new URL(broker.url).port} BROKER_DATA_DIR=\\S+ node \\S+ status$`,
        'm',
      ),
    );
    expect(await runCommand(['rotate'], env)).toMatchObject({ code: 0 });
    expect(await runCommand(['doctor', '--mint'], env)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Nothing failed'),
    });
    const { body } = await getToken(broker.url, login);
    expect(await runCommand(['verify'], env, { input: body.access_token })).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('audience: It is meant for us.'),
    });
    const status = await runCommand(['status'], { ...env, PORT: new URL(broker.url).port });
    expect(status.stdout).toContain(`ready at ${broker.url}`);
  });

  test("the provider's client is printed for a broker in production form, which mints with it", async () => {
    const printed = await runCommand(['dev', '--print-credentials'], { BROKER_DATA_DIR: dataDir });
    expect(printed).toMatchObject({
      code: 0,
      stderr: expect.stringContaining(`answers at ${issuer} while dev mode runs`),
    });
    const client = JSON.parse(printed.stdout) as Record<string, string>;
    expect(client).toEqual({
      client_id: 'service-token-broker-dev',
      client_secret: expect.stringMatching(/^[\w-]{43}$/),
      issuer,
      audience: 'https://services.example.test',
    });
    expect(printed.stderr).toContain('a client secret');
    for (const written of [printed.stderr, broker.stdout(), broker.stderr()]) {
      expect(written).not.toContain(client['client_secret']);
    }
    const env = { BROKER_DATA_DIR: join(await temporaryFolder(), 'data') };
    const input = printed.stdout;
    expect(await runCommand(['credentials', 'set'], env, { input })).toMatchObject({ code: 0 });
    expect(await runCommand(['rotate'], env)).toMatchObject({ code: 0 });
  });

  test('beside a running broker, its port is named first, and how to move both', async () => {
    const { port } = new URL(broker.url);
    const env = { PORT: port, BROKER_DEV_PROVIDER_PORT: new URL(issuer).port };
    const other = join(await temporaryFolder(), 'data');
    const { code, stderr } = await runCommand(['dev'], { ...env, BROKER_DATA_DIR: other });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      new RegExp(`^Port ${port} .*Is a broker running already\\? "PORT=\\d+ npm`),
    );
  });

  test('a port in use is reported with what to do', async () => {
    const folder = join(await temporaryFolder(), 'data');
    const taken: Server = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const port = String((taken.address() as AddressInfo).port);
    const env = { BROKER_DATA_DIR: folder };
    const first = await runCommand(['dev'], { ...env, PORT: port });
    const second = await runCommand(['dev'], { ...env, BROKER_DEV_PROVIDER_PORT: port });
    taken.close();
    expect(first).toMatchObject({ code: 1, stderr: expect.stringMatching(/PORT.*PORT_IN_USE/s) });
    expect(second.stderr).toMatch(/BROKER_DEV_PROVIDER_PORT.*PORT_IN_USE/s);
    expect(second.code).toBe(1);
    expect(first.stderr + second.stderr).not.toContain('    at ');
  });

  test('leaves real credentials, and a real store, alone', async () => {
    const folder = join(await temporaryFolder(), 'data');
    const env = { BROKER_DATA_DIR: folder };
    const input = '{"client_id":"real","client_secret":"real-secret"}';
    expect(await runCommand(['credentials', 'set'], env, { input })).toMatchObject({ code: 0 });
    expect(await runCommand(['dev'], env)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('DEV_MODE_DATA_FOLDER'),
    });
    expect(await runCommand(['dev'], { ...env, BROKER_SECRET_STORE: 'aws' })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('DEV_MODE_STORE'),
    });
    const print = ['dev', '--print-credentials'];
    for (const [code, settings] of [
      ['DEV_MODE_DATA_FOLDER', env],
      ['DEV_MODE_STORE', { ...env, BROKER_SECRET_STORE: 'aws' }],
      ['STORE_MISSING', { BROKER_DATA_DIR: join(folder, 'nothing') }],
    ] as const) {
      const refused = await runCommand(print, settings);
      expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(code) });
      expect(refused.stderr).not.toContain('real-secret');
    }
  });

  test('has no client to print where it has not run', async () => {
    const env = { BROKER_DATA_DIR: join(await temporaryFolder(), 'data') };
    await runCommand(['peers', 'add', 'billing', '--show-secret'], env);
    expect(await runCommand(['dev', '--print-credentials'], env)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('DEV_MODE_NOT_STARTED'),
    });
  });
});

describe('a second start', () => {
  test('reuses the token, the keys and the peer; a lost peer file is replaced', async () => {
    const dataDir = join(await temporaryFolder(), 'data');
    const env = { BROKER_DATA_DIR: dataDir };
    const first = await startBroker(['dev'], env);
    const peer = await demoPeer(dataDir);
    const before = await getToken(first.url, basic(peer.id, peer.secret));
    expect(await first.stop()).toEqual({ code: 0, signal: null });
    expect(first.stdout()).toContain('the broker has stopped');

    const second = await startBroker(['dev'], env);
    expect(await demoPeer(dataDir)).toEqual(peer);
    const after = await getToken(second.url, basic(peer.id, peer.secret));
    expect(after.body.access_token).toBe(before.body.access_token);
    expect(await second.stop('SIGINT')).toEqual({ code: 0, signal: null });

    await writeFile(join(dataDir, 'demo-peer.json'), 'damaged');
    const third = await startBroker(['dev'], env);
    const renewed = await demoPeer(dataDir);
    expect(renewed.secret).not.toBe(peer.secret);
    expect(await getToken(third.url, basic('demo', renewed.secret))).toMatchObject({ status: 200 });
    expect(await getToken(third.url, basic('demo', peer.secret))).toMatchObject({ status: 401 });
    await third.stop();
  });
});
