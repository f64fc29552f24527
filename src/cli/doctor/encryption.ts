import { ok, type Finding } from './examination.js';
import type { ExaminedSecret } from './secrets.js';

/**
 * Which keys protect the secrets, and whether this identity may decrypt with them: a value that was read is proof. Pure.
 *
 * @param secrets by the name they are called in the report.
 */
export function judgeEncryption(secrets: Readonly<Record<string, ExaminedSecret>>): Finding {
  const entries = Object.entries(secrets);
  if (entries.every(([, { description }]) => description.encryptionKeyId === undefined)) {
    return ok("The embedded store's own envelope encryption; AWS KMS is not used.");
  }
  const parts = entries.map(([name, { description, wasRead }]) => {
    const key = description.encryptionKeyId ?? 'a key that is not told';
    return `${name} by ${key}${wasRead ? '' : ' (nothing to decrypt yet)'}`;
  });
  return ok(`Decrypted: ${parts.join(', ')}.`);
}
