import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { runCommand, startBroker, type BrokerProcess } from '../support/broker-process.js';
import { CANARIES, assertNoCanary, findCanaries } from '../support/canaries.js';
import { answers, startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from './folders.js';
import { basic, getToken } from './peer-http.js';

/** Plants a secret of every kind, makes everything go wrong that can, and searches all that was written. */
describe('no token and no secret is ever written', () => {
  const written: string[] = [];
  let provider: ProviderServer;
  let env: NodeJS.ProcessEnv;
  let broker: BrokerProcess;
  let peer: { id: string; secret: string };
  let served: string;

  const command = async (args: readonly string[], input?: string): Promise<number | null> => {
    const { stdout, stderr, code } = await runCommand(
      args,
      env,
      input === undefined ? {} : { input },
    );
    written.push(stdout, stderr);
    return code;
  };
  const request = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const response = await fetch(`${broker.url}${path}`, init);
    written.push(JSON.stringify([...response.headers]));
    if (!response.ok) written.push(await response.clone().text());
    return response;
  };

  beforeAll(async () => {
    provider = await startProviderServer({ clientSecrets: [CANARIES.clientSecret] });
    env = {
      BROKER_DATA_DIR: join(await temporaryFolder(), 'data'),
      BROKER_MASTER_KEY: CANARIES.masterKey,
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: 'https://services.example.test',
      BROKER_LOG_LEVEL: 'trace',
    };
    const credentials = { client_id: 'broker', client_secret: CANARIES.clientSecret };
    expect(await command(['credentials', 'set'], JSON.stringify(credentials))).toBe(0);
    const added = await runCommand(
      ['--json', 'peers', 'add', 'orders', '--role', 'token', 'admin', '--show-secret'],
      env,
    );
    peer = JSON.parse(added.stdout) as typeof peer;
  });

  afterAll(async () => {
    await broker.stop();
    await provider.close();
  });

  test('by commands that fail and commands that succeed', async () => {
    expect(
      await command(
        ['credentials', 'set'],
        `{"client_id":"x","client_secret":7,"n":"${CANARIES.jwt}"}`,
      ),
    ).toBe(1);
    expect(await command(['credentials', 'set'], CANARIES.jwt)).toBe(1);
    provider.next('token', answers.text(401, `{"error":"${CANARIES.clientSecret}"}`));
    expect(await command(['rotate'])).toBe(1);
    provider.next('token', answers.token({ access_token: CANARIES.clientSecret }));
    expect(await command(['--json', 'rotate'])).toBe(1);
    expect(await command(['verify', CANARIES.jwt])).toBe(1);
    expect(await command(['verify'], CANARIES.jwt)).toBe(1);
    expect(await command(['rotate'])).toBe(0);
    expect(await command(['status'])).toBe(0);
    expect(await command(['peers', 'list'])).toBe(0);
  });

  test('by a configuration that is wrong', async () => {
    const { stderr, stdout, code } = await runCommand(['serve'], {
      ...env,
      PORT: CANARIES.peerSecret,
      BROKER_MASTER_KEY: `${CANARIES.masterKey}x`,
      BROKER_AUDIENCE: `${CANARIES.jwt}\n`,
    });
    written.push(stderr, stdout);
    expect(code).toBe(1);
    expect(stderr).toMatch(/BROKER_MASTER_KEY[\s\S]*hidden/);
  });

  test('by a broker at the most talkative level, whatever it is sent', async () => {
    broker = await startBroker(['serve'], env);
    const login = basic(peer.id, peer.secret);
    const { body } = await getToken(broker.url, login);
    served = body.access_token;
    const wrong = basic('orders', CANARIES.peerSecret);
    await request('/v1/token', { headers: { authorization: wrong } });
    await request(`/v1/token?access_token=${CANARIES.jwt}&min_ttl=${CANARIES.jwt}`, {
      headers: { authorization: login },
    });
    await request(`/v1/token/${CANARIES.jwt}`, { headers: { authorization: wrong } });
    await request('/oauth2/token', {
      method: 'POST',
      body: new URLSearchParams({
        client_id: CANARIES.peerSecret,
        client_secret: CANARIES.jwt,
        grant_type: CANARIES.clientSecret,
      }),
    });
    await request('/oauth2/token', {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: login },
      body: `{"token":"${CANARIES.jwt}`,
    });
    await request('/v1/token', {
      headers: { authorization: `Bearer ${CANARIES.jwt}`, 'x-request-id': CANARIES.peerSecret },
    });
    provider.next(
      'token',
      answers.text(500, CANARIES.jwt),
      answers.text(500, CANARIES.jwt),
      answers.text(500, CANARIES.jwt),
    );
    await request('/v1/rotate', { method: 'POST', headers: { authorization: login } });
    provider.next('token', answers.token({ access_token: CANARIES.jwt }));
    await request('/v1/rotate', { method: 'POST', headers: { authorization: login } });
    const health = await request('/health/ready');
    written.push(await health.text(), await (await request('/metrics')).text());
    expect(await broker.stop()).toMatchObject({ code: 0 });
    written.push(broker.stdout(), broker.stderr());
    expect(broker.stdout()).toContain('"message":"request"');
    const lines = broker
      .stdout()
      .split('\n')
      .filter((line) => line.includes('"message":"request"'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toContainEqual(
      expect.objectContaining({ route: '/v1/rotate', peer: 'orders', status: 503 }),
    );
    expect(lines.filter(({ route }) => route === 'other')).toHaveLength(1);
  });

  test('so nothing of it is found', () => {
    const output = written.join('\n');
    expect(output.length).toBeGreaterThan(10_000);
    assertNoCanary(output);
    assertNoCanary(output, { ...CANARIES, jwt: served, peerSecret: peer.secret });
    // The search does find what is there.
    const planted = `${output} ${Buffer.from(`orders:${peer.secret}`).toString('base64')} ${randomBytes(3).toString('hex')}`;
    expect(
      findCanaries(planted, { ...CANARIES, jwt: served, peerSecret: peer.secret }),
    ).toHaveLength(1);
  });
});
