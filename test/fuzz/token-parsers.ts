import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader, importJWK, jwtVerify, type JWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { readGrant } from '../../src/client/token-request.js';
import { TokenRequestError } from '../../src/client/client-errors.js';
import { readCorrelation } from '../../src/context/call-context.js';
import {
  parseCredentialsSecret,
  CredentialsSecretError,
} from '../../src/provider/client-credentials.js';
import { discover } from '../../src/provider/discovery.js';
import { ProviderError } from '../../src/provider/provider-errors.js';
import { readTokenResponse } from '../../src/provider/token-response.js';
import { createOfflineTestIssuer } from '../../src/testing/index.js';
import { FakeClock } from '../../src/testing/fake-clock.js';
import { retryAfterOf } from '../../src/tokens/http.js';
import { parseStrictJson } from '../../src/tokens/json.js';
import { redactText } from '../../src/tokens/redaction.js';
import {
  parseRotationClaim,
  parseServiceToken,
  serializeServiceToken,
  TokenSecretError,
} from '../../src/tokens/service-token.js';
import { readBearer } from '../../src/verification/bearer-access.js';
import { explainToken, peekToken } from '../../src/verification/explain.js';
import { createStaticKeySet, createTokenVerifier } from '../../src/verification/index.js';
import { KeyRing } from '../../src/verification/keys/key-set.js';
import { fetchKeys } from '../../src/verification/keys/fetch-keys.js';
import { parseToken } from '../../src/verification/parsed-token.js';
import { KeyFetchError, TokenRejectedError } from '../../src/verification/verification-errors.js';
import { require, type Parser } from './fuzzing.js';
import { CANARY } from './mutations.js';

const clock = new FakeClock('2026-11-29T12:00:00Z');
const issuer = await createOfflineTestIssuer({ clock });
const good = issuer.serviceToken();
const [header = '', payload = ''] = good.split('.');
const headerText = Buffer.from(header, 'base64url').toString();
const claimsText = Buffer.from(payload, 'base64url').toString();

/** As Node gives header values. */
const latin1 = (input: Buffer): string => input.toString('latin1');
const utf8 = (input: Buffer): string => input.toString('utf8');
const text64 = (text: string | Buffer): string => Buffer.from(text).toString('base64url');

function sameJson(one: unknown, other: unknown, what: string): void {
  require(JSON.stringify(one) === JSON.stringify(other), what);
}

const CLAIMS = ['iss', 'aud', 'exp', 'nbf', 'iat', 'sub', 'client_id', 'azp', 'scope', 'jti'];
const HEADER = ['alg', 'kid', 'typ', 'crit', 'b64', 'jwk', 'jku', 'x5u', 'x5c', 'none', 'HS256'];

const jwt: Parser = {
  name: 'JWT',
  seeds: [
    good,
    issuer.customerToken(),
    `${header}.${payload}.${CANARY}`,
    `${text64('{"alg":"ES256"}')}.${text64(`{"iss":"a","exp":1,"aud":["b"],"jti":"${CANARY}"}`)}.AAAA`,
  ],
  words: ['.', '..', '=', text64('{"alg":"none"}'), text64('{}'), 'eyJ', 'e30'],
  refusesWith: [TokenRejectedError],
  run: (input) => {
    const token = latin1(input);
    void peekToken(token, clock.now());
    const parsed = parseToken(token);
    const theirs = decodeProtectedHeader(token);
    require(parsed.header.alg === theirs.alg &&
      parsed.header.kid === theirs.kid, 'jose reads another header');
    sameJson(parsed.payload, decodeJwt(token), 'jose reads other claims');
    require(Object.getPrototypeOf(parsed.payload) ===
      Object.prototype, 'claims have a prototype of their own');
    require(Number.isFinite(parsed.claims.exp), 'a token without an end was accepted');
    return 'read';
  },
};

