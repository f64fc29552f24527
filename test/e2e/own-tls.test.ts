import { X509Certificate } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { writeSecret } from '../../src/composition/secret-file.js';
import { createServiceTokenClient } from '../../src/client/index.js';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { tokenAt } from '../serving/broker.js';
import { runCommand, startBroker } from '../support/broker-process.js';
import { makeCertificate, type MadeCertificate } from '../support/certificates.js';
import { temporaryFolders } from '../support/temporary-folder.js';

const TOKEN = 'service-token-broker/token';
const newFolder = temporaryFolders('own-tls');
const ca = makeCertificate({ commonName: 'authority', isAuthority: true });
const server = (commonName: string) => makeCertificate({ commonName, addresses: ['127.0.0.1'] });
const [first, second] = [server('first'), server('second')];
const peerOf = (name: string) =>
  makeCertificate({ issuer: ca, uris: [`spiffe://prod.example.com/${name}`], purpose: 'client' });
const [settle, batch] = [peerOf('settle'), peerOf('batch')];

interface Answer extends Pick<IncomingMessage, 'headers'> {
  readonly status: number;
  /** The certificate that the broker showed. */
  readonly shown: string | undefined;
}

interface Asked {
  readonly as: MadeCertificate;
  readonly agent?: Agent;
  readonly headers?: OutgoingHttpHeaders;
}

function ask(url: string, { as, agent, headers = {} }: Asked): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { cert, key } = as;
    const trusted = [first.cert, second.cert];
    request(
      `${url}/v1/token`,
      { cert, key, ca: trusted, agent: agent ?? false, headers },
      (answer) => {
        const socket = answer.socket as { getPeerCertificate?: () => { subject: { CN?: string } } };
        const shown = socket.getPeerCertificate?.().subject.CN;
        answer.resume().once('end', () => {
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, shown });
        });
      },
    )
      .once('error', reject)
      .end();
  });
}

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  for (let turn = 0; !(await isSo()); turn += 1) {
    if (turn > 1_500) throw new Error('it did not happen');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function scene() {
  const folder = await newFolder();
  const path = (name: string): string => join(folder, name);
  /** As cert-manager and editors write: whole, under another name first. */
  const write = async (name: string, content: string): Promise<void> => {
    await writeFile(path(`${name}.new`), content);
    await rename(path(`${name}.new`), path(name));
  };
  const peers = (...names: readonly string[]): Promise<void> =>
    write(
      'broker.yaml',
      [
        'issuer: https://127.0.0.1:1/',
        'rotation: disabled',
        'management_port: 0',
        `data_dir: ${path('store')}`,
        `audit: ${path('audit.jsonl')}`,
        `tls_cert_file: ${path('tls.crt')}`,
        `tls_key_file: ${path('tls.key')}`,
        `tls_client_ca_file: ${path('ca.crt')}`,
        'peers:',
        ...names.map(
          (id) =>
            `  ${id}: { identities: [{ certificate: { uri: 'spiffe://prod.example.com/${id}' } }], tokens: [default] }`,
        ),
        '',
      ].join('\n'),
    );
  const pair = async ({ cert, key }: MadeCertificate): Promise<void> => {
    await write('tls.crt', cert);
    await write('tls.key', key);
  };
  await peers('settle', 'batch');
  await pair(first);
  await write('ca.crt', ca.cert);
  const env = { BROKER_CONFIG: path('broker.yaml'), BROKER_LOG_LEVEL: 'info' };
  return { path, write, peers, pair, env };
}

test('a broker with TLS of its own: the client, replaced files, and a peer that is removed', async () => {
  const { path, peers, pair, env } = await scene();
  const store = await openEmbeddedStore({ dataDir: path('store') });
  await store.create(TOKEN, 'The service token.');
  await writeSecret(store, TOKEN, serializeServiceToken(tokenAt(Date.now())));
  await store.close();
  const broker = await startBroker(['serve'], env);
  const says = (message: string): (() => boolean) => {
    return () => broker.stdout().includes(`"${message}"`);
  };
  const gauge = async (name: string): Promise<string | undefined> => {
    const { managementUrl } = JSON.parse(
      broker
        .stdout()
        .split('\n')
        .find((line) => line.includes('"the broker listens"')) ?? '',
    ) as { managementUrl: string };
    const text = await (await fetch(`${managementUrl}/metrics`)).text();
    return new RegExp(`^service_token_broker_${name} (\\S+)$`, 'm').exec(text)?.[1];
  };
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  /** What a client that has just been started gets. */
  const tokenOfNewClient = async (): Promise<string> => {
    const { cert: certificate, key } = settle;
    const trusted = first.cert + second.cert;
    const peer = { certificate, key, ca: trusted };
    const client = createServiceTokenClient({ brokers: broker.url, peer, wait: false });
    try {
      return (await client.getToken()).accessToken;
    } finally {
      client.close();
    }
  };
  expect(broker.url).toMatch(/^https:/);
  expect(await tokenOfNewClient()).toBe('header.payload.signature-one');
  const open = await ask(broker.url, { as: batch, agent });
  expect(open).toMatchObject({ status: 200, shown: 'first' });

  // New files: for new connections, at once, while the open one goes on.
  await pair(second);
  await rename(path('audit.jsonl'), path('audit.old'));
  process.kill(broker.pid, 'SIGHUP');
  await until(says('the TLS files were replaced'));
  expect(await ask(broker.url, { as: settle })).toMatchObject({ status: 200, shown: 'second' });
  expect(await ask(broker.url, { as: batch, agent })).toMatchObject({
    status: 200,
    shown: 'first',
  });
  expect(await tokenOfNewClient()).toMatch(/signature-one$/);

  // One of the two peers is removed: refused at once, also where it waits; the other one waits on.
  const { etag } = open.headers;
  const waits = { prefer: 'wait=60', 'if-none-match': etag ?? '' };
  const waiting = ask(broker.url, { as: settle, headers: waits });
  const kept = ask(broker.url, { as: batch, agent, headers: waits });
  await until(async () => (await gauge('waiting_requests')) === '2');
  await peers('batch');
  process.kill(broker.pid, 'SIGHUP');
  expect((await waiting).status).toBe(401);
  expect((await ask(broker.url, { as: settle })).status).toBe(401);
  expect((await ask(broker.url, { as: batch })).status).toBe(200);
  await expect(tokenOfNewClient()).rejects.toMatchObject({
    code: 'BROKER_CREDENTIALS_REFUSED',
  });
  expect(await gauge('waiting_requests')).toBe('1');
  const end = Date.parse(new X509Certificate(second.cert).validTo) / 1_000;
  expect(Number(await gauge('tls_certificate_expires_timestamp_seconds'))).toBe(end);
  // The signal has reached the audit, too.
  await until(async () => (await readFile(path('audit.jsonl'), 'utf8')).includes('"peer":"batch"'));
  expect((await broker.stop()).code).toBe(0);
  expect((await kept).status).toBe(304);
  agent.destroy();
  expect(broker.stderr()).toBe('');
});

test('TLS files that cannot be used end the start, with what to do', async () => {
  const { env, write, path } = await scene();
  await write('tls.key', second.key);
  const { code, stdout, stderr } = await runCommand(['serve'], env);
  expect([code, `${stdout}${stderr}`]).toEqual([
    1,
    expect.stringContaining(
      `The certificate of ${path('tls.crt')} and ${path('tls.key')} cannot be used`,
    ),
  ]);
  expect(`${stdout}${stderr}`).not.toMatch(/PRIVATE KEY|    at /);
});
