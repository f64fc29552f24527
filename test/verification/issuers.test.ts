import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  createRemoteKeySet,
  createStaticKeySet,
  createTokenVerifier,
  KeysUnavailableError,
  type TokenVerifier,
} from '../../src/verification/index.js';
import { JwksServer } from './support/jwks-server.js';
import { AUDIENCE, ISSUER, OTHER, useTokenBench } from './support/token-bench.js';

const bench = useTokenBench();

describe('issuers', () => {
  test('each is judged by its own rules only', async () => {
    const verifier = createTokenVerifier({
      clock: bench().clock,
      issuers: [
        {
          issuer: ISSUER,
          audiences: AUDIENCE,
          profile: 'rfc9068',
          keys: createStaticKeySet({ keys: [bench().signer.jwk] }),
          algorithms: ['ES256'],
          typ: 'at+jwt',
        },
        {
          issuer: OTHER,
          audiences: 'other',
          profile: 'auth0',
          keys: createStaticKeySet({ keys: [bench().otherSigner.jwk] }),
          serviceClientIds: ['job'],
        },
      ],
    });
    const codeOf = async (token: Promise<string>): Promise<string> =>
      verifier
        .verify(await token)
        .then(({ issuer }) => issuer)
        .catch((error: { code: string }) => error.code);
    const auth0 = (change: object = {}): Record<string, unknown> => ({
      ...bench().serviceClaims({ iss: OTHER, aud: 'other', sub: 'job@clients', azp: 'job' }),
      gty: 'client-credentials',
      ...change,
    });
    const typ = { typ: 'at+jwt' };
    expect(await codeOf(bench().signer.sign(bench().serviceClaims(), typ))).toBe(ISSUER);
    expect(await codeOf(bench().signer.sign(bench().serviceClaims()))).toBe('TOKEN_TYPE_WRONG');
    expect(await codeOf(bench().otherSigner.sign(auth0()))).toBe(OTHER);
    // The key, the audience, the marks and the clients of one issuer count nothing for the other.
    expect(await codeOf(bench().signer.sign(auth0()))).toBe('TOKEN_SIGNATURE_INVALID');
    expect(await codeOf(bench().otherSigner.sign(bench().serviceClaims(), typ))).toBe(
      'TOKEN_SIGNATURE_INVALID',
    );
    expect(await codeOf(bench().otherSigner.sign(auth0({ aud: AUDIENCE })))).toBe(
      'TOKEN_AUDIENCE_WRONG',
    );
    const likeOther = {
      sub: 'job@clients',
      client_id: 'job',
      azp: 'job',
      gty: 'client-credentials',
    };
    expect(await codeOf(bench().signer.sign(bench().serviceClaims(likeOther), typ))).toBe(
      'TOKEN_KIND_UNDECIDED',
    );
    const stranger = { azp: 'x', client_id: 'x', sub: 'x@clients' };
    expect(await codeOf(bench().otherSigner.sign(auth0(stranger)))).toBe(
      'TOKEN_CLIENT_NOT_ALLOWED',
    );
    expect(await codeOf(bench().otherSigner.sign(auth0({ iss: `${OTHER}x` })))).toBe(
      'TOKEN_ISSUER_UNKNOWN',
    );
  });

  test('an algorithm that the issuer does not use is refused before its keys are asked', async () => {
    const verifier = bench().createVerifier({ algorithms: ['RS256'] });
    await expect(
      verifier.verify(await bench().signer.sign(bench().serviceClaims())),
    ).rejects.toMatchObject({
      code: 'TOKEN_ALGORITHM_REFUSED',
    });
  });
});

describe('keys over HTTP', () => {
  let server: JwksServer;
  let hanging: JwksServer;
  beforeEach(async () => {
    [server, hanging] = [
      await JwksServer.start(bench().signer.jwk),
      await JwksServer.start(bench().signer.jwk),
    ];
    hanging.behaviour = { kind: 'hang' };
  });
  afterEach(() => Promise.all([server.stop(), hanging.stop()]));

  const createBoth = (): TokenVerifier =>
    createTokenVerifier({
      clock: bench().clock,
      issuers: [ISSUER, OTHER].map((issuer) => ({
        issuer,
        audiences: AUDIENCE,
        profile: 'rfc9068',
        keys: createRemoteKeySet({
          jwksUri: issuer === ISSUER ? server.uri : hanging.uri,
          clock: bench().clock,
          random: () => 0,
        }),
      })),
    });

  test('a provider that hangs delays no other, and is no fault of the token', async () => {
    const verifier = createBoth();
    const stuck = verifier.verify(await bench().signer.sign(bench().serviceClaims({ iss: OTHER })));
    await hanging.requestArrived(1);
    expect((await verifier.verify(await bench().signer.sign(bench().serviceClaims()))).issuer).toBe(
      ISSUER,
    );
    bench().clock.advance(5000);
    const error = await stuck.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KeysUnavailableError);
    expect(error).toMatchObject({ kind: 'retry', retryAfterSeconds: 1 });
    expect([...verifier.keyStates()].map(([issuer, { status }]) => [issuer, status])).toEqual([
      [ISSUER, 'fresh'],
      [OTHER, 'empty'],
    ]);
  });

  test('a token that can be refused without keys causes no fetch', async () => {
    const verifier = createBoth();
    const expired = bench().serviceClaims({ iat: 0, exp: 1 });
    const foreign = bench().serviceClaims({ aud: 'somebody' });
    for (const claims of [
      expired,
      foreign,
      bench().serviceClaims({ iss: 'https://unknown.example/' }),
    ]) {
      await expect(verifier.verify(await bench().signer.sign(claims))).rejects.toMatchObject({
        kind: 'rejected',
      });
    }
    expect(server.requests).toBe(0);
  });

  test('tokens of a withdrawn key are refused after the refresh', async () => {
    const verifier = createBoth();
    const token = await bench().signer.sign(bench().serviceClaims());
    await verifier.verify(token);
    server.keys = [];
    bench().clock.advance(600_000);
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'TOKEN_KEY_UNKNOWN' });
  });

  test('the signal of a caller ends its wait', async () => {
    const verifier = createBoth();
    const token = await bench().signer.sign(bench().serviceClaims({ iss: OTHER }));
    const controller = new AbortController();
    const waiting = verifier.verify(token, { signal: controller.signal });
    await hanging.requestArrived(1);
    controller.abort(new Error('the request was closed'));
    await expect(waiting).rejects.toThrow('the request was closed');
  });
});