/** Header and claims as texts, one in each line: encoded, and unsigned. */
const jwtParts: Parser = {
  name: 'JWT, header and claims',
  seeds: [`${headerText}\n${claimsText}`],
  words: [...CLAIMS, ...HEADER, 'JWT', 'at+jwt', 'application/at+jwt'],
  refusesWith: [TokenRejectedError],
  run: (input) => {
    const [first = '', second = ''] = latin1(input).split('\n', 2);
    return jwt.run(
      Buffer.from(
        `${text64(Buffer.from(first, 'latin1'))}.${text64(Buffer.from(second, 'latin1'))}.AAAA`,
      ),
    );
  },
};

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const publicKey = { ...pair.publicKey.export({ format: 'jwk' }), kid: issuer.keyId };
const verifier = createTokenVerifier(
  issuer.verifierOptions({ cache: null, keys: createStaticKeySet({ keys: [publicKey] }) }),
);

/** A token of two texts, header and claims, as they are. */
function signed(headerJson: string, claimsJson: string): string {
  const input = `${text64(Buffer.from(headerJson, 'latin1'))}.${text64(Buffer.from(claimsJson, 'latin1'))}`;
  const signature = sign('sha256', Buffer.from(input), {
    key: pair.privateKey,
    dsaEncoding: 'ieee-p1363',
  });
  return `${input}.${text64(signature)}`;
}

/** Claims that the issuer has signed, whatever they are, and signed tokens that were changed. */
const verification: Parser = {
  name: 'JWT, signed and verified',
  seeds: [`${headerText}\n${claimsText}`, signed(headerText, claimsText)],
  words: [...CLAIMS, ...HEADER, issuer.issuer, issuer.audience],
  refusesWith: [TokenRejectedError],
  isSlow: true,
  run: async (input) => {
    const text = latin1(input);
    const at = text.indexOf('\n');
    const token = at < 0 ? text : signed(text.slice(0, at), text.slice(at + 1));
    const { principal } = await verifier.verify(token);
    const theirs = await jwtVerify(token, pair.publicKey, {
      issuer: issuer.issuer,
      audience: issuer.audience,
      algorithms: ['ES256'],
      currentDate: new Date(clock.now()),
      clockTolerance: 60,
      requiredClaims: ['exp'],
    }).catch((error: unknown) =>
      require(false, `jose refuses what was accepted: ${String(error)}`),
    );
    require(theirs?.payload.sub === principal.subject ||
      principal.kind === 'service', 'jose reads another subject');
    return principal.kind;
  },
};

const jwks: Parser = {
  name: 'JWKS',
  seeds: [
    JSON.stringify(issuer.jwks()),
    JSON.stringify({
      keys: [
        ...issuer.jwks().keys,
        {
          kty: 'OKP',
          crv: 'Ed25519',
          x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
          kid: 'e',
          use: 'sig',
          alg: 'EdDSA',
        },
        { kty: 'RSA', kid: 'r', e: 'AQAB', n: RSA_MODULUS(), key_ops: ['verify'] },
        { kty: 'oct', k: CANARY, kid: 'o' },
      ],
    }),
  ],
  words: [
    'kty',
    'EC',
    'RSA',
    'OKP',
    'oct',
    'crv',
    'P-256',
    'P-384',
    'n',
    'e',
    'd',
    'AQAB',
    'use',
    'kid',
    'keys',
    'Ed25519',
  ],
  refusesWith: [KeyFetchError],
  isSlow: true,
  run: async (input) => {
    const { document } = await fetchKeys({
      uri: new URL('https://issuer.example.test/jwks'),
      fetch: async () => new Response(new Uint8Array(input)),
      maxBytes: 262_144,
      clock,
      signal: new AbortController().signal,
    });
    const ring = await KeyRing.import(document);
    for (const { jwk, algorithms, keyId } of document.usable) {
      if (ring.ignored.some((ignored) => ignored.keyId === keyId)) continue;
      const [alg = ''] = algorithms;
      const theirs = await importJWK({ ...(jwk as JWK) }, alg).catch(() => undefined);
      require(theirs !== undefined, `jose does not import a key that is used with ${alg}`);
      require(createPublicKey({ key: jwk, format: 'jwk' }).type ===
        'public', 'a key that is used is not public');
    }
    return `${document.usable.length} of ${document.usable.length + document.ignored.length}: ${document.ignored.map(({ reason }) => reason).join()}`;
  },
};

