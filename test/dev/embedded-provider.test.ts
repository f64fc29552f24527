import { lstat, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import * as client from 'openid-client';
import { ensureDevCustomerApp } from '../../src/dev/dev-logins.js';
import {
  loadOidcProvider,
  startEmbeddedProvider,
  type EmbeddedProvider,
} from '../../src/dev/embedded-provider.js';
import { createOAuthProvider } from '../../src/provider/oauth-provider.js';
import { systemClock } from '../../src/tokens/time.js';
import { fixedPort } from '../support/fixed-port.js';
import { LINKS, ODD_FILES } from '../support/odd-files.js';
import { TEMPORARY } from '../support/temporary-folder.js';

const CLIENT_ID = 'dev-broker_1.0';
const CLIENT_SECRET = 'dev secret:with+every/kind%of=character';
const AUDIENCE = 'https://services.example.test';

let dataDir: string;
let running: EmbeddedProvider[] = [];
/** A key file of an earlier start: making an RSA key is the slowest thing here. */
let keyFile: string;

beforeAll(async () => {
  const earlier = await mkdtemp(join(TEMPORARY, 'embedded-provider-'));
  await (await start({ dataDir: earlier })).close();
  keyFile = await readFile(join(earlier, 'dev-provider.json'), 'utf8');
  await rm(earlier, { recursive: true });
});

beforeEach(async () => {
  dataDir = await mkdtemp(join(TEMPORARY, 'embedded-provider-'));
  await writeFile(join(dataDir, 'dev-provider.json'), keyFile, { mode: 0o600 });
});

afterEach(async () => {
  await Promise.all(running.map((provider) => provider.close()));
  running = [];
  await rm(dataDir, { recursive: true, force: true });
});

async function start(
  options: Partial<Parameters<typeof startEmbeddedProvider>[0]> = {},
): Promise<EmbeddedProvider> {
  const provider = await startEmbeddedProvider({
    port: 0,
    dataDir,
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    audience: AUDIENCE,
    ...options,
  });
  running.push(provider);
  return provider;
}

const oauth = createOAuthProvider({ clock: systemClock });
const credentials = { kind: 'secrets', clientId: CLIENT_ID, secrets: [CLIENT_SECRET] } as const;

async function sendHalfARequest(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(
    'POST /token HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n' +
      'content-length: 50\r\nexpect: 100-continue\r\n\r\ngrant',
  );
  // The interim answer says that the request has arrived.
  await new Promise((resolve) => socket.once('data', resolve));
  return socket;
}

describe('a token of the embedded provider', () => {
  test('verifies against its JWKS as an RFC 9068 access token of a machine', async () => {
    const provider = await start({ accessTokenTtlSeconds: 3_600 });
    const { jwksUri } = await oauth.metadata({ issuer: provider.issuer });

    const minted = await oauth.mint({ issuer: provider.issuer, scope: 'orders:read' }, credentials);
    const { payload, protectedHeader } = await jwtVerify(
      minted.accessToken,
      createRemoteJWKSet(new URL(jwksUri)),
      { issuer: provider.issuer, audience: AUDIENCE, typ: 'at+jwt', algorithms: ['RS256'] },
    );

    expect(protectedHeader.alg).toBe('RS256');
    expect(payload).toMatchObject({
      sub: CLIENT_ID,
      client_id: CLIENT_ID,
      scope: 'orders:read',
      jti: expect.any(String),
    });
    expect(Number(payload.exp) - Number(payload.iat)).toBe(3_600);
    expect(minted).toMatchObject({ expiresInSeconds: 3_600 });
    expect(provider.mintCount).toBe(1);
  });

  test.each(['client_secret_basic', 'client_secret_post'] as const)(
    'is minted with %s',
    async (clientAuthentication) => {
      const { issuer } = await start();
      const { accessToken } = await oauth.mint({ issuer, clientAuthentication }, credentials);
      expect(decodeJwt(accessToken).aud).toBe(AUDIENCE);
    },
  );

  test('is minted for an independent client library through the standard grant', async () => {
    const { issuer } = await start();
    const configuration = await client.discovery(
      new URL(issuer),
      CLIENT_ID,
      undefined,
      client.ClientSecretBasic(CLIENT_SECRET),
      { execute: [client.allowInsecureRequests] },
    );
    const answer = await client.clientCredentialsGrant(configuration, { resource: AUDIENCE });
    expect(decodeJwt(answer.access_token)).toMatchObject({ iss: issuer, aud: AUDIENCE });
  });

  test('carries an audience that is not a URI', async () => {
    const { issuer } = await start({ audience: 'services' });
    const { accessToken } = await oauth.mint({ issuer, audience: 'services' }, credentials);
    expect(decodeJwt(accessToken).aud).toBe('services');
  });

  test('lives a day by default', async () => {
    const { issuer } = await start();
    await expect(oauth.mint({ issuer }, credentials)).resolves.toMatchObject({
      expiresInSeconds: 86_400,
    });
  });

  test('is not minted for a wrong secret, or for another resource', async () => {
    const provider = await start();
    const { issuer } = provider;
    await expect(
      oauth.mint({ issuer }, { ...credentials, secrets: ['not-the-secret'] }),
    ).rejects.toMatchObject({ code: 'PROVIDER_INVALID_CLIENT' });
    await expect(
      oauth.mint({ issuer, resource: ['https://other.example.test'] }, credentials),
    ).rejects.toMatchObject({ code: 'PROVIDER_REFUSED' });
    expect(provider.mintCount).toBe(0);
  });
});

describe('the key file', () => {
  beforeEach(() => rm(join(dataDir, 'dev-provider.json')));

  test('is private, and a second start signs with the same key', async () => {
    const first = await start({ port: fixedPort() });
    const { accessToken } = await oauth.mint({ issuer: first.issuer }, credentials);
    const { jwksUri } = await oauth.metadata({ issuer: first.issuer });
    await first.close();
    const second = await start({ port: first.port });

    await expect(
      jwtVerify(accessToken, createRemoteJWKSet(new URL(jwksUri)), { issuer: second.issuer }),
    ).resolves.toBeDefined();
    expect((await stat(join(dataDir, 'dev-provider.json'))).mode & 0o777).toBe(0o600);
    expect(await readdir(dataDir)).toEqual(['dev-provider.json']);
  });

  test('is the same for providers that start together', async () => {
    const providers = await Promise.all([start(), start(), start()]);
    const keySets = await Promise.all(
      providers.map(async ({ issuer }) => (await fetch(`${issuer}/jwks`)).json()),
    );
    expect(keySets[1]).toEqual(keySets[0]);
    expect(keySets[2]).toEqual(keySets[0]);
    expect(await readdir(dataDir)).toEqual(['dev-provider.json']);
  });

  test('never shows its private half in the JWKS', async () => {
    const { issuer } = await start();
    const file = JSON.parse(await readFile(join(dataDir, 'dev-provider.json'), 'utf8')) as {
      keys: [{ d: string; n: string }];
    };
    const published = await (await fetch(`${issuer}/jwks`)).text();
    expect(published).toContain(file.keys[0].n);
    expect(published).not.toContain(file.keys[0].d);
  });

  test.each([
    ['a text', 'not json, canary-4711'],
    ['no key', '{"keys":[]}'],
    ['a public key', '{"keys":[{"kty":"RSA","kid":"1","n":"canary-4711","e":"AQAB"}]}'],
  ])('that holds %s is refused without quoting it', async (_what, content) => {
    await writeFile(join(dataDir, 'dev-provider.json'), content);
    const failure: unknown = await start().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'DEV_PROVIDER_KEY_INVALID', kind: 'misconfigured' });
    expect(JSON.stringify(failure) + String(failure)).not.toContain('canary-4711');
    expect(String(failure)).toContain(join(dataDir, 'dev-provider.json'));
  });

  test.each(Object.entries({ ...ODD_FILES, ...LINKS }))(
    'is not read from what is no file: %s',
    async (_kind, make) => {
      await make(join(dataDir, 'dev-provider.json'));
      await expect(start()).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        message: expect.stringContaining(`${join(dataDir, 'dev-provider.json')} is a`),
      });
    },
  );

  test('a login is written in the place of a link or a pipe, and not through it', async () => {
    const file = join(dataDir, 'dev-customer-app.json');
    const odd = { ...LINKS, pipe: ODD_FILES['a named pipe (FIFO)'] };
    for (const make of Object.values(odd)) {
      await make?.(file);
      await ensureDevCustomerApp(dataDir);
      expect((await lstat(file)).isFile()).toBe(true);
      await rm(file);
    }
    expect(await readFile(`${file}.target`, 'utf8')).toBe('mine');
  });

  test('in a folder that is a file is refused with the reason', async () => {
    const path = join(dataDir, 'file');
    await writeFile(path, '');
    await expect(start({ dataDir: path })).rejects.toMatchObject({
      code: 'DEV_PROVIDER_KEY_INVALID',
      message: expect.stringContaining('EEXIST'),
    });
  });
});

