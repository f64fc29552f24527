import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { createRemoteKeySet, createTokenVerifier } from '../../../src/verification/index.js';
import { AUDIENCE, ISSUER, keysDown, type Signatures } from './provider.js';

interface Key {
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

/** Keys by their ids; the runs share them, since making one takes longer than a run. */
const keys = new Map<string, Promise<Key>>();

function keyOf(id: string): Promise<Key> {
  const known = keys.get(id) ?? makeKey(id);
  keys.set(id, known);
  return known;
}

async function makeKey(kid: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' } };
}

/** Signed tokens, which are verified as receivers do: by the real verifier, with keys that it fetches from the provider. */
export const SIGNED: Signatures = {
  sign: async (key, claims) =>
    new SignJWT({ ...claims })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key })
      .sign((await keyOf(key)).privateKey),
  receiver: (life, provider) => {
    const fetched = createRemoteKeySet({
      jwksUri: `${ISSUER}/jwks`,
      clock: life,
      fetch: async () => {
        if (provider.areKeysDown) return new Response('', { status: 503 });
        const published = await Promise.all(provider.published.map(keyOf));
        return Response.json({ keys: published.map(({ jwk }) => jwk) });
      },
    });
    const verifier = createTokenVerifier({
      issuers: [{ issuer: ISSUER, audiences: AUDIENCE, profile: 'rfc9068', keys: fetched }],
      clock: life,
    });
    let seen = '';
    return {
      verify: (accessToken) => verifier.verify(accessToken),
      freshKeys: async () => {
        const run = async (): Promise<string> => {
          await fetched.refreshWhenDue();
          return String(fetched.state().changes);
        };
        // A fetch that fails leaves the keys as they are.
        seen = await life.call<string>({ what: 'keys', run, failure: keysDown }).catch(() => seen);
        return seen;
      },
    };
  },
};
