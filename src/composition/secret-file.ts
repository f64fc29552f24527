import { open, readFile } from 'node:fs/promises';
import { BrokerError } from '../tokens/errors.js';

/**
 * Writes a secret into a new file that only its owner may read (mode 0600). An existing file is never replaced: it may
 * be the only copy of another secret.
 *
 * @throws {BrokerError} `FILE_EXISTS`, `FILE_NOT_WRITTEN`.
 */
export async function writeSecretFile(path: string, content: string): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw fileExists(path);
    throw new BrokerError(
      'FILE_NOT_WRITTEN',
      'misconfigured',
      `The file ${path} cannot be written (${codeOf(error)}).`,
      { cause: error },
    );
  }
}

/** @throws {BrokerError} `FILE_EXISTS` when something has the path already. */
export async function requireNoFile(path: string): Promise<void> {
  let exists = true;
  try {
    await (await open(path, 'r')).close();
  } catch (error) {
    exists = codeOf(error) !== 'ENOENT';
  }
  if (exists) throw fileExists(path);
}

/** The text of a file, or of standard input for `-`. @throws {BrokerError} `FILE_NOT_READ` */
export async function readTextInput(path: string): Promise<string> {
  try {
    if (path !== '-') return await readFile(path, 'utf8');
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw new BrokerError(
      'FILE_NOT_READ',
      'rejected',
      `${path === '-' ? 'Standard input' : `The file ${path}`} cannot be read (${codeOf(error)}).`,
      { cause: error },
    );
  }
}

function fileExists(path: string): BrokerError {
  return new BrokerError(
    'FILE_EXISTS',
    'rejected',
    `The file ${path} exists already and was left as it is. Name another one, or move it away.`,
  );
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : 'unknown reason';
}
