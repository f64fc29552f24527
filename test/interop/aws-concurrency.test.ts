import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { CLAIM_LABEL } from '../../src/secrets/secret-store.js';

const PROCESSES = 8;
const ROUNDS = 5;

const store = createAwsStore();
let replicas: readonly ChildProcess[] = [];

async function nextOutcome(replica: ChildProcess): Promise<string> {
  const [message] = (await once(replica, 'message')) as [{ outcome: string }];
  return message.outcome;
}

/** Sends each replica its call before any of them can have answered. */
function all(calls: readonly { method: string; args: readonly unknown[] }[]): Promise<string[]> {
  return Promise.all(
    replicas.map((replica, index) => {
      const outcome = nextOutcome(replica);
      replica.send(calls[index] ?? {});
      return outcome;
    }),
  );
}

function expectOneWinner(outcomes: readonly string[], losers: string): number {
  expect(outcomes.toSorted()).toEqual(
    ['won', ...Array.from({ length: PROCESSES - 1 }, () => losers)].toSorted(),
  );
  return outcomes.indexOf('won');
}

beforeAll(async () => {
  replicas = Array.from({ length: PROCESSES }, () => fork('test/interop/claimer.js'));
  const ready = await Promise.all(replicas.map(nextOutcome));
  expect(ready).toEqual(replicas.map(() => 'ready'));
});
afterAll(async () => {
  for (const replica of replicas) {
    const exit = once(replica, 'exit');
    if (replica.connected) replica.disconnect();
    await exit;
  }
  await store.close();
});

describe(`${PROCESSES} processes on one secret`, () => {
  test.each([
    ['an empty secret', undefined],
    ['a secret with a value', 'current'],
  ])('claim the same slot: exactly one wins, on %s', async (_what, value) => {
    const secretId = `interop/${randomUUID()}`;
    await store.create(secretId, 'claimed by many');
    if (value !== undefined) await store.putPending(secretId, randomUUID(), value);
    for (let round = 0; round < ROUNDS; round += 1) {
      const versionId = randomUUID();
      const outcomes = await all(
        replicas.map((_, index) => ({
          method: 'putClaim',
          args: [secretId, versionId, `claimed by ${index}`],
        })),
      );
      const winner = expectOneWinner(outcomes, 'VERSION_CONFLICT');
      const claim = await store.read(secretId, { versionId });
      expect(claim.value).toBe(`claimed by ${winner}`);
      expect(claim.labels).toContain(CLAIM_LABEL);
    }
  });

  test('promote a version each: exactly one wins, and nobody is lost in between', async () => {
    const secretId = `interop/${randomUUID()}`;
    await store.create(secretId, 'promoted by many');
    let current: string = randomUUID();
    await store.putPending(secretId, current, 'first');
    for (let round = 0; round < ROUNDS; round += 1) {
      const candidates = replicas.map(() => randomUUID());
      for (const candidate of candidates) await store.putPending(secretId, candidate, candidate);
      const outcomes = await all(
        candidates.map((candidate) => ({
          method: 'promote',
          args: [secretId, candidate, current],
        })),
      );
      const winner = candidates[expectOneWinner(outcomes, 'PROMOTE_CONFLICT')] ?? '';
      expect(await store.read(secretId)).toMatchObject({ versionId: winner, value: winner });
      const previous = await store.read(secretId, { label: 'AWSPREVIOUS' });
      expect(previous.versionId).toBe(current);
      current = winner;
    }
  });
});
