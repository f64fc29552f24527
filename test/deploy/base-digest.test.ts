import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ROOT } from './support/packaging.js';

const { baseImage, digestOf, fetchDigest } = (await import(
  new URL('../../build/base-digest.mjs', import.meta.url).href
)) as {
  baseImage: (dockerfile: string) => readonly [name: string, tag: string];
  digestOf: (body: Uint8Array, claimed?: string) => string;
  fetchDigest: (registry: string, image: readonly [string, string]) => Promise<string>;
};

const OCI = 'application/vnd.oci.image.index.v1+json';
const index = (architectures: readonly string[], mediaType = OCI): Buffer =>
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      manifests: architectures.map((architecture) => ({ platform: { os: 'linux', architecture } })),
    }),
  );
const BOTH = index(['amd64', 'arm64', 's390x']);
const digestBy = (body: Buffer): string =>
  `sha256:${createHash('sha256').update(body).digest('hex')}`;

test('the Dockerfile has one base', async () => {
  const dockerfile = await readFile(join(ROOT, 'deploy/container/Dockerfile'), 'utf8');
  expect(baseImage(dockerfile)).toEqual(['library/node', '24-slim']);
  expect(baseImage('FROM mirror/node:24@${NODE_DIGEST}\n')).toEqual(['mirror/node', '24']);
  const other = dockerfile.replace('FROM node:24-slim', 'FROM node:22-slim');
  for (const wrong of [other, 'FROM node:24-slim\n']) {
    expect(() => baseImage(wrong)).toThrow(/do not all begin with one image/);
  }
});

describe('the digest', () => {
  test('is that of the bytes', () => {
    expect(digestOf(BOTH)).toBe(digestBy(BOTH));
    expect(digestOf(BOTH, digestBy(BOTH))).toBe(digestBy(BOTH));
  });

  test.each([
    ['another one is named', BOTH, `sha256:${'0'.repeat(64)}`, /names "sha256:0+", and/],
    ['an architecture is missing', index(['amd64']), undefined, /not there for linux\/arm64\./],
    [
      'it is one image alone',
      index([], 'application/vnd.oci.image.manifest.v1+json'),
      undefined,
      /not an index/,
    ],
  ])('not where %s', (_what, body, claimed, words) => {
    expect(() => digestOf(body, claimed)).toThrow(words);
  });
});

describe('a registry', () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.close();
    server?.closeAllConnections();
  });

  /** As Docker Hub: who has no token is sent for one. */
  async function registry(status = 200): Promise<{ url: string; asked: string[] }> {
    const asked: string[] = [];
    server = createServer((request, response) => {
      asked.push(request.url ?? '');
      if (request.url?.startsWith('/token') === true) {
        response.end(JSON.stringify({ token: 'anonymous' }));
      } else if (request.headers.authorization !== 'Bearer anonymous') {
        const challenge = `Bearer realm="http://${request.headers.host}/token",service="registry",scope="repository:library/node:pull"`;
        response.writeHead(401, { 'www-authenticate': challenge }).end();
      } else {
        expect(request.headers.accept).toContain(OCI);
        response.writeHead(status, { 'docker-content-digest': digestBy(BOTH) }).end(BOTH);
      }
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
  }

  test('is asked without an account', async () => {
    const { url, asked } = await registry();
    expect(await fetchDigest(url, ['library/node', '24-slim'])).toBe(digestBy(BOTH));
    expect(asked).toEqual([
      '/v2/library/node/manifests/24-slim',
      '/token?service=registry&scope=repository%3Alibrary%2Fnode%3Apull',
      '/v2/library/node/manifests/24-slim',
    ]);
  });

  /** A registry that answers as it likes. */
  async function hostile(
    challenge: string,
    answer = '{"token":"t"}',
  ): Promise<{ url: string; asked: string[] }> {
    const asked: string[] = [];
    server = createServer((request, response) => {
      asked.push(request.url ?? '');
      const isToken = request.url?.startsWith('/token') === true;
      const here = `http://${request.headers.host}`;
      if (isToken || challenge === '') response.end(answer);
      else {
        const header = challenge.replace('HERE', here).replace('HOST', here.slice(7));
        response.writeHead(401, { 'www-authenticate': header }).end();
      }
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
  }

  test.each([
    'http://169.254.169.254/latest',
    'http://localhost:1/token',
    'file:///etc/passwd',
    'http://user:password@HOST/token',
    'token',
  ])('that sends for a token to %s is not followed', async (realm) => {
    const { url, asked } = await hostile(`Bearer realm="${realm}",service="s"`);
    await expect(fetchDigest(url, ['library/node', '24-slim'])).rejects.toThrow(
      /^The registry sends for a token to ".*", which is not https\.$/,
    );
    expect(asked).toHaveLength(1);
  });

  test.each([
    ['{"token":"a\\r\\nx: y"}', /gave no token \(200\)/],
    ['{"token":{}}', /gave no token/],
    ['null', /no JSON object/],
    ['<html>', /no JSON object/],
  ])('whose token is %s gets none', async (answer, words) => {
    const { url, asked } = await hostile('Bearer realm="HERE/token?a=b",service="s"', answer);
    await expect(fetchDigest(url, ['library/node', '24-slim'])).rejects.toThrow(words);
    expect(asked[1]).toBe('/token?a=b&service=s');
  });

  test.each([
    ['no end', 'x'.repeat(5_000_000), /more than 4194304 bytes/],
    ['no JSON', 'x', /no JSON object/],
    ['nothing', 'null', /no JSON object/],
    ['no type', '{}', /answered null, which is not an index/],
    ['holes', JSON.stringify({ mediaType: OCI, manifests: [null, {}] }), /not there for linux/],
    // A line of its own would be a command to the log of a workflow.
    ['commands', '{"mediaType":"\\n::warning::x"}', /^The registry answered "\\n::warning::x"/],
  ])('that answers with %s is refused', async (_what, answer, words) => {
    const { url } = await hostile('', answer);
    await expect(fetchDigest(url, ['library/node', '24-slim'])).rejects.toThrow(words);
  });

  test('that does not have the image is named', async () => {
    const { url } = await registry(404);
    await expect(fetchDigest(url, ['library/node', '24-slim'])).rejects.toThrow(
      /\/v2\/library\/node\/manifests\/24-slim answered 404\.$/,
    );
  });
});

test('a registry that cannot be reached is named, with the reason, in one line', () => {
  const script = join(ROOT, 'build/base-digest.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, 'http://127.0.0.1:1'], {
    encoding: 'utf8',
  });
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(/^No digest from http:\/\/127\.0\.0\.1:1: [^\n]+\n$/);
});
