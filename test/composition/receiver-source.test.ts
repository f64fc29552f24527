import { beforeEach, describe, expect, test } from '@jest/globals';
import { createReceiverSource } from '../../src/composition/receiver-source.js';
import { SecretStoreError } from '../../src/secrets/secret-store.js';
import { AuthorizeEndpoint, type ReceiverSource } from '../../src/serving/authorize-endpoint.js';
import { headerOf, type EndpointAnswer } from '../../src/serving/endpoint.js';
import { createOfflineTestIssuer, FakeClock } from '../../src/testing/index.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { createStaticKeySet } from '../../src/verification/keys/key-set.js';
import type { IssuerOptions } from '../../src/verification/index.js';

const A = 'https://a-api.example';
const B = 'https://b-api.example';
const TTL = 300_000;

const clock = new FakeClock();
const START = clock.now();
const issuers = await Promise.all(
  ['https://a.example/', 'https://b.example/'].map((issuer) =>
    createOfflineTestIssuer({ issuer, clock }),
  ),
);
const [a, b] = issuers as [(typeof issuers)[0], (typeof issuers)[0]];
const keysOf = new Map(issuers.map((one) => [one, createStaticKeySet(one.jwks())]));

/** A token of the configuration: what it is for, as the credentials secret says, and whether that can be read. */
class PlayedToken {
  reads = 0;
  failure: Error | undefined;
  /** Ends the reads that hang. */
  release: (() => void) | undefined;
  #gate: Promise<void> | undefined;

  constructor(
    readonly issuer: typeof a,
    public audiences: string,
    readonly changes: Partial<IssuerOptions> = {},
  ) {}

  hang(): void {
    this.#gate = new Promise((resolve) => (this.release = resolve));
  }

  readonly receiver = async (): Promise<readonly IssuerOptions[]> => {
    this.reads += 1;
    await this.#gate;
    if (this.failure !== undefined) throw this.failure;
    const keys = keysOf.get(this.issuer) as IssuerOptions['keys'];
    const { audiences } = this;
    return [{ issuer: this.issuer.issuer, audiences, profile: 'rfc9068', keys, ...this.changes }];
  };
}

const THROTTLED = new SecretStoreError('STORE_THROTTLED', 'x');
const MISCONFIGURED = new BrokerError('CREDENTIALS_SECRET_EMPTY', 'misconfigured', 'x');

function sourceOf(...tokens: readonly PlayedToken[]): ReceiverSource {
  return createReceiverSource({
    clock,
    config: {
      tokens: tokens.map(() => ({ verification: { clockSkewSeconds: 60 } })),
      cache: { ttlSeconds: TTL / 1000 },
    },
    tokens: new Map(tokens.map((token, index) => [`token-${index}`, token])),
  } as unknown as Parameters<typeof createReceiverSource>[0]);
}

let source: ReceiverSource;
let first: PlayedToken;
let second: PlayedToken;

/** Two tokens; `atFirst` says why the second one cannot be read from the start. */
function play(tokens: readonly [PlayedToken, PlayedToken], atFirst?: Error): void {
  [first, second] = tokens;
  second.failure = atFirst;
  source = sourceOf(first, second);
}

const serviceOf = (issuer: typeof a, audience: string): string =>
  issuer.serviceToken({ audience, expiresInSeconds: 100_000 });

async function ask(token: string, audience?: string): Promise<EndpointAnswer> {
  const query = audience === undefined ? '' : `&audience=${encodeURIComponent(audience)}`;
  const endpoint = new AuthorizeEndpoint({ receivers: source, observer: {} });
  return endpoint.answer({
    method: 'GET',
    url: `/v1/authorize?allow=service${query}`,
    headers: { authorization: [`Bearer ${token}`] },
    remoteAddress: '',
    encrypted: false,
  });
}
const statusOf = async (token: string, audience?: string): Promise<number> =>
  (await ask(token, audience)).status;

beforeEach(() => {
  clock.set(START);
});