function RSA_MODULUS(): string {
  // Of no key pair: only its form counts here.
  return Buffer.concat([
    Buffer.from([0xc5]),
    Buffer.alloc(254, 0x5a),
    Buffer.from([0x13]),
  ]).toString('base64url');
}

const SETTINGS = { issuer: 'https://login.example.test/', audience: 'https://api.example.test' };
const CREDENTIALS = { kind: 'secrets', clientId: 'broker', secrets: [CANARY] } as const;

/** A status and a content type in the first line, the body in the others. */
function responseOf(input: Buffer): Response {
  const end = Math.max(0, input.indexOf('\n'));
  const [status = '', type = ''] = latin1(input.subarray(0, end)).split(' ', 2);
  const code = Number(status);
  const headers = new Headers();
  if (/^[\w/+;=.-]+$/.test(type)) headers.set('content-type', type);
  const known =
    Number.isInteger(code) && code >= 200 && code <= 599 && ![204, 205, 304].includes(code);
  return new Response(new Uint8Array(input.subarray(end + 1)), {
    status: known ? code : 200,
    headers,
  });
}

const granted = JSON.stringify({
  access_token: good,
  token_type: 'Bearer',
  expires_in: 86_400,
  scope: 'a b',
});

const tokenResponse: Parser = {
  name: 'token answer of a provider',
  seeds: [
    `200 application/json\n${granted}`,
    `401 application/json\n{"error":"invalid_client","error_description":"no ${CANARY}"}`,
    `400 application/json\n{"error":"invalid_scope"}`,
    '503 text/html\n<html>down</html>',
  ],
  words: [
    'access_token',
    'token_type',
    'expires_in',
    'error',
    'Bearer',
    'DPoP',
    'invalid_grant',
    '200',
    '429',
    '500',
  ],
  refusesWith: [ProviderError],
  isSlow: true,
  run: async (input) => {
    const response = responseOf(input);
    const body = await response.clone().text();
    const { accessToken, expiresInSeconds } = await readTokenResponse(response, {
      settings: SETTINGS,
      credentials: CREDENTIALS,
      method: 'client_secret_basic',
    });
    const theirs = JSON.parse(body.replace(/^\ufeff/, '')) as Record<string, unknown>;
    require(theirs['access_token'] === accessToken, 'another token was read');
    require(typeof decodeProtectedHeader(accessToken).alg ===
      'string', 'jose cannot read the token');
    require(expiresInSeconds === undefined || expiresInSeconds >= 0, 'a negative life');
    return 'minted';
  },
};

const brokerAnswer: Parser = {
  name: "token answer of a broker, in the kit's client",
  seeds: [
    `200 x\n${granted}`,
    '401 x\n{"error":"invalid_client"}',
    '503 x\n{"error":"temporarily_unavailable"}',
  ],
  words: ['access_token', 'token_type', 'expires_in', 'error', 'Bearer', '200', '404'],
  refusesWith: [TokenRequestError],
  run: (input) => {
    const end = Math.max(0, input.indexOf('\n'));
    const body = input.subarray(end + 1);
    const grant = readGrant(
      Number.parseInt(latin1(input.subarray(0, end)), 10) || 200,
      Buffer.from(body),
      'https://broker.example.test',
    );
    const theirs = JSON.parse(utf8(body).replace(/^\ufeff/, '')) as Record<string, unknown>;
    require(theirs['access_token'] === grant.accessToken, 'another token was read');
    require(!/[^\x21-\x7e]/.test(grant.accessToken), 'a token that is not fit for a header');
    require(Number.isFinite(grant.lifeSeconds), 'a life without an end');
    return 'granted';
  },
};

