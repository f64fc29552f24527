import { constants, type Stats } from 'node:fs';
import {
  access,
  link,
  lstat,
  mkdir,
  open,
  realpath,
  stat,
  unlink,
  type FileHandle,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SecretStoreError } from '../secret-store.js';

/**
 * What stands at a path where a regular file is expected: reading a FIFO or a device may wait forever, and a link leads
 * elsewhere. Pure.
 *
 * @returns `undefined` for a regular file.
 */
export function otherThanFile(stats: Stats): string | undefined {
  if (stats.isFile()) return undefined;
  if (stats.isDirectory()) return 'a folder';
  if (stats.isSymbolicLink()) return 'a symbolic link';
  if (stats.isFIFO()) return 'a named pipe (FIFO)';
  if (stats.isSocket()) return 'a socket';
  return 'a device';
}

/** The database of the embedded store in a data folder. */
export const databaseFile = (dataDir: string): string => join(dataDir, 'secrets.db');

/** The master key's file in a data folder. */
export const keyFile = (dataDir: string): string => join(dataDir, 'master.key');

/** What happened to a file or folder, as far as the explanation needs it. */
interface FileFailure {
  /** Node's error code, for example `EACCES`. */
  readonly errno: string;
  /** The path, or the nearest folder above it that exists. */
  readonly path: string;
  /** The data folder that could not be made, below `path`. */
  readonly missing?: string | undefined;
  /** Who owns the path, and who this process runs as; undefined where that is not known (Windows). */
  readonly owner?: number | undefined;
  readonly user?: number | undefined;
}

/** What a failed call to the file system means for the store. Pure. */
export function explainFileFailure(failure: FileFailure, cause?: unknown): SecretStoreError {
  const { errno, path, missing, owner, user } = failure;
  const options = { cause };
  switch (errno) {
    case 'EACCES':
    case 'EPERM':
      return owner !== undefined && owner === user
        ? new SecretStoreError(
            'STORE_READ_ONLY',
            `The secret store may not read and write ${path}, though it belongs to this user: run "chmod u+rwX ${path}".`,
            options,
          )
        : new SecretStoreError(
            'STORE_ACCESS_DENIED',
            missing !== undefined && user !== undefined && owner !== undefined
              ? `The data folder ${missing} cannot be made in ${path}, which belongs to user ${owner}, while the broker runs as user ${user}: make it as root ("install -d -m 0700 -o ${user} ${missing}"), or choose another data folder.`
              : `The secret store may not use ${path}, which belongs to user ${owner ?? 'unknown'}, while the broker runs as user ${user ?? 'unknown'}: run the broker as its owner, change the owner, or choose another data folder.`,
            options,
          );
    case 'EROFS':
      return new SecretStoreError(
        'STORE_READ_ONLY',
        `The disk with ${path} is mounted read-only: mount it writable, or choose another data folder. Nothing was changed.`,
        options,
      );
    case 'ENOSPC':
    case 'EDQUOT':
      return new SecretStoreError(
        'STORE_FULL',
        `The disk, or the user's quota, with ${path} is full. Free some space; nothing was changed.`,
        options,
      );
    case 'ENOTDIR':
    case 'EEXIST':
    case 'EISDIR':
    case 'ENAMETOOLONG':
    case 'ELOOP':
      return new SecretStoreError(
        'STORE_UNAVAILABLE',
        `The secret store cannot use the path ${path} (${errno}): something else stands in its place. Choose another data folder, or move away what is there.`,
        { ...options, kind: 'misconfigured' },
      );
    default:
      // But for this, it is a file that another process has moved away meanwhile.
      if (errno === 'ENOENT' && missing !== undefined) {
        return new SecretStoreError(
          'STORE_UNAVAILABLE',
          `The data folder ${missing} cannot be made in ${path} (ENOENT), where nobody can make folders. Choose another data folder.`,
          { ...options, kind: 'misconfigured' },
        );
      }
      return new SecretStoreError(
        'STORE_UNAVAILABLE',
        `The secret store cannot use ${path} (${errno}). Look at the kernel log and at the disk; a new attempt may succeed.`,
        options,
      );
  }
}

