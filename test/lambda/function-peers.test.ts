import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readHttpFunctionConfig } from '../../src/lambda/function-start.js';
import { IamLogin } from '../../src/lambda/http-routes.js';
import { CHAIN_START, walkLine, type ChainWalk } from '../../src/operations/audit-chain.js';
import { IAM } from '../../src/peers/identities.js';
import { decideAccess, type Need } from '../../src/peers/policy.js';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { fc } from '../support/properties.js';
import { TEMPORARY } from '../support/temporary-folder.js';
import {
  bodyOf,
  httpScene,
  ORDERS,
  ORDERS_SESSION,
  PLATFORM_SESSION,
  tokenValue,
  type Ask,
} from './support/http-function.js';
import { AUDIENCE, TOKEN_SECRET } from './support/rotation-function.js';

// The HTTP function with the broker's own file: peers with grants, workload tokens, introspection, gateways, the audit.

const SETTLE = 'arn:aws:iam::123456789012:role/services/settle';
const SETTLE_SESSION = 'arn:aws:sts::123456789012:assumed-role/settle/i-0def';
const LEDGER_SECRET = 'broker/ledger';
const BROKER = 'https://broker.example.com';

let folder: string;
let platform: TestIssuer;
let provider: TestIssuer;

beforeAll(async () => {
  folder = await mkdtemp(join(TEMPORARY, 'function-peers-'));
  [platform, provider] = await Promise.all([
    startTestIssuer(),
    startTestIssuer({ audience: AUDIENCE }),
  ]);
});
afterAll(async () => {
  await Promise.all([platform.close(), provider.close()]);
  await rm(folder, { recursive: true, force: true });
});

let files = 0;
async function fileOf(content: object): Promise<string> {
  const path = join(folder, `${(files += 1)}.json`);
  await writeFile(path, JSON.stringify(content));
  return path;
}

const settle = { identities: [{ iam: SETTLE }], tokens: ['ledger'], roles: ['introspect'] };

/** A function with two tokens, IAM peers and a workload. */
async function scene(more: object = {}, env: NodeJS.ProcessEnv = {}) {
  const path = await fileOf({
    public_url: BROKER,
    issuer: provider.issuer,
    jwks_uri: provider.jwksUri,
    // With all of them, nobody needs the credentials secret to judge tokens, which this function may not read.
    token_endpoint: `${provider.issuer}/token`,
    tokens: {
      default: {},
      ledger: { audience: 'https://ledger.example.com', secret: LEDGER_SECRET },
    },
    trusted_issuers: {
      ci: { kind: 'oidc', issuer: platform.issuer, jwks_uri: platform.jwksUri },
    },
    peers: {
      settle,
      retired: { identities: [{ iam: `${ORDERS}-before` }], tokens: ['default'], enabled: false },
      deploy: { identities: [{ issuer: 'ci', subject: 'job:*' }], tokens: ['default'] },
    },
    ...more,
  });
  const made = httpScene({
    env: {
      BROKER_CONFIG: path,
      BROKER_TOKEN_SECRET_ID: TOKEN_SECRET,
      BROKER_AUDIENCE: AUDIENCE,
      BROKER_HTTP_IAM_PEERS: ORDERS,
      ...env,
    },
    // Tokens of the issuers are of now.
    clock: undefined,
  });
  made.store.seed(
    LEDGER_SECRET,
    tokenValue(Date.now(), { audience: ['https://ledger.example.com'] }),
  );
  made.store.edit(TOKEN_SECRET, tokenValue(Date.now()));
  return made;
}

function workloadToken(claims: object = {}): string {
  const now = Math.floor(Date.now() / 1_000);
  const own = { iss: platform.issuer, aud: BROKER, iat: now, exp: now + 600, sub: 'job:42' };
  return platform.sign({ ...own, ...claims });
}

const bearer = (token: string): Ask => ({
  userArn: null,
  headers: { authorization: `Bearer ${token}` },
});
const assertion = (token: string): Ask => ({
  method: 'POST',
  userArn: null,
  // Without the signature that the others are sent with.
  event: { headers: { 'content-type': 'application/x-www-form-urlencoded' } },
  form: new URLSearchParams({
    grant_type: 'client_credentials',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: token,
  }),
});

