import { inspect } from 'node:util';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { CertificateCredentials } from '../../src/provider/client-credentials.js';
import { exchangeWith, judgeCertificate, loadCertificate } from '../../src/provider/mutual-tls.js';
import { boundedFetch } from '../../src/provider/provider-http.js';
import { systemClock } from '../../src/tokens/time.js';
import { selfSignedCertificate } from '../support/certificates.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { failureOf, rig } from './provider-fixture.js';

const OURS = selfSignedCertificate('broker');
const OTHER = selfSignedCertificate('other');
const SERVER = selfSignedCertificate('server');

function judge(cert: string, key: string, now = Date.now()): unknown {
  try {
    return judgeCertificate(cert, key, 'the credentials secret', now);
  } catch (error) {
    return error;
  }
}

describe('a client certificate', () => {
  test('says whose it is and how long it lives', () => {
    const { validFrom, validTo } = new X509Certificate(OURS.cert);
    expect(judge(OURS.cert, OURS.key)).toEqual({
      certificate: OURS.cert,
      key: OURS.key,
      subject: 'CN=broker',
      startsAt: Date.parse(validFrom),
      endsAt: Date.parse(validTo),
    });
  });

  const encrypted = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'canary',
  }) as string;
  const expired = selfSignedCertificate('broker', [-2, -1]);
  const early = selfSignedCertificate('broker', [1, 2]);

  test.each<[string, string, string, RegExp]>([
    ['another certificate', OTHER.cert, OURS.key, /key belongs to another certificate/],
    ['no certificate', 'canary', OURS.key, /not a certificate in PEM/],
    ['the key twice', OURS.key, OURS.key, /not a certificate in PEM/],
    ['no key', OURS.cert, OURS.cert, /not a private key in PEM/],
    ['a cut key', OURS.cert, OURS.key.slice(0, 90), /not a private key in PEM/],
    ['an encrypted key', OURS.cert, encrypted, /is encrypted; decrypt it: openssl pkey/],
    ['one that has expired', expired.cert, expired.key, /it expired at 20.*Renew it/],
    ['one of tomorrow', early.cert, early.key, /it is valid from 20.*Compare the clocks/],
  ])('with %s says so', (_what, cert, key, says) => {
    const error = judge(cert, key);
    expect(error).toMatchObject({
      code: 'CLIENT_PROOF_INVALID',
      kind: 'misconfigured',
      message: expect.stringMatching(says),
    });
    expect(inspect(error)).not.toMatch(/canary|BEGIN .*PRIVATE|MIG/);
  });
});

