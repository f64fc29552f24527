import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { KeysUnavailableError } from '../../../src/verification/errors.js';
import {
  createRemoteKeySet,
  type RemoteKeySet,
} from '../../../src/verification/keys/remote-key-set.js';
import type { RemoteKeySetOptions } from '../../../src/verification/keys/remote-options.js';
import { JwksServer } from '../support/jwks-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { createSigner, type Signer } from '../support/signer.js';

const SECOND = 1000;
const MINUTE = 60 * SECOND;

let first: Signer;
let second: Signer;
let server: JwksServer;
let clock: ManualClock;

beforeAll(async () => {
  [first, second] = [await createSigner('first'), await createSigner('second')];
});
beforeEach(async () => {
  clock = new ManualClock();
  server = await JwksServer.start(first.jwk);
});
afterEach(() => server.stop());

const create = (options: Partial<RemoteKeySetOptions> = {}): RemoteKeySet =>
  createRemoteKeySet({ jwksUri: server.uri, clock, random: () => 0, ...options });
const find = (keys: RemoteKeySet, kid = 'first', signal?: AbortSignal) =>
  keys.find({ kid, alg: 'ES256' }, signal);
/** A fetch that runs behind an answer has ended when somebody who joins it is answered. */
const settle = (keys: RemoteKeySet): Promise<void> => keys.refresh().catch(() => undefined);
const UNKNOWN = { code: 'TOKEN_KEY_UNKNOWN', kind: 'rejected' };
const UNAVAILABLE = { code: 'KEYS_UNAVAILABLE', kind: 'retry' };

describe('fetching', () => {
  test('nothing is fetched before it is needed, then once for everybody', async () => {
    const keys = create();
    expect(keys.state()).toMatchObject({ status: 'empty', fetches: 0, keyIds: [] });
    const found = await Promise.all(Array.from({ length: 50 }, () => find(keys)));
    expect(new Set(found).size).toBe(1);
    expect(server.requests).toBe(1);
    expect(keys.state()).toMatchObject({
      status: 'fresh',
      fetchedAt: clock.now(),
      lastAttemptAt: clock.now(),
      lastError: undefined,
      keyIds: ['first'],
      fetches: 1,
      failures: 0,
    });
  });

  test('from 80 % of the age keys are fetched behind the answer, once', async () => {
    const keys = create();
    await find(keys);
    clock.advance(8 * MINUTE - 1);
    await find(keys);
    expect(server.requests).toBe(1);
    server.behaviour = { kind: 'hang' };
    clock.advance(1);
    // Answered although the provider does not answer: nobody waits for this fetch.
    await Promise.all([find(keys), find(keys), find(keys)]);
    await server.requestArrived(2);
    server.release();
    await settle(keys);
    expect(server.requests).toBe(2);
    expect(keys.state().fetchedAt).toBe(clock.now());
  });

  test('past the age the answer waits for new keys, and a removed key is gone', async () => {
    const keys = create();
    await find(keys);
    server.keys = [second.jwk];
    clock.advance(10 * MINUTE);
    await expect(find(keys)).rejects.toMatchObject(UNKNOWN);
    expect((await find(keys, 'second')).keyId).toBe('second');
    expect(keys.state().keyIds).toEqual(['second']);
    expect(server.requests).toBe(2);
  });

  test('an empty JWKS takes all trust away', async () => {
    const keys = create();
    await find(keys);
    server.keys = [];
    await keys.refresh();
    await expect(find(keys)).rejects.toMatchObject(UNKNOWN);
  });

  test('the same id with another key is another key', async () => {
    const keys = create();
    const before = await find(keys);
    server.keys = [{ ...second.jwk, kid: 'first' }];
    await keys.refresh();
    expect((await find(keys)).key).not.toBe(before.key);
  });

  test.each<[string, string, number]>([
    ['shorter is honoured', 'public, max-age=120', 2 * MINUTE],
    ['longer is not', 'max-age=86400', 10 * MINUTE],
    ['never under the cooldown', 'max-age=0', 30 * SECOND],
    ['no-store means the cooldown', 'no-store', 30 * SECOND],
    ['nonsense means the default', 'max-age=soon', 10 * MINUTE],
  ])('Cache-Control: %s', async (_, header, age) => {
    server.behaviour = { kind: 'keys', headers: { 'cache-control': header } };
    const keys = create();
    await find(keys);
    clock.advance(age - 1);
    expect(keys.state().status).toBe('fresh');
    clock.advance(1);
    expect(keys.state().status).toBe('stale');
  });

  test('the address may be found out, anew for each fetch', async () => {
    let asked = 0;
    const jwksUri = async (): Promise<string> => {
      asked += 1;
      return server.uri;
    };
    const keys = create({ jwksUri });
    expect(asked).toBe(0);
    await find(keys);
    await keys.refresh();
    expect(asked).toBe(2);
  });
});

