import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { networkOf } from '../../src/composition/network.js';
import { awsAccessOf } from '../../src/composition/open-store.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createOAuthProvider } from '../../src/provider/oauth-provider.js';
import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { systemClock } from '../../src/tokens/time.js';
import { createRemoteKeySet } from '../../src/verification/index.js';
import { temporaryFolder } from '../e2e/folders.js';
import { runCommand } from '../support/broker-process.js';
import { makeCertificate } from '../support/certificates.js';
import { startTlsFront } from '../support/connect-proxy.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { MOTO } from './aws-secrets.js';

// Debian's tinyproxy, which demands a login, between the broker and everything that it calls; moto plays AWS. An address that
// leads to this machine and is none of its own names: those are never behind a proxy.
const HERE = '0.0.0.0';
const PROGRAM = process.env['INTEROP_TINYPROXY'] ?? '';
const LOGIN = 'broker:canaryPassword7';
const ROLE = 'arn:aws:iam::222222222222:role/service-token-broker-secrets';
const SECRET = 'interop/proxy/one';

let provider: ProviderServer;
let fronts: Awaited<ReturnType<typeof startTlsFront>>[];
let proxy: ChildProcess;
let proxyUrl: string;
let proxyLog: string;
let caFile: string;
let endpoint: string;
let issuer: string;
/** A port that tinyproxy opens no tunnel to. */
let forbidden: string;
const kept = { ...process.env };

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

async function untilOpen(port: number): Promise<void> {
  for (let turn = 0; turn < 500; turn += 1) {
    const socket = connect(port, '127.0.0.1');
    const isOpen = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('tinyproxy did not start');
}

beforeAll(async () => {
  const folder = await temporaryFolder();
  const authority = makeCertificate({ commonName: 'private root', isAuthority: true });
  caFile = join(folder, 'ca.pem');
  await writeFile(caFile, authority.cert);
  const server = makeCertificate({ issuer: authority, addresses: [HERE] });
  const port = await freePort();
  issuer = `https://${HERE}:${port}`;
  provider = await startProviderServer({ publicUrl: issuer });
  const portOf = (url: string): number => Number(new URL(url).port);
  fronts = [
    await startTlsFront(server, portOf(provider.origin), port),
    await startTlsFront(server, portOf(MOTO)),
    await startTlsFront(server, portOf(MOTO)),
  ];
  endpoint = `https://${HERE}:${fronts[1]?.port}`;
  forbidden = `https://${HERE}:${fronts[2]?.port}`;
  const proxyPort = await freePort();
  proxyLog = join(folder, 'tinyproxy.log');
  const file = join(folder, 'tinyproxy.conf');
  await writeFile(
    file,
    [
      `Port ${proxyPort}`,
      'Listen 127.0.0.1',
      'Timeout 30',
      `LogFile "${proxyLog}"`,
      'LogLevel Connect',
      `BasicAuth ${LOGIN.replace(':', ' ')}`,
      `ConnectPort ${port}`,
      `ConnectPort ${fronts[1]?.port}`,
      '',
    ].join('\n'),
  );
  proxy = spawn(PROGRAM, ['-d', '-c', file], { stdio: 'ignore' });
  await untilOpen(proxyPort);
  proxyUrl = `http://${LOGIN}@127.0.0.1:${proxyPort}`;

  // What a person does in the other account.
  const sts = new STSClient({ endpoint: MOTO });
  const { Credentials } = await sts.send(
    new AssumeRoleCommand({ RoleArn: ROLE, RoleSessionName: 'person' }),
  );
  const secrets = new SecretsManagerClient({
    endpoint: MOTO,
    credentials: {
      accessKeyId: Credentials?.AccessKeyId ?? '',
      secretAccessKey: Credentials?.SecretAccessKey ?? '',
      sessionToken: Credentials?.SessionToken ?? '',
    },
  });
  await secrets.send(new CreateSecretCommand({ Name: SECRET, SecretString: 'of the other' }));
  sts.destroy();
  secrets.destroy();
});
afterEach(() => {
  process.env = { ...kept };
});
afterAll(async () => {
  proxy.kill('SIGKILL');
  await Promise.all([provider, ...fronts].map((one) => one.close()));
});

const env = (overrides: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  HTTPS_PROXY: proxyUrl,
  BROKER_CA_FILE: caFile,
  BROKER_ISSUER: issuer,
  BROKER_AUDIENCE: 'https://services.example.test',
  ...overrides,
});

