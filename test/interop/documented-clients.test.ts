import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startDevBroker, type DevBroker } from '../support/dev-broker.js';

// The examples of docs/other-languages.md, as they stand there.

const run = promisify(execFile);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The section of the page with the one example in a language. */
const SECTIONS: Readonly<Record<string, string>> = { sh: 'curl', python: 'Python', go: 'Go' };

/** How that example is run, in an empty folder. */
const LANGUAGES: Readonly<
  Record<string, (folder: string, code: string) => Promise<readonly [string, ...string[]]>>
> = {
  sh: (_, code) => Promise.resolve(['bash', '-euo', 'pipefail', '-c', code]),
  python: (_, code) => Promise.resolve([process.env['INTEROP_PYTHON'] ?? '', '-c', code]),
  go: async (folder, code) => {
    await cp(here('clients/go'), folder, { recursive: true });
    await writeFile(join(folder, 'main.go'), code);
    await run('go', ['build', '-o', 'example', '.'], { cwd: folder });
    return [join(folder, 'example')];
  },
};

let folder = '';
let broker: DevBroker;
let billing: Server;
let billingUrl = '';
let received: { readonly url: string | undefined; readonly authorization: string | undefined }[] =
  [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'documented-clients-'));
  broker = await startDevBroker(join(folder, 'broker'));
  billing = createServer(({ url, headers: { authorization } }, response) => {
    received.push({ url, authorization });
    if (url === '/redirected/invoices') response.writeHead(302, { location: '/invoices' });
    response.end('three invoices');
  });
  await new Promise<void>((resolve) => billing.listen(0, '127.0.0.1', resolve));
  billingUrl = `http://127.0.0.1:${(billing.address() as AddressInfo).port}`;
});

afterAll(async () => {
  await broker?.stop();
  billing?.close();
  await rm(folder, { recursive: true, force: true });
});

// run.sh says so when it has to do without.
const languages = Object.keys(LANGUAGES).filter(
  (language) => language !== 'go' || process.env['INTEROP_WITHOUT_GO'] === undefined,
);

describe.each(languages)('the example in %s', (language) => {
  let command: readonly [string, ...string[]];

  beforeAll(async () => {
    const page = await readFile(here('../../docs/other-languages.md'), 'utf8');
    const [, rest = ''] = page.split(`\n## ${SECTIONS[language]}\n`);
    const [section = ''] = rest.split('\n## ');
    const found = [...section.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].filter(
      ([, named]) => named === language,
    );
    expect(found).toHaveLength(1);
    const own = await mkdtemp(join(folder, `${language}-`));
    command = (await LANGUAGES[language]?.(own, found[0]?.[2] ?? '')) ?? [''];
  }, 600_000);

  const call = async (change: Readonly<Record<string, string>> = {}) => {
    received = [];
    const [program, ...args] = command;
    const { stdout } = await run(program, args, {
      timeout: 60_000,
      env: {
        PATH: process.env['PATH'],
        // Authlib insists on https unless it is told that the connection does not leave this machine.
        AUTHLIB_INSECURE_TRANSPORT: '1',
        BROKER_URL: broker.url,
        BROKER_CLIENT_ID: broker.peer.id,
        BROKER_CLIENT_SECRET: broker.peer.secret,
        BILLING_URL: billingUrl,
        ...change,
      },
    });
    return stdout;
  };

  test('calls another service with the service token', async () => {
    expect(await call()).toContain('three invoices');
    expect(received).toHaveLength(1);
    const [scheme, token = ''] = received[0]?.authorization?.split(' ') ?? [];
    expect(scheme).toBe('Bearer');
    const { principal } = await broker.verify(token);
    expect(principal.kind).toBe('service');
  });

  test('fails without a call when the broker refuses it, and does not show its secret', async () => {
    const secret = 'wrong'.repeat(8);
    const error: unknown = await call({ BROKER_CLIENT_SECRET: secret }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: expect.any(Number) });
    expect(String((error as { stderr?: string }).stderr)).not.toContain(secret);
    expect(received).toEqual([]);
  });

  test('follows no redirect with the token', async () => {
    await call({ BILLING_URL: `${billingUrl}/redirected` }).catch(() => undefined);
    expect(received.map(({ url }) => url)).toEqual(['/redirected/invoices']);
  });
});