describe('with an audience for each token', () => {
  beforeEach(() => play([new PlayedToken(a, A), new PlayedToken(b, B)]));
  const atA = serviceOf(a, A);
  const atB = serviceOf(b, B);

  test('a read that fails leaves the last known rules, and is repeated soon', async () => {
    expect([await statusOf(atA, A), await statusOf(atB, B)]).toEqual([200, 200]);
    clock.advance(TTL + 1_000);
    second.failure = THROTTLED;
    expect([await statusOf(atA, A), await statusOf(atB, B)]).toEqual([200, 200]);
    expect([first.reads, second.reads]).toEqual([2, 2]);
    second.failure = undefined;
    clock.advance(2_000);
    expect(await statusOf(atB, B)).toBe(200);
    // The first one was read, and is not due.
    expect([first.reads, second.reads]).toEqual([2, 3]);
  });

  test('a token that is broken for ever does not hold up the others', async () => {
    expect(await statusOf(atB, B)).toBe(200);
    second.failure = MISCONFIGURED;
    for (let round = 0; round < 3; round += 1) {
      first.audiences = `https://a${round}.example`;
      clock.advance(TTL + 1_000);
      expect(await statusOf(serviceOf(a, first.audiences), first.audiences)).toBe(200);
      expect(await statusOf(atA, A)).toBe(401);
      expect(await statusOf(serviceOf(b, B), B)).toBe(200);
    }
    expect(first.reads).toBe(4);
  });

  test('nor does one that was broken from the start', async () => {
    second.failure = MISCONFIGURED;
    expect(await statusOf(atA, A)).toBe(200);
    first.audiences = 'https://a2.example';
    clock.advance(TTL + 1_000);
    expect(await statusOf(serviceOf(a, first.audiences), first.audiences)).toBe(200);
    // Its old audience may be that of the other one by now: not known.
    expect(await statusOf(atA, A)).toBe(503);
  });

  test('a cold start with a failed read: what is known is used, the rest is 503 and read again at once', async () => {
    play([first, second], THROTTLED);
    expect(await statusOf(atA, A)).toBe(200);
    const refused = await ask(atB, B);
    expect([refused.status, headerOf(refused, 'Retry-After')]).toEqual([503, '5']);
    expect(refused.body.toString()).toContain('STORE_THROTTLED');
    expect(second.reads).toBe(1);
    // Whoever does not need it does not read it again.
    clock.advance(5_000);
    expect(await statusOf(atA, A)).toBe(200);
    expect(second.reads).toBe(1);
    second.failure = undefined;
    expect(await statusOf(atB, B)).toBe(200);
    expect([first.reads, second.reads]).toEqual([1, 2]);
    expect([await statusOf(atA, A), await statusOf(atB, A)]).toEqual([200, 401]);
    expect(source.peek()?.complete).toBeUndefined();
  });

  test('a failure is remembered for a second: a flood of strange tokens reads no secret each time', async () => {
    play([first, second], THROTTLED);
    for (let index = 0; index < 20; index += 1) expect(await statusOf(atB, B)).toBe(503);
    expect(second.reads).toBe(1);
    clock.advance(1_001);
    await Promise.all(Array.from({ length: 20 }, () => statusOf(atB, B)));
    expect(second.reads).toBe(2);
  });

  test('nobody waits for a read that they do not need', async () => {
    play([first, second], THROTTLED);
    expect(await statusOf(atA, A)).toBe(200);
    second.hang();
    clock.advance(5_000);
    const waiting = ask(atB, B);
    expect(await statusOf(atA, A)).toBe(200);
    second.failure = undefined;
    second.release?.();
    expect((await waiting).status).toBe(200);
  });

  test('what is wrong with a token itself is refused, whatever is not known', async () => {
    play([first, second], THROTTLED);
    expect(await statusOf('nonsense', A)).toBe(401);
    expect(await statusOf(a.serviceToken({ audience: A, fault: 'expired' }), A)).toBe(401);
    expect(await statusOf(a.serviceToken({ audience: A, fault: 'wrong-key' }), A)).toBe(401);
    expect(second.reads).toBe(1);
  });

  test('without an audience: 503 while another one may be to come, then 400', async () => {
    play([first, second], THROTTLED);
    expect(await statusOf(atA)).toBe(503);
    second.failure = undefined;
    clock.advance(1_001);
    expect(await statusOf(atA)).toBe(400);
    expect(await statusOf(atA, A)).toBe(200);
  });

  test('nothing at all can be read: 503, until it can', async () => {
    play([first, second], THROTTLED);
    first.failure = THROTTLED;
    expect([await statusOf(atA, A), await statusOf(atA)]).toEqual([503, 503]);
    expect(source.peek()).toBeUndefined();
    first.failure = undefined;
    second.failure = undefined;
    clock.advance(1_001);
    expect([await statusOf(atA, A), await statusOf(atB, B)]).toEqual([200, 200]);
  });

  test('everything fails after it was read: the last known rules', async () => {
    expect(await statusOf(atA, A)).toBe(200);
    first.failure = THROTTLED;
    second.failure = THROTTLED;
    clock.advance(TTL * 10);
    expect([await statusOf(atA, A), await statusOf(atB, B)]).toEqual([200, 200]);
  });

  test('rules that no verifier accepts count as not read', async () => {
    expect(await statusOf(atB, B)).toBe(200);
    second.audiences = '';
    clock.advance(TTL + 1_000);
    expect([await statusOf(atA, A), await statusOf(atB, B)]).toEqual([200, 200]);
  });

  test('introspection without an audience takes what is known, and waits for the rest', async () => {
    play([first, second], THROTTLED);
    const verify = async (token: string): Promise<unknown> => (await source.get()).verify(token);
    await expect(verify(atA)).resolves.toMatchObject({ principal: { kind: 'service' } });
    await expect(verify(atB)).rejects.toBe(THROTTLED);
    second.failure = undefined;
    clock.advance(1_001);
    await expect(verify(atB)).resolves.toMatchObject({ principal: { kind: 'service' } });
  });
});

