import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as openid from 'openid-client';
import { serveHttp, type RunningBroker } from '../../src/composition/http-server.js';
import { createRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import { MemorySecretStore, startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { makeCertificate } from '../support/certificates.js';

// Three OAuth clients, each with each method of client authentication that it has, at a broker of several tokens, over TLS.

const run = promisify(execFile);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const SECRET = 'settle-secret-0123456789abcdefghijklmnopqrstuvw';
const SUBJECT = 'system:serviceaccount:shop:settle';
const URI = 'spiffe://prod.example.com/settle';
const PUBLIC_URL = 'https://broker.example.com';
const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** The tokens of the broker; the peer may have all but `payroll`. */
const TOKENS = {
  default: { audience: 'urn:services' },
  ledger: { audience: 'urn:ledger', scope: 'post:entries' },
  read: { audience: 'urn:files', scope: 'read' },
  write: { audience: 'urn:files', scope: 'read write' },
  payroll: { audience: 'urn:payroll' },
} as const;
const GRANTED = ['default', 'ledger', 'read', 'write'];

/** What an operator asks a client for. */
interface Asked {
  readonly method: string;
  readonly client_id: string;
  readonly client_secret?: string;
  readonly workload_token?: string;
  /** The paths of a certificate and its key. */
  readonly certificate?: string;
  readonly key?: string;
  /** Further parameters of the token request. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** A token to introspect; otherwise one is requested. */
  readonly introspect?: string;
}

/** What the client made of the answer. Its error names the code of the broker. */
type Outcome = { readonly answer: Readonly<Record<string, unknown>> } | { readonly error: string };

let folder = '';
const inFolder = (name: string): string => join(folder, name);
let provider: TestIssuer;
let cluster: TestIssuer;
let broker: RunningBroker;
let expiresAt = 0;
/** The token of each name. */
const tokens = new Map<string, string>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oauth-clients-'));
  await writeCertificates();
  [provider, cluster] = await Promise.all([startTestIssuer(), startTestIssuer()]);
  const config = loadConfig({
    env: { BROKER_CONFIG: 'broker.yaml' },
    readFile: () => JSON.stringify(configurationFile()),
  });
  const store = new MemorySecretStore();
  const generatedAt = Date.now();
  expiresAt = generatedAt + 3_600_000;
  for (const { name, secretId } of config.tokens) {
    const { audience, scope } = { scope: undefined, ...TOKENS[name as keyof typeof TOKENS] };
    const accessToken = provider.serviceToken({ audience, scopes: scope?.split(' ') ?? [] });
    tokens.set(name, accessToken);
    const kept = { tokenType: 'Bearer', issuer: provider.issuer, audience: [audience] } as const;
    const times = { generatedAt, expiresAt };
    const value = { accessToken, ...kept, ...times, ...(scope !== undefined && { scope }) };
    store.seed(secretId, serializeServiceToken(value));
  }
  const settle = {
    secret_sha256: createHash('sha256').update(SECRET).digest('base64url'),
    roles: ['token', 'introspect'],
    tokens: GRANTED,
    enabled: true,
    created_at: '2026-01-01T00:00:00.000Z',
  };
  store.seed(config.secrets.peersSecretId, JSON.stringify({ peers: { settle } }));
  const log = createLogger({ level: 'silent' });
  broker = await serveHttp(await createRuntime(config, { store, log }));
  if (process.env['INTEROP_WITHOUT_GO'] === undefined) await buildGo();
}, 600_000);

afterAll(async () => {
  await broker?.close();
  await Promise.all([provider?.close(), cluster?.close()]);
  await rm(folder, { recursive: true, force: true });
});

function configurationFile(): object {
  return {
    port: 0,
    host: '127.0.0.1',
    tls_cert_file: inFolder('broker.crt'),
    tls_key_file: inFolder('broker.key'),
    tls_client_ca_file: inFolder('ca.crt'),
    rotation: 'disabled',
    providers: {
      main: {
        issuer: provider.issuer,
        token_endpoint: `${provider.issuer}/token`,
        jwks_uri: provider.jwksUri,
        credentials_secret: 'credentials',
      },
    },
    tokens: Object.fromEntries(
      Object.entries(TOKENS).map(([name, { audience, ...scope }]) => [
        name,
        { provider: 'main', audience, secret: `token-${name}`, ...scope },
      ]),
    ),
    trusted_issuers: {
      cluster: {
        kind: 'oidc',
        issuer: cluster.issuer,
        jwks_uri: cluster.jwksUri,
        audience: PUBLIC_URL,
      },
    },
    peers: {
      'settle-job': {
        identities: [{ issuer: 'cluster', subject: SUBJECT }, { certificate: { uri: URI } }],
        tokens: GRANTED,
        roles: ['introspect'],
      },
    },
  };
}

