import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';

/** Bytes of the master key, of each data key, and of the keys derived from the master key. */
export const KEY_BYTES = 32;

/** The format of sealed versions. It is authenticated along, so a row cannot claim another one. */
const FORMAT = 1;

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** What a sealed version is bound to: the same bytes under any other identity do not open. */
export interface VersionIdentity {
  readonly secretId: string;
  readonly versionId: string;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
}

/** A version as it is stored. */
export interface SealedVersion {
  readonly format: number;
  /** The version's data key, encrypted: nonce, ciphertext, tag. */
  readonly wrappedKey: Buffer;
  /** The value, encrypted with the data key: nonce, ciphertext, tag. */
  readonly sealedValue: Buffer;
}

/**
 * Encrypts and authenticates what one store holds. Nothing is written or read here.
 *
 * Each version has a random AES-256-GCM data key of its own, wrapped with AES-256-GCM by a key that HKDF (RFC 5869)
 * derives from the master key and the store's random id; so no key serves two purposes, and rows of one store do not
 * open in another with the same master key.
 */
export class Envelope {
  /** A fixed value of this master key and this store, which shows whether the master key is the right one. */
  readonly keyCheck: Buffer;
  readonly #wrappingKey: Buffer;
  readonly #labelKey: Buffer;

  constructor(masterKey: Uint8Array, storeId: Uint8Array) {
    this.keyCheck = derive(masterKey, storeId, 'key check');
    this.#wrappingKey = derive(masterKey, storeId, 'data key wrapping');
    this.#labelKey = derive(masterKey, storeId, 'label authentication');
  }

  seal(identity: VersionIdentity, value: Uint8Array): SealedVersion {
    const dataKey = randomBytes(KEY_BYTES);
    try {
      return {
        format: FORMAT,
        wrappedKey: encrypt(this.#wrappingKey, boundTo('data key', FORMAT, identity), dataKey),
        sealedValue: encrypt(dataKey, boundTo('value', FORMAT, identity), value),
      };
    } finally {
      dataKey.fill(0);
    }
  }

  /**
   * The version's data key, wrapped by another master key or for another store; the value stays as it is. Undefined when
   * it does not unwrap here, because it was changed.
   */
  rewrap(
    identity: VersionIdentity,
    { format, wrappedKey }: Pick<SealedVersion, 'format' | 'wrappedKey'>,
    to: Envelope,
  ): Buffer | undefined {
    const dataKey = this.#unwrap(identity, format, wrappedKey);
    if (dataKey === undefined) return undefined;
    try {
      return encrypt(to.#wrappingKey, boundTo('data key', format, identity), dataKey);
    } finally {
      dataKey.fill(0);
    }
  }

  /** The value; undefined when anything about the version was changed. */
  open(identity: VersionIdentity, sealed: SealedVersion): Buffer | undefined {
    const dataKey = this.#unwrap(identity, sealed.format, sealed.wrappedKey);
    if (dataKey === undefined) return undefined;
    try {
      return decrypt(dataKey, boundTo('value', sealed.format, identity), sealed.sealedValue);
    } finally {
      dataKey.fill(0);
    }
  }

  #unwrap(identity: VersionIdentity, format: number, wrappedKey: Uint8Array): Buffer | undefined {
    if (format !== FORMAT) return undefined;
    const dataKey = decrypt(this.#wrappingKey, boundTo('data key', format, identity), wrappedKey);
    return dataKey?.length === KEY_BYTES ? dataKey : undefined;
  }

  /**
   * A code that authenticates which version has which label.
   *
   * It shows every label that was moved, added or removed by hand, and versions swapped behind their labels. It does
   * NOT show an older state of the same secret put back with its own code (as restoring a backup does, on purpose), a
   * secret removed as a whole, or the removal of versions without a label: a file cannot know its own past.
   */
  labelCode(secretId: string, revision: number, labels: ReadonlyMap<string, string>): Buffer {
    const sorted = [...labels].sort(([left], [right]) => (left < right ? -1 : 1)).flat();
    return createHmac('sha256', this.#labelKey)
      .update(framed(['labels', secretId, String(revision), ...sorted]))
      .digest();
  }
}

/**
 * What a master key is called in messages: eight hexadecimal characters of its key check. It depends on the store too, and
 * reveals nothing of the key.
 */
export function keyIdOf(keyCheck: Uint8Array): string {
  return Buffer.from(keyCheck).toString('hex').slice(0, 8);
}

/** Compares two codes in constant time. */
export function sameCode(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

/** Joins texts so that no two lists give the same bytes: each is preceded by its length in bytes. */
export function framed(parts: readonly string[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part, 'utf8');
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

function boundTo(purpose: string, format: number, identity: VersionIdentity): Buffer {
  const { secretId, versionId, createdAt } = identity;
  return framed([purpose, String(format), secretId, versionId, String(createdAt)]);
}

function derive(masterKey: Uint8Array, storeId: Uint8Array, purpose: string): Buffer {
  const info = framed(['service-token-broker', 'embedded store', purpose]);
  return Buffer.from(hkdfSync('sha256', masterKey, storeId, info, KEY_BYTES));
}

function encrypt(key: Uint8Array, associated: Uint8Array, plain: Uint8Array): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES });
  cipher.setAAD(associated);
  return Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length < IV_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const plain = decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES));
  try {
    return Buffer.concat([plain, decipher.final()]);
  } catch {
    // The one reason for `final` to throw is a tag that does not match; that is the answer, not a fault.
    return undefined;
  }
}
