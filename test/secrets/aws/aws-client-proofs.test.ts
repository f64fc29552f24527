import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { constants, generateKeyPairSync, privateEncrypt, sign, verify } from 'node:crypto';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  AwsClientProofs,
  joseSignature,
  proofErrorOf,
} from '../../../src/secrets/aws/aws-client-proofs.js';
import { BrokerError } from '../../../src/tokens/errors.js';
import { fc } from '../../support/properties.js';
import { rsaKeyPair } from '../../support/rsa-key.js';
import { expectNoCanary } from './leaks.js';
import {
  answer,
  isolateAwsSettings,
  refuse,
  startScriptedEndpoint,
  type Received,
  type ScriptedEndpoint,
} from './scripted-endpoint.js';

const ARN = 'arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const RSA = rsaKeyPair();
const P256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const INPUT = Buffer.from('header.payload');

let endpoint: ScriptedEndpoint;
let restore: () => void = () => undefined;
beforeAll(async () => {
  endpoint = await startScriptedEndpoint();
});
afterAll(() => endpoint.close());
beforeEach(() => {
  restore = isolateAwsSettings(1);
});
afterEach(() => restore());

const open = (): AwsClientProofs => new AwsClientProofs({ endpoint: endpoint.url });

/** What a call rejects with, without a secret anywhere in it. */
async function failureOf(call: Promise<unknown>): Promise<BrokerError> {
  const error = await call.then(
    () => 'the call succeeded',
    (reason: unknown) => reason,
  );
  expectNoCanary(error);
  expect(error).toBeInstanceOf(BrokerError);
  return error as BrokerError;
}

/** Plays KMS with one key. A digest is signed as KMS does it: without hashing it once more. */
function playKms({ publicKey, privateKey }: typeof RSA, algorithms: readonly string[]): void {
  endpoint.play(({ operation, body }: Received, response: ServerResponse) => {
    if (operation === 'GetPublicKey') {
      const spki = publicKey.export({ type: 'spki', format: 'der' });
      const PublicKey = spki.toString('base64');
      return answer(response, { KeyId: ARN, PublicKey, SigningAlgorithms: algorithms });
    }
    expect(body['MessageType']).toBe('DIGEST');
    const digest = Buffer.from(String(body['Message']), 'base64');
    // node:crypto hashes by itself except for RSA: so the digest is compared with the input's, and the input is signed.
    const name = String(body['SigningAlgorithm']);
    expect(digest.toString('hex')).toBe(DIGEST);
    const signature =
      name === 'RSASSA_PKCS1_V1_5_SHA_256'
        ? privateEncrypt(privateKey, Buffer.concat([SHA256_INFO, digest]))
        : sign('sha256', INPUT, {
            key: privateKey,
            ...(name === 'RSASSA_PSS_SHA_256' && {
              padding: constants.RSA_PKCS1_PSS_PADDING,
              saltLength: 32,
            }),
          });
    answer(response, { KeyId: ARN, Signature: signature.toString('base64') });
  });
}

/** `printf header.payload | sha256sum`. */
const DIGEST = 'e3febc57f3bd48b48df14b271f9905ab2574222b615ae766aa9b606f383a4a93';
/** The DigestInfo in front of a SHA-256 (RFC 8017 §9.2). */
const SHA256_INFO = Buffer.from('3031300d060960864801650304020105000420', 'hex');

