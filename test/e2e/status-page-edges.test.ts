import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { runCommand, startBroker, type BrokerProcess } from '../support/broker-process.js';
import { temporaryFolder } from './folders.js';

let broker: BrokerProcess;
/** Of the management listener, without a slash at the end. */
let origin: string;

/** What a request of these bytes gets; with `leaves`, who sent it leaves at once. */
async function send(lines: readonly string[], body = '', leaves = false): Promise<string> {
  const { hostname, port } = new URL(origin);
  const socket = connect(Number(port), hostname);
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject).write(`${lines.join('\r\n')}\r\n\r\n${body}`, () => resolve());
  });
  if (leaves) socket.destroy();
  return leaves ? '' : textOf(socket);
}

const host = (): string => `Host: ${new URL(origin).host}`;

async function fetchText(path: string, init: RequestInit = {}): Promise<string> {
  return (await fetch(origin + path, init)).text();
}

beforeAll(async () => {
  const folder = await temporaryFolder();
  const file = join(folder, 'broker.yaml');
  await writeFile(
    file,
    [
      'public_url: https://broker.example.com',
      'trusted_issuers:',
      '  ci: { kind: oidc, issuer: https://ci.example.com, jwks_uri: https://ci.example.com/jwks }',
      'peers:',
      '  orders: { identities: [{ issuer: ci, subject: job:orders }], tokens: [default] }',
      '  ledger: { enabled: false, identities: [{ issuer: ci, subject: job:ledger }], roles: [admin] }',
      '',
    ].join('\n'),
  );
  const dataDir = join(folder, 'data');
  broker = await startBroker(['dev'], {
    BROKER_CONFIG: file,
    BROKER_DATA_DIR: dataDir,
    BROKER_MANAGEMENT_PORT: '0',
  });
  origin = /See what it does: (\S+)\/ /.exec(broker.stdout())?.[1] ?? '';
  for (const id of ['orders', 'ledger']) {
    const args = ['peers', 'add', id, '--secret-file', join(folder, `${id}.json`)];
    await runCommand(args, { BROKER_DATA_DIR: dataDir });
  }
});

afterAll(async () => {
  await broker.stop();
});

test('dev mode signs in who sits here, and nobody whom a proxy on this machine passes on', async () => {
  const signedIn = async (version: string, ...headers: readonly string[]): Promise<boolean> => {
    const head = [`GET / HTTP/${version}`, host(), 'Connection: close', ...headers];
    const answer = await send(head);
    expect(answer).toContain(' 200 OK');
    return answer.includes('acting as');
  };
  expect(await signedIn('1.1')).toBe(true);
  expect(await signedIn('1.1', 'X-Real-IP: 203.0.113.7')).toBe(false);
  expect(await signedIn('1.1', 'X-Forwarded-Proto: https')).toBe(false);
  expect(await signedIn('1.0')).toBe(false);
});

test('who leaves in the middle of a form has sent none, and is no bug of the broker', async () => {
  const head = [
    'POST /act HTTP/1.1',
    host(),
    `Origin: ${origin}`,
    'Content-Type: application/x-www-form-urlencoded',
    'Content-Length: 1000',
  ];
  await send(head, 'do=rotate', true);
  let isNoted = false;
  while (!isNoted && !broker.stdout().includes('unexpected error')) {
    isNoted = (await fetchText('/')).includes('asked for something invalid');
  }
  expect([isNoted, broker.stdout()]).toEqual([true, expect.not.stringContaining('unexpected')]);
});

test('a peer of the list is disabled there: one of the file with its id is let in as before, and the page says so', async () => {
  const disable = async (id: string): Promise<string> => {
    const question = await fetchText(`/confirm?do=disable&peer=${id}`);
    const form = /name="form"\s+value="([^"]+)"/.exec(question)?.[1] ?? '';
    const body = new URLSearchParams({ do: 'disable', peer: id, form });
    return fetchText('/act', { method: 'POST', body, headers: { origin } });
  };
  expect(await disable('orders')).toMatch(/Disabled in the list alone\.[^]*enabled: false/);
  expect(await disable('ledger')).toMatch(/Disabled\.[^]*ledger is refused by this process/);
});
