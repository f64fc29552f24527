import type { KMSClient } from '@aws-sdk/client-kms';
import type { KeyWrapping, WrappedMasterKey } from '../embedded/master-keys.js';
import type { ErrorKind } from '../../tokens/errors.js';
import { isStoreError, SecretStoreError, type SecretStoreErrorCode } from '../secret-store.js';
import {
  awsClientConfig,
  DEFAULT_TIMEOUTS,
  onTheWay,
  within,
  type AwsTimeouts,
  type ConnectionOptions,
} from './aws-connection.js';
import { isMissingPackage } from './assumed-role.js';
import { readAwsFailure, type AwsFailure } from './aws-errors.js';

/** Options of {@link KmsKeyWrapping}. What is not given comes by the SDK's standard chain. */
interface KmsKeyWrappingOptions extends Pick<
  ConnectionOptions,
  'region' | 'endpoint' | 'timeouts' | 'agents'
> {
  /** Ids, ARNs or aliases. The first one wraps, all of them unwrap. */
  readonly keyIds: readonly [string, ...string[]];
}

/** The name of the store's id in the encryption context, for policies and CloudTrail. */
export const CONTEXT_NAME = 'service-token-broker:store';

/** The calls, by the names of their permissions. */
type KmsAction = 'kms:GenerateDataKey' | 'kms:Decrypt';

/**
 * Master keys of embedded stores that AWS KMS makes and unwraps. The encryption context binds each to its store. The SDK
 * is loaded at the first call. The least policy allows `kms:GenerateDataKey` and `kms:Decrypt` on the keys.
 *
 * Methods reject with a `SecretStoreError`: `STORE_ACCESS_DENIED`, `STORE_KEY_WRONG` (disabled, deleted, or another key),
 * `STORE_CREDENTIALS`; and, where trying again may help, `STORE_UNAVAILABLE`, `STORE_TIMEOUT`, `STORE_THROTTLED`.
 */
export class KmsKeyWrapping implements KeyWrapping {
  readonly keyIds: readonly [string, ...string[]];
  readonly #options: KmsKeyWrappingOptions;
  readonly #timeouts: AwsTimeouts;

  constructor(options: KmsKeyWrappingOptions) {
    this.keyIds = options.keyIds;
    this.#options = options;
    this.#timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  }

  async generate(storeId: Uint8Array): Promise<WrappedMasterKey & { readonly key: Uint8Array }> {
    const [KeyId] = this.keyIds;
    const { Plaintext, CiphertextBlob, ...made } = await this.#ask(
      'kms:GenerateDataKey',
      KeyId,
      async (client, abortSignal) => {
        const { GenerateDataKeyCommand } = await import('@aws-sdk/client-kms');
        const command = new GenerateDataKeyCommand({
          KeyId,
          KeySpec: 'AES_256',
          EncryptionContext: contextOf(storeId),
        });
        return client.send(command, { abortSignal });
      },
    );
    const isWhole = Plaintext?.length === 32 && CiphertextBlob !== undefined;
    if (!isWhole || made.KeyId === undefined) throw incomplete('kms:GenerateDataKey', KeyId);
    return { key: Plaintext, keyId: made.KeyId, wrapped: CiphertextBlob };
  }

  async unwrap({ keyId, wrapped }: WrappedMasterKey, storeId: Uint8Array): Promise<Uint8Array> {
    // The key that is named beside the wrapped one is tried first, and never one that nobody has configured.
    const candidates = this.keyIds.toSorted(
      (one, other) => Number(isNamed(other, keyId)) - Number(isNamed(one, keyId)),
    );
    let refusal: unknown;
    for (const KeyId of candidates) {
      try {
        return await this.#decrypt(KeyId, wrapped, storeId);
      } catch (error) {
        // It may be another key's; the first refusal is that of the key that should have opened it.
        if (!isStoreError(error, 'STORE_KEY_WRONG', 'STORE_ACCESS_DENIED')) throw error;
        refusal ??= error;
      }
    }
    throw refusal;
  }

