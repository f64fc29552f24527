import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { bufferLines } from '../../src/operations/line-buffer.js';

let written: string[] = [];
const destination = {
  write: (text: string) => void written.push(text),
  flush: (done?: (error?: Error) => void) => {
    written.push('(flush)');
    done?.();
  },
  flushSync: () => void written.push('(flushSync)'),
};
const before = process.listeners('exit');

beforeEach(() => {
  written = [];
  jest.useFakeTimers();
});

afterEach(() => {
  jest.useRealTimers();
  for (const listener of process.listeners('exit')) {
    if (!before.includes(listener)) process.off('exit', listener);
  }
});

describe('gathered lines', () => {
  test('are handed on together after 20 ms, in order and once', () => {
    const lines = bufferLines(destination);
    lines.write('one\n');
    jest.advanceTimersByTime(19);
    lines.write('two\n');
    expect(written).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(written).toEqual(['one\ntwo\n']);
    jest.advanceTimersByTime(1_000);
    lines.write('three\n');
    jest.advanceTimersByTime(20);
    expect(written).toEqual(['one\ntwo\n', 'three\n']);
  });

  test('are handed on at once when there are many, so that memory stays bounded', () => {
    const lines = bufferLines(destination);
    const line = `${'x'.repeat(1_023)}\n`;
    for (let count = 0; count < 64; count += 1) lines.write(line);
    expect(written.map(({ length }) => length)).toEqual([32_768, 32_768]);
    jest.advanceTimersByTime(1_000);
    expect(written).toHaveLength(2);
  });

  test.each(['flush', 'flushSync'] as const)('are handed on by %s', (method) => {
    const lines = bufferLines(destination);
    lines.write('one\n');
    lines[method]();
    expect(written).toEqual(['one\n', `(${method})`]);
  });

  test('are handed on when the process exits, before the destination ends', () => {
    const ends = (): void => void written.push('(end)');
    process.on('exit', ends);
    bufferLines(destination).write('one\n');
    for (const listener of process.listeners('exit')) {
      if (!before.includes(listener)) listener.call(process, 0);
    }
    expect(written).toEqual(['one\n', '(end)']);
  });
});
