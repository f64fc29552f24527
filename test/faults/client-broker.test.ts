import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { fixedPort } from '../support/fixed-port.js';
import type { ServiceTokenClientOptions } from '../../src/client/client-options.js';
import {
  createServiceTokenClient,
  type ServiceTokenClient,
} from '../../src/client/service-token-client.js';
import { FakeClock } from '../../src/testing/fake-clock.js';
import { createRemoteKeySet, createTokenVerifier } from '../../src/verification/index.js';
import { failureOf, HOUR, listener, meanwhile, requireHarmless } from '../client/client-fixture.js';
import { runCommand, runNode, startBroker, type BrokerProcess } from '../support/broker-process.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from '../e2e/folders.js';

const AUDIENCE = 'https://services.example.test';
const TTL = 300_000;

/**
 * The client against brokers that run as processes of their own, on one embedded store. Its clock is moved by hand, and
 * stands eleven months before the machine's: nothing it does may depend on what time the brokers think it is.
 */
describe('the client of real brokers', () => {
  let provider: ProviderServer;
  let env: NodeJS.ProcessEnv;
  let folder: string;

  const serve = (port = '0'): Promise<BrokerProcess> =>
    startBroker(['serve'], { ...env, PORT: port });
  const command = async (args: readonly string[], input = ''): Promise<void> => {
    const { code, stderr } = await runCommand(args, env, { input, cwd: folder });
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${stderr}`);
  };
  const peerFile = (): string => join(folder, 'orders-peer.json');
  const readPeer = async (): Promise<{ id: string; secret: string }> =>
    JSON.parse(await readFile(peerFile(), 'utf8')) as { id: string; secret: string };
  const secret = async (): Promise<string> => (await readPeer()).secret;

  /** A client on a clock of its own. */
  const connect = (
    urls: readonly string[],
    options: Partial<ServiceTokenClientOptions> = {},
  ): { client: ServiceTokenClient; clock: FakeClock } & ReturnType<typeof listener> => {
    const clock = new FakeClock();
    const { told, observer } = listener();
    const client = createServiceTokenClient({
      brokers: urls,
      peer: { id: 'orders', secret },
      clock,
      observer,
      random: () => 0,
      ...options,
    });
    return { client, clock, told, observer };
  };
  /** How many requests a broker has had at its token endpoint. */
  const counted = async (url: string): Promise<number> => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const lines = metrics.matchAll(
      /^service_token_broker_http_requests_total\{route="\/oauth2\/token".*\} (\d+)$/gm,
    );
    return [...lines].reduce((sum, [, count]) => sum + Number(count), 0);
  };

  beforeAll(async () => {
    provider = await startProviderServer();
    folder = await temporaryFolder();
    env = {
      BROKER_DATA_DIR: join(folder, 'data'),
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: AUDIENCE,
    };
    await command(['credentials', 'set'], '{"client_id":"broker","client_secret":"right-secret"}');
    await command(['rotate']);
    await command(['peers', 'add', 'orders', '--role', 'token', 'admin']);
  });

  afterAll(() => provider.close());

  test('gets a token that receivers accept, with one request for 10,000 calls', async () => {
    const { url } = await serve();
    const { client, clock } = connect([url]);
    const tokens = await Promise.all(Array.from({ length: 10_000 }, () => client.getToken()));
    expect(new Set(tokens).size).toBe(1);
    expect(await counted(url)).toBe(1);
    const { accessToken, expiresAt } = await client.getToken();
    const keys = createRemoteKeySet({ jwksUri: provider.jwksUri });
    const verifier = createTokenVerifier({
      issuers: [{ issuer: provider.issuer, audiences: AUDIENCE, profile: 'rfc9068', keys }],
    });
    const { principal, claims } = await verifier.verify(accessToken);
    expect(principal.kind).toBe('service');
    // What is left of it is the same by either clock, though they are eleven months apart.
    const left = Number(claims.exp) * 1_000 - Date.now();
    expect(Math.abs(expiresAt - clock.now() - left)).toBeLessThan(60_000);
  });

  test('serves its token through an outage while it lives, and comes back by itself', async () => {
    const port = String(fixedPort());
    const broker = await serve(port);
    const { client, clock, told } = connect([broker.url], { rounds: 1 });
    const token = await client.getToken();
    await broker.stop('SIGKILL');
    clock.advance(TTL);
    expect(await client.getToken()).toBe(token);
    expect(told.at(-1)).toMatchObject(['servedStale', { expiresAt: token.expiresAt }]);
    clock.advance(20 * HOUR);
    expect(await client.getToken()).toBe(token);
    clock.set(token.expiresAt - 60_000);
    expect(await failureOf(client.getToken())).toMatchObject({
      code: 'BROKER_UNREACHABLE',
      kind: 'retry',
    });

    await serve(port);
    clock.advance(1_000);
    expect(await client.getToken()).not.toBe(token);
    expect(client.status()).toMatchObject({ usable: true, consecutiveFailures: 0 });
    requireHarmless(told);
  });

  test('gives up on a broker that hangs, and takes the next', async () => {
    const [hanging, second] = [await serve(), await serve()];
    process.kill(hanging.pid, 'SIGSTOP');
    // With a secret at hand, so that the first thing it waits for is the broker.
    const { client, clock, told } = connect([hanging.url, second.url], { peer: await readPeer() });
    await meanwhile(client.getToken(), () => {
      // Only while it waits for the first: the second is given all the time it wants.
      if (told.length === 0) clock.advance(5_000);
    });
    expect(client.status().broker).toBe(second.url);
    expect(told[0]).toMatchObject([
      'brokerFailed',
      { broker: hanging.url, error: { code: 'BROKER_TIMEOUT' } },
    ]);
    process.kill(hanging.pid, 'SIGCONT');
  });

  test('gets past the cache of a broker by force, when another one rotated', async () => {
    const serving = await serve();
    const { client, clock } = connect([serving.url]);
    const before = await client.getToken();
    const rotating = await serve();
    const { id, secret: password } = await readPeer();
    const rotated = await fetch(`${rotating.url}/v1/rotate`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${id}:${password}`)}` },
    });
    expect(rotated.status).toBe(200);
    clock.advance(TTL);
    // The broker that serves keeps its own cache for five minutes.
    expect((await client.getToken()).accessToken).toBe(before.accessToken);
    // It reads its store again when its last read is a second old: most often it is by now.
    const deadline = Date.now() + 30_000;
    let after = before;
    while (after.accessToken === before.accessToken && Date.now() < deadline) {
      // A broker that is asked as fast as it answers keeps a processor busy for that second.
      await delay(50);
      clock.advance(1_000);
      after = await client.getToken({ force: true });
    }
    expect(after.accessToken).not.toBe(before.accessToken);
  });

  test('does not hammer with a secret that was replaced, and is let in with the new one', async () => {
    await command(['peers', 'remove', 'orders']);
    const added = ['orders', '--role', 'token', 'admin', '--secret-file', 'new.json'];
    await command(['peers', 'add', ...added]);
    const { url } = await serve();
    const { client, clock } = connect([url]);
    for (let second = 0; second < 45; second += 1) {
      expect(await failureOf(client.getToken())).toMatchObject({
        code: 'BROKER_CREDENTIALS_REFUSED',
        kind: 'misconfigured',
      });
      clock.advance(1_000);
    }
    expect(await counted(url)).toBeLessThanOrEqual(9);
    await rename(join(folder, 'new.json'), peerFile());
    await client.getToken();
    expect(client.status()).toMatchObject({ usable: true, consecutiveFailures: 0 });
  });

  test('keeps no process alive', async () => {
    const { url } = await serve();
    const client = new URL('../../dist/client/service-token-client.js', import.meta.url).href;
    const program = `
      import { createServiceTokenClient } from ${JSON.stringify(client)};
      const peer = ${JSON.stringify(await readPeer())};
      const client = createServiceTokenClient({ brokers: ${JSON.stringify(url)}, peer });
      const { expiresAt } = await client.getToken();
      console.log(JSON.stringify({ expiresAt, active: process.getActiveResourcesInfo().includes('Timeout') }));
    `;
    const { code, stdout, stderr } = await runNode(['--input-type=module', '-e', program]);
    expect([code, stderr]).toEqual([0, '']);
    const { expiresAt, active } = JSON.parse(stdout) as { expiresAt: number; active: boolean };
    expect(expiresAt).toBeGreaterThan(Date.now());
    expect(active).toBe(false);
  });
});