describe('where it listens', () => {
  test('a port in use is named, with the variable that moves it', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as AddressInfo;
    try {
      const failure: unknown = await start({ port }).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'PORT_IN_USE', kind: 'misconfigured' });
      expect(String(failure)).toContain(String(port));
      expect(String(failure)).toContain('BROKER_DEV_PROVIDER_PORT');
    } finally {
      await new Promise((resolve) => other.close(resolve));
    }
  });

  test.each(['0.0.0.0', '::', '192.0.2.7', 'example.com', '127.evil.example'])(
    '%s is refused: only this machine may see plain HTTP',
    async (host) => {
      await expect(start({ host })).rejects.toMatchObject({ code: 'DEV_PROVIDER_ADDRESS_INVALID' });
    },
  );

  test('after close the port is free, also with a request half sent, and closing twice is harmless', async () => {
    const provider = await start({ port: fixedPort() });
    const socket = await sendHalfARequest(provider.port);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await provider.close();
    await provider.close();
    await closed;
    await start({ port: provider.port });
  });
});

describe('the terminal', () => {
  test('stays clean: no notice or warning of the library is printed', async () => {
    const printed: unknown[] = [];
    const methods = ['log', 'info', 'warn', 'error', 'debug'] as const;
    const spies = methods.map((method) =>
      jest.spyOn(console, method).mockImplementation((...values) => {
        printed.push(...(values as unknown[]));
      }),
    );
    try {
      const { issuer } = await start();
      await oauth.mint({ issuer }, credentials);
      await oauth.mint({ issuer }, { ...credentials, secrets: ['wrong'] }).catch(() => undefined);
      const page = await fetch(`${issuer}/auth`, { headers: { accept: 'text/html' } });
      const cors = await fetch(`${issuer}/token`, {
        method: 'POST',
        headers: { origin: 'https://browser.example.test' },
        body: new URLSearchParams({
          grant_type: 'client_credentials',
          client_id: CLIENT_ID,
          client_secret: CLIENT_SECRET,
        }),
      });
      expect([page.status, cors.status]).toEqual([400, 400]);
      expect(page.headers.get('content-type')).toContain('application/json');
    } finally {
      for (const spy of spies) spy.mockRestore();
    }
    expect(printed).toEqual([]);
  });
});