describe('over mutual TLS', () => {
  const makeFolder = temporaryFolders('mutual-tls');
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  let server: Server;
  let url: string;
  const seen: (string | undefined)[] = [];
  const bodies: string[] = [];

  beforeAll(async () => {
    server = createServer(
      { ...SERVER, requestCert: true, ca: [OURS.cert, OTHER.cert], rejectUnauthorized: false },
      (request, response) => {
        const peer = (request.socket as TLSSocket).getPeerCertificate();
        seen.push((request.socket as TLSSocket).authorized ? String(peer.subject.CN) : undefined);
        let body = '';
        request.setEncoding('utf8').on('data', (text: string) => (body += text));
        request.on('end', () => {
          bodies.push(body);
          answer(request, response);
        });
      },
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  });
  afterAll(async () => {
    await new Promise((resolve) => server.close(resolve));
  });
  afterEach(() => {
    seen.length = 0;
    bodies.length = 0;
  });

  const exchange = (pair: { cert: string; key: string }, timeoutMs = 20_000) => {
    const send = exchangeWith(judgeCertificate(pair.cert, pair.key, 'a test', Date.now()), [
      SERVER.cert,
    ]);
    return boundedFetch({
      clock: systemClock,
      timeoutMs,
      signal: undefined,
      what: 'token endpoint',
      exchange: send,
    });
  };
  const POST = { method: 'POST', headers: { 'x-test': 'yes' } };

  test('the certificate, the form and the response arrive', async () => {
    answer = (request, response) =>
      response
        .writeHead(400, { 'content-type': 'application/json', 'x-seen': request.headers['x-test'] })
        .end('{"error":"invalid_scope"}');
    const body = new URLSearchParams({ client_id: 'broker', scope: 'a b' });
    const response = await exchange(OURS)(url, { ...POST, body });
    expect(response.status).toBe(400);
    expect(response.headers.get('x-seen')).toBe('yes');
    expect(await response.json()).toEqual({ error: 'invalid_scope' });
    expect(seen).toEqual(['broker']);
    expect(bodies).toEqual(['client_id=broker&scope=a+b']);
  });

  test.each<[string, (response: ServerResponse) => void, string, RegExp]>([
    [
      'a redirect',
      (r) => r.writeHead(302, { location: 'https://other.example.test/x' }).end(),
      'PROVIDER_REDIRECTED',
      /to https:\/\/other\.example\.test/,
    ],
    [
      'too many requests',
      (r) => r.writeHead(429, { 'retry-after': '7' }).end(),
      'PROVIDER_THROTTLED',
      /wait 7 s/,
    ],
    ['a failure', (r) => r.writeHead(502).end('<html>'), 'PROVIDER_UNAVAILABLE', /status 502/],
    [
      'a response that breaks off',
      (r) => void r.writeHead(200, { 'content-length': '99' }).write('{"a', () => r.destroy()),
      'PROVIDER_UNAVAILABLE',
      /cut off|reset|closed|failed/,
    ],
    [
      'megabytes',
      (r) => r.writeHead(200).end('x'.repeat(300_000)),
      'PROVIDER_RESPONSE_INVALID',
      /more than/,
    ],
  ])('%s is what it is elsewhere', async (_what, script, code, says) => {
    answer = (_request, response) => script(response);
    const failure = await failureOf(exchange(OURS)(url, POST));
    expect(failure).toMatchObject({ code, message: expect.stringMatching(says) });
  });

  test('an empty response, and one that must have no body', async () => {
    for (const status of [200, 204]) {
      answer = (_request, response) => response.writeHead(status).end();
      const response = await exchange(OURS)(url, POST);
      expect([response.status, await response.text()]).toEqual([status, '']);
    }
  });

  test('no response in time', async () => {
    answer = () => undefined;
    const failure = await failureOf(exchange(OURS, 300)(url, POST));
    expect(failure.code).toBe('PROVIDER_TIMEOUT');
  });

  test('a server that refuses the certificate: the client has to be fixed', async () => {
    const strict = createServer(
      { ...SERVER, requestCert: true, ca: OURS.cert, rejectUnauthorized: true },
      (_request, response) => response.end('{}'),
    );
    strict.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => strict.listen(0, '127.0.0.1', resolve));
    const at = `https://127.0.0.1:${(strict.address() as AddressInfo).port}/token`;
    try {
      const codes = new Set<string>();
      for (let round = 0; round < 3; round += 1) {
        codes.add((await failureOf(exchange(OTHER)(at, POST))).code);
      }
      // Node's server closes the connection without an alert: a reset says nothing about why.
      for (const code of codes) {
        expect(['PROVIDER_INVALID_CLIENT', 'PROVIDER_UNAVAILABLE']).toContain(code);
      }
    } finally {
      await new Promise((resolve) => strict.close(resolve));
    }
  });

  test('a server that is not trusted gets nothing', async () => {
    const send = exchangeWith(judgeCertificate(OURS.cert, OURS.key, 'a test', Date.now()));
    const call = boundedFetch({
      clock: systemClock,
      timeoutMs: 20_000,
      signal: undefined,
      what: 'token endpoint',
      exchange: send,
    });
    const failure = await failureOf(call(url, POST));
    expect(failure).toMatchObject({
      code: 'PROVIDER_TLS_FAILED',
      message: expect.stringContaining('NODE_EXTRA_CA_CERTS'),
    });
    expect(bodies).toEqual([]);
  });

  test('a certificate that was renewed on the disk is used at the next mint', async () => {
    const folder = await makeFolder();
    const files = { certificate: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
    const credentials: CertificateCredentials = {
      kind: 'certificate',
      clientId: 'broker',
      from: 'files',
      ...files,
    };
    answer = (_request, response) => response.end('{}');
    for (const pair of [OURS, OTHER]) {
      await writeFile(files.certificate, pair.cert);
      await writeFile(files.key, `${pair.key}\n`);
      const loaded = await loadCertificate(credentials, Date.now());
      await exchangeWith(loaded, [SERVER.cert])(url, {
        ...POST,
        body: undefined,
        signal: new AbortController().signal,
      });
    }
    expect(seen).toEqual(['broker', 'other']);
    await writeFile(files.certificate, OURS.cert);
    await expect(loadCertificate(credentials, Date.now())).rejects.toMatchObject({
      code: 'CLIENT_PROOF_INVALID',
      message: expect.stringContaining(files.key),
    });
  });

  test('the provider: the alias is used, and only the client id is sent', async () => {
    const { server: metadata, provider } = await rig(
      { metadata: { mtls_endpoint_aliases: { token_endpoint: url } } },
      // The rig's own clock stands at another day than the certificate.
      { clock: systemClock, mutualTlsCa: [SERVER.cert] },
    );
    const token = await metadata.token();
    answer = (_request, response) =>
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: 60 }));
    const credentials: CertificateCredentials = {
      kind: 'certificate',
      clientId: 'broker',
      from: 'credentials secret',
      certificate: OURS.cert,
      key: OURS.key,
    };
    const minted = await provider.mint(
      { issuer: metadata.issuer, clientAuthentication: 'mtls' },
      credentials,
    );
    expect(minted.accessToken).toBe(token);
    expect(seen).toEqual(['broker']);
    expect(Object.fromEntries(new URLSearchParams(bodies[0]))).toEqual({
      grant_type: 'client_credentials',
      client_id: 'broker',
    });
    expect(metadata.received('token')).toEqual([]);
  });
});
