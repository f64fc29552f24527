import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { clientSecretBasic } from '../../src/tokens/http.js';
import { runCommand, startBroker } from '../support/broker-process.js';
import { makeCertificate } from '../support/certificates.js';
import {
  answerOf,
  startConnectProxy,
  startTlsFront,
  type ConnectProxy,
} from '../support/connect-proxy.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import {
  answer,
  startScriptedEndpoint,
  type ScriptedEndpoint,
} from '../secrets/aws/scripted-endpoint.js';
import { temporaryFolder } from './folders.js';

const ISSUER = 'https://provider.test';
const LOGIN = 'canary-user:canary-password';
const ENCODED = Buffer.from(LOGIN).toString('base64');

interface Check {
  readonly check: string;
  readonly state: string;
  readonly message: string;
  readonly details?: readonly string[];
  readonly code?: string;
}

let provider: ProviderServer;
let aws: ScriptedEndpoint;
let fronts: Awaited<ReturnType<typeof startTlsFront>>[];
let proxy: ConnectProxy;
/** The authority of the provider and of AWS, and one of something else. */
let caFile: string;
let otherCaFile: string;
/** All that the broker has written. */
const written: string[] = [];

beforeAll(async () => {
  const authority = makeCertificate({ commonName: 'private root', isAuthority: true });
  const other = makeCertificate({ commonName: 'other root', isAuthority: true });
  const folder = await temporaryFolder();
  caFile = join(folder, 'ca.pem');
  otherCaFile = join(folder, 'other.pem');
  await writeFile(caFile, authority.cert);
  await writeFile(otherCaFile, other.cert);
  provider = await startProviderServer({ publicUrl: ISSUER });
  aws = await startScriptedEndpoint();
  aws.play((_received, response) =>
    answer(response, { __type: 'ResourceNotFoundException', message: 'canary' }, 400),
  );
  const server = makeCertificate({
    issuer: authority,
    dns: ['provider.test', 'secrets.test'],
    addresses: ['127.0.0.1'],
  });
  const portOf = (url: string): number => Number(new URL(url).port);
  fronts = [
    await startTlsFront(server, portOf(provider.origin)),
    await startTlsFront(server, portOf(aws.url)),
  ];
  proxy = await startConnectProxy({
    login: LOGIN,
    places: { 'provider.test:443': fronts[0]?.port ?? 0, 'secrets.test:443': fronts[1]?.port ?? 0 },
  });
});
afterEach(() => {
  proxy.refuse(undefined);
  proxy.asked.length = 0;
  expect(written.join('\n')).not.toMatch(/canary-/);
  expect(written.join('\n')).not.toContain(ENCODED);
});
afterAll(async () => {
  await Promise.all([provider, aws, proxy, ...fronts].map((one) => one.close()));
});

async function environment(overrides: NodeJS.ProcessEnv = {}): Promise<NodeJS.ProcessEnv> {
  const env = {
    HTTPS_PROXY: proxy.url.replace('//', `//${LOGIN}@`),
    https_proxy: '',
    NO_PROXY: '',
    no_proxy: '',
    BROKER_CA_FILE: caFile,
    BROKER_DATA_DIR: join(await temporaryFolder(), 'data'),
    BROKER_ISSUER: ISSUER,
    BROKER_AUDIENCE: 'https://services.example.test',
    ...overrides,
  };
  const credentials = '{"client_id":"broker","client_secret":"right-secret"}';
  const set = await runCommand(['credentials', 'set'], env, { input: credentials });
  expect(set.code).toBe(0);
  return env;
}

async function doctor(env: NodeJS.ProcessEnv): Promise<(name: string) => Check | undefined> {
  const { stdout, stderr } = await runCommand(['--json', 'doctor'], env);
  written.push(stdout, stderr);
  const { checks } = JSON.parse(stdout) as { readonly checks: readonly Check[] };
  return (name) => checks.find(({ check }) => check === name);
}