describe('a KMS key', () => {
  const RSA_ALGORITHMS = ['RSASSA_PSS_SHA_512', 'RSASSA_PSS_SHA_256', 'RSASSA_PKCS1_V1_5_SHA_256'];

  test.each([
    ['RSA', RSA, RSA_ALGORITHMS, ['RS256', 'PS256']],
    ['P-256', P256, ['ECDSA_SHA_256'], ['ES256']],
    [
      'secp256k1, which has the same name at KMS',
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
      ['ECDSA_SHA_256'],
      [],
    ],
    ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' }), ['ECDSA_SHA_384'], []],
  ] as const)('of %s says what it can', async (_what, pair, algorithms, expected) => {
    playKms(pair, algorithms);
    const key = await open().publicKey('alias/broker');
    expect(key).toEqual({
      keyId: ARN,
      jwk: pair.publicKey.export({ format: 'jwk' }),
      algorithms: expected,
    });
    expect(endpoint.received[0]?.body).toEqual({ KeyId: 'alias/broker' });
  });

  test.each([
    ['RS256', RSA, {}],
    ['PS256', RSA, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
    ['ES256', P256, { dsaEncoding: 'ieee-p1363' }],
  ] as const)('signs as a JWS is signed: %s', async (algorithm, pair, options) => {
    playKms(pair, []);
    const signature = await open().sign(ARN, algorithm, INPUT);
    expect(verify('sha256', INPUT, { key: pair.publicKey, ...options }, signature)).toBe(true);
    expect(endpoint.received[0]?.text).not.toContain('header');
  });

  test.each<[string, string, number, string, RegExp]>([
    ['NotFoundException', '', 400, 'misconfigured', /BROKER_KMS_KEY_ID or AWS_REGION/],
    ['DisabledException', '', 400, 'misconfigured', /enable-key/],
    ['KMSInvalidStateException', '', 400, 'misconfigured', /cancel-key-deletion/],
    ['InvalidKeyUsageException', '', 400, 'misconfigured', /SIGN_VERIFY/],
    ['UnsupportedOperationException', '', 400, 'misconfigured', /SIGN_VERIFY/],
    [
      'AccessDeniedException',
      'User: arn:aws:sts::123456789012:assumed-role/broker/i-1 is not authorized to perform: kms:Sign on resource: canary because no identity-based policy allows the kms:Sign action',
      400,
      'misconfigured',
      /assumed-role\/broker\/i-1 may not kms:Sign: no identity-based policy allows it\. Allow kms:GetPublicKey and kms:Sign/,
    ],
    ['ExpiredTokenException', '', 400, 'misconfigured', /have expired/],
    ['UnrecognizedClientException', '', 400, 'misconfigured', /does not know the credentials/],
    ['ThrottlingException', '', 400, 'retry', /too many requests/],
    ['KeyUnavailableException', '', 500, 'retry', /failed inside/],
    ['KMSInternalException', '', 500, 'retry', /failed inside/],
    ['DependencyTimeoutException', '', 503, 'retry', /failed inside/],
    ['SomethingNewException', '', 400, 'misconfigured', /BROKER_|not known here|refused/],
  ])('that fails with %s', async (exception, message, status, kind, says) => {
    endpoint.play((_received, response) => refuse(response, exception, message, status));
    const failure = await failureOf(open().sign('alias/broker', 'RS256', INPUT));
    expect(failure).toMatchObject({
      code: kind === 'retry' ? 'CLIENT_PROOF_UNAVAILABLE' : 'CLIENT_PROOF_INVALID',
      kind,
      message: expect.stringMatching(says),
    });
    expect(failure.message).toMatch(/kms:Sign with the key "alias\/broker" \(/);
    expect(failure.message).not.toMatch(/SECRETS_MANAGER|Secrets Manager/);
  });

  test.each<[string, (response: ServerResponse) => void, string]>([
    ['a connection that breaks', (r) => r.destroy(), 'retry'],
    [
      'a login page',
      (r) => r.writeHead(200, { 'content-type': 'text/html' }).end('canary'),
      'retry',
    ],
    [
      'a proxy that forbids',
      (r) => r.writeHead(403, { 'content-type': 'text/html' }).end('canary'),
      'misconfigured',
    ],
    ['an empty object', (r) => answer(r, {}), 'retry'],
    ['a signature that is none', (r) => answer(r, { Signature: 'AAAA' }), 'retry'],
  ])('behind %s', async (_what, script, kind) => {
    endpoint.play((_received, response) => script(response));
    expect(await failureOf(open().sign(ARN, 'ES256', INPUT))).toMatchObject({ kind });
  });

  test('is waited for no longer than allowed, or than the caller waits', async () => {
    endpoint.play(() => undefined);
    const proofs = new AwsClientProofs({ endpoint: endpoint.url, timeouts: { total: 200 } });
    expect(await failureOf(proofs.publicKey(ARN))).toMatchObject({
      code: 'CLIENT_PROOF_UNAVAILABLE',
    });
    const caller = new AbortController();
    const call = open().publicKey(ARN, caller.signal);
    caller.abort(new Error('shutting down'));
    await expect(call).rejects.toThrow('shutting down');
  });

  test('without a Region or credentials', async () => {
    delete process.env['AWS_REGION'];
    expect(await failureOf(open().publicKey(ARN))).toMatchObject({
      code: 'CLIENT_PROOF_INVALID',
      message: expect.stringContaining('AWS_REGION'),
    });
    process.env['AWS_REGION'] = 'eu-central-1';
    delete process.env['AWS_ACCESS_KEY_ID'];
    expect(await failureOf(open().publicKey(ARN))).toMatchObject({
      code: 'CLIENT_PROOF_INVALID',
      message: expect.stringContaining('AWS_PROFILE'),
    });
  });

  test('without the package: what to install', () => {
    const missing = Object.assign(new Error('Cannot find package'), {
      code: 'ERR_MODULE_NOT_FOUND',
    });
    expect(proofErrorOf(missing, 'kms:Sign', ARN).message).toContain(
      'npm install @aws-sdk/client-kms',
    );
    expect(proofErrorOf(missing, 'sts:GetWebIdentityToken', '').message).toContain(
      'npm install @aws-sdk/client-sts',
    );
  });
});

describe('joseSignature', () => {
  const minimal = (bytes: Uint8Array): Buffer => {
    let at = 0;
    while (at < bytes.length - 1 && bytes[at] === 0) at += 1;
    const rest = Buffer.from(bytes.subarray(at));
    return (rest[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), rest]) : rest;
  };
  const der = (r: Uint8Array, s: Uint8Array): Buffer => {
    const parts = [r, s].flatMap((number) => {
      const bytes = minimal(number);
      return [Buffer.from([0x02, bytes.length]), bytes];
    });
    const content = Buffer.concat(parts);
    return Buffer.concat([Buffer.from([0x30, content.length]), content]);
  };
  const number = fc.uint8Array({ minLength: 32, maxLength: 32 });

  test('puts R and S side by side, whatever zeros they begin with', () => {
    fc.assert(
      fc.property(number, number, fc.nat(31), (r, s, zeros) => {
        r.fill(0, 0, zeros);
        expect(joseSignature(der(r, s), 32)).toEqual(new Uint8Array([...r, ...s]));
      }),
    );
  });

  test('is what node:crypto makes of the same signature', () => {
    for (let round = 0; round < 50; round += 1) {
      const signature = joseSignature(sign('sha256', INPUT, P256.privateKey), 32);
      const key = { key: P256.publicKey, dsaEncoding: 'ieee-p1363' } as const;
      expect(verify('sha256', INPUT, key, signature ?? new Uint8Array())).toBe(true);
    }
  });

  test('refuses everything else, cut or with one more byte', () => {
    fc.assert(
      fc.property(number, number, fc.nat(80), (r, s, length) => {
        const whole = der(r, s);
        if (length < whole.length)
          expect(joseSignature(whole.subarray(0, length), 32)).toBeUndefined();
        expect(joseSignature(Buffer.concat([whole, Buffer.from([0])]), 32)).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const raw = joseSignature(bytes, 32);
        expect(raw === undefined || raw.length === 64).toBe(true);
      }),
    );
  });
});

describe('an identity token of AWS', () => {
  // STS speaks the query protocol: forms and XML.
  let sts: Server;
  let url: string;
  let reply: { readonly status: number; readonly xml: string };
  const forms: Readonly<Record<string, string>>[] = [];
  beforeAll(async () => {
    sts = createServer((request, response) => {
      let text = '';
      request.setEncoding('utf8').on('data', (part: string) => (text += part));
      request.on('end', () => {
        forms.push(Object.fromEntries(new URLSearchParams(text)));
        response.writeHead(reply.status, { 'content-type': 'text/xml' }).end(reply.xml);
      });
    });
    await new Promise<void>((resolve) => sts.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(sts.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    sts.closeAllConnections();
    await new Promise((resolve) => sts.close(resolve));
  });
  const namespace = 'https://sts.amazonaws.com/doc/2011-06-15/';

  test('is asked for with an audience, an algorithm and a short life', async () => {
    reply = {
      status: 200,
      xml: `<GetWebIdentityTokenResponse xmlns="${namespace}"><GetWebIdentityTokenResult><WebIdentityToken>a.b.c</WebIdentityToken><Expiration>2026-11-29T04:00:00Z</Expiration></GetWebIdentityTokenResult><ResponseMetadata><RequestId>0f0e0d0c-1111-4222-8333-444455556666</RequestId></ResponseMetadata></GetWebIdentityTokenResponse>`,
    };
    const proofs = new AwsClientProofs({ endpoint: url });
    expect(await proofs.identityToken('https://idp.example.test', 'ES384')).toBe('a.b.c');
    expect(forms.at(-1)).toEqual({
      Action: 'GetWebIdentityToken',
      Version: '2011-06-15',
      'Audience.member.1': 'https://idp.example.test',
      SigningAlgorithm: 'ES384',
      DurationSeconds: '120',
    });
  });

  test.each<[string, number, string, RegExp]>([
    [
      'OutboundWebIdentityFederationDisabledException',
      403,
      'misconfigured',
      /enable-outbound-web-identity-federation/,
    ],
    ['AccessDenied', 403, 'misconfigured', /Allow sts:GetWebIdentityToken/],
    ['JWTPayloadSizeExceededException', 400, 'misconfigured', /BROKER_AWS_TOKEN_AUDIENCE/],
    ['SessionDurationEscalationException', 403, 'retry', /session ends/],
    ['Throttling', 400, 'retry', /too many requests/],
    ['ServiceUnavailable', 503, 'retry', /failed inside/],
  ])('that AWS refuses with %s', async (code, status, kind, says) => {
    reply = {
      status,
      xml: `<ErrorResponse xmlns="${namespace}"><Error><Type>Sender</Type><Code>${code}</Code><Message>canary</Message></Error><RequestId>0f0e0d0c-1111-4222-8333-444455556666</RequestId></ErrorResponse>`,
    };
    const call = new AwsClientProofs({ endpoint: url }).identityToken('audience', 'RS256');
    expect(await failureOf(call)).toMatchObject({ kind, message: expect.stringMatching(says) });
  });
});