describe('with one audience for both tokens', () => {
  const sameAudience = (): readonly [PlayedToken, PlayedToken] => [
    new PlayedToken(a, A),
    new PlayedToken(b, A),
  ];

  test('a gateway that names none is answered as before while a read fails', async () => {
    play(sameAudience());
    expect(await statusOf(serviceOf(a, A))).toBe(200);
    clock.advance(TTL + 1_000);
    second.failure = THROTTLED;
    expect(await statusOf(serviceOf(a, A))).toBe(200);
    clock.advance(TTL - 1_000);
    expect(await statusOf(serviceOf(b, A))).toBe(200);
  });

  test('a cold start with a failed read: 503, never 400, and right when it can be read', async () => {
    play(sameAudience(), THROTTLED);
    const refused = await ask(serviceOf(a, A));
    expect([refused.status, headerOf(refused, 'Retry-After')]).toEqual([503, '5']);
    // With the audience named, nothing is missing.
    expect(await statusOf(serviceOf(a, A), A)).toBe(200);
    second.failure = undefined;
    clock.advance(1_001);
    expect(await statusOf(serviceOf(a, A))).toBe(200);
    expect(await statusOf(serviceOf(b, A))).toBe(200);
  });

  test('at once, only what was decided with all of them', async () => {
    play(sameAudience(), THROTTLED);
    const endpoint = new AuthorizeEndpoint({ receivers: source, observer: {} });
    const token = serviceOf(a, A);
    const now = (query: string): EndpointAnswer | undefined =>
      endpoint.answerNow(`/v1/authorize?allow=service${query}`, `Bearer ${token}`, {
        remoteAddress: '',
      });
    const slow = (query: string): Promise<EndpointAnswer> =>
      endpoint.answer({
        method: 'GET',
        url: `/v1/authorize?allow=service${query}`,
        headers: { authorization: [`Bearer ${token}`] },
        remoteAddress: '',
        encrypted: false,
      });
    const named = `&audience=${encodeURIComponent(A)}`;
    expect([(await slow('')).status, (await slow(named)).status]).toEqual([503, 200]);
    expect([now('')?.status, now(named)?.status]).toEqual([undefined, 200]);
    second.failure = undefined;
    clock.advance(1_001);
    expect(now(named)).toBeUndefined();
    expect((await slow('')).status).toBe(200);
    expect(now('')?.status).toBe(200);
  });

  test('rules of the missing one may accept what the known one refuses', async () => {
    play(
      [
        new PlayedToken(a, A, { serviceClientIds: ['orders'] }),
        new PlayedToken(a, A, { serviceClientIds: ['billing'] }),
      ],
      THROTTLED,
    );
    const billing = a.serviceToken({ audience: A, clientId: 'billing' });
    expect(await statusOf(billing, A)).toBe(503);
    second.failure = undefined;
    clock.advance(1_001);
    expect(await statusOf(billing, A)).toBe(200);
  });
});

describe('reads', () => {
  test('are as seldom as those of a token', async () => {
    play([new PlayedToken(a, A), new PlayedToken(b, B)]);
    for (let passed = 0; passed < 3_600; passed += 1) {
      await source.get();
      clock.advance(1_000);
    }
    expect(first.reads).toBeLessThanOrEqual(16);
    expect(second.reads).toBeLessThanOrEqual(16);
  });

  test('the same rules keep the tokens that they remember', async () => {
    play([new PlayedToken(a, A), new PlayedToken(b, B)]);
    const token = serviceOf(a, A);
    await (await source.get()).verify(token, A);
    clock.advance(TTL + 1_000);
    const remembered = (await source.get()).peek(token, A);
    expect([first.reads, remembered?.principal.kind]).toEqual([2, 'service']);
    // Others replace them.
    first.audiences = 'https://a2.example';
    clock.advance(TTL + 1_000);
    expect((await source.get()).peek(token, A)).toBeUndefined();
  });
});
