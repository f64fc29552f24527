import type { KMSClient } from '@aws-sdk/client-kms';
import type { STSClient } from '@aws-sdk/client-sts';
import { createHash, createPublicKey, type JsonWebKey } from 'node:crypto';
import { BrokerError, type ErrorKind } from '../../tokens/errors.js';
import { proxyErrorOf } from '../../tokens/proxy-error.js';
import {
  awsClientConfig,
  DEFAULT_TIMEOUTS,
  within,
  type AwsTimeouts,
  type ConnectionOptions,
} from './aws-connection.js';
import { isMissingPackage } from './assumed-role.js';
import { readAwsFailure, type AwsFailure } from './aws-errors.js';

/** Where and how KMS and STS are reached. What is not given comes by the SDK's standard chain. */
type ProofOptions = Pick<ConnectionOptions, 'agents' | 'endpoint' | 'region' | 'timeouts'>;

/** The JWS algorithms (RFC 7518 §3.1), and what KMS calls them. The first that a key has is its usual one. */
const ALGORITHMS = {
  RS256: 'RSASSA_PKCS1_V1_5_SHA_256',
  PS256: 'RSASSA_PSS_SHA_256',
  ES256: 'ECDSA_SHA_256',
} as const;

type Algorithm = keyof typeof ALGORITHMS;

/** The public half of a KMS key. */
interface PublicKey {
  /** The key's ARN. */
  readonly keyId: string;
  readonly jwk: JsonWebKey & { readonly kty: string };
  /** What it can sign with, the usual one first; empty when it is a key for something else. */
  readonly algorithms: readonly Algorithm[];
}

/** How long an identity token is good for, in seconds: less than what the SDK leaves of a role's session. */
const TOKEN_LIFE = 120;

/**
 * What proves the broker's identity to its provider by an AWS role: a KMS key that signs, and identity tokens of STS
 * (outbound identity federation). The packages of the SDK are loaded, and clients made, at the first call that needs them.
 *
 * Methods reject with a `BrokerError` `CLIENT_PROOF_UNAVAILABLE` (retry) or `CLIENT_PROOF_INVALID` (misconfigured), or with
 * the signal's reason. The least policy allows `kms:GetPublicKey` and `kms:Sign` on the key, or `sts:GetWebIdentityToken`.
 */
export class AwsClientProofs {
  readonly #options: ProofOptions;
  readonly #timeouts: AwsTimeouts;
  #kms: Promise<KMSClient> | undefined;
  #sts: Promise<STSClient> | undefined;

  constructor(options: ProofOptions = {}) {
    this.#options = options;
    this.#timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  }

  /** The public half of a key. @param keyId its id, ARN, alias or alias ARN. */
  async publicKey(keyId: string, signal?: AbortSignal): Promise<PublicKey> {
    const { KeyId, PublicKey, SigningAlgorithms } = await this.#ask(
      'kms:GetPublicKey',
      keyId,
      async (abortSignal) => {
        const { GetPublicKeyCommand } = await import('@aws-sdk/client-kms');
        const client = await this.#kmsClient();
        return client.send(new GetPublicKeyCommand({ KeyId: keyId }), { abortSignal });
      },
      signal,
    );
    if (KeyId === undefined || PublicKey === undefined) throw incomplete('kms:GetPublicKey');
    const jwk = publicJwk(PublicKey);
    const algorithms = (Object.keys(ALGORITHMS) as Algorithm[]).filter(
      (name) =>
        SigningAlgorithms?.includes(ALGORITHMS[name]) === true &&
        // secp256k1 has the same name there.
        (name !== 'ES256' || jwk.crv === 'P-256'),
    );
    return { keyId: KeyId, jwk, algorithms };
  }

  /** Signs by a key that never leaves KMS. @returns the signature as a JWS has it. */
  async sign(
    keyId: string,
    algorithm: Algorithm,
    input: Uint8Array,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    const { Signature } = await this.#ask(
      'kms:Sign',
      keyId,
      async (abortSignal) => {
        const { SignCommand } = await import('@aws-sdk/client-kms');
        const command = new SignCommand({
          KeyId: keyId,
          // The digest alone: what is signed stays here, and is not bounded by KMS's 4096 bytes.
          Message: createHash('sha256').update(input).digest(),
          MessageType: 'DIGEST',
          SigningAlgorithm: ALGORITHMS[algorithm],
        });
        return (await this.#kmsClient()).send(command, { abortSignal });
      },
      signal,
    );
    if (Signature === undefined) throw incomplete('kms:Sign');
    if (algorithm !== 'ES256') return Signature;
    const raw = joseSignature(Signature, 32);
    if (raw === undefined) throw incomplete('kms:Sign');
    return raw;
  }

