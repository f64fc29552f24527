import { describe, expect, test } from '@jest/globals';
import { BrokerError } from '../../../src/tokens/errors.js';
import { KeysUnavailableError } from '../../../src/verification/verification-errors.js';
import type { RemoteKeySetOptions } from '../../../src/verification/keys/remote-key-set.js';
import { JwksServer } from '../support/jwks-server.js';
import { UNAVAILABLE, find, useKeyBench } from '../support/key-bench.js';

const bench = useKeyBench();

describe('answers that are refused', () => {
  test.each<[string, JwksServer['behaviour'], string]>([
    ['broken connection', { kind: 'break' }, 'KEYS_UNREACHABLE'],
    ['HTTP 500', { kind: 'answer', status: 500, body: 'canary' }, 'KEYS_HTTP_STATUS'],
    ['HTTP 404', { kind: 'answer', status: 404, body: 'canary' }, 'KEYS_HTTP_STATUS'],
    ['HTML', { kind: 'answer', status: 200, body: '<html>canary</html>' }, 'KEYS_INVALID'],
    ['a list', { kind: 'answer', status: 200, body: '["canary"]' }, 'KEYS_INVALID'],
    ['no keys member', { kind: 'answer', status: 200, body: '{"canary":1}' }, 'KEYS_INVALID'],
    ['empty', { kind: 'answer', status: 200, body: '' }, 'KEYS_INVALID'],
    [
      'not UTF-8',
      { kind: 'answer', status: 200, body: Buffer.from('{"keys":[],"x":"\u00ff"}', 'latin1') },
      'KEYS_INVALID',
    ],
    ['keys twice', { kind: 'answer', status: 200, body: '{"keys":[],"keys":[]}' }, 'KEYS_INVALID'],
    [
      'too large',
      { kind: 'answer', status: 200, body: `{"keys":[],"pad":"${'x'.repeat(262_144)}"}` },
      'KEYS_TOO_LARGE',
    ],
  ])('%s', async (_, behaviour, code) => {
    bench().server.behaviour = behaviour;
    const keys = bench().create();
    const error = await find(keys).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KeysUnavailableError);
    expect(error).toMatchObject({ cause: { code } });
    expect(keys.state().lastError).toEqual({ code, at: bench().clock.now() });
    expect(String(error) + String((error as Error).cause)).not.toContain('canary');
  });

  test('a redirect is not followed', async () => {
    const other = await JwksServer.start(bench().first.jwk);
    bench().server.behaviour = {
      kind: 'answer',
      status: 302,
      headers: { location: other.uri },
      body: '',
    };
    const error = await find(bench().create()).catch((thrown: unknown) => thrown);
    await other.stop();
    expect(error).toMatchObject({ cause: { code: 'KEYS_HTTP_STATUS' } });
    expect((error as Error).message).toContain('Redirects are not followed');
    expect(other.requests).toBe(0);
  });

  test('a bad answer keeps the good keys', async () => {
    const keys = bench().create();
    await find(keys);
    bench().server.behaviour = { kind: 'answer', status: 200, body: '<html>' };
    await expect(keys.refresh()).rejects.toMatchObject(UNAVAILABLE);
    expect((await find(keys)).keyId).toBe('first');
  });
});

describe('addresses', () => {
  test.each([
    'http://issuer.example/jwks',
    'http://127.0.0.1.example/jwks',
    'http://localhost.example/jwks',
    'ftp://issuer.example/jwks',
    'file:///etc/passwd',
    'data:application/json,{"keys":[]}',
    'https://user:pass@issuer.example/jwks',
    '/jwks',
    '',
  ])('refused when made: %s', (jwksUri) => {
    expect(() => bench().create({ jwksUri })).toThrow(
      expect.objectContaining({ code: 'KEYS_URI_REFUSED', kind: 'misconfigured' }),
    );
  });

  test.each(['https://issuer.example/jwks', 'http://localhost:1/jwks', 'http://[::1]:1/jwks'])(
    'allowed: %s',
    (jwksUri) => {
      expect(bench().create({ jwksUri }).state().status).toBe('empty');
    },
  );

  test('plain http to others only when allowed', () => {
    const options = { jwksUri: 'http://issuer.example/jwks', allowInsecureHttp: true };
    expect(bench().create(options).state().status).toBe('empty');
  });

  test('what discovery says is held to the same rules', async () => {
    const keys = bench().create({ jwksUri: async () => 'http://issuer.example/jwks' });
    await expect(find(keys)).rejects.toMatchObject({ cause: { code: 'KEYS_URI_REFUSED' } });
    const failing = bench().create({
      jwksUri: async () => Promise.reject(new Error('no discovery')),
    });
    await expect(find(failing)).rejects.toMatchObject({ cause: { code: 'KEYS_URI_UNKNOWN' } });
  });

  test('of discovery that failed, the reason is told when it is ours, and else the system code', async () => {
    const ours = new BrokerError('PROVIDER_UNAVAILABLE', 'retry', 'GET https://a.test: no answer.');
    const others = Object.assign(new Error('canary'), { code: 'ECONNREFUSED' });
    const name = Object.assign(new Error('canary'), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    for (const [error, words] of [
      [ours, 'is unknown: GET https://a.test: no answer.'],
      [others, 'is unknown: the connection is refused (ECONNREFUSED).'],
      [name, 'its certificate is for another host name (ERR_TLS_CERT_ALTNAME_INVALID). Use a host'],
    ] as const) {
      const keys = bench().create({ jwksUri: async () => Promise.reject(error) });
      const thrown = await find(keys).catch((found: unknown) => found);
      expect((thrown as Error).message).toContain(words);
      expect((thrown as Error).message).not.toContain('canary');
    }
  });

  test('a message names the address that was asked, without its query', async () => {
    const { server } = bench();
    const at = `GET ${server.uri}`;
    const jwksUri = `${server.uri}?key=canary`;
    server.behaviour = { kind: 'answer', status: 404, body: '' };
    await expect(find(bench().create({ jwksUri }))).rejects.toThrow(
      `status 404 instead of 200 (${at})`,
    );
    server.behaviour = { kind: 'break' };
    const broken = await find(bench().create({ jwksUri })).catch((thrown: unknown) => thrown);
    expect((broken as Error).message).toContain(`cannot be reached: ${at}: the connection was`);
    expect((broken as Error).message).not.toContain('canary');
  });

  test.each<Partial<RemoteKeySetOptions>>([
    { maxAgeSeconds: 0 },
    { maxAgeSeconds: Number.NaN },
    { staleSeconds: -1 },
    { cooldownSeconds: 0 },
    { timeoutSeconds: Number.POSITIVE_INFINITY },
    { maxBytes: 0 },
  ])('numbers out of range: %p', (options) => {
    expect(() => bench().create(options)).toThrow(
      expect.objectContaining({ code: 'VERIFIER_MISCONFIGURED' }),
    );
  });
});
