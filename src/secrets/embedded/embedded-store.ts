import type { Clock } from '../../tokens/time.js';
import {
  CLAIM_LABEL,
  encodeValue,
  requireNewSecretId,
  requireVersionId,
  SecretStoreError,
  type SecretDescription,
  type SecretStore,
  type SecretVersion,
  type VersionSelector,
} from '../secret-store.js';
import { blobOf, textOf, type Database, type Sql, type SqlRow } from './database.js';
import { sameCode, type Envelope } from './envelope.js';
import type { StoreKeys } from './store-keys.js';

/** Which version has a label, by label. Each label stands on at most one version. */
type Labels = ReadonlyMap<string, string>;

/** Moves one label to a version. */
export function withLabel(labels: Labels, label: string, versionId: string): Labels {
  return new Map([...labels, [label, versionId]]);
}

/** Takes a label off a version; the same labels when the version does not have it. */
export function withoutLabel(labels: Labels, label: string, versionId: string): Labels {
  if (labels.get(label) !== versionId) return labels;
  return new Map([...labels].filter(([name]) => name !== label));
}

/**
 * The labels after a promotion: AWSCURRENT on the version, AWSPREVIOUS on the one that had it. The version is not
 * pending any more.
 */
export function promoted(labels: Labels, versionId: string): Labels {
  const before = labels.get('AWSCURRENT');
  if (before === versionId) return labels;
  const current = withoutLabel(withLabel(labels, 'AWSCURRENT', versionId), 'AWSPENDING', versionId);
  return before === undefined ? current : withLabel(current, 'AWSPREVIOUS', before);
}

/** The labels of one version, sorted. */
export function labelsOf(labels: Labels, versionId: string): string[] {
  return [...labels]
    .filter(([, holder]) => holder === versionId)
    .map(([label]) => label)
    .sort();
}

/** Labels by version id, for every version that has one. */
export function labelsByVersion(labels: Labels): Map<string, readonly string[]> {
  return new Map([...new Set(labels.values())].map((id) => [id, labelsOf(labels, id)]));
}

/** Versions above this number are trimmed, as in Secrets Manager. */
export const KEPT_VERSIONS = 100;

/** A version younger than this, in milliseconds, is never trimmed: one day. */
export const KEPT_AGE = 24 * 60 * 60 * 1000;

/** What the decision needs to know about a version. */
export interface TrimCandidate {
  readonly versionId: string;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
  /** True when any label stands on it. */
  readonly labelled: boolean;
}

/** The versions to delete: the oldest without a label and older than a day, until {@link KEPT_VERSIONS} are left. */
export function versionsToTrim(versions: readonly TrimCandidate[], now: number): string[] {
  const excess = versions.length - KEPT_VERSIONS;
  if (excess <= 0) return [];
  return versions
    .filter((version) => !version.labelled && now - version.createdAt > KEPT_AGE)
    .sort((left, right) => left.createdAt - right.createdAt)
    .slice(0, excess)
    .map((version) => version.versionId);
}

/** The rows of one secret within one transaction. What it returns has been authenticated. */
class SecretRows {
  readonly #sql: Sql;
  readonly #envelope: Envelope;
  readonly #secretId: string;

  constructor(sql: Sql, envelope: Envelope, secretId: string) {
    this.#sql = sql;
    this.#envelope = envelope;
    this.#secretId = secretId;
  }

  exists(): boolean {
    return this.#secret() !== undefined;
  }