/** Runs a file operation on `path`, and explains what goes wrong. */
export async function explained<T>(
  path: string,
  act: () => Promise<T>,
  toMake?: string,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    const found = await nearest(path);
    const missing = found.path === toMake ? undefined : toMake;
    throw explainFileFailure({ errno, missing, user: process.geteuid?.(), ...found }, error);
  }
}

/** Node's error code of a failed file operation, for example `ENOENT`. */
export function errnoOf(error: unknown): string | undefined {
  // By shape, not by class: under a test runner or in a vm the file system's errors are of another realm's class.
  if (typeof error !== 'object' || error === null || error instanceof SecretStoreError) {
    return undefined;
  }
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/**
 * Creates the folder with mode 0700 when it does not exist, and makes sure that it can be written, and that nobody else
 * may: who writes there could put another file, or a link, in the place of the store's. A mode that exists is left
 * alone. The path itself may be a link, or lead through some.
 *
 * @throws {SecretStoreError} `STORE_ACCESS_DENIED` when others may write the folder, or exchange it.
 */
export async function prepareDataFolder(dataDir: string): Promise<void> {
  await explained(dataDir, () => makeFolder(resolve(dataDir)), dataDir);
  await explained(dataDir, async () => {
    const user = process.geteuid?.();
    if (user !== undefined) await requirePrivate(dataDir, user);
    await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  });
}

/**
 * Makes a folder, and those above it. `mkdir` with `recursive` never ends where the folder above exists and says ENOENT, as
 * `/proc` does.
 */
export async function makeFolder(path: string): Promise<void> {
  const missing: string[] = [];
  for (const folder of [path, ...foldersAbove(path)]) {
    if (await isFolder(folder)) break;
    missing.unshift(folder);
  }
  for (const folder of missing) {
    try {
      await mkdir(folder, { mode: 0o700 });
    } catch (error) {
      // Another process was faster.
      if (errnoOf(error) !== 'EEXIST' || !(await isFolder(folder))) throw error;
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

async function requirePrivate(dataDir: string, user: number): Promise<void> {
  const real = await realpath(dataDir);
  const { mode, uid } = await lstat(real);
  refuseSharedFolder(real, { mode, uid, user });
  const above = [...foldersAbove(real), resolve(dataDir), ...foldersAbove(resolve(dataDir))];
  for (const path of new Set(above)) {
    if (path === real) continue;
    const found = await lstat(path);
    refuseWayIn(path, { mode: found.mode, uid: found.uid, user }, found.isSymbolicLink());
  }
}

function foldersAbove(path: string): readonly string[] {
  const above = dirname(path);
  return above === path ? [] : [above, ...foldersAbove(above)];
}

/** Who owns a file or folder, its mode, and who asks. */
interface Ownership {
  readonly mode: number;
  readonly uid: number;
  /** Who this process runs as. */
  readonly user: number;
}

/** Refuses a data folder that others own or may write. Pure. */
export function refuseSharedFolder(path: string, { mode, uid, user }: Ownership): void {
  if (uid !== user && uid !== 0) {
    throw explainFileFailure({ errno: 'EACCES', path, owner: uid, user });
  }
  if ((mode & 0o022) !== 0) {
    throw new SecretStoreError(
      'STORE_ACCESS_DENIED',
      `The data folder ${path} has mode ${shownMode(mode)}: other users can exchange the files in it. Make sure that nobody did, and run "chmod go-w ${path}".`,
    );
  }
}

/**
 * Refuses a folder above the data folder in which everybody may exchange it, and a link of somebody else on the way to it.
 * With the sticky bit, as /tmp has it, nobody can exchange what belongs to others. Owners of folders above are not
 * looked at: what they put in the data folder's place would belong to them, which is refused. Pure.
 */
export function refuseWayIn(path: string, { mode, uid, user }: Ownership, isLink: boolean): void {
  if (isLink && uid !== user && uid !== 0) {
    throw new SecretStoreError(
      'STORE_ACCESS_DENIED',
      `The link ${path} on the way to the data folder belongs to user ${uid}, while the broker runs as user ${user}: name the folder that it leads to, if that is yours.`,
    );
  }
  if (!isLink && (mode & 0o1002) === 0o0002) {
    throw new SecretStoreError(
      'STORE_ACCESS_DENIED',
      `The folder ${path} has mode ${shownMode(mode)}: every user can exchange the data folder below it. Run "chmod o-w ${path}" (or "chmod +t", if everybody has to write there), or choose another data folder.`,
    );
  }
}

/** A mode as `chmod` takes it: `0755`. */
export function shownMode(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

/**
 * The size in bytes; undefined when there is no such file.
 *
 * @throws {SecretStoreError} `STORE_UNAVAILABLE` when it is no regular file, or a link to one.
 */
export function sizeOf(path: string): Promise<number | undefined> {
  return explained(path, async () => {
    try {
      const stats = await lstat(path);
      requireFile(path, otherThanFile(stats));
      return stats.size;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  });
}

/**
 * Opens a file of the data folder: no link is followed, and nothing that is no regular file is waited for.
 *
 * @throws what `open` throws; and {@link SecretStoreError} `STORE_UNAVAILABLE` when it is no regular file.
 */
export async function openOwn(path: string, flags = constants.O_RDONLY): Promise<FileHandle> {
  requireFile(path, otherThanFile(await lstat(path)));
  // Windows has neither flag: undefined counts as none of the bits.
  const handle = await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    // Once more: another one may stand there by now.
    requireFile(path, otherThanFile(await handle.stat()));
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The bytes of a file of the data folder, opened with {@link openOwn}. */
export async function readOwn(path: string): Promise<Buffer> {
  const handle = await openOwn(path);
  try {
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

function requireFile(path: string, instead: string | undefined): void {
  if (instead === undefined) return;
  throw new SecretStoreError(
    'STORE_UNAVAILABLE',
    `${path} is ${instead}, where the secret store has a file of its own: move it away, and put the file itself there. BROKER_DATA_DIR may be a link; what is in the folder may not.`,
    { kind: 'misconfigured' },
  );
}

/**
 * Gives a finished file its real name, unless another process was faster; the temporary name is removed. So the
 * real name always stands for a complete file, and all processes that start at once agree on one.
 *
 * @returns false when the real name existed.
 */
export function publish(temporary: string, path: string): Promise<boolean> {
  return explained(path, async () => {
    try {
      await syncFile(temporary);
      await link(temporary, path);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false;
      throw hasNoHardLinks(error) ? withoutHardLinks(path, error) : error;
    } finally {
      await unlink(temporary);
    }
    await syncFolder(dirname(path));
    return true;
  });
}

/** What `link` says where the file system has no hard links. */
const NO_HARD_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** Whether `link` failed because of the file system. */
export function hasNoHardLinks(error: unknown): boolean {
  return NO_HARD_LINKS.has(errnoOf(error) ?? '');
}

function withoutHardLinks(path: string, cause: unknown): SecretStoreError {
  return new SecretStoreError(
    'STORE_UNAVAILABLE',
    `The file system with ${path} has no hard links, which the embedded store needs. Choose a data folder on a local disk.`,
    { cause, kind: 'misconfigured' },
  );
}

/**
 * Makes a file's content survive a loss of power. Only for files that SQLite does not have open: closing any descriptor of
 * a file drops the process's locks on it.
 */
export async function syncFile(path: string): Promise<void> {
  const handle = await openOwn(path, constants.O_RDWR);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a new name survive a loss of power. Windows has no such call. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The path or, where it does not exist or may not be looked at, the nearest folder above it; and who owns that. */
async function nearest(path: string): Promise<Pick<FileFailure, 'path' | 'owner'>> {
  for (let at = path; ; at = dirname(at)) {
    try {
      return { path: at, owner: (await stat(at)).uid };
    } catch {
      // What went wrong is being explained already; this only looks for a folder to name in the explanation.
      if (dirname(at) === at) return { path, owner: undefined };
    }
  }
}
