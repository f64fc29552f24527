import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { awsAccessOf } from '../../src/composition/open-store.js';
import {
  expiredAuthorities,
  judgeAuthorities,
  networkOf,
  networkWarnings,
  type Network,
} from '../../src/composition/network.js';
import { openTunnel } from '../../src/composition/proxy-agents.js';
import type { BrokerConfig } from '../../src/config/broker-config.js';
import { loadConfig } from '../../src/config/load-config.js';
import type { ClientCredentials } from '../../src/provider/client-credentials.js';
import { createOAuthProvider } from '../../src/provider/oauth-provider.js';
import type { TokenProvider } from '../../src/provider/token-provider.js';
import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { redactText } from '../../src/tokens/redaction.js';
import { systemClock } from '../../src/tokens/time.js';
import { createRemoteKeySet } from '../../src/verification/index.js';
import {
  answer,
  startScriptedEndpoint,
  type ScriptedEndpoint,
} from '../secrets/aws/scripted-endpoint.js';
import { makeCertificate, type MadeCertificate } from '../support/certificates.js';
import {
  answerOf,
  startConnectProxy,
  startTlsFront,
  type ConnectProxy,
  type Refusal,
} from '../support/connect-proxy.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from '../e2e/folders.js';
import { temporaryFolders } from '../support/temporary-folder.js';

const ISSUER = 'https://provider.test';
const USER = 'canary-user';
const PASSWORD = 'canary@pass/word';

const makeFolder = temporaryFolders('network');
let authority: MadeCertificate;
let clientAuthority: MadeCertificate;
let caFile: string;
let provider: ProviderServer;
let aws: ScriptedEndpoint;
let fronts: Awaited<ReturnType<typeof startTlsFront>>[];
let proxy: ConnectProxy;
let secureProxy: ConnectProxy;
const kept = { ...process.env };

beforeAll(async () => {
  authority = makeCertificate({ commonName: 'private root', isAuthority: true });
  clientAuthority = makeCertificate({ commonName: 'client root', isAuthority: true });
  caFile = join(await temporaryFolder(), 'ca.pem');
  await writeFile(caFile, `Root of a test\n${authority.cert}`);
  provider = await startProviderServer({ publicUrl: ISSUER });
  aws = await startScriptedEndpoint();
  const server = makeCertificate({
    issuer: authority,
    dns: ['provider.test', 'secrets.test', 'sts.test'],
    addresses: ['127.0.0.1'],
  });
  const portOf = (url: string): number => Number(new URL(url).port);
  const mutual = { requestCert: true, rejectUnauthorized: true, ca: [clientAuthority.cert] };
  fronts = await Promise.all([
    startTlsFront(server, portOf(provider.origin)),
    startTlsFront({ ...server, ...mutual }, portOf(provider.origin)),
    startTlsFront(server, portOf(aws.url)),
  ]);
  const [front, mutualFront, awsFront] = fronts.map(({ port }) => port);
  const places = {
    'provider.test:443': front ?? 0,
    'provider.test:8443': mutualFront ?? 0,
    'plain.test:443': portOf(provider.origin),
    'secrets.test:443': awsFront ?? 0,
  };
  proxy = await startConnectProxy({ places, login: `${USER}:${PASSWORD}` });
  secureProxy = await startConnectProxy({ places, tls: server });
});
afterAll(async () => {
  await Promise.all([provider, aws, proxy, secureProxy, ...fronts].map((one) => one.close()));
});
beforeEach(() => {
  process.env['AWS_ACCESS_KEY_ID'] = 'test';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'test';
  process.env['AWS_REGION'] = 'eu-central-1';
});
afterEach(() => {
  proxy.refuse(undefined);
  for (const list of [proxy.asked, proxy.logins, secureProxy.asked, provider.requests]) {
    list.length = 0;
  }
  process.env = { ...kept };
});

/** The proxy's URL with a login in it. */
function withLogin(user = USER, password = PASSWORD): string {
  const [name, secret] = [user, password].map(encodeURIComponent);
  return proxy.url.replace('//', `//${name}:${secret}@`);
}

