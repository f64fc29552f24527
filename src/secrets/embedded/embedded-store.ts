import type { Clock } from '../../tokens/clock.js';
import { encodeValue, requireNewSecretId, requireVersionId } from '../secret-limits.js';
import { SecretStoreError } from '../secret-store-error.js';
import {
  CLAIM_LABEL,
  type SecretDescription,
  type SecretStore,
  type SecretVersion,
  type VersionSelector,
} from '../secret-store.js';
import type { Database } from './database.js';
import type { Envelope } from './envelope.js';
import { labelsByVersion, labelsOf, promoted, withLabel, withoutLabel } from './labels.js';
import { SecretRows } from './secret-rows.js';

/** The embedded adapter of the `SecretStore` port. Made by `openEmbeddedStore`. */
export class EmbeddedSecretStore implements SecretStore {
  readonly name = 'embedded';
  readonly #database: Database;
  readonly #envelope: Envelope;
  readonly #clock: Clock;

  constructor(database: Database, envelope: Envelope, clock: Clock) {
    this.#database = database;
    this.#envelope = envelope;
    this.#clock = clock;
  }

  read(secretId: string, selector: VersionSelector = {}): Promise<SecretVersion> {
    return this.#reading(secretId, (rows) => {
      const labels = rows.labels();
      const { label = selector.versionId === undefined ? 'AWSCURRENT' : undefined } = selector;
      const versionId = selector.versionId ?? (label && labels.get(label));
      const matches = label === undefined || labels.get(label) === versionId;
      const version =
        versionId === undefined || !matches ? undefined : rows.version(versionId, labels);
      if (version === undefined || versionId === undefined) {
        throw noVersion(secretId, { ...selector, ...(label && { label }) });
      }
      const { value, createdAt } = version;
      return {
        versionId,
        value: value.toString('utf8'),
        labels: labelsOf(labels, versionId),
        createdAt,
      };
    });
  }

  describe(secretId: string): Promise<SecretDescription> {
    return this.#reading(secretId, (rows) => ({
      secretId,
      labels: labelsByVersion(rows.labels()),
      rotationEnabled: false,
      readOnlyReplica: false,
    }));
  }

  create(secretId: string, description: string): Promise<void> {
    return this.#writing(secretId, (rows) => {
      requireNewSecretId(secretId);
      if (!rows.exists()) rows.create(description, this.#clock.now());
    });
  }

  putPending(secretId: string, versionId: string, value: string): Promise<void> {
    return this.#put(secretId, versionId, value, 'AWSPENDING');
  }

  putClaim(secretId: string, versionId: string, value: string): Promise<void> {
    return this.#put(secretId, versionId, value, CLAIM_LABEL);
  }

  promote(secretId: string, versionId: string, expectedCurrent: string | undefined): Promise<void> {
    return this.#writing(secretId, (rows) => {
      const labels = rows.labels();
      // Opened, not only looked for: a version that was tampered with never becomes current.
      if (!rows.version(versionId, labels)) throw noVersion(secretId, { versionId });
      const current = labels.get('AWSCURRENT');
      if (current !== expectedCurrent) {
        throw new SecretStoreError(
          'PROMOTE_CONFLICT',
          `The secret "${secretId}" has ${current === undefined ? 'no version' : `the version ${current}`} as AWSCURRENT, and not ${expectedCurrent ?? 'none'} as expected: somebody else promoted. Read again and decide anew.`,
        );
      }
      rows.setLabels(labels, promoted(labels, versionId));
    });
  }

  clearPending(secretId: string, versionId: string): Promise<void> {
    return this.#takeOff(secretId, versionId, 'AWSPENDING');
  }

  releaseClaim(secretId: string, versionId: string): Promise<void> {
    return this.#takeOff(secretId, versionId, CLAIM_LABEL);
  }

  async requestRotation(secretId: string): Promise<void> {
    await this.describe(secretId);
    throw new SecretStoreError(
      'STORE_ROTATION_UNSUPPORTED',
      `The embedded store rotates nothing by itself: the broker rotates the secret "${secretId}".`,
    );
  }

  async close(): Promise<void> {
    this.#database.close();
  }

  #takeOff(secretId: string, versionId: string, label: string): Promise<void> {
    return this.#writing(secretId, (rows) => {
      const labels = rows.labels();
      rows.setLabels(labels, withoutLabel(labels, label, versionId));
    });
  }

  #put(secretId: string, versionId: string, value: string, label: string): Promise<void> {
    return this.#writing(secretId, (rows) => {
      const labels = rows.labels();
      requireVersionId(secretId, versionId);
      const bytes = encodeValue(secretId, value);
      const existing = rows.version(versionId, labels);
      if (existing) {
        if (existing.value.equals(bytes)) return;
        throw new SecretStoreError(
          'VERSION_CONFLICT',
          `The version ${versionId} of the secret "${secretId}" exists with a different value: read it and use that one, or write a version with another id.`,
        );
      }
      const now = this.#clock.now();
      rows.insert(versionId, bytes, now);
      rows.setLabels(labels, withLabel(labels, label, versionId));
      rows.trim(now);
    });
  }

  #reading<T>(secretId: string, act: (rows: SecretRows) => T): Promise<T> {
    return this.#database.read((sql) => act(new SecretRows(sql, this.#envelope, secretId)));
  }

  #writing<T>(secretId: string, act: (rows: SecretRows) => T): Promise<T> {
    return this.#database.write((sql) => act(new SecretRows(sql, this.#envelope, secretId)));
  }
}

function noVersion(secretId: string, selector: VersionSelector): SecretStoreError {
  const { versionId, label } = selector;
  const which = [
    versionId === undefined ? '' : ` with the id ${versionId}`,
    label === undefined ? '' : ` labelled ${label}`,
  ].join('');
  return new SecretStoreError(
    'VERSION_NOT_FOUND',
    `The secret "${secretId}" has no version${which}. If nothing was written yet: a rotation writes the token secret, and "credentials set" the credentials secret.`,
  );
}
