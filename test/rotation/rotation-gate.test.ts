import { expect, test } from '@jest/globals';
import { createRotationGate, type Turn } from '../../src/rotation/rotation-gate.js';
import { VirtualClock } from '../support/virtual-clock.js';

function gateFixture() {
  const clock = new VirtualClock();
  const gate = createRotationGate(clock);
  const begun: string[] = [];
  const turns = new Map<string, Turn>();
  /** Somebody asks for a turn, and keeps it. */
  const enter = async (name: string, provider = 'one'): Promise<void> => {
    turns.set(name, await gate.enter(provider));
    begun.push(name);
  };
  const enterAll = (names: string): void => {
    for (const name of names) void enter(name);
  };
  /** Who has begun, after as long as the pace may keep anybody. */
  const later = async (): Promise<string> => {
    await clock.sleep(60_000);
    return begun.join('');
  };
  const end = (name: string): void => turns.get(name)?.end();
  return { enter, enterAll, later, end, turns };
}

test('four rotations of a provider run at a time, however long they take', async () => {
  const { enterAll, later, end, turns } = gateFixture();
  enterAll('abcdefg');
  expect(await later()).toBe('abcd');
  end('b');
  // In the order they came.
  expect(await later()).toBe('abcde');
  end('e');
  end('a');
  expect(await later()).toBe('abcdefg');
  expect(['a', 'b', 'e', 'g'].map((name) => turns.get(name)?.hasWaited)).toEqual([
    false,
    true,
    true,
    true,
  ]);
});

test('a turn that is ended twice makes room for one', async () => {
  const { enterAll, later, end } = gateFixture();
  enterAll('abcdef');
  await later();
  end('a');
  end('a');
  expect(await later()).toBe('abcde');
});

test.each([
  ['one', 'a'],
  ['three', 'abc'],
  ['all four', 'abcd'],
])(
  'after %s that nobody waited for there is room for as many, and no more',
  async (_what, ended) => {
    const { enterAll, later, end } = gateFixture();
    enterAll('abcd');
    await later();
    for (const name of ended) end(name);
    enterAll('efghijkl');
    expect(await later()).toBe('abcd' + 'efgh'.slice(0, ended.length));
  },
);

test('a provider that is done with can begin anew', async () => {
  const { enterAll, later, end } = gateFixture();
  for (const name of 'abcde') {
    enterAll(name);
    await later();
    end(name);
  }
  enterAll('fghij');
  expect(await later()).toBe('abcdefghi');
});

test('a rotation that waits for its provider holds up no other', async () => {
  const { enter, enterAll, later } = gateFixture();
  enterAll('abcdef');
  await later();
  void enter('x', 'other');
  expect(await later()).toBe('abcdx');
});