const discovery: Parser = {
  name: 'discovery document',
  seeds: [
    `200 application/json\n${JSON.stringify({
      issuer: SETTINGS.issuer,
      token_endpoint: 'https://login.example.test/token',
      jwks_uri: 'https://login.example.test/jwks',
      token_endpoint_auth_methods_supported: ['client_secret_basic'],
      mtls_endpoint_aliases: { token_endpoint: 'https://mtls.example.test/token' },
    })}`,
    '404 application/json\n{"error":"not_found"}',
  ],
  words: [
    'issuer',
    'token_endpoint',
    'jwks_uri',
    'https://',
    'javascript:',
    'file:///',
    '200',
    '500',
  ],
  refusesWith: [ProviderError],
  isSlow: true,
  run: async (input) => {
    const server = await discover(SETTINGS, {
      clock,
      deadline: clock.now() + 10_000,
      attempts: 1,
      timeoutMs: 1_000,
      random: () => 0,
      signal: undefined,
      fetch: async () => responseOf(input),
    });
    require(server.issuer === SETTINGS.issuer, "another issuer's metadata was accepted");
    const theirs = await oauth
      .processDiscoveryResponse(
        new URL(SETTINGS.issuer),
        new Response(JSON.stringify(server), { headers: { 'content-type': 'application/json' } }),
      )
      .catch(() => undefined);
    require(theirs !== undefined, 'oauth4webapi refuses what was accepted');
    return Object.keys(server).join();
  },
};

const tokenSecret: Parser = {
  name: 'token secret',
  seeds: [
    serializeServiceToken({
      accessToken: `${header}.${payload}.${CANARY}`,
      tokenType: 'Bearer',
      generatedAt: clock.now(),
      expiresAt: clock.now() + 86_400_000,
      issuer: issuer.issuer,
      audience: [issuer.audience],
      scope: 'a b',
      withdrawn: ['one'],
      withdrawnUntil: clock.now(),
    }),
    `{"rotation_claim":"${CANARY}","claimed_at":"2026-11-29T00:00:00Z"}`,
  ],
  words: [
    'access_token',
    'expires_at',
    'generated_at',
    'withdrawn',
    'rotation_claim',
    '2026-02-30T00:00:00Z',
    '+02:00',
  ],
  refusesWith: [TokenSecretError],
  run: (input) => {
    const text = utf8(input);
    if (parseRotationClaim(text) !== undefined) return 'claim';
    const token = parseServiceToken(text);
    require(Number.isFinite(token.expiresAt) &&
      Number.isFinite(token.generatedAt), 'an instant that is none');
    // What was read can be written, and reads the same.
    const again = parseServiceToken(serializeServiceToken(token));
    sameJson(again, token, 'written again, it reads otherwise');
    return Object.keys(token).join();
  },
};

const credentials: Parser = {
  name: 'credentials secret',
  seeds: [
    `{"client_id":"broker","client_secret":"${CANARY}","issuer":"https://login.example.test/"}`,
    `{"client_id":"broker","client_secrets":["${CANARY}","${CANARY}2"],"scope":"a"}`,
    `{"client_id":"broker","private_key":{"kty":"EC","crv":"P-256","d":"${CANARY}","x":"a","y":"b","alg":"ES256"}}`,
    `{"client_id":"broker","certificate":"-----BEGIN CERTIFICATE-----","certificate_key":"${CANARY}"}`,
  ],
  words: [
    'client_id',
    'client_secret',
    'client_secrets',
    'private_key',
    'kty',
    'audience',
    'token_endpoint',
  ],
  refusesWith: [CredentialsSecretError],
  run: (input) => {
    const { credentials: read } = parseCredentialsSecret(utf8(input));
    require(typeof read.clientId === 'string' && read.clientId !== '', 'a client without an id');
    return read.kind;
  },
};

const strictJson: Parser = {
  name: 'strict JSON',
  seeds: [claimsText, headerText, '[{"a":[1,2,{"b":"\\u0022:"}]},"c"]'],
  run: (input) => {
    const text = utf8(input);
    const read = parseStrictJson(text, 16);
    if (!read.ok) return read.fault;
    sameJson(read.value, JSON.parse(text), 'JSON.parse reads otherwise');
    return 'read';
  },
};

