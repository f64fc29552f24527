import { describe, expect, test } from '@jest/globals';
import { reportJson, reportLines } from '../../../src/cli/doctor/doctor.js';
import {
  Examination,
  failed,
  failure,
  ok,
  skipped,
  warning,
  type CheckReport,
} from '../../../src/cli/doctor/examination.js';
import { ConfigError } from '../../../src/config/config-error.js';
import { BrokerError } from '../../../src/tokens/errors.js';
import { VirtualClock } from '../../support/virtual-clock.js';

describe('an examination', () => {
  test('gives a check the values of those it needs', async () => {
    const examination = new Examination();
    const one = await examination.check('one', [], () => ({ ...ok('is one'), value: 1 }));
    const two = await examination.check('two', [], () => ({ ...warning('is two'), value: 'b' }));
    await examination.check('sum', [one, two], (number: number, text: string) =>
      ok(`${number}${text}`),
    );
    expect(await examination.reports()).toEqual([
      { check: 'one', state: 'ok', message: 'is one' },
      { check: 'two', state: 'warning', message: 'is two' },
      { check: 'sum', state: 'ok', message: '1b' },
    ]);
  });

  test('skips what depends on a check without a value, and names the one to blame', async () => {
    const examination = new Examination();
    const fine = await examination.check('fine', [], () => ({ ...ok(''), value: 1 }));
    const broken = await examination.check<number, []>('broken', [], () => failed('is broken'));
    const middle = await examination.check('middle', [fine, broken], () => ({
      ...ok(''),
      value: 2,
    }));
    await examination.check('last', [middle], () => ok('never'));
    expect((await examination.reports()).slice(2)).toEqual([
      {
        check: 'middle',
        state: 'skipped',
        message: 'It depends on "broken".',
        blockedBy: 'broken',
      },
      { check: 'last', state: 'skipped', message: 'It depends on "broken".', blockedBy: 'broken' },
    ]);
  });

  test('goes on after a failure that left a value', async () => {
    const examination = new Examination();
    const old = await examination.check('old', [], () => ({ ...failed('expired'), value: 7 }));
    await examination.check('next', [old], (value: number) => ok(String(value)));
    expect((await examination.reports()).map(({ state }) => state)).toEqual(['failed', 'ok']);
  });

  test('takes what is thrown for the finding', async () => {
    const examination = new Examination();
    await examination.check('throws', [], () => {
      throw new BrokerError('STORE_TIMEOUT', 'retry', 'no answer');
    });
    await examination.check('rejects', [], () => Promise.reject(new Error('Bearer abc.def.ghi')));
    expect(await examination.reports()).toMatchObject([
      { state: 'failed', code: 'STORE_TIMEOUT', message: 'no answer' },
      { state: 'failed', code: 'UNEXPECTED', message: expect.not.stringContaining('abc.def') },
    ]);
  });
});

describe('an examination in which much does not answer', () => {
  const never = (): Promise<never> => new Promise(() => undefined);

  test('is over in seven seconds, and names what did not answer', async () => {
    const clock = new VirtualClock();
    const began = clock.now();
    const examination = new Examination(clock);
    const store = examination.check('store', [], () => ({ ...ok('opens'), value: 1 }));
    const provider = examination.check<number, []>('provider', [], never);
    void examination.check('token', [store], never);
    void examination.check('keys', [provider], () => ok('never'));
    void examination.check('clock', [store], async () => {
      await clock.sleep(3_000);
      return ok('asked side by side');
    });
    const noAnswer = { state: 'failed', code: 'NO_ANSWER', message: 'No answer within 7 s.' };
    expect(await examination.reports()).toMatchObject([
      { check: 'store', state: 'ok' },
      { check: 'provider', ...noAnswer },
      { check: 'token', ...noAnswer },
      { check: 'keys', state: 'skipped', message: 'It depends on "provider".' },
      { check: 'clock', state: 'ok' },
    ]);
    expect(clock.now() - began).toBe(7_000);
  });

  test('makes a check as soon as what it needs is there', async () => {
    const clock = new VirtualClock();
    const began = clock.now();
    const examination = new Examination(clock);
    const slow = async () => {
      await clock.sleep(2_000);
      return { ...ok('slow'), value: 1 };
    };
    const [one, two] = [examination.check('one', [], slow), examination.check('two', [], slow)];
    void examination.check('both', [one, two], slow);
    expect((await examination.reports()).map(({ check }) => check)).toEqual(['one', 'two', 'both']);
    expect(clock.now() - began).toBe(4_000);
  });
});

