import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server as HttpServer } from 'node:http';
import { createServer as createTlsServer, type Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { fetchWithFiles, issuerKeys } from '../../src/composition/issuer-keys.js';
import type { TrustedIssuer } from '../../src/peers/identities.js';
import { createOfflineTestIssuer } from '../../src/testing/index.js';
import { systemClock } from '../../src/tokens/time.js';
import { selfSignedCertificate } from '../support/certificates.js';

let folder = '';
const servers: (HttpServer | HttpsServer)[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'issuer-keys-'));
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  await rm(folder, { recursive: true, force: true });
});

const listen = async (server: HttpServer | HttpsServer): Promise<number> => {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
};
const file = async (name: string, text: string): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
};
const trusted = (jwksUri: string, files: Partial<TrustedIssuer>): TrustedIssuer => ({
  name: 'cluster',
  kind: 'kubernetes',
  issuer: 'https://kubernetes.default.svc',
  jwksUri,
  audience: 'https://broker.example.com',
  algorithms: ['ES256'],
  maxLifetimeSeconds: 3_600,
  singleUse: false,
  caFile: undefined,
  tokenFile: undefined,
  ...files,
});

test('the keys of a cluster: by its own authority, with our token, read anew each time', async () => {
  const issuer = await createOfflineTestIssuer();
  const { key, cert } = selfSignedCertificate();
  const seen: (string | undefined)[] = [];
  const port = await listen(
    createTlsServer({ key, cert }, (request, response) => {
      seen.push(request.headers.authorization);
      response.end(JSON.stringify(issuer.jwks()));
    }),
  );
  const uri = `https://127.0.0.1:${port}/openid/v1/jwks`;
  const caFile = await file('ca.crt', cert);
  const tokenFile = await file('token', 'first\n');
  const fetch = fetchWithFiles({ caFile, tokenFile });
  expect(await (await fetch(uri)).json()).toEqual(issuer.jwks());
  await writeFile(tokenFile, 'second');
  await fetch(uri).then((response) => response.arrayBuffer());
  expect(seen).toEqual(['Bearer first', 'Bearer second']);
  const keys = issuerKeys(trusted(uri, { caFile, tokenFile }), systemClock);
  await expect(keys.find({ alg: 'ES256', kid: issuer.keyId })).resolves.toMatchObject({
    alg: 'ES256',
  });
});

test('another authority, or none: no request is sent, and the keys are unavailable', async () => {
  let requests = 0;
  const { key, cert } = selfSignedCertificate();
  const port = await listen(
    createTlsServer({ key, cert }, (_request, response) => {
      requests += 1;
      response.end('{"keys":[]}');
    }),
  );
  const tokenFile = await file('token', 'first');
  const caFile = await file('ca.crt', selfSignedCertificate().cert);
  const uri = `https://127.0.0.1:${port}/`;
  for (const files of [{ caFile, tokenFile }, { tokenFile }]) {
    const keys = issuerKeys(trusted(uri, files), systemClock);
    await expect(keys.find({ alg: 'ES256', kid: 'a' })).rejects.toMatchObject({
      code: 'KEYS_UNAVAILABLE',
    });
  }
  expect(requests).toBe(0);
});

test('a redirect is not followed, so that the token goes nowhere else', async () => {
  let elsewhere = 0;
  const other = await listen(
    createServer((_request, response) => ((elsewhere += 1), response.end())),
  );
  const port = await listen(
    createServer((_request, response) => {
      response.writeHead(307, { location: `http://127.0.0.1:${other}/` }).end();
    }),
  );
  const fetch = fetchWithFiles({ caFile: undefined, tokenFile: await file('token', 'first') });
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(307);
  expect(elsewhere).toBe(0);
});

test('a file that is missing: the keys are unavailable, and the message names the file', async () => {
  const none = join(folder, 'none');
  const issuer = (files: object) => issuerKeys(trusted('http://127.0.0.1:9/', files), systemClock);
  for (const [member, keys] of [
    ['token_file', issuer({ tokenFile: none })],
    ['ca_file', issuer({ caFile: none })],
  ] as const) {
    await expect(keys.find({ alg: 'ES256', kid: 'a' })).rejects.toMatchObject({
      code: 'KEYS_UNAVAILABLE',
      message: expect.stringContaining(
        `its ${member} ${JSON.stringify(none)} cannot be read (ENOENT)`,
      ),
    });
  }
});

test('a signal ends a request that hangs', async () => {
  const port = await listen(createServer(() => undefined));
  const fetch = fetchWithFiles({ caFile: undefined, tokenFile: undefined });
  const controller = new AbortController();
  const asked = fetch(`http://127.0.0.1:${port}/`, { signal: controller.signal });
  controller.abort();
  await expect(asked).rejects.toMatchObject({ name: 'AbortError' });
});