describe('unknown key ids', () => {
  test('a new key is found at once when the cooldown is over', async () => {
    const keys = create();
    await find(keys);
    server.keys = [first.jwk, second.jwk];
    clock.advance(30 * SECOND - 1);
    await expect(find(keys, 'second')).rejects.toMatchObject(UNKNOWN);
    clock.advance(1);
    expect((await find(keys, 'second')).keyId).toBe('second');
    expect(server.requests).toBe(2);
  });

  test.each(['up', 'slow', 'down'] as const)(
    '10,000 invented ids, provider %s: one fetch per cooldown',
    async (state) => {
      const keys = create();
      await find(keys);
      clock.advance(MINUTE);
      if (state === 'slow') server.behaviour = { kind: 'hang' };
      if (state === 'down') server.behaviour = { kind: 'break' };
      const flood = Promise.allSettled(
        Array.from({ length: 10_000 }, (_, index) => find(keys, `invented-${index}`)),
      );
      await server.requestArrived(2);
      if (state === 'slow') server.release();
      const outcomes = await flood;
      const expected = state === 'down' ? UNAVAILABLE : UNKNOWN;
      for (const outcome of [outcomes[0], outcomes.at(-1)]) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: expected });
      }
      await expect(find(keys, 'late')).rejects.toMatchObject(expected);
      expect(server.requests).toBe(2);
      // Whoever has a known key is not disturbed.
      expect((await find(keys)).keyId).toBe('first');

      clock.advance(30 * SECOND - 1);
      await expect(find(keys, 'later')).rejects.toMatchObject(expected);
      expect(server.requests).toBe(2);
      clock.advance(1);
      await expect(find(keys, 'latest')).rejects.toMatchObject(expected);
      expect(server.requests).toBe(3);
    },
  );

  test('a clock that is set back does not lengthen the cooldown', async () => {
    const keys = create();
    await find(keys);
    server.keys = [first.jwk, second.jwk];
    clock.advance(-24 * 60 * MINUTE);
    expect((await find(keys, 'second')).keyId).toBe('second');
  });
});

