import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { createLogger } from '../../src/operations/log.js';
import { plainLines } from '../../src/operations/request-log.js';
import { LogLines } from './log-lines.js';

afterEach(() => {
  jest.useRealTimers();
});

/** The same line by the log itself and by the short way. */
function both(fields: Readonly<Record<string, string | number | boolean | undefined>>) {
  const out = new LogLines();
  const log = createLogger({ level: 'info', destination: out });
  log.info(fields, 'request');
  plainLines(log)('info', fields, 'request');
  return out.text.split(/(?<=\n)/);
}

describe('a plain line', () => {
  test('has the same bytes as one of the log', () => {
    jest.useFakeTimers({ now: Date.UTC(2030, 0, 2, 3, 4, 5, 6) });
    const written = both({ a: 'text', b: 1.25, c: true, d: undefined, e: '::ffff:127.0.0.1' });
    expect(written).toHaveLength(2);
    expect(written[1]).toBe(written[0]);
    expect(written[1]).toContain('"time":"2030-01-02T03:04:05.006Z"');
    expect(both({})[1]).toBe(both({})[0]);
  });

  test('is one line of JSON whatever the text in it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (peer) => {
        const [, line = ''] = both({ peer });
        expect(line.indexOf('\n')).toBe(line.length - 1);
        expect(JSON.parse(line)).toMatchObject({ level: 'info', peer, message: 'request' });
      }),
    );
  });

  test('is not written under the level, also when that changes', () => {
    const out = new LogLines();
    const log = createLogger({ level: 'info', destination: out });
    const write = plainLines(log);
    write('debug', {}, 'hidden');
    log.level = 'debug';
    write('debug', {}, 'shown');
    expect(out.line['message']).toBe('shown');
  });
});