describe('behind a proxy with a login, and a private authority', () => {
  test('the broker mints; while the proxy refuses peers are asked to come again, and nothing is lost', async () => {
    proxy.refuse((socket) => socket.end(answerOf(403)));
    const secretFile = join(await temporaryFolder(), 'secret');
    const env = await environment();
    const added = await runCommand(['peers', 'add', 'orders', '--secret-file', secretFile], env);
    expect(added.code).toBe(0);
    const { secret } = JSON.parse(await readFile(secretFile, 'utf8')) as { secret: string };
    const broker = await startBroker(['serve'], env);
    try {
      const authorization = clientSecretBasic('orders', secret);
      const ask = () => fetch(`${broker.url}/v1/token`, { headers: { authorization } });
      await until(() => broker.stdout().includes('PROVIDER_PROXY_REFUSED'));
      const refused = await ask();
      expect(refused.status).toBe(503);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
      proxy.refuse(undefined);
      await until(async () => (await ask()).status === 200);
      expect(new Set(proxy.asked)).toEqual(new Set(['provider.test:443']));
    } finally {
      await broker.stop();
    }
    written.push(broker.stdout(), broker.stderr());
    expect(broker.stdout()).toContain(
      `the proxy ${proxy.host} does not allow a connection to provider.test:443 (status 403)`,
    );
  });

  test('doctor says how everything is reached', async () => {
    const of = await doctor(await environment());
    expect(of('CA file')).toMatchObject({
      state: 'ok',
      message: expect.stringContaining(`1 authority in ${caFile}, besides those of Node.js`),
    });
    expect(of('proxy')).toMatchObject({
      state: 'ok',
      details: [
        `provider, provider.test: through the proxy ${proxy.host} (HTTPS_PROXY)`,
        `keys, provider.test: through the proxy ${proxy.host} (HTTPS_PROXY)`,
      ],
    });
    for (const check of ['provider', 'provider keys']) expect(of(check)?.state).toBe('ok');
  });

  test('doctor says what the proxy refuses', async () => {
    const env = await environment();
    proxy.refuse((socket) => socket.end(answerOf(407, 'Proxy-Authenticate: Negotiate')));
    const of = await doctor(env);
    for (const check of ['proxy', 'provider']) {
      expect(of(check)).toMatchObject({
        state: 'failed',
        message: expect.stringContaining(
          `he proxy ${proxy.host} does not accept the user and password of HTTPS_PROXY (status 407). It offers no Basic login`,
        ),
      });
    }
    expect(of('proxy')?.code).toBe('PROXY_REFUSED');
    const { stdout } = await runCommand(['doctor'], env);
    written.push(stdout);
    expect(stdout).toContain('FAIL  proxy');
  });

  test('a wrong file of authorities ends the start, and says why', async () => {
    const env = await environment();
    const { code, stdout, stderr } = await runCommand(['serve'], {
      ...env,
      BROKER_CA_FILE: '/nowhere/ca.pem',
    });
    written.push(stdout, stderr);
    expect(code).not.toBe(0);
    expect(stdout + stderr).toContain('The file /nowhere/ca.pem cannot be read (ENOENT)');
  });
});

describe.each([
  ['NODE_EXTRA_CA_CERTS alone', () => ({ NODE_EXTRA_CA_CERTS: caFile, BROKER_CA_FILE: '' })],
  ['BROKER_CA_FILE alone', () => ({ BROKER_CA_FILE: caFile })],
  [
    'NODE_EXTRA_CA_CERTS, with another authority in BROKER_CA_FILE',
    () => ({ NODE_EXTRA_CA_CERTS: caFile, BROKER_CA_FILE: otherCaFile }),
  ],
])('an authority in %s', (_what, trusted) => {
  test('is trusted for the provider and keys, through a proxy and without', async () => {
    const of = await doctor(await environment(trusted()));
    expect([of('provider')?.state, of('provider keys')?.state]).toEqual(['ok', 'ok']);
    // The provider knows itself by its name alone.
    const direct = await doctor(
      await environment({
        ...trusted(),
        HTTPS_PROXY: '',
        BROKER_ISSUER: `https://127.0.0.1:${fronts[0]?.port}`,
      }),
    );
    expect(direct('provider')?.code).toBe('PROVIDER_ISSUER_MISMATCH');
  });

  test('is trusted for AWS, through a proxy and without', async () => {
    for (const [HTTPS_PROXY, endpoint] of [
      [proxy.url.replace('//', `//${LOGIN}@`), 'https://secrets.test'],
      ['', `https://127.0.0.1:${fronts[1]?.port}`],
    ] as const) {
      const { code, stderr, stdout } = await runCommand(['status'], {
        ...trusted(),
        HTTPS_PROXY,
        BROKER_ISSUER: ISSUER,
        BROKER_SECRET_STORE: 'aws',
        AWS_REGION: 'eu-central-1',
        AWS_ACCESS_KEY_ID: 'test',
        AWS_SECRET_ACCESS_KEY: 'test',
        AWS_ENDPOINT_URL_SECRETS_MANAGER: endpoint,
        AWS_ENDPOINT_URL: '',
      });
      written.push(stderr, stdout);
      expect(code).not.toBe(0);
      expect(stderr + stdout).toContain('no secret has that name');
    }
    expect(proxy.asked).toContain('secrets.test:443');
  });
});

test('an authority that nobody has named is not trusted', async () => {
  const of = await doctor(await environment({ BROKER_CA_FILE: otherCaFile }));
  expect(of('provider')?.code).toBe('PROVIDER_TLS_FAILED');
});

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  for (let turn = 0; !(await isSo()); turn += 1) {
    if (turn > 300) throw new Error('it did not happen');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
