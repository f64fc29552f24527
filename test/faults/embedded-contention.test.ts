import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { StoreProcess, type Answer } from './embedded-child.js';
import { TEMPORARY } from '../support/temporary-folder.js';

const SECRET = 'service-token';
const PROCESSES = 8;
const ROUNDS = 10;

let parent: string;
let dataDir: string;
let children: StoreProcess[];

const codes = (answers: readonly Answer[]): string[] =>
  answers.map((answer) => (answer.ok ? 'won' : answer.code)).sort();
const oneWinner = (refusal: string): string[] => [
  ...Array.from({ length: PROCESSES - 1 }, () => refusal),
  'won',
];
const all = (call: (child: StoreProcess, index: number) => Promise<Answer>): Promise<Answer[]> =>
  Promise.all(children.map(call));

beforeAll(async () => {
  parent = await mkdtemp(join(TEMPORARY, 'embedded-contention-'));
  dataDir = join(parent, 'data');
  children = Array.from({ length: PROCESSES }, () => new StoreProcess(dataDir));
});
afterAll(async () => {
  await Promise.all(children.map((child) => child.end()));
  await rm(parent, { recursive: true });
});

test('eight processes make one store together: one key, one database', async () => {
  expect(await all((child) => child.call('open'))).toEqual(children.map(() => ({ ok: true })));
  expect(await all((child) => child.call('create', SECRET, 'raced'))).toEqual(
    children.map(() => ({ ok: true })),
  );
  expect((await readdir(dataDir)).filter((name) => !/^secrets\.db-(wal|shm)$/.test(name))).toEqual([
    'master.key',
    'secrets.db',
  ]);
});

test('exactly one of eight wins each claim, and all read the same', async () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const versionId = randomUUID();
    const answers = await all((child, index) =>
      child.call('putClaim', SECRET, versionId, `claim of ${index}`),
    );
    expect(codes(answers)).toEqual(oneWinner('VERSION_CONFLICT'));
    const winner = answers.findIndex((answer) => answer.ok);
    const reads = await all((child) => child.call('read', SECRET, { versionId }));
    for (const read of reads) {
      expect(read).toMatchObject({ ok: true, value: { value: `claim of ${winner}` } });
    }
  }
});

test('exactly one of eight wins each promotion, and all see it', async () => {
  let current: string | undefined;
  for (let round = 0; round < ROUNDS; round += 1) {
    const versionIds = children.map(() => randomUUID());
    const puts = await all((child, index) =>
      child.call('putPending', SECRET, versionIds[index], `value ${index}`),
    );
    expect(codes(puts)).toEqual(children.map(() => 'won'));
    const answers = await all((child, index) =>
      child.call('promote', SECRET, versionIds[index], current),
    );
    expect(codes(answers)).toEqual(oneWinner('PROMOTE_CONFLICT'));
    const winner = answers.findIndex((answer) => answer.ok);
    const previous = current;
    current = versionIds[winner];
    const reads = await all((child) => child.call('read', SECRET));
    for (const read of reads) {
      expect(read).toMatchObject({ ok: true, value: { versionId: current } });
    }
    if (previous !== undefined) {
      const before = await children[0]?.call('read', SECRET, { label: 'AWSPREVIOUS' });
      expect(before).toMatchObject({ ok: true, value: { versionId: previous } });
    }
  }
});