const configs = new Map<string, BrokerConfig>();

/** The same one for the same settings: each network takes some 150 authorities apart. */
function configOf(env: NodeJS.ProcessEnv = {}): BrokerConfig {
  const key = JSON.stringify(env);
  const config =
    configs.get(key) ??
    loadConfig({ env: { HTTPS_PROXY: withLogin(), BROKER_CA_FILE: caFile, ...env } });
  configs.set(key, config);
  return config;
}

async function requireNetwork(config = configOf()): Promise<Network> {
  const network = await networkOf(config);
  if (network === undefined) throw new Error('no network');
  return network;
}

const credentials: ClientCredentials = {
  kind: 'secrets',
  clientId: 'broker',
  secrets: ['right-secret'],
};
const settings = { issuer: ISSUER, audience: 'https://services.example.test' };

async function providerOf(config = configOf()): Promise<TokenProvider> {
  const network = await networkOf(config);
  return createOAuthProvider({ clock: systemClock, attempts: 1, network });
}

async function failureOf(work: Promise<unknown>): Promise<BrokerError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(BrokerError);
  expect(inspect(error, { depth: 10, showHidden: true })).not.toMatch(/canary|Y2FuYXJ5/);
  return error as BrokerError;
}

describe('through a proxy with a login', () => {
  test('the provider is discovered and mints, over TLS of a private authority', async () => {
    const { metadata, mint } = await providerOf().then((one) => ({
      metadata: one.metadata.bind(one),
      mint: one.mint.bind(one),
    }));
    expect(await metadata(settings)).toMatchObject({ jwksUri: `${ISSUER}/jwks` });
    expect(await mint(settings, credentials)).toMatchObject({ accessToken: expect.any(String) });
    expect(proxy.asked).toEqual(['provider.test:443', 'provider.test:443']);
    expect(new Set(proxy.logins)).toEqual(
      new Set([`Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`]),
    );
    // It is for the proxy alone.
    for (const { headers } of provider.requests) {
      expect(headers).not.toHaveProperty('proxy-authorization');
    }
  });

  test('mutual TLS still presents the certificate', async () => {
    const { cert, key } = makeCertificate({
      commonName: 'the broker',
      issuer: clientAuthority,
      purpose: 'client',
    });
    const { mint } = await providerOf().then((one) => ({ mint: one.mint.bind(one) }));
    const certificate: ClientCredentials = {
      kind: 'certificate',
      clientId: 'broker',
      from: 'credentials secret',
      certificate: cert,
      key,
    };
    // The server of the test knows secrets alone; what counts is who came.
    const error = await failureOf(
      mint({ ...settings, tokenEndpoint: `${ISSUER}:8443/token` }, certificate),
    );
    expect(error.code).toBe('PROVIDER_INVALID_CLIENT');
    expect(fronts[1]?.clients).toEqual(['the broker']);
    expect(proxy.asked).toEqual(['provider.test:8443']);
  });

  test('keys are fetched', async () => {
    const { fetch } = await requireNetwork();
    const keys = createRemoteKeySet({ jwksUri: `${ISSUER}/jwks`, clock: systemClock, fetch });
    await keys.refresh();
    expect(keys.state().keyIds.length).toBeGreaterThan(0);
    expect(proxy.asked).toEqual(['provider.test:443']);
  });

  test('Secrets Manager is read, and the connection is kept', async () => {
    const access = await awsAccessOf(configOf({ BROKER_SECRET_STORE: 'aws' }));
    const store = createAwsStore({ ...access, endpoint: 'https://secrets.test' });
    aws.play((_received, response) =>
      answer(response, {
        SecretString: 'value',
        VersionId: 'v'.repeat(32),
        VersionStages: [],
        CreatedDate: 1,
      }),
    );
    expect(await store.read('one')).toMatchObject({ value: 'value' });
    expect(await store.read('one')).toMatchObject({ value: 'value' });
    await store.close();
    expect(proxy.asked).toEqual(['secrets.test:443']);
  });

  test('an https proxy of the private authority is reached', async () => {
    const network = await requireNetwork(configOf({ HTTPS_PROXY: secureProxy.url }));
    expect((await network.fetch(`${ISSUER}/jwks`)).status).toBe(200);
    expect(secureProxy.asked).toEqual(['provider.test:443']);
  });

  test('an http address is asked for with its whole URL', async () => {
    const network = await requireNetwork(configOf({ HTTP_PROXY: withLogin() }));
    const response = await network.fetch('http://keys.test:8080/jwks?x=1');
    expect(await response.json()).toEqual({ keys: [] });
    expect(proxy.asked).toEqual(['http://keys.test:8080/jwks?x=1']);
  });

  test('this machine and what NO_PROXY names are reached directly', async () => {
    const network = await requireNetwork(
      configOf({ HTTP_PROXY: proxy.url, NO_PROXY: '*.internal.test' }),
    );
    expect((await network.fetch(`${provider.origin}/jwks`)).status).toBe(200);
    const direct = await network.fetch(`https://127.0.0.1:${fronts[0]?.port}/jwks`);
    expect(direct.status).toBe(200);
    await expect(network.fetch('https://keys.internal.test/')).rejects.toMatchObject({
      code: expect.stringMatching(/^E/),
    });
    expect(proxy.asked).toEqual([]);
  });
});

