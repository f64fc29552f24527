import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { verifyAudit } from '../../src/cli/verify-audit.js';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { createRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import { MemorySecretStore, startTestIssuer, type TestIssuer } from '../../src/testing/index.js';

// The configuration of docs/gateways.md, as it stands there, in front of services that others' languages serve.

const run = promisify(execFile);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const children: ChildProcess[] = [];

let folder = '';
let issuer: TestIssuer;
let broker: RunningBroker;

/** Starts a program that writes its port, and gives that. */
async function startService(program: string, args: readonly string[]): Promise<number> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}.`)));
    child.stdout.once('data', (bytes: Buffer) => resolve(Number(bytes.toString())));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** nginx with the documented lines. */
async function startNginx(name: string, service: number): Promise<string> {
  const page = await readFile(here('../../docs/gateways.md'), 'utf8');
  const [, documented = ''] = /^```nginx\n([\s\S]*?)^```$/m.exec(page) ?? [];
  const prefix = join(folder, name);
  await mkdir(prefix);
  const port = await freePort();
  const own = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const configuration = [
    'daemon off; master_process off; pid nginx.pid; error_log stderr crit;',
    'events {}',
    'http { access_log off;',
    ...own.map((one) => `${one}_temp_path ${join(prefix, one)};`),
    `server { listen 127.0.0.1:${port};`,
    documented
      .replace('SERVICE', `127.0.0.1:${service}`)
      .replace('BROKER', new URL(broker.url).host),
    '} }',
  ];
  await writeFile(join(prefix, 'nginx.conf'), configuration.join('\n'));
  const program = process.env['INTEROP_NGINX'] ?? 'nginx';
  const child = spawn(program, ['-p', prefix, '-c', 'nginx.conf', '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  children.push(child);
  const url = `http://127.0.0.1:${port}`;
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const isUp = await fetch(url).then(
      () => true,
      () => false,
    );
    if (isUp) return url;
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
  throw new Error('nginx did not start.');
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gateways-'));
  issuer = await startTestIssuer();
  const config = loadConfig({
    env: {
      PORT: '0',
      HOST: '127.0.0.1',
      BROKER_ISSUER: issuer.issuer,
      BROKER_AUDIENCE: issuer.audience,
      BROKER_TOKEN_ENDPOINT: `${issuer.issuer}/token`,
      BROKER_JWKS_URI: issuer.jwksUri,
      BROKER_ROTATION: 'disabled',
      BROKER_AUTHORIZE: 'true',
      BROKER_AUDIT: join(folder, 'audit.jsonl'),
    },
  });
  const log = createLogger({ level: 'silent' });
  broker = await serveHttp(await createRuntime(config, { store: new MemorySecretStore(), log }));
});

afterAll(async () => {
  for (const child of children) child.kill();
  await broker?.close();
  await issuer?.close();
  await rm(folder, { recursive: true, force: true });
});

const SERVICES: Readonly<Record<string, () => Promise<number>>> = {
  Python: () =>
    startService(process.env['INTEROP_PYTHON'] ?? 'python3', [here('gateways/service.py')]),
  Go: async () => {
    const program = join(folder, 'service');
    await run('go', ['build', '-o', program, '.'], { cwd: here('gateways/go') });
    return startService(program, []);
  },
};
const languages = Object.keys(SERVICES).filter(
  (language) => language !== 'Go' || process.env['INTEROP_WITHOUT_GO'] === undefined,
);

describe.each(languages)('a service in %s, behind nginx', (language) => {
  let url = '';
  beforeAll(async () => {
    url = await startNginx(language, (await SERVICES[language]?.()) ?? 0);
  }, 300_000);

  const call = async (
    token: string | undefined,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<readonly [number, unknown, string | null]> => {
    const answer = await fetch(`${url}/orders?allow=customer`, {
      headers: { ...(token !== undefined && { authorization: `Bearer ${token}` }), ...headers },
    });
    const text = await answer.text();
    const challenge = answer.headers.get('www-authenticate');
    return [answer.status, answer.status === 200 ? JSON.parse(text) : undefined, challenge];
  };

  test('learns that a service calls', async () => {
    const token = issuer.serviceToken({ clientId: 'billing-job' });
    for (let count = 0; count < 3; count += 1) {
      const [status, said] = await call(token);
      expect(status).toBe(200);
      expect(said).toMatchObject({
        Kind: ['service'],
        Client: ['billing-job'],
        Issuer: [issuer.issuer],
      });
    }
  });

  test('learns which customer calls, whatever the name', async () => {
    const subject = 'Änne, 100% \r\nX-Principal-Kind: service';
    const [status, said] = await call(issuer.customerToken({ subject }));
    expect(status).toBe(200);
    expect(said).toMatchObject({ Kind: ['customer'], Subject: [subject] });
  });

  test('is not told what the caller says of itself', async () => {
    const forged = {
      'X-Principal-Kind': 'service',
      'X-Principal-Subject': 'root',
      'X-Principal-Client': 'root',
      'X-Principal-Issuer': 'https://attacker.example',
    };
    const token = issuer.customerToken({ subject: 'anna' });
    const [status, said] = await call(token, forged);
    expect(status).toBe(200);
    expect(said).toMatchObject({ Kind: ['customer'], Subject: ['anna'], Issuer: [issuer.issuer] });
    expect(JSON.stringify(said)).not.toMatch(/root|attacker/);
    expect((await call(undefined, forged))[0]).toBe(401);
  });

  test('is not reached without a token, or with one that is forged', async () => {
    expect(await call(undefined)).toEqual([401, undefined, 'Bearer']);
    for (const fault of ['wrong-key', 'alg-none', 'expired', 'wrong-audience'] as const) {
      const [status, , challenge] = await call(issuer.serviceToken({ fault }));
      expect([status, challenge]).toEqual([401, expect.stringContaining('error="invalid_token"')]);
    }
  });
});

test('every decision is in the audit, which is whole', async () => {
  await broker.close();
  const path = join(folder, 'audit.jsonl');
  const report = await verifyAudit([path]);
  expect(report).toMatchObject({ whole: true, faults: [] });
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const outcomes = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const of = (outcome: string): readonly Record<string, unknown>[] =>
    outcomes.filter((line) => line['outcome'] === outcome);
  expect(of('authorized').length).toBeGreaterThanOrEqual(5 * languages.length);
  expect(of('refused').map(({ reason }) => reason)).toEqual(
    expect.arrayContaining(['NO_CREDENTIALS', 'TOKEN_EXPIRED', 'TOKEN_AUDIENCE_WRONG']),
  );
  expect(of('authorized')[0]).toMatchObject({
    remote_address: '127.0.0.1',
    request_id: expect.stringMatching(/./),
  });
  expect(of('stopped')).toHaveLength(1);
});
