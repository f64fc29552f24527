import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { bufferLines, type LineBufferOptions } from '../../src/operations/line-buffer.js';

/** What reads the lines: it takes up to `room` bytes, and then says why it takes no more. */
const reader = { room: Infinity, why: 'EAGAIN', text: '', writes: 0 };
const dropped: number[] = [];
const before = process.listeners('exit');

function lines(options: Partial<LineBufferOptions> = {}) {
  return bufferLines({
    write: (bytes) => {
      if (reader.room <= 0) throw Object.assign(new Error('no'), { code: reader.why });
      const taken = Buffer.from(bytes).subarray(0, reader.room);
      reader.room -= taken.length;
      reader.text += taken.toString();
      reader.writes += 1;
      return taken.length;
    },
    onDropped: (count) => dropped.push(count),
    ...options,
  });
}

/** Runs what a process runs when it exits. */
function exit(): void {
  for (const listener of process.listeners('exit')) {
    if (!before.includes(listener)) listener.call(process, 0);
  }
}

beforeEach(() => {
  Object.assign(reader, { room: Infinity, why: 'EAGAIN', text: '', writes: 0 });
  dropped.splice(0);
  jest.useFakeTimers();
});

afterEach(() => {
  jest.useRealTimers();
  for (const listener of process.listeners('exit')) {
    if (!before.includes(listener)) process.off('exit', listener);
  }
});

describe('gathered lines', () => {
  test('are written together after 20 ms, in order and once', () => {
    const out = lines();
    out.write('one\n');
    jest.advanceTimersByTime(19);
    out.write('two\n');
    expect(reader.text).toBe('');
    jest.advanceTimersByTime(1);
    expect(reader).toMatchObject({ text: 'one\ntwo\n', writes: 1 });
    jest.advanceTimersByTime(1_000);
    out.write('three\n');
    jest.advanceTimersByTime(20);
    expect(reader).toMatchObject({ text: 'one\ntwo\nthree\n', writes: 2 });
  });

  test('are written at once when there are many', () => {
    const out = lines();
    for (let count = 0; count < 64; count += 1) out.write(`${'x'.repeat(1_023)}\n`);
    expect(reader.text).toHaveLength(65_536);
    expect(reader.writes).toBe(2);
  });

  test('are written by flush and flushSync', () => {
    const out = lines();
    out.write('one\n');
    out.flushSync();
    expect(reader.text).toBe('one\n');
    out.write('two\n');
    const done = jest.fn();
    out.flush(done);
    expect(done).toHaveBeenCalledTimes(1);
    expect(reader.text).toBe('one\ntwo\n');
  });

  test('are written when the process exits', () => {
    lines().write('one\n');
    exit();
    expect(reader.text).toBe('one\n');
  });
});

describe.each(['EAGAIN', 'EPIPE', 'ENOSPC', 'EIO'])('when nothing can be written (%s)', (why) => {
  beforeEach(() => {
    Object.assign(reader, { room: 0, why });
  });

  test('lines wait, bounded in bytes; the rest is counted, and said once when they flow again', () => {
    const out = lines({ mostBytes: 10_010 });
    const line = `${'é'.repeat(49)}\n`;
    for (let count = 0; count < 500; count += 1) out.write(line);
    jest.advanceTimersByTime(60_000);
    expect(reader.text).toBe('');
    expect(out.dropped()).toBe(399);
    expect(dropped).toEqual([]);
    out.write('short\n');
    expect(out.dropped()).toBe(399);
    reader.room = Infinity;
    jest.advanceTimersByTime(1_000);
    expect(reader.text).toBe(`${line.repeat(101)}short\n`);
    expect(dropped).toEqual([399]);
    jest.advanceTimersByTime(60_000);
    out.write(line);
    jest.advanceTimersByTime(20);
    expect(dropped).toEqual([399]);
    expect(out.dropped()).toBe(399);
  });

  test('what was dropped is said at exit too', () => {
    const out = lines({
      mostBytes: 10,
      onDropped: (count) => out.write(`lost ${count}\n`),
    });
    for (let count = 0; count < 5; count += 1) out.write('12345678\n');
    jest.advanceTimersByTime(20);
    reader.room = Infinity;
    exit();
    expect(reader.text).toBe('12345678\nlost 4\n');
  });

  test('a line that was written in part goes on where it stopped', () => {
    const out = lines();
    out.write('one two three\n');
    for (let count = 0; count < 20; count += 1) {
      reader.room = 1;
      jest.advanceTimersByTime(1_100);
    }
    expect(reader.text).toBe('one two three\n');
  });

  test('flush gives up after a second, and the exit does not wait once more', () => {
    const out = lines();
    out.write('one\n');
    const done = jest.fn();
    out.flush(done);
    jest.advanceTimersByTime(999);
    expect(done).not.toHaveBeenCalled();
    jest.advanceTimersByTime(100);
    expect(done).toHaveBeenCalledTimes(1);
    jest.useRealTimers();
    const start = performance.now();
    exit();
    expect(performance.now() - start).toBeLessThan(500);
  });

  test('flush ends as soon as everything is written', () => {
    const out = lines();
    out.write('one\n');
    const done = jest.fn();
    out.flush(done);
    jest.advanceTimersByTime(300);
    reader.room = Infinity;
    jest.advanceTimersByTime(600);
    expect(done).toHaveBeenCalledTimes(1);
    expect(reader.text).toBe('one\n');
  });
});