describe('a provider that is down', () => {
  test('known keys go on working until the stale time is over, without waiting', async () => {
    const keys = create();
    await find(keys);
    server.behaviour = { kind: 'break' };
    clock.advance(10 * MINUTE);
    expect((await find(keys)).keyId).toBe('first');
    expect(keys.state()).toMatchObject({
      status: 'stale',
      lastError: { code: 'KEYS_UNREACHABLE', at: clock.now() },
      failures: 1,
    });
    server.behaviour = { kind: 'hang' };
    clock.advance(59 * MINUTE);
    // One failure was enough: this answer does not wait for a provider that hangs.
    expect((await find(keys)).keyId).toBe('first');
    await server.requestArrived(3);
    clock.advance(MINUTE);
    await expect(find(keys)).rejects.toMatchObject(UNAVAILABLE);
    expect(keys.state().status).toBe('expired');
  });

  test('no stale use when it is switched off', async () => {
    const keys = create({ staleSeconds: 0 });
    await find(keys);
    server.behaviour = { kind: 'break' };
    clock.advance(10 * MINUTE);
    await expect(find(keys)).rejects.toMatchObject(UNAVAILABLE);
  });

  test('it recovers', async () => {
    const keys = create();
    server.behaviour = { kind: 'break' };
    await expect(find(keys)).rejects.toMatchObject(UNAVAILABLE);
    server.behaviour = { kind: 'keys' };
    clock.advance(SECOND);
    expect((await find(keys)).keyId).toBe('first');
    expect(keys.state()).toMatchObject({ status: 'fresh', lastError: undefined, failures: 1 });
  });

  test('with no keys at hand, attempts are spaced 1, 2, 4 … seconds up to the cooldown', async () => {
    const keys = create();
    server.behaviour = { kind: 'break' };
    for (const [index, pause] of [1, 2, 4, 8, 16, 30, 30].entries()) {
      const flood = await Promise.allSettled(Array.from({ length: 100 }, () => find(keys)));
      expect(flood[0]).toMatchObject({
        status: 'rejected',
        reason: { ...UNAVAILABLE, retryAfterSeconds: pause },
      });
      expect(server.requests).toBe(index + 1);
      clock.advance(pause * SECOND);
    }
  });

  test.each([
    ['120', 120],
    ['86400', 300],
    ['tomorrow', 1],
  ])('Retry-After %s: %d seconds', async (header, seconds) => {
    server.behaviour = {
      kind: 'answer',
      status: 503,
      headers: { 'retry-after': header },
      body: '',
    };
    const keys = create();
    await expect(find(keys)).rejects.toMatchObject({ ...UNAVAILABLE, retryAfterSeconds: seconds });
    clock.advance(seconds * SECOND - 1);
    await expect(find(keys)).rejects.toMatchObject({ retryAfterSeconds: 1 });
    expect(server.requests).toBe(1);
  });

  test('a fetch that hangs ends after the time-out, discovery included', async () => {
    server.behaviour = { kind: 'hang' };
    const keys = create();
    const waiting = find(keys);
    await server.requestArrived(1);
    clock.advance(5 * SECOND);
    await expect(waiting).rejects.toMatchObject({
      ...UNAVAILABLE,
      cause: { code: 'KEYS_TIMEOUT' },
    });

    const never = create({ jwksUri: () => new Promise<string>(() => undefined) });
    const waitingToo = find(never);
    clock.advance(5 * SECOND);
    await expect(waitingToo).rejects.toMatchObject({ cause: { code: 'KEYS_TIMEOUT' } });
  });

  test('a caller who gives up does not end the fetch for the others', async () => {
    server.behaviour = { kind: 'hang' };
    const keys = create();
    const impatient = new AbortController();
    const outcomes = Promise.allSettled([find(keys, 'first', impatient.signal), find(keys)]);
    await server.requestArrived(1);
    impatient.abort(new Error('gave up'));
    server.release();
    const [left, stayed] = await outcomes;
    expect(left).toMatchObject({ status: 'rejected', reason: { message: 'gave up' } });
    expect(stayed).toMatchObject({ status: 'fulfilled', value: { keyId: 'first' } });
    expect(server.requests).toBe(1);
  });
});

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
      { kind: 'answer', status: 200, body: Buffer.from([0x22, 0xff, 0x22]) },
      'KEYS_INVALID',
    ],
    ['keys twice', { kind: 'answer', status: 200, body: '{"keys":[],"keys":[]}' }, 'KEYS_INVALID'],
    [
      'too large',
      { kind: 'answer', status: 200, body: `{"keys":[],"pad":"${'x'.repeat(262_144)}"}` },
      'KEYS_TOO_LARGE',
    ],
  ])('%s', async (_, behaviour, code) => {
    server.behaviour = behaviour;
    const keys = create();
    const error = await find(keys).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KeysUnavailableError);
    expect(error).toMatchObject({ cause: { code } });
    expect(keys.state().lastError).toEqual({ code, at: clock.now() });
    expect(String(error) + String((error as Error).cause)).not.toContain('canary');
  });

  test('a redirect is not followed', async () => {
    const other = await JwksServer.start(first.jwk);
    server.behaviour = {
      kind: 'answer',
      status: 302,
      headers: { location: other.uri },
      body: '',
    };
    const error = await find(create()).catch((thrown: unknown) => thrown);
    await other.stop();
    expect(error).toMatchObject({ cause: { code: 'KEYS_HTTP_STATUS' } });
    expect((error as Error).message).toContain('Redirects are not followed');
    expect(other.requests).toBe(0);
  });

  test('a bad answer keeps the good keys', async () => {
    const keys = create();
    await find(keys);
    server.behaviour = { kind: 'answer', status: 200, body: '<html>' };
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
    expect(() => create({ jwksUri })).toThrow(
      expect.objectContaining({ code: 'KEYS_URI_REFUSED', kind: 'misconfigured' }) as Error,
    );
  });

  test.each(['https://issuer.example/jwks', 'http://localhost:1/jwks', 'http://[::1]:1/jwks'])(
    'allowed: %s',
    (jwksUri) => {
      expect(create({ jwksUri }).state().status).toBe('empty');
    },
  );

  test('plain http to others only when allowed', () => {
    const options = { jwksUri: 'http://issuer.example/jwks', allowInsecureHttp: true };
    expect(create(options).state().status).toBe('empty');
  });

  test('what discovery says is held to the same rules', async () => {
    const keys = create({ jwksUri: async () => 'http://issuer.example/jwks' });
    await expect(find(keys)).rejects.toMatchObject({ cause: { code: 'KEYS_URI_REFUSED' } });
    const failing = create({ jwksUri: async () => Promise.reject(new Error('no discovery')) });
    await expect(find(failing)).rejects.toMatchObject({ cause: { code: 'KEYS_URI_UNKNOWN' } });
  });

  test.each<Partial<RemoteKeySetOptions>>([
    { maxAgeSeconds: 0 },
    { maxAgeSeconds: Number.NaN },
    { staleSeconds: -1 },
    { cooldownSeconds: 0 },
    { timeoutSeconds: Number.POSITIVE_INFINITY },
    { maxBytes: 0 },
  ])('numbers out of range: %p', (options) => {
    expect(() => create(options)).toThrow(
      expect.objectContaining({ code: 'VERIFIER_MISCONFIGURED' }) as Error,
    );
  });
});
