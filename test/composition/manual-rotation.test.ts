import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { createRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import type { TokenProvider } from '../../src/provider/token-provider.js';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { systemClock } from '../../src/tokens/time.js';
import { addPeer } from '../../src/peers/peer-admin.js';
import { LogLines } from '../operations/log-lines.js';
import { MemorySecretStore } from '../support/memory-store.js';

let ahead: number;
let mints: number;
let lifetime: number;
let isDown: boolean;
/** Held up mints, until the test lets them go on. */
let gate: Promise<void>;
let issuer: TestIssuer;
let store: MemorySecretStore;
let running: RunningBroker[];
let authorization: string;
const clock = { ...systemClock, now: () => Date.now() + ahead };

beforeEach(async () => {
  ahead = 0;
  mints = 0;
  lifetime = 90_000;
  isDown = false;
  gate = Promise.resolve();
  running = [];
  issuer = await startTestIssuer({ clock, profile: 'rfc9068' });
  store = new MemorySecretStore({ clock });
  const { tokens, secrets } = loadConfig({ env: {} });
  const [{ credentialsSecretId, secretId: tokenSecretId }] = tokens;
  const { peersSecretId } = secrets;
  store.seed(credentialsSecretId, '{"client_id":"broker","client_secret":"secret"}');
  store.seed(tokenSecretId);
  store.seed(peersSecretId);
  const { secret } = await addPeer({ store, secretId: peersSecretId, clock }, 'operations', [
    'admin',
  ]);
  authorization = `Basic ${Buffer.from(`operations:${secret}`).toString('base64')}`;
});

afterEach(async () => {
  for (const broker of running) await broker.close();
  await issuer.close();
});

/** A replica that listens, without a schedule. */
async function replica(env: NodeJS.ProcessEnv = {}): Promise<() => Promise<Answer>> {
  const config = loadConfig({
    env: {
      BROKER_ISSUER: issuer.issuer,
      BROKER_AUDIENCE: issuer.audience,
      BROKER_ROTATION: 'disabled',
      HOST: '127.0.0.1',
      PORT: '0',
      ...env,
    },
  });
  const provider: TokenProvider = {
    mint: async () => {
      mints += 1;
      await gate;
      if (isDown) throw new Error('down');
      return { accessToken: issuer.serviceToken({ expiresInSeconds: lifetime }) };
    },
    metadata: async () => ({
      issuer: issuer.issuer,
      tokenEndpoint: `${issuer.issuer}/token`,
      jwksUri: issuer.jwksUri,
    }),
  };
  const log = createLogger({ level: 'info', destination: new LogLines() });
  const broker = await serveHttp(await createRuntime(config, { store, clock, provider, log }));
  running.push(broker);
  return async () => {
    const response = await fetch(`${broker.url}/v1/rotate`, {
      method: 'POST',
      headers: { authorization },
    });
    const body = (await response.json()) as Record<string, string>;
    return { status: response.status, outcome: body['outcome'], version: body['version_id'] };
  };
}

interface Answer {
  readonly status: number;
  readonly outcome: string | undefined;
  readonly version: string | undefined;
}

describe('POST /v1/rotate', () => {
  test('six times in a row mints once, and all get the version', async () => {
    const rotate = await replica();
    const first = await rotate();
    expect(first).toMatchObject({ status: 200, outcome: 'rotated' });
    for (let times = 0; times < 5; times += 1) {
      expect(await rotate()).toEqual({ ...first, outcome: 'recent' });
    }
    expect(mints).toBe(1);
    ahead += 60_000;
    expect(await rotate()).toMatchObject({ status: 200, outcome: 'rotated' });
    expect(mints).toBe(2);
  });

  test('six times at once mints once: the others join', async () => {
    const rotate = await replica();
    const answers = await Promise.all(Array.from({ length: 6 }, () => rotate()));
    expect(new Set(answers.map(({ version }) => version)).size).toBe(1);
    const outcomes = answers.map(({ outcome }) => outcome);
    expect(outcomes.filter((outcome) => outcome === 'rotated')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'joined' || outcome === 'recent')).toHaveLength(
      5,
    );
    expect(mints).toBe(1);
  });

  test('at three replicas at once, and one after the other, mints once', async () => {
    const replicas = [await replica(), await replica(), await replica()];
    const answers = await Promise.all(replicas.map((rotate) => rotate()));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(new Set(answers.map(({ version }) => version)).size).toBe(1);
    for (const rotate of replicas) expect((await rotate()).outcome).toBe('recent');
    expect(mints).toBe(1);
  });

  test('mints again after a failure, and for a token whose life runs out', async () => {
    const rotate = await replica();
    isDown = true;
    expect((await rotate()).status).toBe(500);
    isDown = false;
    expect((await rotate()).outcome).toBe('rotated');
    expect((await rotate()).outcome).toBe('recent');
    expect(mints).toBe(2);
  });

  test.each([
    ['0', 3],
    ['3600', 1],
  ])('with an interval of %s s, three half an hour apart mint %d times', async (seconds, count) => {
    const rotate = await replica({ BROKER_MANUAL_ROTATION_SECONDS: seconds });
    for (let times = 0; times < 3; times += 1) {
      expect((await rotate()).status).toBe(200);
      ahead += 1_700_000;
    }
    expect(mints).toBe(count);
  });
});