/** What a bad proxy does, what is said about it, and who has to act. */
const BAD: readonly (readonly [string, Refusal, RegExp, 'misconfigured' | 'retry'])[] = [
  [
    'refuses',
    (socket) => socket.end(answerOf(403)),
    /does not allow a connection to provider\.test:443 \(status 403\)\. Allow that host and port in the proxy, or put the host into NO_PROXY/,
    'misconfigured',
  ],
  [
    'knows no CONNECT',
    (socket) => socket.end(answerOf(405)),
    /status 405\)\. Is it a proxy that takes CONNECT\?/,
    'misconfigured',
  ],
  [
    'wants another login',
    (socket) => socket.end(answerOf(407, 'Proxy-Authenticate: Basic realm="x"')),
    /does not accept the user and password of HTTPS_PROXY \(status 407\)\. Set HTTPS_PROXY/,
    'misconfigured',
  ],
  [
    'wants another login, and says so by 401 as tinyproxy does',
    (socket) => socket.end(answerOf(401)),
    /does not accept the user and password of HTTPS_PROXY \(status 401\)\. Set HTTPS_PROXY/,
    'misconfigured',
  ],
  [
    'wants a login of another kind',
    (socket) => socket.end(answerOf(407, 'Proxy-Authenticate: Negotiate')),
    /It offers no Basic login, and no other is supported/,
    'misconfigured',
  ],
  [
    'cannot connect, with a page in HTML',
    (socket) =>
      socket.end(
        'HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 25\r\n\r\n<html>canary page</html>\n',
      ),
    /has no connection to provider\.test:443 \(status 502\)\. Does the proxy resolve and reach that host\?/,
    'retry',
  ],
  [
    'is busy',
    (socket) => socket.end(answerOf(503, 'Retry-After: 17')),
    /has no connection to provider\.test:443 \(status 503\)/,
    'retry',
  ],
  [
    'answers with a page in HTML at once',
    (socket) =>
      socket.end(
        'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>canary: log in here</html>',
      ),
    /answers in place of provider\.test:443: what comes through its tunnel is not TLS, but perhaps a web page/,
    'misconfigured',
  ],
  [
    'answers with a page in HTML once it is spoken to',
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.once('data', () => socket.end('<html>canary: log in here</html>'));
    },
    /answers in place of provider\.test:443/,
    'misconfigured',
  ],
  [
    'closes the connection',
    (socket) => socket.destroy(),
    /closed the connection in place of a response \(ECONNRESET\)\. Its log says why/,
    'retry',
  ],
  [
    'closes the tunnel',
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.once('data', () => socket.destroy());
    },
    /closed the tunnel to provider\.test:443 \(ECONNRESET\)/,
    'retry',
  ],
  [
    'does not speak HTTP',
    (socket) => socket.end('SSH-2.0-canary\r\n'),
    /does not speak HTTP \(HPE_\w+\)\. Check the port and the scheme of HTTPS_PROXY/,
    'misconfigured',
  ],
];

