import { PassThrough } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { peerLines } from '../../src/cli/secret-commands.js';
import {
  entryLines,
  minute,
  painter,
  plain,
  span,
  table,
  wrapped,
  type Paint,
} from '../../src/composition/terminal.js';

const ADDED = Date.parse('2026-11-22T12:34:56Z');
const marked: Paint = (tone, text) => `<${tone}>${text}</>`;

describe('a table', () => {
  const rows = [
    ['orders', 'token', 'x'],
    ['a-much-longer-id', '', 'y'],
  ];

  test('has headings, and columns as wide as their longest text', () => {
    expect(table(['ID', 'ROLES', 'STATE'], rows)).toEqual([
      'ID                ROLES  STATE',
      'orders            token  x',
      'a-much-longer-id         y',
    ]);
  });

  test('paints its headings once they are aligned', () => {
    expect(table(['ID', 'ROLES', 'STATE'], rows, marked)[0]).toBe(
      '<strong>ID                ROLES  STATE</>',
    );
  });
});

test('a text is broken between words where a terminal ends, below its own beginning', () => {
  const text = `one two ${'x'.repeat(50)} three`;
  expect(wrapped(text, 4, 50)).toBe(`one two\n    ${'x'.repeat(50)}\n    three`);
  expect(wrapped(text, 4, 66)).toBe(`one two ${'x'.repeat(50)}\n    three`);
  for (const columns of [undefined, 43]) expect(wrapped(text, 4, columns)).toBe(text);
});

test('texts stand beside their labels; what is not known is left out', () => {
  const entries = [['Secret store', 'aws'], undefined, ['Broker', 'ready'], ['', 'more']] as const;
  expect(entryLines(entries)).toEqual([
    'Secret store  aws',
    'Broker        ready',
    '              more',
  ]);
  expect(entryLines(entries, marked)[1]).toBe('<strong>Broker      </>  ready');
});

test.each([
  [0, '0 s'],
  [61_000, '1 min 1 s'],
  [86_399_000, '23 h 59 min'],
  [-180_000, 'expired 3 min ago'],
])('a span of %d ms is %s', (milliseconds, text) => {
  expect(span(milliseconds)).toBe(text);
});

test('an instant in a table is short, and in UTC', () => {
  expect(minute(ADDED)).toBe('2026-11-22 12:34');
});

describe('colour', () => {
  test.each(['good', 'bad', 'warning', 'faint', 'strong'] as const)(
    '%s is for a terminal alone',
    (tone) => {
      expect(painter(new PassThrough())(tone, 'text')).toBe('text');
      expect(plain(tone, 'text')).toBe('text');
      const terminal = Object.assign(new PassThrough(), { isTTY: true });
      // eslint-disable-next-line no-control-regex -- that is what is looked for
      expect(painter(terminal)(tone, 'text')).toMatch(/^(?:\u001b\[\d+m)+text(?:\u001b\[\d+m)+$/);
    },
  );
});

describe('the list of peers', () => {
  const peer = {
    id: 'orders',
    roles: ['token'],
    tokens: ['default'],
    enabled: true,
    createdAt: ADDED,
  } as const;

  test('is a table with dates, and names what is malformed', () => {
    const list = {
      peers: [peer, { ...peer, id: 'b', roles: ['token', 'admin'], enabled: false } as const],
      malformed: [
        { id: 'payments', reason: 'no digest' },
        { id: undefined, reason: 'the id has characters that are not allowed' },
      ],
    };
    expect(peerLines(list)).toEqual([
      'ID        ROLES         STATE      ADDED (UTC)',
      'orders    token         enabled    2026-11-22 12:34',
      'b         token, admin  disabled   2026-11-22 12:34',
      'payments  -             malformed  -',
      '(no id)   -             malformed  -',
      'Malformed, and refused: payments: no digest',
      'Malformed, and refused: (no id): the id has characters that are not allowed',
    ]);
  });

  test('says what to do while there is none', () => {
    expect(peerLines({ peers: [], malformed: [] })).toEqual([
      'No peers yet. Add one: service-token-broker peers add ID',
    ]);
  });
});
