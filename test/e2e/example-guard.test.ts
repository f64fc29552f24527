import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestIssuer } from '../../src/testing/index.js';
import { startDevBroker, type DevBroker } from '../support/dev-broker.js';
import { compileExample, startExample, type ExampleProcess } from './example-process.js';
import { temporaryFolder } from './folders.js';
import { basic, getToken, type TokenBody } from './peer-http.js';

const GRANT = 'urn:service-token-broker:dev-customer';

let dataDir: string;
let broker: DevBroker;
let example: ExampleProcess;
let tokens: Readonly<Record<'customer' | 'writer' | 'stranger' | 'service', string>>;

beforeAll(async () => {
  await compileExample('guard');
  dataDir = join(await temporaryFolder(), 'data');
  broker = await startDevBroker(dataDir);
  example = await startExample('guard', { ISSUER: broker.providerUrl });
  const { body } = await getToken(broker.url, basic(broker.peer.id, broker.peer.secret));
  tokens = {
    customer: await customerToken({ subject: 'ann' }),
    writer: await customerToken({ subject: 'ann', scope: 'orders:write' }),
    stranger: await customerToken({ subject: 'bob', scope: 'orders:write' }),
    service: body.access_token,
  };
}, 120_000);

afterAll(async () => {
  await Promise.all([example?.stop(), broker?.stop()]);
});

/** As the line that dev mode prints: by the client in the data folder. */
async function customerToken(form: Readonly<Record<string, string>>): Promise<string> {
  const file = await readFile(join(dataDir, 'dev-customer-app.json'), 'utf8');
  const { id, secret } = JSON.parse(file) as { id: string; secret: string };
  const response = await fetch(`${broker.providerUrl}/token`, {
    method: 'POST',
    headers: { authorization: basic(id, secret) },
    body: new URLSearchParams({ grant_type: GRANT, ...form }),
  });
  expect(response.status).toBe(200);
  return ((await response.json()) as TokenBody).access_token;
}

interface Answer {
  readonly status: number;
  readonly challenge: string | null;
  readonly body: Record<string, unknown>;
}

async function call(route: string, token?: string): Promise<Answer> {
  const [method = '', path = ''] = route.split(' ');
  const response = await fetch(`${example.url}${path}`, {
    method,
    headers: {
      ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    ...(method === 'POST' ? { body: JSON.stringify({ item: 'tea' }) } : {}),
  });
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    body: (await response.json()) as Record<string, unknown>,
  };
}

describe('tokens of the embedded provider at the example application', () => {
  test('a customer places an order; customer, and services, see it; another customer does not', async () => {
    const placed = await call('POST /orders', tokens.writer);
    expect(placed).toMatchObject({
      status: 201,
      body: { id: 1, issuer: broker.providerUrl, customer: 'ann', item: 'tea', paid: false },
    });
    expect(await call('GET /orders/1', tokens.customer)).toMatchObject({ status: 200 });
    expect(await call('GET /orders/1', tokens.service)).toMatchObject({
      status: 200,
      body: { customer: 'ann' },
    });
    expect(await call('GET /orders/1', tokens.stranger)).toMatchObject({ status: 404 });
    expect(await call('POST /orders/settlement', tokens.service)).toMatchObject({
      status: 200,
      body: { settled: 1 },
    });
  });

  test.each([
    ['POST /orders', 'service', 403, 'Only customers may do this.'],
    ['POST /orders/settlement', 'customer', 403, 'Only services may do this.'],
    ['POST /orders', 'customer', 403, 'The access token lacks a scope.'],
  ] as const)('%s with a %s token is answered %i', async (route, kind, status, description) => {
    const { challenge, ...answer } = await call(route, tokens[kind]);
    expect(answer).toMatchObject({ status, body: { error: 'insufficient_scope' } });
    expect(challenge).toBe(
      `Bearer realm="orders", error="insufficient_scope", error_description="${description}"` +
        (description.includes('scope') ? ', scope="orders:write"' : ''),
    );
  });

  test.each(['POST /orders', 'POST /orders/settlement', 'GET /orders/1'])(
    '%s without a token is answered 401, with a challenge and no error code',
    async (route) => {
      expect(await call(route)).toMatchObject({ status: 401, challenge: 'Bearer realm="orders"' });
    },
  );

  test('a route without a decorator is closed to everybody, a public one open', async () => {
    for (const token of [tokens.writer, tokens.service, undefined]) {
      expect(await call('DELETE /orders/1', token)).toMatchObject({ status: 403, challenge: null });
      expect(await call('GET /health', token)).toMatchObject({ status: 200 });
    }
  });

  test('a token of another issuer, or one with the signature of another token, is answered 401 invalid_token', async () => {
    const other = await startTestIssuer({ audience: 'https://services.example.test' });
    try {
      const [header, payload] = tokens.customer.split('.');
      const changed = [header, payload, tokens.service.split('.').at(-1)].join('.');
      for (const token of [other.serviceToken(), changed]) {
        const answer = await call('GET /orders/1', token);
        expect(answer).toMatchObject({ status: 401, body: { error: 'invalid_token' } });
        expect(answer.challenge).toMatch(/^Bearer realm="orders", error="invalid_token", /);
      }
      expect(other.requests).toBe(0);
    } finally {
      await other.close();
    }
  });

  test('the lines that dev mode prints ask for a customer token, and show no secret', async () => {
    const lines = /^ +app=.*\n +curl .*dev-customer \\\n.*$/m.exec(broker.stdout())?.[0] ?? '';
    // A shell reads the lines; what it would hand to curl is what is asked here.
    const script = `curl() { printf '%s\\n' "$@"; }\n${lines}`;
    const { stdout } = await promisify(execFile)('sh', ['-c', script], { cwd: tmpdir() });
    const words = stdout.trimEnd().split('\n');
    const [id = '', secret = ''] = (words[words.indexOf('-u') + 1] ?? '').split(':');
    const form = words.flatMap((word, at) => (words[at - 1] === '-d' ? [word] : []));
    const response = await fetch(words.at(-1) ?? '', {
      method: 'POST',
      headers: { authorization: basic(id, secret) },
      body: new URLSearchParams(form.join('&')),
    });
    const { access_token } = (await response.json()) as TokenBody;
    expect((await broker.verify(access_token)).principal).toMatchObject({
      kind: 'customer',
      subject: 'ann',
      clientId: 'dev-customer-app',
    });
    expect(secret).toMatch(/^[\w-]{43}$/);
    expect(broker.stdout()).not.toContain(secret);
  });

  test('nothing of the tokens is written by any of the processes', () => {
    const written = example.output() + broker.stdout() + broker.stderr();
    for (const token of Object.values(tokens)) {
      for (const part of token.split('.')) expect(written).not.toContain(part);
    }
  });

  test('while the provider is gone, known keys go on working; a fresh example answers 503', async () => {
    const late = await startExample('guard', { ISSUER: broker.providerUrl });
    try {
      await broker.stop();
      expect(await call('GET /orders/1', tokens.service)).toMatchObject({ status: 200 });
      const response = await fetch(`${late.url}/orders/1`, {
        headers: { authorization: `Bearer ${tokens.service}` },
      });
      expect(response.status).toBe(503);
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    } finally {
      await late.stop();
    }
  });
});
