import { rm } from 'node:fs/promises';
import { writeSecretFile } from '../composition/secret-file.js';
import { readOwn } from '../secrets/embedded/data-folder.js';

/** An id and a secret to log in with, kept in a file for the person who develops. */
export interface Login {
  readonly id: string;
  readonly secret: string;
}

/** The login of a file; `undefined` when the file is missing or damaged: both mean that it has to be made anew. */
export async function readLogin(file: string): Promise<Login | undefined> {
  try {
    const { id, secret } = JSON.parse((await readOwn(file)).toString('utf8')) as Record<
      string,
      unknown
    >;
    return typeof id === 'string' && typeof secret === 'string' ? { id, secret } : undefined;
  } catch {
    return undefined;
  }
}

/** Writes a login in place of another: `{"id","secret"}`, mode 0600. */
export async function replaceLogin(file: string, { id, secret }: Login): Promise<void> {
  await rm(file, { force: true });
  await writeSecretFile(file, `${JSON.stringify({ id, secret })}\n`);
}
