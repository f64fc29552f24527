import { createRequire } from 'node:module';
import { createVerifier } from 'fast-jwt';
import { importJWK, jwtVerify } from 'jose';
import { AUDIENCE, ISSUER, LONGEST_LIFE_SECONDS, SKEW_SECONDS } from '../verification-tokens.js';

/** As many as the guard remembers by default. */
export const CACHE_ENTRIES = 10_000;

/**
 * What verifies a token in place of the guard, each with all the checks that it has, and with its keys at hand. Each makes a function
 * that verifies one token or throws. The names are those of the packages.
 */
export const VERIFIERS = {
  jose: async ({ alg, jwks }) => {
    const key = await importJWK(jwks.keys[0], alg);
    const checks = {
      issuer: ISSUER,
      audience: AUDIENCE,
      algorithms: [alg],
      typ: 'at+jwt',
      maxTokenAge: LONGEST_LIFE_SECONDS,
      clockTolerance: SKEW_SECONDS,
      requiredClaims: ['exp', 'sub', 'client_id'],
    };
    return (token) => jwtVerify(token, key, checks);
  },
  'fast-jwt': async ({ alg, publicKey }) =>
    createVerifier({
      key: publicKey.export({ type: 'spki', format: 'pem' }),
      algorithms: [alg],
      allowedIss: ISSUER,
      allowedAud: AUDIENCE,
      checkTyp: 'at+jwt',
      maxAge: LONGEST_LIFE_SECONDS * 1000,
      clockTolerance: SKEW_SECONDS * 1000,
      cache: CACHE_ENTRIES,
    }),
  'aws-jwt-verify': async ({ jwks }) => {
    const { JwtVerifier } = await import('aws-jwt-verify');
    const verifier = JwtVerifier.create({
      issuer: ISSUER,
      audience: AUDIENCE,
      jwksUri: `${ISSUER}jwks`,
      graceSeconds: SKEW_SECONDS,
    });
    verifier.cacheJwks(jwks);
    return (token) => verifier.verify(token);
  },
  'passport-jwt': async (issuer) => {
    const { options, Strategy } = passportJwt(issuer);
    const strategy = new Strategy(options, (claims, done) => done(null, claims));
    // As passport calls it for a request.
    return (token) =>
      new Promise((resolve, reject) => {
        const attempt = Object.create(strategy);
        attempt.success = resolve;
        attempt.fail = (reason) => reject(reason ?? new Error('Refused.'));
        attempt.error = reject;
        attempt.authenticate({ headers: { authorization: `Bearer ${token}` } });
      });
  },
};

/** passport-jwt's strategy and its options. With the key as an object: as a text it would be parsed for each token. */
export function passportJwt({ alg, publicKey }) {
  const { ExtractJwt, Strategy } = createRequire(import.meta.url)('passport-jwt');
  const options = {
    jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(),
    secretOrKey: publicKey,
    algorithms: [alg],
    issuer: ISSUER,
    audience: AUDIENCE,
    jsonWebTokenOptions: { clockTolerance: SKEW_SECONDS, maxAge: LONGEST_LIFE_SECONDS },
  };
  return { options, Strategy };
}