  /** A JWT of AWS that says which role this process has. */
  async identityToken(
    audience: string,
    algorithm: 'RS256' | 'ES384',
    signal?: AbortSignal,
  ): Promise<string> {
    const { WebIdentityToken } = await this.#ask(
      'sts:GetWebIdentityToken',
      '',
      async (abortSignal) => {
        const { GetWebIdentityTokenCommand } = await import('@aws-sdk/client-sts');
        const command = new GetWebIdentityTokenCommand({
          Audience: [audience],
          SigningAlgorithm: algorithm,
          DurationSeconds: TOKEN_LIFE,
        });
        return (await this.#stsClient()).send(command, { abortSignal });
      },
      signal,
    );
    if (WebIdentityToken === undefined) throw incomplete('sts:GetWebIdentityToken');
    return WebIdentityToken;
  }

  #kmsClient(): Promise<KMSClient> {
    this.#kms ??= import('@aws-sdk/client-kms').then(
      ({ KMSClient }) => new KMSClient(awsClientConfig(this.#options, this.#timeouts)),
    );
    return this.#kms;
  }

  #stsClient(): Promise<STSClient> {
    this.#sts ??= import('@aws-sdk/client-sts').then(
      ({ STSClient }) => new STSClient(awsClientConfig(this.#options, this.#timeouts)),
    );
    return this.#sts;
  }

  async #ask<Output>(
    action: ProofAction,
    keyId: string,
    send: (signal: AbortSignal) => Promise<Output>,
    signal?: AbortSignal,
  ): Promise<Output> {
    try {
      return await within(this.#timeouts.total, send, signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof BrokerError) throw error;
      throw proofErrorOf(error, action, keyId);
    }
  }
}

/** The calls, by the names of their permissions. */
export type ProofAction = 'kms:GetPublicKey' | 'kms:Sign' | 'sts:GetWebIdentityToken';

function publicJwk(spki: Uint8Array): PublicKey['jwk'] {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    const jwk = key.export({ format: 'jwk' });
    if (typeof jwk.kty === 'string') return { ...jwk, kty: jwk.kty };
  } catch {
    // Of a kind that Node does not know, such as SM2.
  }
  return { kty: 'unknown' };
}

/**
 * An ECDSA signature as JWS has it, R and S side by side (RFC 7518 §3.4), from the DER that KMS returns (RFC 3279 §2.2.3:
 * a SEQUENCE of two INTEGERs). Pure.
 *
 * @param size bytes of one number: 32 for P-256.
 * @returns `undefined` for what is not such a signature.
 */
export function joseSignature(der: Uint8Array, size: number): Uint8Array | undefined {
  // For 32 bytes no length here needs a second byte.
  if (der[0] !== 0x30 || der[1] !== der.length - 2) return undefined;
  const raw = new Uint8Array(2 * size);
  let at = 2;
  for (const end of [size, 2 * size]) {
    const length = der[at + 1] ?? 0;
    const number = der.subarray(at + 2, at + 2 + length);
    if (der[at] !== 0x02 || length === 0 || number.length !== length) return undefined;
    // A leading zero only says that the number is positive.
    const digits = number[0] === 0 ? number.subarray(1) : number;
    if (digits.length > size || (number[0] ?? 0) >= 0x80) return undefined;
    raw.set(digits, end - digits.length);
    at += 2 + length;
  }
  return at === der.length ? raw : undefined;
}

interface Meaning {
  readonly kind: Extract<ErrorKind, 'retry' | 'misconfigured'>;
  /** What was wrong, and what to do. */
  readonly text: string;
}

const WRONG_KEY: Meaning = {
  kind: 'misconfigured',
  text: 'the key is not for signing. Make one with the key usage SIGN_VERIFY and the key spec RSA_2048 or ECC_NIST_P256; the usage of a key cannot be changed.',
};
const INSIDE: Meaning = {
  kind: 'retry',
  text: 'AWS failed inside. Try again; if it goes on, see the AWS Health Dashboard.',
};

