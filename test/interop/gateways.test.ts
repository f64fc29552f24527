import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { verifyAudit } from '../../src/cli/verify-audit.js';
import type { RunningBroker } from '../../src/composition/http-server.js';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { freePort, GATEWAYS, startAskedBroker, type Gateway } from './gateways/start-gateway.js';

// Gateways as docs/gateways.md configures them, in front of services that others' languages serve.

const run = promisify(execFile);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const children: ChildProcess[] = [];
const started: Gateway[] = [];

let folder = '';
let issuer: TestIssuer;
let broker: RunningBroker;

/** Starts a program that writes its port, and gives its address. */
async function startService(program: string, args: readonly string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}.`)));
    child.stdout.once('data', (bytes: Buffer) => resolve(`127.0.0.1:${Number(bytes.toString())}`));
  });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gateways-'));
  issuer = await startTestIssuer();
  broker = await startAskedBroker(issuer, { BROKER_AUDIT: join(folder, 'audit.jsonl') });
});

afterAll(async () => {
  for (const gateway of started) gateway.stop();
  for (const child of children) child.kill();
  await broker?.close();
  await issuer?.close();
  await rm(folder, { recursive: true, force: true });
});

const SERVICES: Readonly<Record<string, () => Promise<string>>> = {
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

interface Answer {
  readonly status: number;
  /** What the service was told, if it was reached. */
  readonly said: unknown;
  readonly challenge: string | undefined;
}

/** Calls the service through a gateway. Path and headers are sent as they are, which `fetch` does not. */
async function call(
  { port }: Gateway,
  token: string | undefined,
  headers: Readonly<Record<string, string | readonly string[]>> = {},
  path = '/orders?allow=customer',
): Promise<Answer> {
  const lines = [
    ...(token === undefined ? [] : ['Authorization', `Bearer ${token}`]),
    ...Object.entries(headers).flatMap(([name, values]) =>
      [values].flat().flatMap((value) => [name, value]),
    ),
  ];
  const headersSent = ['Host', 'shop.example', ...lines];
  const sent = request({ host: '127.0.0.1', port, path, agent: false, headers: headersSent });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const body = await text(response);
  return {
    status: response.statusCode ?? 0,
    said: response.statusCode === 200 ? JSON.parse(body) : undefined,
    challenge: response.headers['www-authenticate'],
  };
}

const FORGED = {
  'X-Principal-Kind': 'service',
  'X-Principal-Subject': 'root',
  'X-Principal-Client': 'root',
  'X-Principal-Issuer': 'https://attacker.example',
};

describe.each(languages)('a service in %s', (language) => {
  let service = '';
  beforeAll(async () => {
    service = (await SERVICES[language]?.()) ?? '';
  }, 300_000);

  describe.each(GATEWAYS)('behind $name', ({ name, start, withoutBroker, passesChallenge }) => {
    let gateway: Gateway;
    const startBehind = async (
      asked: string,
      own: string,
      change?: (documented: string) => string,
    ): Promise<Gateway> => {
      const surroundings = { folder: join(folder, language, name, own), service, broker: asked };
      const behind = await start({ ...surroundings, ...(change && { change }) });
      started.push(behind);
      return behind;
    };
    beforeAll(async () => {
      gateway = await startBehind(new URL(broker.url).host, 'up');
    });

    test('learns that a service calls', async () => {
      const token = issuer.serviceToken({ clientId: 'billing-job' });
      for (let count = 0; count < 3; count += 1) {
        const { status, said } = await call(gateway, token);
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
      const { status, said } = await call(gateway, issuer.customerToken({ subject }));
      expect(status).toBe(200);
      expect(said).toMatchObject({ Kind: ['customer'], Subject: [subject] });
    });

    test('is not told what the caller says of itself', async () => {
      const token = issuer.customerToken({ subject: 'anna' });
      const twice = Object.fromEntries(
        Object.entries(FORGED).map(([one, value]) => [one, [value, value]]),
      );
      const lowered = Object.fromEntries(
        Object.entries(FORGED).map(([one, value]) => [one.toLowerCase(), value]),
      );
      // Some proxies drop the headers that "Connection" names, after they have set them.
      const dropped = { ...FORGED, Connection: Object.keys(FORGED).join(', ') };
      for (const forged of [FORGED, twice, lowered, dropped]) {
        const { status, said } = await call(gateway, token, forged);
        expect(status).toBe(200);
        expect(said).toMatchObject({
          Kind: ['customer'],
          Subject: ['anna'],
          Client: [expect.any(String)],
          Issuer: [issuer.issuer],
        });
        expect(JSON.stringify(said)).not.toMatch(/root|attacker/);
        expect((await call(gateway, undefined, forged)).status).toBe(401);
      }
    });

    test('is not reached without a token, or with one that is forged', async () => {
      expect(await call(gateway, undefined)).toEqual({
        status: 401,
        said: undefined,
        challenge: 'Bearer',
      });
      for (const fault of ['wrong-key', 'alg-none', 'expired', 'wrong-audience'] as const) {
        const { status, challenge } = await call(gateway, issuer.serviceToken({ fault }));
        expect([status, challenge]).toEqual([
          401,
          expect.stringContaining('error="invalid_token"'),
        ]);
      }
    });

    test('is not reached with a token that may not do this', async () => {
      const strict = await startBehind(new URL(broker.url).host, 'strict', (documented) => {
        expect(documented).toContain('&allow=customer');
        return documented.replace('&allow=customer', '&allow=customer&scope=orders');
      });
      const allowed = issuer.serviceToken({ scopes: ['orders'] });
      expect((await call(strict, allowed)).status).toBe(200);
      const { status, said, challenge } = await call(strict, issuer.serviceToken(), FORGED);
      expect([status, said]).toEqual([403, undefined]);
      // The challenge of RFC 6750 §3.1, which nginx keeps to itself.
      expect(challenge).toEqual(
        passesChallenge ? expect.stringMatching(/insufficient_scope.*scope="orders"/) : undefined,
      );
      strict.stop();
    });

    test('is not reached with two tokens', async () => {
      const both = [issuer.serviceToken(), issuer.customerToken()].map(
        (token) => `Bearer ${token}`,
      );
      const { status, said } = await call(gateway, undefined, { Authorization: both });
      expect([400, 401]).toContain(status);
      expect(said).toBeUndefined();
    });

    test('is not reached while the broker is down', async () => {
      const alone = await startBehind(`127.0.0.1:${await freePort()}`, 'down');
      for (const token of [undefined, issuer.serviceToken()]) {
        const { status, said } = await call(alone, token, FORGED);
        expect({ status, said }).toEqual({ status: withoutBroker, said: undefined });
      }
      alone.stop();
    });
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
  expect(of('authorized').length).toBeGreaterThanOrEqual(5 * languages.length * GATEWAYS.length);
  expect(of('refused').map(({ reason }) => reason)).toEqual(
    expect.arrayContaining(['NO_CREDENTIALS', 'TOKEN_EXPIRED', 'TOKEN_AUDIENCE_WRONG']),
  );
  expect(of('authorized')[0]).toMatchObject({
    remote_address: '127.0.0.1',
    request_id: expect.stringMatching(/./),
  });
  expect(of('stopped')).toHaveLength(1);
});