describe('failures inside', () => {
  test('are reported, and the client learns nothing of them', async () => {
    const reported: string[] = [];
    const { issuer } = await start({
      onMint: () => {
        throw new Error('the hook fails');
      },
      onServerError: (error) => reported.push(error.message),
    });
    const failure: unknown = await createOAuthProvider({ clock: systemClock, attempts: 1 })
      .mint({ issuer }, credentials)
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'PROVIDER_UNAVAILABLE' });
    expect(reported).toEqual(['the hook fails']);
  });

  test('a life that is no number of seconds is refused at the start, and the port is free again', async () => {
    const port = fixedPort();
    await expect(start({ port, accessTokenTtlSeconds: -1 })).rejects.toThrow('ClientCredentials');
    await start({ port });
  });

  test('do not include a client that goes away', async () => {
    const reported: string[] = [];
    const provider = await start({ onServerError: (error) => reported.push(error.message) });
    const socket = await sendHalfARequest(provider.port);
    socket.resetAndDestroy();
    await oauth.mint({ issuer: provider.issuer }, credentials);
    expect(reported).toEqual([]);
  });
});

describe('loading oidc-provider', () => {
  test('says how to install it when it is missing', async () => {
    const missing = Object.assign(new Error('Cannot find package'), {
      code: 'ERR_MODULE_NOT_FOUND',
    });
    await expect(loadOidcProvider(() => Promise.reject(missing))).rejects.toMatchObject({
      code: 'DEV_PROVIDER_NOT_INSTALLED',
      message: expect.stringContaining('npm install oidc-provider'),
      cause: missing,
    });
  });

  test('falls back to the entry point when its parts are not where they were', async () => {
    const Provider = class {};
    const closed = Object.assign(new Error('not exported'), {
      code: 'ERR_PACKAGE_PATH_NOT_EXPORTED',
    });
    const library = await loadOidcProvider((specifier) =>
      specifier === 'oidc-provider'
        ? Promise.resolve({ Provider, errors: {} })
        : Promise.reject(closed),
    );
    expect(library.Provider).toBe(Provider);
    expect(library.adapter).toBeUndefined();
  });
});