describe('peers that AWS IAM names, by the grants of the file', () => {
  test.each<[string, string, number, string | undefined]>([
    [SETTLE_SESSION, '/v1/tokens/ledger', 200, undefined],
    // No grant names it: as a token that does not exist.
    [SETTLE_SESSION, '/v1/tokens/default', 404, 'invalid_target'],
    [SETTLE_SESSION, '/v1/tokens/nothing', 404, 'invalid_target'],
    [ORDERS_SESSION, '/v1/tokens/default', 200, undefined],
    [ORDERS_SESSION, '/v1/tokens/ledger', 404, 'invalid_target'],
    [PLATFORM_SESSION, '/v1/tokens/ledger', 403, 'unauthorized_client'],
    // Disabled: refused as one that is no peer.
    [ORDERS_SESSION.replace('orders', 'orders-before'), '/v1/token', 403, 'unauthorized_client'],
  ])('%s, %s: %i', async (userArn, path, status, error) => {
    const { ask } = await scene();
    const result = await ask(path, { userArn });
    expect([result.statusCode, bodyOf(result)['error']]).toEqual([status, error]);
  });

  test('the token endpoint chooses among the tokens of the peer', async () => {
    const { ask, lines } = await scene();
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      audience: 'https://ledger.example.com',
    });
    const asked = { method: 'POST', form };
    expect((await ask('/oauth2/token', { ...asked, userArn: SETTLE_SESSION })).statusCode).toBe(
      200,
    );
    expect((await ask('/oauth2/token', { ...asked, userArn: ORDERS_SESSION })).statusCode).toBe(
      400,
    );
    expect(lines().find(({ message }) => message === 'request')).toMatchObject({
      peer: 'settle',
      caller: SETTLE_SESSION,
    });
  });

  test.each([
    ['a client secret', { client_secret: 'x' }],
    ['a workload token', { client_assertion: 'x' }],
  ])('%s beside IAM is a second identity, and refused', async (_what, second) => {
    const { ask } = await scene();
    const form = new URLSearchParams({ grant_type: 'client_credentials', ...second });
    const result = await ask('/oauth2/token', { method: 'POST', form });
    expect([result.statusCode, bodyOf(result)['error']]).toEqual([400, 'invalid_request']);
  });

  test('one principal is one peer, whichever path it is written with', async () => {
    const peers = { settle };
    const tokens = { default: {}, ledger: { secret: LEDGER_SECRET, scope: 'x' } };
    const path = await fileOf({ tokens, peers });
    const read = (arn: string) =>
      readHttpFunctionConfig({ BROKER_CONFIG: path, BROKER_HTTP_IAM_PEERS: arn });
    expect(read(ORDERS).http.iamPeers).toHaveLength(1);
    expect(() => read(SETTLE.replace('services/', 'other/'))).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('the peer "settle" of the file'),
      }),
    );
    const both = { settle, again: { ...settle, identities: [{ iam: SETTLE.replace('s/', '/') }] } };
    const twice = await fileOf({ tokens, peers: both });
    expect(() => readHttpFunctionConfig({ BROKER_CONFIG: twice })).toThrow('"settle"');
  });

  test('no caller gets what no grant names', async () => {
    const name = fc.constantFrom('default', 'ledger', 'mail');
    const role = fc.constantFrom<'admin' | 'introspect'>('admin', 'introspect');
    const peer = fc.record({
      arn: fc.constantFrom('a', 'b', 'c').map((one) => `arn:aws:iam::123456789012:role/${one}`),
      tokens: fc.uniqueArray(name),
      roles: fc.uniqueArray(role),
      enabled: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(peer, { selector: ({ arn }) => arn }),
        fc.constantFrom('a', 'b', 'c', 'd'),
        async (peers, caller) => {
          const login = new IamLogin({
            peers: [],
            configured: peers.map(({ arn, tokens, roles, enabled }) => ({
              id: arn,
              identities: [{ issuer: IAM, subject: arn }],
              tokens,
              roles: tokens.length > 0 ? ['token', ...roles] : roles,
              enabled,
            })),
            callerOf: () => `arn:aws:sts::123456789012:assumed-role/${caller}/session`,
            observer: {},
          });
          const request = {
            method: 'GET',
            url: '/',
            headers: {},
            remoteAddress: '',
            encrypted: true,
          };
          const result = await login.withHeader(request);
          const granted = peers.find(({ arn }) => arn.endsWith(`/${caller}`));
          const may = (need: Need): boolean =>
            'peer' in result && decideAccess(result.peer, need) === 'granted';
          for (const token of ['default', 'ledger', 'mail']) {
            const isNamed = granted?.enabled === true && granted.tokens.includes(token as 'mail');
            expect(may({ token })).toBe(isNamed);
          }
          for (const one of ['admin', 'introspect'] as const) {
            expect(may({ role: one })).toBe(
              granted?.enabled === true && granted.roles.includes(one),
            );
          }
        },
      ),
    );
  });
});