/** How many tunnels tinyproxy has opened to a port. */
async function tunnelsTo(url: string): Promise<number> {
  const log = await readFile(proxyLog, 'utf8');
  return log.split(`CONNECT ${new URL(url).host} `).length - 1;
}

test('the provider mints and its keys are fetched through tinyproxy', async () => {
  const before = await tunnelsTo(issuer);
  const network = await networkOf(loadConfig({ env: env() }));
  const settings = { issuer, audience: 'https://services.example.test' };
  const minted = await createOAuthProvider({ clock: systemClock, network }).mint(settings, {
    kind: 'secrets',
    clientId: 'broker',
    secrets: ['right-secret'],
  });
  expect(minted.accessToken).toMatch(/^ey/);
  const keys = createRemoteKeySet({
    jwksUri: provider.jwksUri,
    clock: systemClock,
    ...(network && { fetch: network.fetch }),
  });
  await keys.refresh();
  expect(keys.state().keyIds.length).toBeGreaterThan(0);
  expect(await tunnelsTo(issuer)).toBeGreaterThanOrEqual(before + 3);
});

describe('secrets at AWS', () => {
  const role = { BROKER_AWS_ROLE_ARN: ROLE, BROKER_AWS_EXTERNAL_ID: 'broker-7f3a' };

  test('are read in the role of another account, through tinyproxy, STS too', async () => {
    process.env['AWS_ENDPOINT_URL_STS'] = endpoint;
    const before = await tunnelsTo(endpoint);
    const config = loadConfig({ env: env({ BROKER_SECRET_STORE: 'aws', ...role }) });
    const store = createAwsStore({ ...(await awsAccessOf(config)), endpoint });
    expect(await store.read(SECRET)).toMatchObject({ value: 'of the other' });
    await store.close();
    // One for STS, one for Secrets Manager.
    expect(await tunnelsTo(endpoint)).toBeGreaterThanOrEqual(before + 2);
  });

  test('are not there without the role', async () => {
    const config = loadConfig({ env: env({ BROKER_SECRET_STORE: 'aws' }) });
    const store = createAwsStore({ ...(await awsAccessOf(config)), endpoint });
    await expect(store.read(SECRET)).rejects.toMatchObject({ code: 'SECRET_NOT_FOUND' });
    await store.close();
  });

  test('that tinyproxy opens no tunnel to are refused by the proxy, by its own word', async () => {
    const config = loadConfig({ env: env({ BROKER_SECRET_STORE: 'aws' }) });
    const store = createAwsStore({ ...(await awsAccessOf(config)), endpoint: forbidden });
    await expect(store.read(SECRET)).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      kind: 'misconfigured',
      message: expect.stringMatching(
        /the proxy 127\.0\.0\.1:\d+ does not allow a connection to 0\.0\.0\.0:\d+ \(status 403\)/,
      ),
    });
    await store.close();
  });
});

describe('doctor', () => {
  interface Check {
    readonly check: string;
    readonly state: string;
    readonly message: string;
    readonly details?: readonly string[];
  }

  async function doctor(settings: NodeJS.ProcessEnv): Promise<(name: string) => Check | undefined> {
    const { stdout, stderr } = await runCommand(['--json', 'doctor'], settings);
    expect(stdout + stderr).not.toMatch(/canary/);
    const { checks } = JSON.parse(stdout) as { readonly checks: readonly Check[] };
    return (name) => checks.find(({ check }) => check === name);
  }

  test('says by which proxy and in which role', async () => {
    const of = await doctor(
      env({
        BROKER_SECRET_STORE: 'aws',
        BROKER_AWS_ROLE_ARN: ROLE,
        AWS_ENDPOINT_URL_STS: endpoint,
        AWS_ENDPOINT_URL_SECRETS_MANAGER: endpoint,
      }),
    );
    expect(of('credentials')).toMatchObject({
      state: 'ok',
      message: expect.stringContaining(`of account 222222222222, in the role ${ROLE}`),
    });
    expect(of('proxy')).toMatchObject({ state: 'ok' });
    expect(of('proxy')?.details).toHaveLength(4);
  });

  test('says that a password is wrong', async () => {
    const of = await doctor(env({ HTTPS_PROXY: proxyUrl.replace('Password7', 'Wrong') }));
    expect(of('proxy')).toMatchObject({
      state: 'failed',
      message: expect.stringContaining('does not accept the user and password of HTTPS_PROXY'),
    });
  });

  test('says that the proxy wants a login', async () => {
    const of = await doctor(env({ HTTPS_PROXY: proxyUrl.replace(`${LOGIN}@`, '') }));
    expect(of('proxy')?.message).toMatch(/wants a login \(status 407\)/);
  });
});
