import { generateKeyPair, randomUUID } from 'node:crypto';
import { link, open, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { makeFolder, readOwn } from '../secrets/embedded/data-folder.js';
import { SecretStoreError } from '../secrets/secret-store.js';
import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';
import { systemCode } from '../tokens/http.js';
import { isObject } from '../tokens/json.js';

const KINDS = {
  /** Another program listens on the port. */
  PORT_IN_USE: 'misconfigured',
  /** The host is not one of this machine's loopback addresses, or listening fails otherwise. */
  DEV_PROVIDER_ADDRESS_INVALID: 'misconfigured',
  /** The package `oidc-provider` is missing or does not load. */
  DEV_PROVIDER_NOT_INSTALLED: 'misconfigured',
  /** The key file cannot be read, written or understood. */
  DEV_PROVIDER_KEY_INVALID: 'misconfigured',
} as const satisfies Record<string, ErrorKind>;

/** The embedded provider of dev mode cannot start. */
export class EmbeddedProviderError extends BrokerError {
  declare readonly code: keyof typeof KINDS;

  constructor(code: keyof typeof KINDS, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}

/** The name of the key file in the data folder. */
const KEY_FILE = 'dev-provider.json';

/** The provider's signing key: RSA, 2048 bits, for RS256. */
export interface SigningKey extends JWK {
  readonly kty: string;
  readonly kid: string;
}

/**
 * The signing key of the embedded provider, created at the first start and kept in `dev-provider.json` (mode 0600), so
 * that tokens of an earlier start stay valid. Processes that start together share one key.
 *
 * @throws {EmbeddedProviderError} `DEV_PROVIDER_KEY_INVALID`.
 * @throws {SecretStoreError} `STORE_UNAVAILABLE` when a link or a pipe has its name.
 */
export async function loadSigningKey(dataDir: string): Promise<SigningKey> {
  const path = join(dataDir, KEY_FILE);
  try {
    await makeFolder(resolve(dataDir));
    const text = (await readIfPresent(path)) ?? (await createKeyFile(path));
    return parseKeyFile(text, path);
  } catch (error) {
    if (error instanceof EmbeddedProviderError || error instanceof SecretStoreError) throw error;
    throw invalidKey(
      `${path} cannot be read or written (${systemCode(error) ?? 'no code'})`,
      error,
    );
  }
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return (await readOwn(path)).toString('utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function createKeyFile(path: string): Promise<string> {
  const text = `${JSON.stringify({ keys: [await createKey()] }, undefined, 2)}\n`;
  const temporary = `${path}.${randomUUID()}`;
  try {
    await writeDurably(temporary, text);
    // A link never replaces: the key of the first process stays, whole, and the others read it.
    await link(temporary, path);
    return text;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    return (await readOwn(path)).toString('utf8');
  } finally {
    await rm(temporary, { force: true });
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function createKey(): Promise<SigningKey> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  const jwk = privateKey.export({ format: 'jwk' }) as JWK & { kty: string };
  return { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: 'RS256', use: 'sig' };
}

function parseKeyFile(text: string, path: string): SigningKey {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which is a private key.
    throw invalidKey(`${path} is not JSON`);
  }
  const keys = isObject(content) && Array.isArray(content['keys']) ? content['keys'] : [];
  const key: unknown = keys[0];
  if (!isObject(key) || !['kty', 'kid', 'n', 'e', 'd'].every((name) => isText(key[name]))) {
    throw invalidKey(`${path} holds no private RSA key`);
  }
  return key as unknown as SigningKey;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function invalidKey(what: string, cause?: unknown): EmbeddedProviderError {
  return new EmbeddedProviderError(
    'DEV_PROVIDER_KEY_INVALID',
    `The embedded provider's signing key cannot be used: ${what}. If it is damaged, delete it; a new one is made at the next start.`,
    { cause },
  );
}