/** The authority, and what it has signed: the broker, the peer, and somebody. */
async function writeCertificates(): Promise<void> {
  const ca = makeCertificate({ commonName: 'ca', isAuthority: true });
  const issued = {
    ca,
    broker: makeCertificate({ issuer: ca, addresses: ['127.0.0.1'], purpose: 'server' }),
    settle: makeCertificate({ issuer: ca, uris: [URI], purpose: 'client' }),
    nobody: makeCertificate({ issuer: ca, uris: [`${URI}r`], purpose: 'client' }),
  };
  for (const [name, { cert, key }] of Object.entries(issued)) {
    await writeFile(inFolder(`${name}.crt`), cert);
    await writeFile(inFolder(`${name}.key`), key, { mode: 0o600 });
  }
}

async function buildGo(): Promise<void> {
  const sources = join(folder, 'go');
  await cp(here('clients/go'), sources, { recursive: true });
  await cp(here('clients/oauth'), sources, { recursive: true });
  await run('go', ['build', '-o', join(folder, 'client'), '.'], { cwd: sources });
}

/** A workload token of the peer. */
function workloadToken(audience = PUBLIC_URL): string {
  const iat = Math.floor(Date.now() / 1_000);
  return cluster.sign({ iss: cluster.issuer, sub: SUBJECT, aud: audience, iat, exp: iat + 600 });
}

/** Asks by a program. What it is given goes over standard input, as nobody else can read that. */
async function askProgram(
  program: string,
  args: readonly string[],
  asked: Asked,
): Promise<Outcome> {
  // Requests prefers the authorities that the environment names to those that it is given.
  const child = spawn(program, args, { env: { PATH: process.env['PATH'] } });
  const code = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const surroundings = {
    ca: inFolder('ca.crt'),
    token_endpoint: `${broker.url}/oauth2/token`,
    introspection_endpoint: `${broker.url}/oauth2/introspect`,
  };
  child.stdin.end(JSON.stringify({ ...surroundings, ...asked }));
  const [out, error] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return (await code) === 0
    ? { answer: JSON.parse(out) as Record<string, unknown> }
    : { error: error.trim() };
}

/** A `fetch` that trusts an authority, and may show a certificate; that of Node.js does neither. */
function fetchByTls(tls: RequestOptions): openid.CustomFetch {
  return async (url, { method, headers, body }) => {
    const sent = request(url, { ...tls, agent: false, method, headers });
    sent.end(await new Response(body).text());
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return new Response(await text(response), {
      status: response.statusCode ?? 0,
      headers: new Headers(response.headers as Record<string, string>),
    });
  };
}

/** openid-client knows the broker's URL, and discovers the rest (RFC 8414). */
async function askOpenidClient(asked: Asked): Promise<Outcome> {
  const { method, client_id: id, client_secret: secret, workload_token: assertion = '' } = asked;
  const methods: Readonly<Record<string, () => openid.ClientAuth>> = {
    client_secret_basic: () => openid.ClientSecretBasic(secret),
    client_secret_post: () => openid.ClientSecretPost(secret),
    workload_token: () => (_server, _client, body) => {
      body.set('client_assertion_type', JWT_BEARER);
      body.set('client_assertion', assertion);
    },
    tls_client_auth: openid.TlsClientAuth,
  };
  const tls = {
    ca: await readFile(inFolder('ca.crt')),
    ...(asked.certificate !== undefined && { cert: await readFile(asked.certificate) }),
    ...(asked.key !== undefined && { key: await readFile(asked.key) }),
  };
  const configuration = await openid.discovery(
    new URL(broker.url),
    id,
    undefined,
    methods[method]?.(),
    { algorithm: 'oauth2', [openid.customFetch]: fetchByTls(tls) },
  );
  try {
    const answer =
      asked.introspect === undefined
        ? await openid.clientCredentialsGrant(configuration, { ...asked.parameters })
        : await openid.tokenIntrospection(configuration, asked.introspect);
    return { answer: { ...answer } };
  } catch (error) {
    if (error instanceof openid.WWWAuthenticateChallengeError) {
      return { error: JSON.stringify(await error.response.json()) };
    }
    if (error instanceof openid.ResponseBodyError) return { error: JSON.stringify(error.cause) };
    throw error;
  }
}

interface Client {
  readonly name: string;
  readonly methods: readonly string[];
  readonly introspects: boolean;
  readonly ask: (asked: Asked) => Promise<Outcome>;
}

