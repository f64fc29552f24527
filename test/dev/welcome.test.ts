import { execFile } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { runsOutside, tryLines, type Running } from '../../src/dev/dev-mode.js';
import { temporaryFolders } from '../support/temporary-folder.js';

const temporaryFolder = temporaryFolders('welcome');

const usual: Running = {
  url: 'http://127.0.0.1:3000',
  pageUrl: 'http://127.0.0.1:3000',
  issuer: 'http://127.0.0.1:3001',
  dataDir: '.broker',
  command: 'dist/cli.js',
  peerFile: './.broker/demo-peer.json',
  customerFile: './.broker/dev-customer-app.json',
};

const linesOf = (running: Running): readonly string[] =>
  tryLines(running, (_tone, text) => text).split('\n');

describe('the line for the command line beside dev mode', () => {
  test.each<[string, Partial<Running>, string]>([
    ['as usual', {}, 'node dist/cli.js status'],
    ['another port', { url: 'http://127.0.0.1:4000' }, 'PORT=4000 node dist/cli.js status'],
    [
      'the port that URLs leave out',
      { url: 'http://127.0.0.1' },
      'PORT=80 node dist/cli.js status',
    ],
    ['the same, as it is printed', { url: 'http://[::1]:80' }, 'PORT=80 node dist/cli.js status'],
    ['a path of Windows', { command: 'dist\\cli.js' }, 'node dist/cli.js status'],
    [
      'another data folder',
      { dataDir: "/tmp/it's here" },
      "BROKER_DATA_DIR='/tmp/it'\\''s here' node dist/cli.js status",
    ],
    ['a path with a space', { command: '../my app/cli.js' }, "node '../my app/cli.js' status"],
  ])('%s', (_what, other, line) => {
    expect(linesOf({ ...usual, ...other })).toContain(`  ${line}`);
  });
});

test('every line fits 100 columns, with the default ports and folder', () => {
  const lines = linesOf(usual);
  expect(lines.length).toBeGreaterThan(15);
  expect(lines.filter((line) => line.length > 100)).toEqual([]);
});

test('a login is read from a path with anything in it, by a shell', async () => {
  const folder = await mkdtemp(join(await temporaryFolder(), `it's "a" $HOME \`x\` `));
  const file = join(folder, 'peer.json');
  await writeFile(file, '{"id":"demo","secret":"right"}');
  const line = linesOf({ ...usual, peerFile: file }).find((one) => one.startsWith('  login='));
  const { stdout } = await promisify(execFile)('sh', ['-c', `${line}; printf %s "$login"`]);
  expect(stdout).toBe('demo:right');
});

describe('in a container', () => {
  const inContainer = (sign: string, name = '3f2a9c01d4e5') => ({
    hasFile: (path: string) => path === sign,
    hostname: name,
  });
  const everywhere = { host: '0.0.0.0' };

  test.each([
    ['Docker', everywhere, inContainer('/.dockerenv'), 'docker exec 3f2a9c01d4e5'],
    ['Podman', everywhere, inContainer('/run/.containerenv'), 'podman exec 3f2a9c01d4e5'],
    [
      'Podman, read-only',
      everywhere,
      { ...inContainer('/none'), engine: 'podman' },
      'podman exec 3f2a9c01d4e5',
    ],
    ['another engine', everywhere, { ...inContainer('/none'), engine: 'lxc' }, undefined],
    ['every IPv6 address', { host: '::' }, inContainer('/.dockerenv'), 'docker exec 3f2a9c01d4e5'],
    ['a name of its own', everywhere, inContainer('/.dockerenv', 'web'), 'docker exec CONTAINER'],
    ['for whoever works in it', { host: '127.0.0.1' }, inContainer('/.dockerenv'), undefined],
    ['on a machine', everywhere, inContainer('/none'), undefined],
  ])('%s', (_what, http, machine, expected) => {
    expect(runsOutside(http, machine)).toBe(expected);
  });

  test('lines are tried outside, and read what is inside', () => {
    const lines = linesOf({ ...usual, outside: 'docker exec 3f2a9c01d4e5', dataDir: '/data' });
    expect(lines).toContain(
      `  login="demo:$(docker exec 3f2a9c01d4e5 node -p "require('./.broker/demo-peer.json').secret")"`,
    );
    expect(lines).toContain('  docker exec 3f2a9c01d4e5 node dist/cli.js status');
    expect(lines.filter((line) => line.length > 120)).toEqual([]);
  });
});
