import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { versionWithLabel, type SecretStore } from '../secrets/secret-store.js';
import { BrokerError } from '../tokens/errors.js';
import { decodeText, isObject, trimPasted } from '../tokens/json.js';

/**
 * Writes a secret into a new file that only its owner may read (mode 0600). An existing file is never replaced: it may be
 * the only copy of another secret.
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
      `The file ${path} cannot be written (${codeOf(error)}). Does its folder exist, and may this user write there?`,
      { cause: error },
    );
  }
}

/**
 * @param advice what to do, when the path exists already.
 * @throws {BrokerError} `FILE_EXISTS` when it does.
 */
export async function requireNoFile(path: string, advice?: string): Promise<void> {
  let exists = true;
  try {
    // Not opened: a pipe would wait for a writer, and a link may lead nowhere.
    await lstat(path);
  } catch (error) {
    exists = codeOf(error) !== 'ENOENT';
  }
  if (exists) throw fileExists(path, advice);
}

/** A text from a person or a program. */
interface TextInput {
  /** Where it is; `-` is standard input. */
  readonly path: string;
  /** What it is, for messages: `the token`. */
  readonly what: string;
  /** Called with what to do, when a person has to type or paste it at a terminal. */
  readonly tell: (line: string) => void;
  /** Default: the process's own. */
  readonly stdin?: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  /** Decides which keys end the input at a terminal. Default: the process's own. */
  readonly platform?: NodeJS.Platform;
}

/**
 * The text of a file, or of standard input, in UTF-8 or in UTF-16 with a byte-order mark, without white space around it.
 *
 * @throws {BrokerError} `FILE_NOT_READ`, or `NOTHING_GIVEN` when it is empty.
 */
export async function readTextInput(input: TextInput): Promise<string> {
  const { path, what } = input;
  const source = path === '-' ? 'Standard input' : `The file ${path}`;
  const text = trimPasted(textOf(await readAll(input, source), source));
  if (text !== '') return text;
  throw new BrokerError(
    'NOTHING_GIVEN',
    'rejected',
    `Nothing was given: ${path === '-' ? 'standard input' : `the file ${path}`} is empty, where ${what} was expected.`,
  );
}

/** @throws {BrokerError} `FILE_NOT_READ`. */
function textOf(bytes: Uint8Array, source: string): string {
  const text = decodeText(bytes);
  if (text !== undefined) return text;
  throw new BrokerError(
    'FILE_NOT_READ',
    'rejected',
    `${source} cannot be read: it is not text in UTF-8. Save it as UTF-8.`,
  );
}

async function readAll(input: TextInput, source: string): Promise<Uint8Array> {
  const { path, what, tell, stdin = process.stdin, platform = process.platform } = input;
  try {
    // Pipes too, such as a shell's <(…): naming one means to wait for it.
    if (path !== '-') return await allOf(createReadStream(path), source, what);
    // A program that waits at a terminal would look as if it hangs.
    if (stdin.isTTY === true) {
      const keys = platform === 'win32' ? 'Ctrl+Z and Enter' : 'Ctrl+D';
      tell(`Reading ${what} from standard input; end with ${keys}.`);
    }
    return await allOf(stdin, source, what);
  } catch (error) {
    if (error instanceof BrokerError) throw error;
    throw new BrokerError(
      'FILE_NOT_READ',
      'rejected',
      `${source} cannot be read (${codeOf(error)}).`,
      { cause: error },
    );
  }
}

/** More than any token or secret has. /dev/zero never ends. */
const MOST_BYTES = 1_048_576;

async function allOf(
  stream: AsyncIterable<string | Buffer>,
  source: string,
  what: string,
): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk as Buffer);
    size += bytes.length;
    if (size > MOST_BYTES) {
      throw new BrokerError(
        'FILE_NOT_READ',
        'rejected',
        `${source} is too large: it holds more than ${MOST_BYTES} bytes, which is not ${what}.`,
      );
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

function fileExists(path: string, advice = 'Name another one, or move it away.'): BrokerError {
  return new BrokerError(
    'FILE_EXISTS',
    'rejected',
    `The file ${path} exists already and was left as it is. ${advice}`,
  );
}

function codeOf(error: unknown): string {
  const code = isObject(error) ? error['code'] : undefined;
  return typeof code === 'string' && code !== '' ? code : 'unknown reason';
}

/**
 * Writes a secret that people edit, as a new version that is AWSCURRENT.
 *
 * @returns the version's id.
 * @throws {SecretStoreError} `PROMOTE_CONFLICT` when somebody else wrote it in the meantime; their version stays.
 */
export async function writeSecret(
  store: SecretStore,
  secretId: string,
  value: string,
): Promise<string> {
  const versionId = randomUUID();
  const before = versionWithLabel(await store.describe(secretId), 'AWSCURRENT');
  await store.putPending(secretId, versionId, value);
  const after = versionWithLabel(await store.describe(secretId), 'AWSCURRENT');
  // The first version of a secret may become current on its own.
  if (after !== versionId) await store.promote(secretId, versionId, before);
  await store.clearPending(secretId, versionId);
  return versionId;
}