describe('workload tokens, behind an endpoint that IAM does not authorize', () => {
  test('as the header, and as the client assertion', async () => {
    const { ask } = await scene();
    expect((await ask('/v1/token', bearer(workloadToken()))).statusCode).toBe(200);
    expect((await ask('/oauth2/token', assertion(workloadToken()))).statusCode).toBe(200);
  });

  test.each<[string, object]>([
    ['for another service', { aud: 'https://other.example.com' }],
    ['of a subject that nobody is', { sub: 'job:42:evil' }],
    ['that has expired', { exp: Math.floor(Date.now() / 1_000) - 600 }],
    ['of an unknown issuer', { iss: 'https://unknown.example.com' }],
  ])('one %s opens nothing, and nothing is read', async (_what, claims) => {
    const { ask, store } = await scene();
    const result = await ask('/v1/token', bearer(workloadToken(claims)));
    expect([result.statusCode, bodyOf(result)['error']]).toEqual([401, 'invalid_client']);
    expect(store.calls.read).toBe(0);
  });

  test('does not count where IAM names the caller: who that is decides', async () => {
    const { ask } = await scene();
    const headers = { authorization: `Bearer ${workloadToken()}` };
    const result = await ask('/v1/token', { userArn: PLATFORM_SESSION, headers });
    expect(result.statusCode).toBe(403);
  });

  test('a secret opens nothing: the function has no peers secret', async () => {
    const { ask, store } = await scene();
    const headers = { authorization: `Basic ${Buffer.from('deploy:secret').toString('base64')}` };
    const result = await ask('/v1/token', { userArn: null, headers });
    expect(result.statusCode).toBe(401);
    expect(store.calls.read).toBe(0);
  });

  test('an issuer that cannot be asked is not a bad token: 503', async () => {
    const down = await startTestIssuer();
    await down.close();
    const trusted_issuers = { ci: { kind: 'oidc', issuer: down.issuer, jwks_uri: down.jwksUri } };
    const { ask, lines } = await scene({ trusted_issuers });
    const now = Math.floor(Date.now() / 1_000);
    const claims = { iss: down.issuer, aud: BROKER, sub: 'job:42', iat: now, exp: now + 600 };
    const result = await ask('/v1/token', bearer(down.sign(claims)));
    expect(result.statusCode).toBe(503);
    expect(Number(result.headers['Retry-After'])).toBeGreaterThan(0);
    expect(lines().map(({ message }) => message)).toContain('a workload token could not be judged');
  });
});

describe('what other services ask', () => {
  const introspect = (token: string, userArn: string): Ask => ({
    method: 'POST',
    userArn,
    form: new URLSearchParams({ token, audience: AUDIENCE }),
  });

  test('introspection says what a token is, to a peer with the role', async () => {
    const { ask } = await scene();
    const token = provider.serviceToken({ clientId: 'billing' });
    const told = await ask('/oauth2/introspect', introspect(token, SETTLE_SESSION));
    expect(bodyOf(told)).toMatchObject({ active: true, kind: 'service', client_id: 'billing' });
    const other = await ask('/oauth2/introspect', introspect('x.y.z', SETTLE_SESSION));
    expect(bodyOf(other)).toEqual({ active: false });
    const refused = await ask('/oauth2/introspect', introspect(token, ORDERS_SESSION));
    expect(refused.statusCode).toBe(403);
  });

  test('a gateway asks at /v1/authorize, where that is switched on', async () => {
    const customer = provider.customerToken({ subject: 'anna', clientId: 'web' });
    const query = `allow=customer&audience=${encodeURIComponent(AUDIENCE)}`;
    const off = await scene();
    expect((await off.ask('/v1/authorize', { ...bearer(customer), query })).statusCode).toBe(404);
    const { ask } = await scene({}, { BROKER_AUTHORIZE: 'true' });
    const passed = await ask('/v1/authorize', { ...bearer(customer), query });
    expect(passed.statusCode).toBe(200);
    expect(passed.headers).toMatchObject({
      'X-Principal-Kind': 'customer',
      'X-Principal-Subject': 'anna',
    });
    const below = `/v1/authorize/${query}/orders/17`;
    expect((await ask(below, bearer(customer))).statusCode).toBe(200);
    expect((await ask('/v1/authorize', { ...bearer('x'), query })).statusCode).toBe(401);
  });
});

describe('the audit', () => {
  test('is one chain of lines on standard output, beside those of the log', async () => {
    const { ask, output } = await scene({ audit: 'stdout' });
    await ask('/v1/tokens/ledger', { userArn: SETTLE_SESSION });
    await ask('/v1/tokens/default', { userArn: SETTLE_SESSION });
    await ask('/v1/token', { userArn: PLATFORM_SESSION });
    const lines = output()
      .split('\n')
      .filter((line) => line.includes('"prev"'));
    let walk: ChainWalk = { end: CHAIN_START };
    for (const line of lines) {
      walk = walkLine(walk, Buffer.from(line));
      expect(walk.fault).toBeUndefined();
    }
    const decided = lines.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
    expect(decided).toMatchObject([
      { outcome: 'started' },
      { outcome: 'served', peer: 'settle', token: 'ledger', request_id: 'request-1' },
      { outcome: 'denied', peer: 'settle', remote_address: '10.0.0.7' },
      { outcome: 'login_failed', reason: 'unknown_peer' },
    ]);
  });

  test('in a file is refused: nothing that a function writes stays', () => {
    const env = { BROKER_HTTP_IAM_PEERS: ORDERS, BROKER_AUDIT: '/tmp/audit.jsonl' };
    expect(() => readHttpFunctionConfig(env)).toThrow(
      expect.objectContaining({
        mistakes: [expect.objectContaining({ name: 'BROKER_AUDIT', allowed: 'off or stdout' })],
      }),
    );
  });
});