  async #decrypt(KeyId: string, wrapped: Uint8Array, storeId: Uint8Array): Promise<Uint8Array> {
    const { Plaintext } = await this.#ask('kms:Decrypt', KeyId, async (client, abortSignal) => {
      const { DecryptCommand } = await import('@aws-sdk/client-kms');
      const command = new DecryptCommand({
        KeyId,
        CiphertextBlob: wrapped,
        EncryptionContext: contextOf(storeId),
      });
      return client.send(command, { abortSignal });
    });
    if (Plaintext?.length !== 32) throw incomplete('kms:Decrypt', KeyId);
    return Plaintext;
  }

  async #ask<Output>(
    action: KmsAction,
    keyId: string,
    send: (client: KMSClient, signal: AbortSignal) => Promise<Output>,
  ): Promise<Output> {
    let client: KMSClient | undefined;
    try {
      const { KMSClient } = await import('@aws-sdk/client-kms');
      // One call for a whole life, as a rule: no connection is kept.
      client = new KMSClient(awsClientConfig(this.#options, this.#timeouts));
      const made = client;
      return await within(this.#timeouts.total, (signal) => send(made, signal));
    } catch (error) {
      throw keyErrorOf(error, action, keyId);
    } finally {
      client?.destroy();
    }
  }
}

function contextOf(storeId: Uint8Array): Record<string, string> {
  return { [CONTEXT_NAME]: Buffer.from(storeId).toString('hex') };
}

/** Whether an id names the key of an ARN, as far as the texts say. */
function isNamed(id: string, arn: string): boolean {
  return id === arn || arn.endsWith(`:key/${id}`);
}

interface Meaning {
  readonly code: SecretStoreErrorCode;
  readonly kind?: ErrorKind;
  /** What was wrong, and what to do. */
  readonly text: string;
}

const INSIDE: Meaning = {
  code: 'STORE_UNAVAILABLE',
  text: 'KMS failed inside. Try again; if it goes on, see the AWS Health Dashboard.',
};
const NOT_FOR_ENCRYPTION: Meaning = {
  code: 'STORE_KEY_WRONG',
  text: 'the key is not for encryption. It must have the key usage ENCRYPT_DECRYPT and the key spec SYMMETRIC_DEFAULT; make another one.',
};
const ANOTHER: Meaning = {
  code: 'STORE_KEY_WRONG',
  text: "the store's master key was not wrapped by this key, or not for this store. Name the key that wrapped it in BROKER_MASTER_KEY_KMS_ID too, after a comma: an alias may lead to another key by now. Then: service-token-broker store rekey.",
};

/** The exceptions of KMS that say more than their kind. */
const EXCEPTIONS: Readonly<Record<string, Meaning>> = {
  NotFoundException: {
    code: 'STORE_KEY_WRONG',
    text: 'no key has that id or alias in this account and Region. Correct BROKER_MASTER_KEY_KMS_ID or AWS_REGION; a key of another account needs its ARN.',
  },
  DisabledException: {
    code: 'STORE_KEY_WRONG',
    text: 'the key is disabled. Enable it: aws kms enable-key --key-id KEY-ID.',
  },
  KMSInvalidStateException: {
    code: 'STORE_KEY_WRONG',
    text: 'the key is pending deletion or import, or its key store is not connected. Keep it: aws kms cancel-key-deletion --key-id KEY-ID, then enable-key.',
  },
  IncorrectKeyException: ANOTHER,
  InvalidCiphertextException: ANOTHER,
  InvalidKeyUsageException: NOT_FOR_ENCRYPTION,
  UnsupportedOperationException: NOT_FOR_ENCRYPTION,
  InvalidArnException: {
    code: 'STORE_KEY_WRONG',
    text: 'BROKER_MASTER_KEY_KMS_ID is not the ARN of a key or of an alias.',
  },
  KeyUnavailableException: INSIDE,
  DependencyTimeoutException: INSIDE,
  KMSInternalException: INSIDE,
};

const UNREACHABLE: Meaning = {
  code: 'STORE_UNAVAILABLE',
  text: 'no usable answer came. Try again; if it goes on, check the network, AWS_REGION, AWS_ENDPOINT_URL_KMS, and proxies, VPC endpoints and NAT gateways between here and AWS.',
};

/** The kinds of failure that every service has. Those that are missing here have their words from the store's table. */
const FAILURES: Partial<Record<AwsFailure, Meaning>> = {
  throttled: {
    code: 'STORE_THROTTLED',
    text: 'too many requests in this account and Region. Try again later; if it goes on, find the busy caller in CloudTrail.',
  },
  server: INSIDE,
  timeout: { ...UNREACHABLE, code: 'STORE_TIMEOUT' },
  network: UNREACHABLE,
  handshake: UNREACHABLE,
  truncated: UNREACHABLE,
  unreadable: UNREACHABLE,
  wrongEndpoint: {
    code: 'STORE_UNAVAILABLE',
    kind: 'misconfigured',
    text: 'what answers there is not KMS. Check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL, and proxies between here and AWS.',
  },
  tls: {
    code: 'STORE_UNAVAILABLE',
    kind: 'misconfigured',
    text: "the endpoint's certificate is not trusted. If a proxy inspects TLS, name its certificate authority in BROKER_CA_FILE or NODE_EXTRA_CA_CERTS; check the endpoint's host name.",
  },
};

/** Failures of the identity, with their words from the store's table. */
const OF_IDENTITY: ReadonlySet<AwsFailure> = new Set([
  'noCredentials',
  'expired',
  'credentials',
  'signature',
  'clock',
  'region',
]);

const UNKNOWN: Meaning = {
  code: 'STORE_UNAVAILABLE',
  kind: 'misconfigured',
  text: 'KMS refused the request in a way that is not known here. CloudTrail has the details by the request id; please report it.',
};

const PACKAGE = '@aws-sdk/client-kms';

/** The store error for whatever a call of the SDK threw. AWS's own words are not repeated. */
export function keyErrorOf(error: unknown, action: KmsAction, keyId: string): SecretStoreError {
  const tried = action === 'kms:Decrypt' ? 'unwrap' : 'make';
  if (isMissingPackage(error)) {
    return new SecretStoreError(
      'STORE_UNAVAILABLE',
      `The package ${PACKAGE} cannot be loaded, and BROKER_MASTER_KEY_KMS_ID needs it. Install it with: npm install ${PACKAGE}`,
      { kind: 'misconfigured', cause: error },
    );
  }
  const what = `${tried} the master key of the embedded store by ${action} with the key "${keyId}"`;
  const onItsWay = onTheWay(error, what);
  if (onItsWay !== undefined) return onItsWay;
  const { failure, exception, fault, text, denial, retryAfterSeconds } = readAwsFailure(error);
  const meaning = meaningOf(failure, exception, { action, text, denial });
  return new SecretStoreError(
    meaning.code,
    `Could not ${what} (${fault.message}): ${meaning.text}`,
    {
      cause: fault,
      ...(meaning.kind && { kind: meaning.kind }),
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    },
  );
}

function meaningOf(
  failure: AwsFailure,
  exception: string,
  { action, text, denial }: { action: KmsAction; text: string; denial: string },
): Meaning {
  if (failure === 'denied') {
    return {
      code: 'STORE_ACCESS_DENIED',
      text: `${denial}. Allow ${action} on the key, in its key policy or in the identity's policy; look at conditions on the encryption context (${CONTEXT_NAME}), and at the policies of the organization and the VPC endpoint, too.`,
    };
  }
  const known = EXCEPTIONS[exception] ?? FAILURES[failure];
  if (known !== undefined) return known;
  return OF_IDENTITY.has(failure) && text !== '' ? { code: 'STORE_CREDENTIALS', text } : UNKNOWN;
}

/** A response without what it must have: damaged on the way. */
function incomplete(action: KmsAction, keyId: string): SecretStoreError {
  return new SecretStoreError(
    'STORE_UNAVAILABLE',
    `The response of ${action} with the key "${keyId}" is not complete. Try again; if it goes on, look for a proxy between here and AWS.`,
  );
}