const METHODS = ['client_secret_basic', 'client_secret_post', 'workload_token', 'tls_client_auth'];
const CLIENTS: readonly Client[] = [
  { name: 'openid-client', methods: METHODS, introspects: true, ask: askOpenidClient },
  {
    name: 'Authlib',
    methods: METHODS,
    introspects: true,
    ask: (asked) =>
      askProgram(process.env['INTEROP_PYTHON'] ?? '', [here('clients/authlib_client.py')], asked),
  },
  {
    name: "Go's clientcredentials",
    methods: [...METHODS, 'auto-detect'],
    introspects: false,
    ask: (asked) => askProgram(join(folder, 'client'), [], asked),
  },
];
// run.sh says so when it has to do without.
const clients = CLIENTS.filter(
  ({ name }) => !name.startsWith('Go') || process.env['INTEROP_WITHOUT_GO'] === undefined,
);

/** What proves the peer by a method: its own, or one that is wrong. */
function proof(method: string, isWrong = false): Asked {
  const ofTheFile = { method, client_id: 'settle-job' };
  if (method === 'workload_token') {
    const audience = isWrong ? 'https://other.example.com' : PUBLIC_URL;
    return { ...ofTheFile, workload_token: workloadToken(audience) };
  }
  if (method === 'tls_client_auth') {
    const name = isWrong ? 'nobody' : 'settle';
    return {
      ...ofTheFile,
      certificate: inFolder(`${name}.crt`),
      key: inFolder(`${name}.key`),
    };
  }
  return { method, client_id: 'settle', client_secret: isWrong ? 'wrong'.repeat(8) : SECRET };
}

describe.each(clients)('$name', ({ methods, introspects, ask }) => {
  describe.each(methods)('by %s', (method) => {
    test.each([
      [{}, 'default', undefined],
      [{ audience: 'urn:ledger' }, 'ledger', 'post:entries'],
      [{ resource: 'urn:ledger' }, 'ledger', 'post:entries'],
      [{ audience: 'urn:files', scope: 'write' }, 'write', 'read write'],
    ])('gets with %j the token %s', async (parameters, name, scope) => {
      const outcome = await ask({ ...proof(method), parameters });
      expect(outcome).toEqual({
        answer: expect.objectContaining({ access_token: tokens.get(name) }),
      });
      const { answer } = outcome as { readonly answer: Readonly<Record<string, unknown>> };
      expect(String(answer['token_type']).toLowerCase()).toBe('bearer');
      const remaining = (expiresAt - Date.now()) / 1_000;
      expect(Math.abs(Number(answer['expires_in']) - remaining)).toBeLessThan(30);
      expect(answer['scope'] ?? undefined).toBe(scope);
    });

    test.each([
      [{ audience: 'urn:payroll' }, 'invalid_target'],
      [{ audience: 'urn:nobody' }, 'invalid_target'],
      [{ audience: 'urn:files' }, 'invalid_target'],
      [{ scope: 'everything' }, 'invalid_scope'],
    ])('understands why it gets none with %j: %s', async (parameters, code) => {
      const outcome = await ask({ ...proof(method), parameters });
      expect(outcome).toEqual({ error: expect.stringContaining(code) });
    });

    test('understands that its proof is wrong, and shows it to nobody', async () => {
      const wrong = proof(method, true);
      const outcome = await ask(wrong);
      expect(outcome).toEqual({ error: expect.stringContaining('invalid_client') });
      const { client_secret: secret, workload_token: token } = wrong;
      expect(JSON.stringify(outcome)).not.toContain(secret ?? token ?? 'PRIVATE KEY');
    });

    if (!introspects) return;
    test('introspects tokens', async () => {
      const of = (introspect: string): Promise<Outcome> => ask({ ...proof(method), introspect });
      expect(await of(tokens.get('ledger') ?? '')).toEqual({
        answer: expect.objectContaining({ active: true, kind: 'service', scope: 'post:entries' }),
      });
      const customer = provider.customerToken({ audience: 'urn:files', subject: 'anna' });
      expect(await of(customer)).toEqual({
        answer: expect.objectContaining({ active: true, kind: 'customer', sub: 'anna' }),
      });
      const expired = provider.serviceToken({ audience: 'urn:files', fault: 'expired' });
      expect(await of(expired)).toEqual({ answer: { active: false } });
    });
  });
});

test.each([
  ['python', 'clients/authlib_client.py'],
  ['go', '../../examples/go/caller/main.go'],
])('the documented lines in %s are those that run', async (language, path) => {
  const linesOf = (code: string): string =>
    code.replaceAll(/^\s+|\s+$/gm, '').replaceAll(/\n{2,}/g, '\n');
  const page = await readFile(here('../../docs/other-languages.md'), 'utf8');
  const [, section = ''] = page.split('\n## Without a secret\n');
  const blocks = [...section.matchAll(/^```(\w+)\n([^]*?)^```$/gm)];
  const documented = blocks.filter(([, named]) => named === language);
  expect(documented).not.toEqual([]);
  const program = linesOf(await readFile(here(path), 'utf8'));
  for (const [, , block = ''] of documented) {
    for (const part of block.split('\n\n')) expect(program).toContain(linesOf(part));
  }
});