/** The exceptions of KMS and STS that say more than their kind. */
const EXCEPTIONS: Readonly<Record<string, Meaning>> = {
  NotFoundException: {
    kind: 'misconfigured',
    text: 'no key has that id or alias in this account and Region. Correct BROKER_KMS_KEY_ID or AWS_REGION; a key of another account needs its ARN.',
  },
  DisabledException: {
    kind: 'misconfigured',
    text: 'the key is disabled. Enable it: aws kms enable-key --key-id KEY-ID.',
  },
  KMSInvalidStateException: {
    kind: 'misconfigured',
    text: 'the key is pending deletion or import, or its key store is not connected. Keep it: aws kms cancel-key-deletion --key-id KEY-ID, then enable-key.',
  },
  InvalidKeyUsageException: WRONG_KEY,
  UnsupportedOperationException: WRONG_KEY,
  ValidationException: {
    kind: 'misconfigured',
    text: 'AWS refused the request as wrong. Does the key sign with BROKER_KMS_ALGORITHM, and is BROKER_AWS_TOKEN_AUDIENCE a text of at most 1000 characters?',
  },
  InvalidArnException: {
    kind: 'misconfigured',
    text: 'BROKER_KMS_KEY_ID is not the ARN of a key or of an alias.',
  },
  KeyUnavailableException: INSIDE,
  DependencyTimeoutException: INSIDE,
  KMSInternalException: INSIDE,
  OutboundWebIdentityFederationDisabledException: {
    kind: 'misconfigured',
    text: 'outbound identity federation is switched off for this account. Switch it on: aws iam enable-outbound-web-identity-federation.',
  },
  JWTPayloadSizeExceededException: {
    kind: 'misconfigured',
    text: 'the identity token would be too large. Shorten BROKER_AWS_TOKEN_AUDIENCE, or use a role with fewer tags.',
  },
  SessionDurationEscalationException: {
    kind: 'retry',
    text: "the role's session ends within minutes. The next attempt has a new session; if it goes on, look at where this process gets its credentials from.",
  },
};

const UNREACHABLE: Meaning = {
  kind: 'retry',
  text: 'no usable answer came. Try again; if it goes on, check the network, AWS_REGION, AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL_STS, and proxies, VPC endpoints and NAT gateways between here and AWS.',
};

/** The kinds of failure that every service has. Those that are missing here have their words from the store's table. */
const FAILURES: Partial<Record<AwsFailure, Meaning>> = {
  throttled: {
    kind: 'retry',
    text: 'too many requests in this account and Region. Try again later; if it goes on, find the busy caller in CloudTrail.',
  },
  limit: { kind: 'retry', text: 'a quota of AWS is reached. Try again later; see Service Quotas.' },
  server: INSIDE,
  timeout: UNREACHABLE,
  network: UNREACHABLE,
  handshake: UNREACHABLE,
  truncated: UNREACHABLE,
  unreadable: UNREACHABLE,
  wrongEndpoint: {
    kind: 'misconfigured',
    text: 'what answers there is not this service of AWS. Check AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL, and proxies between here and AWS.',
  },
};

const UNKNOWN: Meaning = {
  kind: 'misconfigured',
  text: 'AWS refused the request in a way that is not known here. CloudTrail has the details by the request id; please report it.',
};

/** The error for whatever a call of the SDK threw. AWS's own words are not repeated. */
export function proofErrorOf(error: unknown, action: ProofAction, keyId: string): BrokerError {
  if (isMissingPackage(error)) {
    const name = action.startsWith('kms') ? '@aws-sdk/client-kms' : '@aws-sdk/client-sts';
    return new BrokerError(
      'CLIENT_PROOF_INVALID',
      'misconfigured',
      `The package ${name} cannot be loaded, and ${action} needs it. Install it with: npm install ${name}`,
      { cause: error },
    );
  }
  const proxy = proxyErrorOf(error);
  const { failure, exception, fault, text, denial, retryAfterSeconds } = readAwsFailure(error);
  const { kind, text: advice } = proxy
    ? { kind: proxy.kind, text: `${proxy.why}. ${proxy.advice}` }
    : failure === 'denied'
      ? { kind: 'misconfigured' as const, text: `${denial}. ${howToAllow(action)}` }
      : (EXCEPTIONS[exception] ??
        FAILURES[failure] ??
        (text === '' || failure === 'unknown' ? UNKNOWN : { kind: 'misconfigured', text }));
  const subject = keyId === '' ? '' : ` with the key "${keyId}"`;
  return new BrokerError(
    kind === 'retry' ? 'CLIENT_PROOF_UNAVAILABLE' : 'CLIENT_PROOF_INVALID',
    kind,
    `Could not prove who the broker is by ${action}${subject} (${fault.message}): ${advice}`,
    { cause: fault, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) },
  );
}

function howToAllow(action: ProofAction): string {
  return action.startsWith('kms')
    ? "Allow kms:GetPublicKey and kms:Sign on the key, in its key policy or in the identity's policy; look at the policies of the organization and the VPC endpoint, too."
    : "Allow sts:GetWebIdentityToken in the identity's policy; look at its conditions (audience, duration, algorithm), and at the policies of the organization and the VPC endpoint.";
}

/** A response without what it must have: damaged on the way. */
function incomplete(action: ProofAction): BrokerError {
  return new BrokerError(
    'CLIENT_PROOF_UNAVAILABLE',
    'retry',
    `Could not prove who the broker is by ${action}: the response is not complete. Try again; if it goes on, look for a proxy between here and AWS.`,
  );
}