  create(description: string, now: number): void {
    this.#sql.run(
      'INSERT INTO secret (secret_id, description, created_at, revision, label_code) VALUES (?, ?, ?, 0, ?)',
      this.#secretId,
      description,
      now,
      this.#envelope.labelCode(this.#secretId, 0, new Map()),
    );
  }

  /** @throws {SecretStoreError} `SECRET_NOT_FOUND`, `STORE_TAMPERED` */
  labels(): Labels {
    const secret = this.#secret();
    if (secret === undefined) {
      throw new SecretStoreError(
        'SECRET_NOT_FOUND',
        `The embedded store has no secret "${this.#secretId}": create it first, or correct the id.`,
      );
    }
    const labels = new Map(
      this.#sql
        .rows(
          'SELECT CAST(label AS BLOB) AS label, CAST(version_id AS BLOB) AS version_id FROM label WHERE secret_id = ?',
          this.#secretId,
        )
        .map((row) => [textOf(row, 'label'), textOf(row, 'version_id')]),
    );
    const code = this.#envelope.labelCode(this.#secretId, Number(secret['revision']), labels);
    if (!sameCode(code, blobOf(secret, 'label_code'))) throw this.#tampered('Its labels');
    return labels;
  }

  /**
   * A version's value; undefined when there is no such version.
   *
   * @throws {SecretStoreError} `STORE_TAMPERED`, also when a label is on a version that does not exist.
   */
  version(
    versionId: string,
    labels: Labels,
  ): { readonly value: Buffer; readonly createdAt: number } | undefined {
    const row = this.#sql.rows(
      'SELECT created_at, format, wrapped_key, sealed_value FROM version WHERE secret_id = ? AND version_id = ?',
      this.#secretId,
      versionId,
    )[0];
    if (row === undefined) {
      if ([...labels.values()].includes(versionId))
        throw this.#tampered(`Its version ${versionId}`);
      return undefined;
    }
    const createdAt = Number(row['created_at']);
    const value = this.#envelope.open(
      { secretId: this.#secretId, versionId, createdAt },
      {
        format: Number(row['format']),
        wrappedKey: blobOf(row, 'wrapped_key'),
        sealedValue: blobOf(row, 'sealed_value'),
      },
    );
    if (value === undefined) throw this.#tampered(`Its version ${versionId}`);
    return { value, createdAt };
  }

  insert(versionId: string, value: Buffer, now: number): void {
    const identity = { secretId: this.#secretId, versionId, createdAt: now };
    const { format, wrappedKey, sealedValue } = this.#envelope.seal(identity, value);
    this.#sql.run(
      'INSERT INTO version (secret_id, version_id, created_at, format, wrapped_key, sealed_value) VALUES (?, ?, ?, ?, ?, ?)',
      this.#secretId,
      versionId,
      now,
      format,
      wrappedKey,
      sealedValue,
    );
  }

  /** Stores the labels with a new code, in a new revision; nothing when they are the same object. */
  setLabels(before: Labels, after: Labels): void {
    if (before === after) return;
    this.#sql.run('DELETE FROM label WHERE secret_id = ?', this.#secretId);
    for (const [label, versionId] of after) {
      this.#sql.run(
        'INSERT INTO label (secret_id, label, version_id) VALUES (?, ?, ?)',
        this.#secretId,
        label,
        versionId,
      );
    }
    const revision = Number(this.#secret()?.['revision']) + 1;
    this.#sql.run(
      'UPDATE secret SET revision = ?, label_code = ? WHERE secret_id = ?',
      revision,
      this.#envelope.labelCode(this.#secretId, revision, after),
      this.#secretId,
    );
  }

  /** Deletes the versions that are no longer needed. */
  trim(now: number): void {
    const candidates = this.#sql
      .rows(
        `SELECT CAST(version_id AS BLOB) AS version_id, created_at, EXISTS (
           SELECT 1 FROM label WHERE label.secret_id = version.secret_id AND label.version_id = version.version_id
         ) AS labelled FROM version WHERE secret_id = ?`,
        this.#secretId,
      )
      .map((row) => ({
        versionId: textOf(row, 'version_id'),
        createdAt: Number(row['created_at']),
        labelled: row['labelled'] !== 0,
      }));
    for (const versionId of versionsToTrim(candidates, now)) {
      this.#sql.run(
        'DELETE FROM version WHERE secret_id = ? AND version_id = ?',
        this.#secretId,
        versionId,
      );
    }
  }

  #secret(): SqlRow | undefined {
    return this.#sql.rows(
      'SELECT revision, label_code FROM secret WHERE secret_id = ?',
      this.#secretId,
    )[0];
  }

  #tampered(what: string): SecretStoreError {
    return new SecretStoreError(
      'STORE_TAMPERED',
      `The secret "${this.#secretId}" in the embedded store was changed behind the broker's back. ${what} failed authentication, and nothing of it is used. Find out who can write to the data folder; then restore secrets.db from a backup, or move it away and start anew.`,
    );
  }
}

/** The embedded adapter of the `SecretStore` port. Made by `openEmbeddedStore`. */
export class EmbeddedSecretStore implements SecretStore {
  readonly name = 'embedded';
  readonly #database: Database;
  readonly #keys: StoreKeys;
  readonly #clock: Clock;

  constructor(database: Database, keys: StoreKeys, clock: Clock) {
    this.#database = database;
    this.#keys = keys;
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
      `The embedded store does not rotate: the broker rotates the secret "${secretId}".`,
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
    return this.#keys.within('read', (sql, key) => act(new SecretRows(sql, key, secretId)));
  }

  #writing<T>(secretId: string, act: (rows: SecretRows) => T): Promise<T> {
    return this.#keys.within('write', (sql, key) => act(new SecretRows(sql, key, secretId)));
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
