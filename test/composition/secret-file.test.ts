import { PassThrough } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { lstat, readFile, symlink, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import {
  readTextInput,
  requireNoFile,
  writeSecretFile,
} from '../../src/composition/secret-file.js';
import { LINKS, ODD_FILES } from '../support/odd-files.js';
import { temporaryFolders } from '../support/temporary-folder.js';

const temporaryFolder = temporaryFolders('secret-file');

/** Reads a text from standard input, as a terminal or as a pipe. */
async function read(
  text: string,
  isTTY: boolean,
  platform: NodeJS.Platform = 'linux',
): Promise<{ text: string; told: string[] }> {
  const told: string[] = [];
  const stdin = Object.assign(new PassThrough(), { isTTY });
  stdin.end(text);
  const tell = (line: string): number => told.push(line);
  return {
    text: await readTextInput({ path: '-', what: 'the token', tell, stdin, platform }),
    told,
  };
}

describe('standard input', () => {
  test.each([
    ['linux', 'Ctrl+D'],
    ['darwin', 'Ctrl+D'],
    ['win32', 'Ctrl+Z and Enter'],
  ] as const)(
    'on a terminal says what it waits for, and how to end: %s',
    async (platform, keys) => {
      expect(await read(' a.b.c\n', true, platform)).toEqual({
        text: 'a.b.c',
        told: [`Reading the token from standard input; end with ${keys}.`],
      });
    },
  );

  test('of a pipe is read without a word', async () => {
    expect(await read('ü\n', false)).toEqual({ text: 'ü', told: [] });
  });

  test.each(['', ' \n'])('%j is nothing', async (text) => {
    await expect(read(text, false)).rejects.toMatchObject({
      code: 'NOTHING_GIVEN',
      message: expect.stringContaining('standard input is empty, where the token was expected'),
    });
  });
});

test('an empty file, and one that is not there', async () => {
  const path = join(await temporaryFolder(), 'credentials.json');
  const input = { path, what: 'the client credentials', tell: () => undefined };
  await expect(readTextInput(input)).rejects.toMatchObject({
    code: 'FILE_NOT_READ',
    message: `The file ${path} cannot be read (ENOENT).`,
  });
  await writeFile(path, '\n');
  await expect(readTextInput(input)).rejects.toMatchObject({ code: 'NOTHING_GIVEN' });
});

test.each([
  ['a byte-order mark', Buffer.from('\ufeff{"ü":1}\r\n'), '{"ü":1}'],
  ['UTF-16, as PowerShell writes it', Buffer.from('\ufeff{"ü":1}\r\n', 'utf16le'), '{"ü":1}'],
])('a file with %s', async (_what, bytes, text) => {
  const path = join(await temporaryFolder(), 'credentials.json');
  await writeFile(path, bytes);
  expect(await readTextInput({ path, what: 'it', tell: () => undefined })).toBe(text);
});

test('a file that is not UTF-8 is refused, because its secret would be another one', async () => {
  const path = join(await temporaryFolder(), 'credentials.json');
  await writeFile(path, Buffer.from('{"client_secret":"ü"}', 'latin1'));
  await expect(readTextInput({ path, what: 'it', tell: () => undefined })).rejects.toMatchObject({
    code: 'FILE_NOT_READ',
    message: expect.stringContaining('UTF-8'),
  });
});

describe('a file to read', () => {
  const input = (path: string) => ({ path, what: 'the credentials', tell: () => undefined });

  test('may be a link, as Kubernetes mounts them, or a pipe, as a shell makes them', async () => {
    const folder = await temporaryFolder();
    const [file, link, pipe] = ['file', 'link', 'pipe'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    await writeFile(file, 'text');
    await symlink(file, link);
    expect(await readTextInput(input(link))).toBe('text');
    await promisify(execFile)('mkfifo', [pipe]);
    const [text] = await Promise.all([readTextInput(input(pipe)), writeFile(pipe, 'piped')]);
    expect(text).toBe('piped');
  });

  test.each([
    ['a folder', /\(EISDIR\)/],
    ['a socket', /\(ENXIO\)/],
  ])('is not %s', async (kind, words) => {
    const path = join(await temporaryFolder(), 'file');
    await ODD_FILES[kind]?.(path);
    await expect(readTextInput(input(path))).rejects.toMatchObject({
      code: 'FILE_NOT_READ',
      message: expect.stringMatching(words),
    });
  });

  test('has an end', async () => {
    await expect(readTextInput(input('/dev/zero'))).rejects.toMatchObject({
      code: 'FILE_NOT_READ',
      kind: 'rejected',
      message:
        'The file /dev/zero is too large: it holds more than 1048576 bytes, which is not the credentials.',
    });
    const stdin = new PassThrough();
    stdin.end('x'.repeat(1_048_577));
    await expect(readTextInput({ ...input('-'), stdin })).rejects.toMatchObject({
      message: expect.stringContaining('Standard input is too large'),
    });
  });
});

describe('a file to write', () => {
  test.each([...Object.entries(ODD_FILES), ...Object.entries(LINKS)])(
    'replaces nothing, and waits for nothing: %s',
    async (_kind, make) => {
      const path = join(await temporaryFolder(), 'peer.json');
      await requireNoFile(path);
      await make(path);
      const before = await lstat(path);
      await expect(requireNoFile(path)).rejects.toMatchObject({ code: 'FILE_EXISTS' });
      await expect(writeSecretFile(path, 'secret')).rejects.toMatchObject({ code: 'FILE_EXISTS' });
      expect((await lstat(path)).ino).toBe(before.ino);
      await expect(lstat(`${path}.missing`)).rejects.toMatchObject({ code: 'ENOENT' });
    },
  );

  test('is for its owner alone', async () => {
    const path = join(await temporaryFolder(), 'peer.json');
    await writeSecretFile(path, 'secret');
    expect((await lstat(path)).mode & 0o777).toBe(0o600);
    expect(await readFile(path, 'utf8')).toBe('secret');
  });
});
