import { SecretStoreError } from '../secret-store-error.js';
import { blobOf, textOf, type Sql, type SqlRow } from './database.js';
import { sameCode, type Envelope } from './envelope.js';
import type { Labels } from './labels.js';
import { versionsToTrim } from './trim.js';

/** The rows of one secret within one transaction. What it returns has been authenticated. */
export class SecretRows {
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
   * @throws {SecretStoreError} `STORE_TAMPERED`, also when the version is gone while a label stands on it.
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

  /** Deletes the versions that nobody needs any more. */
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
