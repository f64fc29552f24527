import { decodeProtectedHeader, decodeJwt } from 'jose';
import { open } from 'node:fs/promises';
import { decodeText, trimPasted, type JsonObject } from '../tokens/json.js';
import { systemCode } from '../tokens/http.js';
import type { AwsTokenAlgorithm, KmsAlgorithm } from './client-credentials.js';
import { ProviderError } from './provider-errors.js';

/** The public half of a KMS key. */
export interface KmsPublicKey {
  /** The key's ARN, also when an alias was asked for. */
  readonly keyId: string;
  /** The public key as a JWK (RFC 7517). */
  readonly jwk: JsonObject & { readonly kty: string };
  /** What the key can sign with; empty when none of it is allowed here. */
  readonly algorithms: readonly KmsAlgorithm[];
}

/**
 * The port to AWS: what proves the broker's identity with a role in place of a stored secret. Its methods reject with a
 * `BrokerError` `CLIENT_PROOF_UNAVAILABLE` (retry) or `CLIENT_PROOF_INVALID` (misconfigured), or with the signal's reason.
 */
export interface AwsProofs {
  /** `kms:GetPublicKey`. */
  publicKey(keyId: string, signal?: AbortSignal): Promise<KmsPublicKey>;
  /** `kms:Sign`. @returns the signature as a JWS has it (RFC 7518 §3.3 to §3.5). */
  sign(
    keyId: string,
    algorithm: KmsAlgorithm,
    input: Uint8Array,
    signal?: AbortSignal,
  ): Promise<Uint8Array>;
  /** `sts:GetWebIdentityToken`: a JWT that says which role this process has. */
  identityToken(
    audience: string,
    algorithm: AwsTokenAlgorithm,
    signal?: AbortSignal,
  ): Promise<string>;
}

/** The largest file that is read, in bytes. A workload token has one or two thousand, a chain of certificates ten. */
const MAX_FILE_BYTES = 64 * 1024;

/**
 * Reads a file that proves who the broker is.
 *
 * @param what the file, for messages: `workload token`.
 * @throws {ProviderError} `CLIENT_PROOF_INVALID` when it is missing, not readable, too large, or not text.
 */
export async function readProofFile(path: string, what: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readBounded(path);
  } catch (error) {
    const code = systemCode(error);
    const why =
      code === 'ENOENT'
        ? 'it does not exist'
        : code === undefined
          ? 'it cannot be read'
          : `it cannot be read (${code})`;
    throw invalidProof(
      `The file with the ${what}, ${path}: ${why}. Check the path, that the platform mounts it, and that this process may read it.`,
    );
  }
  if (bytes.length > MAX_FILE_BYTES) {
    throw invalidProof(
      `The file with the ${what}, ${path}, is larger than ${MAX_FILE_BYTES} bytes.`,
    );
  }
  const text = decodeText(bytes);
  if (text === undefined)
    throw invalidProof(`The file with the ${what}, ${path}, is not text in UTF-8.`);
  return trimPasted(text);
}

/** One byte more than allowed shows that a file is too large; a device or a pipe that never ends is not read on. */
async function readBounded(path: string): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    if (!(await file.stat()).isFile()) {
      throw Object.assign(new Error('not a regular file'), { code: 'EINVAL' });
    }
    const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, length);
      length += bytesRead;
      if (bytesRead === 0 || length === bytes.length) return bytes.subarray(0, length);
    }
  } finally {
    await file.close();
  }
}

/** `CLIENT_PROOF_INVALID`: what proves the broker's identity cannot be used, until somebody changes something. */
export function invalidProof(message: string): ProviderError {
  return new ProviderError('CLIENT_PROOF_INVALID', message);
}

/** What a workload token says of itself; nothing of it is verified, because the provider does that. */
export interface WorkloadToken {
  readonly token: string;
  readonly issuer: string | undefined;
  readonly subject: string | undefined;
  readonly audience: readonly string[];
  /** Milliseconds since the Unix epoch; `undefined` when it does not say. */
  readonly expiresAt: number | undefined;
}

/** Reads the platform's token from its file. It is read at every mint: the platform replaces it while it lives. */
export async function readWorkloadToken(path: string, now: number): Promise<WorkloadToken> {
  return judgeWorkloadToken(await readProofFile(path, 'workload token'), path, now);
}

/**
 * Whether a text is a workload token that may be sent. Pure.
 *
 * @param place where it came from, for messages.
 * @param now milliseconds since the Unix epoch.
 * @throws {ProviderError} `CLIENT_PROOF_UNAVAILABLE` for a text that is empty or cut short, as of a file that is being
 *   written; `CLIENT_PROOF_INVALID` for one that is not a signed JWT, or has expired. No message quotes it.
 */
export function judgeWorkloadToken(text: string, place: string, now: number): WorkloadToken {
  const parts = text.split('.');
  const isCut =
    text === '' || (/^[\w.-]+$/.test(text) && text.startsWith('eyJ') && parts.length < 3);
  if (isCut) throw incomplete(place);
  if (parts.length !== 3 || !parts.every((part) => /^[\w-]+$/.test(part))) {
    throw invalidProof(`The workload token from ${place} is not a signed JWT.`);
  }
  let algorithm: string | undefined;
  let claims: ReturnType<typeof decodeJwt>;
  try {
    algorithm = decodeProtectedHeader(text).alg;
    claims = decodeJwt(text);
  } catch {
    // The reason may quote the token.
    throw invalidProof(`The workload token from ${place} is not a JWT that can be read.`);
  }
  if (algorithm === undefined || algorithm === 'none' || algorithm.startsWith('HS')) {
    throw invalidProof(`The workload token from ${place} is not signed with a private key.`);
  }
  const size = Buffer.from(parts[2] ?? '', 'base64url').length;
  if (size < (SIGNATURE_BYTES[algorithm] ?? 1)) throw incomplete(place);
  const { exp, iss, sub, aud } = claims;
  const expiresAt = typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : undefined;
  if (expiresAt !== undefined && expiresAt <= now) {
    throw invalidProof(
      `The workload token from ${place} has expired. Does the platform still renew it? Compare this machine's clock, too.`,
    );
  }
  return {
    token: text,
    issuer: typeof iss === 'string' ? iss : undefined,
    subject: typeof sub === 'string' ? sub : undefined,
    audience: [aud].flat().filter((name): name is string => typeof name === 'string'),
    expiresAt,
  };
}

/** The least length of a signature, in bytes: a shorter one was cut off. RSA keys have 2048 bits or more. */
const SIGNATURE_BYTES: Readonly<Record<string, number>> = {
  RS256: 256,
  RS384: 256,
  RS512: 256,
  PS256: 256,
  PS384: 256,
  PS512: 256,
  ES256: 64,
  ES384: 96,
  ES512: 132,
  EdDSA: 64,
  Ed25519: 64,
};

function incomplete(place: string): ProviderError {
  return new ProviderError(
    'CLIENT_PROOF_UNAVAILABLE',
    `The workload token from ${place} is empty or cut short, as of a file that is being written. It is read again at the next attempt.`,
  );
}