describe.each(BAD)('a proxy that %s', (_what, refusal, says, kind) => {
  test('fails minting, and says so', async () => {
    proxy.refuse(refusal);
    const one = await providerOf();
    const error = await failureOf(one.mint(settings, credentials));
    expect(error).toMatchObject({
      code: kind === 'retry' ? 'PROVIDER_UNAVAILABLE' : 'PROVIDER_PROXY_REFUSED',
      kind,
    });
    expect(error.message).toMatch(says);
    expect(error.message).toContain(`the proxy ${proxy.host} `);
    // Nothing is lost: the same broker mints as soon as the proxy lets it.
    proxy.refuse(undefined);
    await one.mint(settings, credentials);
  });

  test('fails fetching keys, and says so', async () => {
    proxy.refuse(refusal);
    const { fetch } = await requireNetwork();
    const keys = createRemoteKeySet({ jwksUri: `${ISSUER}/jwks`, clock: systemClock, fetch });
    const error = await failureOf(keys.refresh());
    expect(error.message).toMatch(says);
    proxy.refuse(undefined);
    await keys.refresh();
  });

  test('fails reading the store, and says so', async () => {
    proxy.refuse((socket, request, head) => {
      request.url = 'provider.test:443';
      refusal(socket, request, head);
    });
    process.env['AWS_MAX_ATTEMPTS'] = '1';
    const access = await awsAccessOf(configOf({ BROKER_SECRET_STORE: 'aws' }));
    const store = createAwsStore({ ...access, endpoint: 'https://secrets.test' });
    const error = await failureOf(store.read('one'));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', kind });
    expect(error.message).toMatch(/^Could not read the secret "one": the proxy 127\.0\.0\.1:\d+ /);
    expect(error.message.replaceAll('secrets.test', 'provider.test')).toMatch(says);
    await store.close();
  });
});