test('the mistakes of a configuration stand on a line each, and so do the hints', () => {
  const error = new ConfigError(
    [
      { name: 'PORT', given: '"http"', allowed: 'a port' },
      { name: 'HOST', given: '""', allowed: 'a host' },
    ],
    ['BROKER_ISUER is not a setting.'],
  );
  expect(failure(error)).toEqual({
    state: 'failed',
    message: 'It cannot be used as it is:',
    details: [
      'PORT is "http". Allowed: a port.',
      'HOST is "". Allowed: a host.',
      'BROKER_ISUER is not a setting.',
    ],
    code: 'CONFIG_INVALID',
  });
});

describe('the report', () => {
  const reports: readonly CheckReport[] = [
    { check: 'configuration', ...ok('Without a mistake.') },
    { check: 'clock', ...warning('It is late.', 'Fix it.') },
    { check: 'token secret', state: 'failed', message: 'Gone.', code: 'SECRET_NOT_FOUND' },
    { check: 'trial mint', ...skipped('Not wanted.', 'To try: --mint'), details: ['one', 'two'] },
  ];

  test('has a line for each check, with what to do and the code', () => {
    expect(reportLines(reports)).toEqual([
      ' ok   configuration  Without a mistake.',
      'WARN  clock          It is late. Fix it.',
      'FAIL  token secret   Gone. (SECRET_NOT_FOUND)',
      'skip  trial mint     Not wanted. To try: --mint',
      '                     - one',
      '                     - two',
      '',
      '1 failed. Warnings: 1, ok: 1, skipped: 1.',
    ]);
  });

  test.each([
    ['with a failure', reports, false],
    ['with a warning', reports.filter(({ state }) => state !== 'failed'), true],
    ['of nothing', [], true],
  ])('%s', (_what, some, healthy) => {
    expect(reportJson(some)).toEqual({ ok: healthy, checks: some });
    expect(reportLines(some).at(-1)?.startsWith('Nothing failed.')).toBe(healthy);
  });

  test('counts the checks that a failed one holds up, and does not repeat its cause', () => {
    const blocked = (check: string, blockedBy: string): CheckReport => ({
      check,
      ...skipped(`It depends on "${blockedBy}".`),
      blockedBy,
    });
    const held: readonly CheckReport[] = [
      { check: 'store', ...failed('There is none.', 'Make one.') },
      blocked('a check with a long name', 'store'),
      { check: 'keys', ...failed('There are none.') },
      blocked('peers', 'store'),
      blocked('classification', 'keys'),
    ];
    expect(reportLines(held)).toEqual([
      'FAIL  store  There is none. Make one.',
      'FAIL  keys   There are none.',
      '',
      'Fix "store" first: 2 other checks depend on it.',
      'Fix "keys" first: 1 other check depends on it.',
      '2 failed. Warnings: 0, ok: 0, skipped: 3.',
    ]);
    expect(reportJson(held)).toEqual({ ok: false, checks: held });
  });

  test('is painted by its states', () => {
    const marked = reportLines(reports, (tone, text) => `<${tone}:${text}>`);
    expect(marked.map((line) => /^<[^>]*>/.exec(line)?.[0])).toEqual([
      '<good: ok >',
      '<warning:WARN>',
      '<bad:FAIL>',
      '<faint:skip>',
      undefined,
      undefined,
      undefined,
      '<bad:1 failed>',
    ]);
  });
});