const retryAfter: Parser = {
  name: 'Retry-After and Date',
  seeds: [
    '120\nSun, 29 Nov 2026 12:00:00 GMT',
    'Sun, 29 Nov 2026 12:10:00 GMT\n',
    'Sunday, 29-Nov-26 12:10:00 GMT\nSun Nov 29 12:00:00 2026',
  ],
  words: [
    'Mon',
    'Feb',
    '31',
    '24:00:00',
    '23:59:60',
    'GMT',
    '+0200',
    'EST',
    '1970',
    '9999',
    '275760',
  ],
  run: (input) => {
    const [value = '', date = ''] = latin1(input).split('\n');
    const headers = new Headers();
    const fits = (text: string): boolean => /^[\t\x20-\x7e\x80-\xff]*$/.test(text);
    if (fits(value)) headers.set('retry-after', value);
    if (fits(date)) headers.set('date', date);
    const seconds = retryAfterOf(headers, clock.now());
    require(seconds === undefined ||
      (Number.isInteger(seconds) && seconds >= 0), 'neither absent nor a whole number');
    return seconds === undefined ? 'none' : seconds === 0 ? 'past' : 'later';
  },
};

const bearer: Parser = {
  name: 'Authorization: Bearer',
  seeds: [`Bearer ${good}`, `bearer  ${CANARY}`, 'Basic YTpi', 'Bearer'],
  words: ['Bearer', 'Basic', 'DPoP', ',', 'Bearer Bearer'],
  run: (input) => {
    const read = readBearer([latin1(input)]);
    if (read.kind === 'token')
      require(/^[\w\-.~+/]+=*$/.test(read.token), 'a token of other characters');
    return read.kind;
  },
};

const correlation: Parser = {
  name: 'traceparent, tracestate and X-Request-Id',
  seeds: ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\nvendor=1\nid-1'],
  words: ['ff', '00', '01', '0'.repeat(32), '0'.repeat(16), '-'],
  run: (input) => {
    const lines = latin1(input).split('\n');
    const names = ['traceparent', 'tracestate', 'x-request-id'];
    const read = readCorrelation((name) =>
      lines.slice(names.indexOf(name), names.indexOf(name) + 1),
    );
    for (const value of Object.values(read ?? {}) as readonly string[]) {
      require(/^[\x20-\x7e]+$/.test(value), 'a header that could split another');
    }
    return Object.keys(read ?? {}).join();
  },
};

const redaction: Parser = {
  name: 'redaction of texts',
  seeds: [
    `login failed: client_secret=${CANARY}`,
    `Authorization: Bearer ${good}`,
    `{"access_token":"${CANARY}"}`,
    `https://a:${CANARY}@b/`,
  ],
  words: [
    'client_secret',
    'password',
    'token',
    'Bearer ',
    'Basic ',
    '://',
    '@',
    'eyJ',
    '-----BEGIN PRIVATE KEY-----',
    '=>',
  ],
  run: (input) => {
    const once = redactText(utf8(input));
    require(redactText(once) === once, 'redacted again, it changes');
    return once.includes('[redacted]') ? 'hidden' : 'shown';
  },
};

const explanation: Parser = {
  name: 'explanation of a token',
  seeds: [good, issuer.customerToken(), 'a.b.c.d.e', 'opaque'],
  words: ['.', 'eyJ'],
  isSlow: true,
  run: async (input) => {
    const { code = 'accepted', steps } = await explainToken(
      latin1(input),
      issuer.verifierOptions(),
    );
    return `${code} ${steps.length}`;
  },
};

/** What receivers, the kit's client and the broker read of tokens and of a provider's answers. */
export const TOKEN_PARSERS: readonly Parser[] = [
  jwt,
  jwtParts,
  verification,
  explanation,
  jwks,
  bearer,
  strictJson,
  tokenResponse,
  brokerAnswer,
  discovery,
  tokenSecret,
  credentials,
  retryAfter,
  correlation,
  redaction,
];
