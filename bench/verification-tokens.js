import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';

export const ISSUER = 'https://tenant.example.test/';
export const AUDIENCE = 'https://orders.example.test';
export const LONGEST_LIFE_SECONDS = 2_592_000;
export const SKEW_SECONDS = 60;

const KEY_PAIRS = {
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
};

/** An issuer's key pair, which signs as many distinct tokens as are wanted. Default: service tokens of the shape of RFC 9068. */
export function createIssuer(alg, claimsOf = claims, typ = 'at+jwt') {
  const { publicKey, privateKey } = KEY_PAIRS[alg]();
  const kid = randomBytes(12).toString('base64url');
  const header = encode({ alg, kid, typ });
  return {
    alg,
    publicKey,
    jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' }] },
    /** As bytes: each caller makes strings of its own of them. */
    tokens: (count) =>
      Array.from({ length: count }, (_, number) => {
        const input = `${header}.${encode(claimsOf(number))}`;
        const signature = sign('sha256', Buffer.from(input), {
          key: privateKey,
          dsaEncoding: 'ieee-p1363',
        });
        return Buffer.from(`${input}.${signature.toString('base64url')}`);
      }),
  };
}

/** A token that names a key nobody has. */
export function tokenOfUnknownKey() {
  const kid = randomBytes(12).toString('base64url');
  const signature = randomBytes(64).toString('base64url');
  return `${encode({ alg: 'ES256', kid, typ: 'at+jwt' })}.${encode(claims(0))}.${signature}`;
}

function claims(number) {
  const now = Math.floor(Date.now() / 1000);
  return {
    iss: ISSUER,
    sub: `client-${number}`,
    client_id: `client-${number}`,
    aud: AUDIENCE,
    iat: now,
    exp: now + 86_400,
    jti: randomBytes(16).toString('hex'),
    scope: 'orders:read orders:write',
  };
}

function encode(value) {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** A verifier of the build that is measured, with an issuer's keys and all checks. */
export function verifierFor({ createStaticKeySet, createTokenVerifier }, issuer, options = {}) {
  const { keys = createStaticKeySet(issuer.jwks), ...rest } = options;
  return createTokenVerifier({
    clockSkewSeconds: SKEW_SECONDS,
    issuers: [
      {
        issuer: ISSUER,
        audiences: AUDIENCE,
        algorithms: [issuer.alg],
        typ: 'at+jwt',
        maxTokenLifetimeSeconds: LONGEST_LIFE_SECONDS,
        profile: 'rfc9068',
        keys,
      },
    ],
    ...rest,
  });
}

/** Verifies each token once, so many at a time: microseconds for each. */
export async function microsecondsEach(verify, tokens, inFlight) {
  const fresh = tokens.map((bytes) => bytes.latin1Slice());
  let next = 0;
  const work = async () => {
    while (next < fresh.length) await verify(fresh[next++]);
  };
  const start = process.hrtime.bigint();
  await Promise.all(Array.from({ length: inFlight }, work));
  return Number(process.hrtime.bigint() - start) / 1000 / fresh.length;
}

/** The same in processor time of this process, of all its threads: what a busy machine changes least. */
export async function processorMicrosecondsEach(verify, tokens, inFlight) {
  const before = process.cpuUsage();
  await microsecondsEach(verify, tokens, inFlight);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / tokens.length;
}