describe('a proxy', () => {
  test('that names the seconds to wait passes them on', async () => {
    proxy.refuse((socket) => socket.end(answerOf(503, 'Retry-After: 17')));
    const one = await providerOf();
    expect(await failureOf(one.mint(settings, credentials))).toMatchObject({
      kind: 'retry',
      retryAfterSeconds: 17,
    });
    const { fetch } = await requireNetwork();
    const keys = createRemoteKeySet({ jwksUri: `${ISSUER}/jwks`, clock: systemClock, fetch });
    expect(await failureOf(keys.refresh())).toMatchObject({ retryAfterSeconds: 17 });
  });

  test('that fails once is asked again by the AWS SDK', async () => {
    proxy.refuse((socket) => {
      proxy.refuse(undefined);
      socket.end(answerOf(502));
    });
    const access = await awsAccessOf(configOf({ BROKER_SECRET_STORE: 'aws' }));
    const store = createAwsStore({ ...access, endpoint: 'https://secrets.test' });
    aws.play((_received, response) =>
      answer(response, {
        SecretString: 'value',
        VersionId: 'v'.repeat(32),
        VersionStages: [],
        CreatedDate: 1,
      }),
    );
    expect(await store.read('one')).toMatchObject({ value: 'value' });
    expect(proxy.asked).toHaveLength(2);
    await store.close();
  });

  test('that wants a login when none is configured is told apart', async () => {
    const one = await providerOf(configOf({ HTTPS_PROXY: proxy.url }));
    const error = await failureOf(one.mint(settings, credentials));
    expect(error.message).toMatch(
      /wants a login \(status 407\)\. Set HTTPS_PROXY to USER:PASSWORD@HOST:PORT/,
    );
    // Health, log and status page show the advice as it is.
    expect(redactText(error.message)).toBe(error.message);
  });

  test('with a wrong password too', async () => {
    const config = configOf({ HTTPS_PROXY: withLogin(USER, 'canary-wrong') });
    const error = await failureOf((await providerOf(config)).mint(settings, credentials));
    expect(error).toMatchObject({ code: 'PROVIDER_PROXY_REFUSED', kind: 'misconfigured' });
    expect(error.message).toContain('does not accept the user and password');
  });

  test('of http addresses that wants a login is told apart', async () => {
    const { fetch } = await requireNetwork(configOf({ HTTP_PROXY: proxy.url }));
    const keys = createRemoteKeySet({
      jwksUri: 'http://keys.test/jwks',
      clock: systemClock,
      fetch,
      allowInsecureHttp: true,
    });
    expect((await failureOf(keys.refresh())).message).toContain('wants a login (status 407)');
  });

  test('that hangs is named when its time is over', async () => {
    const silent: Refusal[] = [
      () => undefined,
      (socket) => void socket.write('HTTP/1.1 200 OK\r\n\r\n'),
    ];
    for (const refusal of silent) {
      proxy.refuse(refusal);
      const [place, limits] = [
        { host: 'provider.test', port: '443' },
        { trust: undefined, timeoutMs: 50 },
      ];
      const { httpsProxy } = configOf().network;
      if (httpsProxy === undefined) throw new Error('no proxy');
      const error = await failureOf(openTunnel(httpsProxy, place, {}, limits));
      expect(error).toMatchObject({ code: 'PROXY_UNAVAILABLE', kind: 'retry' });
      expect(error.message).toContain(
        `The proxy ${proxy.host} took more than 0.05 s before it had connected to provider.test:443.`,
      );
    }
  });

  test('that is not there is named', async () => {
    const gone = await startConnectProxy({ places: {} });
    await gone.close();
    const one = await providerOf(configOf({ HTTPS_PROXY: gone.url }));
    const error = await failureOf(one.mint(settings, credentials));
    expect(error).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', kind: 'retry' });
    expect(error.message).toContain(
      `the proxy ${gone.host} cannot be reached: the connection is refused (ECONNREFUSED). Check HTTPS_PROXY`,
    );
  });

  test('by https at a port for http, and of an authority that is not trusted', async () => {
    const plain = await providerOf(configOf({ HTTPS_PROXY: proxy.url.replace('http:', 'https:') }));
    expect(await failureOf(plain.mint(settings, credentials))).toMatchObject({
      code: 'PROVIDER_PROXY_REFUSED',
      message: expect.stringMatching(/offers no trusted TLS connection: .* Is it an http: proxy\?/),
    });
    const { HTTPS_PROXY } = { HTTPS_PROXY: secureProxy.url };
    const untrusted = await providerOf(loadConfig({ env: { HTTPS_PROXY } }));
    expect((await failureOf(untrusted.mint(settings, credentials))).message).toMatch(
      /the proxy .* offers no trusted TLS connection: .*BROKER_CA_FILE/,
    );
  });

  test('is not blamed for a destination whose certificate is not trusted', async () => {
    const one = await providerOf(loadConfig({ env: { HTTPS_PROXY: withLogin() } }));
    const error = await failureOf(one.mint(settings, credentials));
    expect(error.code).toBe('PROVIDER_TLS_FAILED');
    expect(error.message).not.toContain('proxy 127');
  });

  test('is not blamed for a destination that speaks no TLS without a hint', async () => {
    const one = await providerOf();
    const plain = { ...settings, issuer: 'https://plain.test' };
    expect((await failureOf(one.mint(plain, credentials))).message).toContain(
      'answers in place of plain.test:443',
    );
  });
});

