import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createRuntime, type BrokerRuntime } from '../../src/composition/runtime.js';
import { loadConfig } from '../../src/config/load-config.js';
import { createLogger } from '../../src/operations/log.js';
import { startTestIssuer, type TestIssuer } from '../../src/testing/index.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';
import { LogLines } from '../operations/log-lines.js';
import { tokenAt } from '../serving/broker.js';
import { MemorySecretStore } from '../support/memory-store.js';

let issuer: TestIssuer;
let runtime: BrokerRuntime;
const out = new LogLines();

beforeAll(async () => {
  issuer = await startTestIssuer();
  const text = `
public_url: https://broker.example.com
issuer: https://provider.example.com/
trusted_issuers:
  ci: { kind: oidc, issuer: '${issuer.issuer}', jwks_uri: '${issuer.jwksUri}' }
peers:
  deploy: { identities: [{ issuer: ci, subject: 'job:*' }], tokens: [default] }
`;
  const config = loadConfig({ env: { BROKER_CONFIG: 'broker.yaml' }, readFile: () => text });
  const store = new MemorySecretStore();
  const [token] = config.tokens;
  store.seed(token.secretId, serializeServiceToken(tokenAt(Date.now())));
  const log = createLogger({ level: 'info', destination: out });
  runtime = await createRuntime(config, { store, log });
});
afterAll(async () => {
  await runtime.core.close();
  await issuer.close();
  runtime.metrics.registry.clear();
});

const ask = (sub: string) => {
  const now = Math.floor(Date.now() / 1_000);
  const claims = {
    iss: issuer.issuer,
    aud: 'https://broker.example.com',
    iat: now,
    exp: now + 600,
  };
  return runtime.serving.token.answer({
    method: 'GET',
    url: '/v1/token',
    headers: { authorization: [`Bearer ${issuer.sign({ ...claims, sub })}`] },
    remoteAddress: '10.0.0.1',
    encrypted: true,
  });
};

test('the configured broker lets a workload in, and counts whom it refuses', async () => {
  // There is no peers secret at all: nobody needs one.
  expect((await ask('job:42')).status).toBe(200);
  expect((await ask('job:42:evil')).status).toBe(401);
  expect(await runtime.metrics.registry.metrics()).toContain(
    'peer_login_failures_total{reason="subject_unknown"} 1\n',
  );
  expect(JSON.stringify(out.lines)).toContain('subject_unknown');
  expect(JSON.stringify(out.lines)).not.toContain('job:42:evil');
});

test('an issuer that is down: 503, told to the operator', async () => {
  const down = await startTestIssuer();
  await down.close();
  const text = `
public_url: https://broker.example.com
issuer: https://provider.example.com/
trusted_issuers:
  ci: { kind: oidc, issuer: '${down.issuer}', jwks_uri: '${down.jwksUri}' }
peers:
  deploy: { identities: [{ issuer: ci, subject: 'job:*' }], tokens: [default] }
`;
  const config = loadConfig({ env: { BROKER_CONFIG: 'broker.yaml' }, readFile: () => text });
  const lines = new LogLines();
  const log = createLogger({ level: 'info', destination: lines });
  const other = await createRuntime(config, { store: new MemorySecretStore(), log });
  const now = Math.floor(Date.now() / 1_000);
  const token = down.sign({
    iss: down.issuer,
    sub: 'job:42',
    aud: 'https://broker.example.com',
    iat: now,
    exp: now + 600,
  });
  const answer = await other.serving.token.answer({
    method: 'GET',
    url: '/v1/token',
    headers: { authorization: [`Bearer ${token}`] },
    remoteAddress: '10.0.0.1',
    encrypted: true,
  });
  expect(answer.status).toBe(503);
  expect(answer.headers).toContain('Retry-After');
  expect(JSON.stringify(lines.lines)).toContain('a workload token could not be judged');
  other.metrics.registry.clear();
  await other.core.close();
});
