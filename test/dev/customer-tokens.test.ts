import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { decodeJwt } from 'jose';
import { ensureDevCustomerApp } from '../../src/dev/dev-logins.js';
import { startEmbeddedProvider, type EmbeddedProvider } from '../../src/dev/embedded-provider.js';
import {
  createRemoteKeySet,
  createTokenVerifier,
  type TokenVerifier,
} from '../../src/verification/index.js';
import { TEMPORARY } from '../support/temporary-folder.js';

const AUDIENCE = 'https://services.example.test';
const SERVICE = { clientId: 'broker', clientSecret: 'secret-of-the-broker' };
const APP = { clientId: 'app', clientSecret: 'secret-of-the-app' };
const GRANT = 'urn:service-token-broker:dev-customer';

let dataDir: string;
let provider: EmbeddedProvider;
let verifier: TokenVerifier;
// From the start: the library gives each of its notices once.
const printed = (['log', 'info', 'warn', 'error'] as const).map((method) =>
  jest.spyOn(console, method).mockImplementation(() => undefined),
);

beforeAll(async () => {
  dataDir = await mkdtemp(join(TEMPORARY, 'customer-tokens-'));
  const options = { ...SERVICE, customerClient: APP, audience: AUDIENCE };
  provider = await startEmbeddedProvider({ ...options, port: 0, dataDir });
  verifier = createTokenVerifier({
    issuers: [
      {
        issuer: provider.issuer,
        audiences: AUDIENCE,
        profile: 'rfc9068',
        typ: 'at+jwt',
        keys: createRemoteKeySet({ jwksUri: `${provider.issuer}/jwks` }),
      },
    ],
  });
});

afterAll(async () => {
  for (const spy of printed) spy.mockRestore();
  await provider.close();
  await rm(dataDir, { recursive: true, force: true });
});

async function ask(
  client: typeof APP,
  form: Readonly<Record<string, string>>,
  issuer = provider.issuer,
): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
  const login = Buffer.from(`${client.clientId}:${client.clientSecret}`).toString('base64');
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${login}` },
    body: new URLSearchParams(form),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

describe('the grant for customer tokens', () => {
  test('mints what the profile rfc9068 takes for a customer token', async () => {
    const { status, body } = await ask(APP, {
      grant_type: GRANT,
      subject: 'ann',
      scope: 'orders:read orders:write',
    });
    expect(status).toBe(200);
    expect(body).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: 86_400,
      scope: 'orders:read orders:write',
    });
    const { principal, claims } = await verifier.verify(body['access_token']);
    expect(principal).toMatchObject({
      kind: 'customer',
      subject: 'ann',
      clientId: 'app',
      scopes: ['orders:read', 'orders:write'],
    });
    expect(claims).toMatchObject({ aud: AUDIENCE, auth_time: expect.any(Number) });
  });

  test('leaves service tokens as they are, and apart in the count', async () => {
    const before = provider.mintCount;
    await ask(APP, { grant_type: GRANT, subject: 'ann' });
    const { body } = await ask(SERVICE, { grant_type: 'client_credentials' });
    const { principal, claims } = await verifier.verify(body['access_token']);
    expect(principal).toMatchObject({ kind: 'service', clientId: 'broker' });
    expect(claims).not.toHaveProperty('auth_time');
    expect(provider.mintCount - before).toBe(1);
  });

  test.each([
    ['no person', {}],
    ['an empty person', { subject: '' }],
    ['a person with spaces around', { subject: ' ann ' }],
    ['a person with a line break', { subject: 'ann\nbob' }],
    ['a person of 256 characters', { subject: 'a'.repeat(256) }],
    ['the client itself as a person', { subject: 'app' }],
    ['the client of the service tokens as a person', { subject: 'broker' }],
  ])('refuses %s', async (_what, form) => {
    expect(await ask(APP, { grant_type: GRANT, ...form })).toMatchObject({
      status: 400,
      body: { error: 'invalid_request' },
    });
  });

  test('is closed to the broker, as the other grant is to the application', async () => {
    const unauthorized = {
      status: 400,
      body: { error_description: 'requested grant type is not allowed for this client' },
    };
    expect(await ask(SERVICE, { grant_type: GRANT, subject: 'ann' })).toMatchObject(unauthorized);
    expect(await ask(APP, { grant_type: 'client_credentials' })).toMatchObject(unauthorized);
  });

  test('wants the secret', async () => {
    const guessed = { ...APP, clientSecret: 'guessed' };
    expect(await ask(guessed, { grant_type: GRANT, subject: 'ann' })).toMatchObject({
      status: 401,
      body: { error: 'invalid_client' },
    });
  });

  test('does not exist without a client for it', async () => {
    const without = await startEmbeddedProvider({
      ...SERVICE,
      audience: 'services',
      port: 0,
      dataDir,
    });
    try {
      const form = { grant_type: GRANT, subject: 'ann' };
      expect(await ask(SERVICE, form, without.issuer)).toMatchObject({
        status: 400,
        body: { error: 'unsupported_grant_type' },
      });
    } finally {
      await without.close();
    }
  });

  test('keeps an audience that is not a URI', async () => {
    const options = { ...SERVICE, customerClient: APP, audience: 'services' };
    const other = await startEmbeddedProvider({ ...options, port: 0, dataDir });
    try {
      const { body } = await ask(APP, { grant_type: GRANT, subject: 'ann' }, other.issuer);
      expect(decodeJwt(String(body['access_token'])).aud).toBe('services');
    } finally {
      await other.close();
    }
  });
});

test('nothing is printed on the terminal', () => {
  expect(printed.flatMap((spy) => spy.mock.calls)).toEqual([]);
});

describe('the login of the application', () => {
  test('is private, stays, and is made anew when its file is damaged', async () => {
    const made = await ensureDevCustomerApp(dataDir);
    expect(made).toMatchObject({ clientId: 'dev-customer-app', file: expect.any(String) });
    expect(JSON.parse(await readFile(made.file, 'utf8'))).toEqual({
      id: made.clientId,
      secret: made.clientSecret,
    });
    expect((await stat(made.file)).mode & 0o777).toBe(0o600);
    expect(await ensureDevCustomerApp(dataDir)).toEqual(made);

    for (const damaged of ['', 'not json', '{"id":"dev-customer-app","secret":"short"}']) {
      await writeFile(made.file, damaged);
      const renewed = await ensureDevCustomerApp(dataDir);
      expect(renewed.clientSecret).toMatch(/^[\w-]{43}$/);
      expect(renewed.clientSecret).not.toBe(made.clientSecret);
    }
  });
});