describe('BROKER_CA_FILE', () => {
  test('is added to what Node.js trusts, without a proxy too', async () => {
    const network = await requireNetwork(loadConfig({ env: { BROKER_CA_FILE: caFile } }));
    const url = `https://127.0.0.1:${fronts[0]?.port}/jwks`;
    expect((await network.fetch(url)).status).toBe(200);
    await expect(fetch(url)).rejects.toThrow();
    expect(network.authorities).toMatchObject([{ subject: 'CN=private root' }]);
    const { rootCertificates } = await import('node:tls');
    const agent = network.agentFor(new URL(url));
    expect(agent).toBeDefined();
    expect(rootCertificates.length).toBeGreaterThan(50);
  });

  test('a server of another authority is still refused', async () => {
    const other = join(await makeFolder(), 'other.pem');
    await writeFile(other, clientAuthority.cert);
    const network = await requireNetwork(loadConfig({ env: { BROKER_CA_FILE: other } }));
    await expect(network.fetch(`https://127.0.0.1:${fronts[0]?.port}/jwks`)).rejects.toMatchObject({
      code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    });
  });

  test.each<[string, string, RegExp]>([
    ['nothing', '', /has no certificate in PEM .* openssl x509 -inform der/],
    ['DER', '0\u0082canary', /has no certificate in PEM/],
    [
      'a damaged one',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      /certificate 1 of 1 .* is damaged/,
    ],
  ])('with %s is refused', (_what, text, says) => {
    expect(() => judgeAuthorities(text, '/etc/ca.pem')).toThrow(says);
  });

  test('with a private key is refused, whatever else is in it', () => {
    const { cert, key } = authority;
    expect(() => judgeAuthorities(`${cert}${key}`, '/etc/ca.pem')).toThrow(
      /has a private key in it, which must not be there/,
    );
  });

  test('that is missing is refused, and says so', async () => {
    const config = loadConfig({ env: { BROKER_CA_FILE: '/nowhere/ca.pem' } });
    await expect(networkOf(config)).rejects.toMatchObject({
      code: 'CA_FILE_INVALID',
      kind: 'misconfigured',
      message: expect.stringMatching(/\/nowhere\/ca\.pem cannot be read \(ENOENT\)/),
    });
  });

  test('with an expired authority warns', async () => {
    const expired = makeCertificate({ commonName: 'old root', isAuthority: true, days: [-3, -2] });
    const file = join(await makeFolder(), 'old.pem');
    await writeFile(file, `${authority.cert}${expired.cert}`);
    const config = loadConfig({ env: { BROKER_CA_FILE: file } });
    expect(await networkWarnings(config, Date.now())).toEqual([
      expect.stringMatching(/^The authority "CN=old root" of BROKER_CA_FILE expired at 20/),
    ]);
    expect(expiredAuthorities((await requireNetwork(config)).authorities, 0)).toEqual([]);
  });
});

test.each<[settings: NodeJS.ProcessEnv, env: NodeJS.ProcessEnv, warned: boolean]>([
  [{ BROKER_SECRET_STORE: 'aws' }, { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://p.test' }, true],
  [{ BROKER_SECRET_STORE: 'aws' }, { NODE_USE_ENV_PROXY: '1', http_proxy: 'http://p.test' }, true],
  [
    { BROKER_SECRET_STORE: 'aws' },
    { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://p.test', NO_PROXY: '169.254.169.254' },
    true,
  ],
  [
    { BROKER_SECRET_STORE: 'aws' },
    { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://p.test', NO_PROXY: '169.254.0.0/16' },
    // Which Node's own does not know.
    true,
  ],
  [
    { BROKER_SECRET_STORE: 'aws' },
    {
      NODE_USE_ENV_PROXY: '1',
      HTTP_PROXY: 'http://p.test',
      NO_PROXY: 'a.test, 169.254.169.254,169.254.170.2,169.254.170.23',
    },
    false,
  ],
  [
    { BROKER_SECRET_STORE: 'aws' },
    { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://p.test', NO_PROXY: '*' },
    false,
  ],
  [{ BROKER_SECRET_STORE: 'aws' }, { HTTP_PROXY: 'http://p.test' }, false],
  [{ BROKER_SECRET_STORE: 'aws' }, { NODE_USE_ENV_PROXY: '1', HTTPS_PROXY: 'p.test' }, false],
  [{}, { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://p.test' }, false],
])(
  'the credentials of a machine before a proxy of Node.js: %j, %j',
  async (settings, env, warned) => {
    const warnings = await networkWarnings(loadConfig({ env: settings }), Date.now(), env);
    expect(warnings.some((one) => one.includes('NODE_USE_ENV_PROXY'))).toBe(warned);
  },
);

test('without a proxy and a file nothing is made', async () => {
  expect(await networkOf(loadConfig({ env: { NO_PROXY: '*' } }))).toBeUndefined();
});
