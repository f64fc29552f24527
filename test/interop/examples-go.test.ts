import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { startBroker, type BrokerProcess } from '../support/broker-process.js';

// The two programs of examples/go: one calls with the service token, one receives calls.

const run = promisify(execFile);
const examples = fileURLToPath(new URL('../../examples/go', import.meta.url));

const AUDIENCE = 'https://services.example.test';
const PUBLIC_URL = 'https://broker.example.com';
const SUBJECT = 'system:serviceaccount:shop:billing-job';

let folder = '';
const inFolder = (name: string): string => join(folder, name);
let cluster: TestIssuer;
let broker: BrokerProcess;
let peer: { readonly id: string; readonly secret: string };
const children: ChildProcess[] = [];

// run.sh says so when it has to do without.
const describeGo = process.env['INTEROP_WITHOUT_GO'] === undefined ? describe : describe.skip;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'examples-go-'));
  if (process.env['INTEROP_WITHOUT_GO'] !== undefined) return;
  await run('go', ['build', '-o', folder, './...'], { cwd: examples });
  cluster = await startTestIssuer();
  const config = {
    public_url: PUBLIC_URL,
    trusted_issuers: {
      cluster: { kind: 'kubernetes', issuer: cluster.issuer, jwks_uri: cluster.jwksUri },
    },
    peers: {
      'billing-job': {
        identities: [{ issuer: 'cluster', subject: SUBJECT }],
        tokens: ['default'],
      },
    },
  };
  await writeFile(inFolder('broker.yaml'), JSON.stringify(config));
  broker = await startBroker(['dev'], {
    BROKER_DATA_DIR: inFolder('broker'),
    BROKER_AUDIENCE: AUDIENCE,
    BROKER_CONFIG: inFolder('broker.yaml'),
  });
  peer = JSON.parse(await readFile(inFolder('broker/demo-peer.json'), 'utf8')) as typeof peer;
}, 600_000);

afterAll(async () => {
  for (const child of children) child.kill();
  await Promise.all([broker?.stop(), cluster?.close()]);
  await rm(folder, { recursive: true, force: true });
});

function start(program: string, settings: Readonly<Record<string, string>>): ChildProcess {
  const env = { PATH: process.env['PATH'], BROKER_URL: broker.url, ...settings };
  const child = spawn(inFolder(program), [], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  return child;
}

const bySecret = (): Readonly<Record<string, string>> => ({
  BROKER_CLIENT_ID: peer.id,
  BROKER_CLIENT_SECRET: peer.secret,
});

const login = ({ id, secret }: typeof peer): string =>
  `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;

async function serviceToken(): Promise<string> {
  const headers = { authorization: login(peer), 'cache-control': 'no-cache' };
  const answer = await fetch(`${broker.url}/v1/token`, { headers });
  return ((await answer.json()) as { access_token: string }).access_token;
}

describeGo('the caller', () => {
  let billing: Server;
  let received: string[] = [];
  /** The token that the callee accepts. */
  let accepted = '';

  beforeAll(async () => {
    billing = createServer(({ headers: { authorization = '' } }, response) => {
      received.push(authorization);
      response.writeHead(authorization === `Bearer ${accepted}` ? 200 : 401).end();
    });
    await new Promise<void>((resolve) => billing.listen(0, '127.0.0.1', resolve));
  });

  afterAll(() => {
    billing?.close();
  });

  beforeEach(async () => {
    received = [];
    accepted = await serviceToken();
  });

  /** Starts it. @returns what waits for so many lines of its output, from now on. */
  function call(settings: Readonly<Record<string, string>>): (count: number) => Promise<string[]> {
    const port = (billing.address() as AddressInfo).port;
    const child = start('caller', { BILLING_URL: `http://127.0.0.1:${port}`, ...settings });
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    return async (count) => {
      const lines = (): string[] => output.split('\n').slice(0, -1);
      const from = lines().length;
      while (lines().length < from + count) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return lines().slice(from);
    };
  }

  test('goes on with the new token when the one that it has is refused', async () => {
    const lines = call(bySecret());
    expect(await lines(2)).toEqual(['200 OK', '200 OK']);
    const first = accepted;
    const rotated = await fetch(`${broker.url}/v1/rotate`, {
      method: 'POST',
      headers: { authorization: login(peer) },
    });
    expect(rotated.status).toBe(200);
    accepted = await serviceToken();
    expect(accepted).not.toBe(first);
    expect(new Set(await lines(3))).toEqual(new Set(['200 OK']));
    // The call with the old token was repeated, and later ones have the new one.
    expect(new Set(received.slice(received.lastIndexOf(`Bearer ${first}`) + 1))).toEqual(
      new Set([`Bearer ${accepted}`]),
    );
    accepted = 'none';
    expect(await lines(2)).toContain('401 Unauthorized');
  });

  test('gets it by a workload token', async () => {
    const file = inFolder('workload-token');
    const iat = Math.floor(Date.now() / 1_000);
    const claims = { iss: cluster.issuer, sub: SUBJECT, aud: [PUBLIC_URL], iat, exp: iat + 600 };
    const assertion = cluster.sign(claims);
    await writeFile(file, `${assertion}\n`);
    expect(await call({ WORKLOAD_TOKEN_FILE: file })(1)).toEqual(['200 OK']);
  });

  test('calls nobody without a login', async () => {
    const lines = call({ ...bySecret(), BROKER_CLIENT_SECRET: 'wrong'.repeat(8) });
    expect(await lines(1)).toEqual([expect.stringContaining('invalid_client')]);
    expect(received).toEqual([]);
  });
});

describeGo('the receiver', () => {
  let url = '';

  beforeAll(async () => {
    const child = start('receiver', { ...bySecret(), AUDIENCE, LISTEN: '127.0.0.1:0' });
    url = await new Promise<string>((resolve) => {
      child.stdout?.once('data', (chunk: Buffer) => resolve(`http://${chunk.toString().trim()}`));
    });
  });

  async function customerToken(): Promise<string> {
    const file = await readFile(inFolder('broker/dev-customer-app.json'), 'utf8');
    const answer = await fetch(`${broker.providerUrl}/token`, {
      method: 'POST',
      headers: { authorization: login(JSON.parse(file) as typeof peer) },
      body: new URLSearchParams({
        grant_type: 'urn:service-token-broker:dev-customer',
        subject: 'ann',
      }),
    });
    return ((await answer.json()) as { access_token: string }).access_token;
  }

  test('tells services from customers, and refuses the rest', async () => {
    const statuses = async (authorization: string): Promise<number[]> => {
      const headers = { authorization };
      const [settlement, invoices] = await Promise.all([
        fetch(`${url}/settlement`, { method: 'POST', headers }),
        fetch(`${url}/invoices`, { headers }),
      ]);
      return [settlement.status, invoices.status];
    };
    const service = `Bearer ${await serviceToken()}`;
    const customer = `Bearer ${await customerToken()}`;
    // The second time from memory.
    for (const _ of [1, 2]) {
      expect(await statuses(service)).toEqual([200, 403]);
      expect(await statuses(customer)).toEqual([403, 200]);
    }
    expect(await statuses('Bearer nothing')).toEqual([401, 401]);
    expect(await statuses(service.slice(0, -3))).toEqual([401, 401]);
    expect(await statuses(login(peer))).toEqual([401, 401]);
  });

  test('says 503 while the broker cannot be asked', async () => {
    await broker.stop();
    const answer = await fetch(`${url}/invoices`, { headers: { authorization: 'Bearer unseen' } });
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('1');
  });
});
