import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { HiddenBytes } from '../../src/config/values.js';
import {
  createLogger,
  flushLogger,
  plainLines,
  type BrokerLogger,
} from '../../src/operations/log.js';
import { NestLogger } from '../../src/operations/nest-logger.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { assertNoCanary, CANARIES } from '../support/canaries.js';
import { character, fc } from '../support/properties.js';
import { LogLines } from './log-lines.js';

afterEach(() => {
  jest.useRealTimers();
});

function logger(level: 'trace' | 'info' = 'trace'): { log: BrokerLogger; out: LogLines } {
  const out = new LogLines();
  return { log: createLogger({ level, destination: out }), out };
}

describe('a line', () => {
  test('has an ISO time, the level as a word, the service, and the fields', () => {
    const { log, out } = logger();
    log.info({ versionId: 'v1', count: 2 }, 'Rotated');
    expect(out.line).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      service: 'service-token-broker',
      pid: process.pid,
      versionId: 'v1',
      count: 2,
      message: 'Rotated',
    });
  });

  test('is not written under the level', () => {
    const { log, out } = logger('info');
    log.debug('hidden');
    expect(out.text).toBe('');
  });

  test('keeps dates, URLs and nested fields readable', () => {
    const { log, out } = logger();
    log.info({
      at: new Date(0),
      url: new URL('https://host.example/x'),
      map: new Map([['a', 1]]),
      set: new Set(['b']),
      big: 10n,
      bytes: Buffer.from('abc'),
      key: new HiddenBytes(Buffer.from('abc')),
      none: null,
      missing: undefined,
      list: [{ a: true }],
      action: () => 1,
    });
    expect(out.line).toMatchObject({
      at: '1970-01-01T00:00:00.000Z',
      url: 'https://host.example/x',
      map: { a: 1 },
      set: ['b'],
      big: '10',
      bytes: '[3 bytes]',
      key: '(hidden)',
      none: null,
      list: [{ a: true }],
    });
    expect(out.line).not.toHaveProperty('missing');
    expect(out.line).not.toHaveProperty('action');
  });

  test('survives circular, deep, large and hostile fields', () => {
    const { log, out } = logger();
    const circle: Record<string, unknown> = { a: 1 };
    circle['self'] = circle;
    let deep: Record<string, unknown> = {};
    for (let level = 0; level < 50; level += 1) deep = { deep };
    log.info({
      circle,
      deep,
      many: Array.from({ length: 1000 }, (_, index) => index),
      proto: JSON.parse('{"__proto__":{"polluted":1}}') as object,
    });
    log.info(
      Object.defineProperty({}, 'thrower', {
        enumerable: true,
        get: () => {
          throw new Error(CANARIES.jwt);
        },
      }),
      'still here',
    );
    const [first, second] = out.lines;
    expect(first).toMatchObject({ circle: { a: 1, self: '[circular]' } });
    expect(JSON.stringify(first?.['deep'])).toContain('[too deep]');
    expect(first?.['many']).toHaveLength(100);
    expect(second).toMatchObject({ fields: '[unreadable]', message: 'still here' });
    expect('polluted' in {}).toBe(false);
    assertNoCanary(out.text);
  });
});

class StoreError extends BrokerError {}

describe('an error', () => {
  const cause = Object.assign(new Error(`connect failed with Bearer ${CANARIES.jwt}`), {
    code: 'ECONNREFUSED',
    config: { headers: { authorization: `Basic ${CANARIES.clientSecret}` } },
  });
  const error = new StoreError(
    'STORE_UNAVAILABLE',
    'retry',
    `The store is down; client_secret=${CANARIES.clientSecret}`,
    { cause, retryAfterSeconds: 7 },
  );

  test.each<[string, (log: BrokerLogger) => void, string]>([
    ['as a field', (log) => log.error({ err: error }, 'Failed'), 'Failed'],
    [
      'as a field without a message',
      (log) => log.error({ err: error }),
      'The store is down; client_secret=[redacted]',
    ],
    ['alone', (log) => log.error(error), 'The store is down; client_secret=[redacted]'],
    ['with a message', (log) => log.error(error, 'Failed'), 'Failed'],
  ])('%s is described', (_how, write, message) => {
    const { log, out } = logger();
    write(log);
    expect(out.line).toMatchObject({
      message,
      err: {
        name: 'StoreError',
        code: 'STORE_UNAVAILABLE',
        kind: 'retry',
        retryAfterSeconds: 7,
        message: 'The store is down; client_secret=[redacted]',
        stack: expect.stringMatching(
          /^StoreError: The store is down; client_secret=\[redacted\]\n\s+at /,
        ),
        cause: {
          name: 'Error',
          code: 'ECONNREFUSED',
          message: 'connect failed with Bearer [redacted]',
        },
      },
    });
    // What libraries hang on their errors stays out: here, a request's headers.
    expect(out.text).not.toContain('headers');
    assertNoCanary(out.text);
  });

  test('under another name, in a list, and in a child is described as well', () => {
    const { log, out } = logger();
    log.child({ last: error }).warn({ failure: error, all: [error] }, 'x');
    expect(out.line).toMatchObject({
      last: { code: 'STORE_UNAVAILABLE' },
      failure: { code: 'STORE_UNAVAILABLE' },
      all: [{ code: 'STORE_UNAVAILABLE' }],
    });
    assertNoCanary(out.text);
  });

  test('with many members, endless causes, or none of the usual texts', () => {
    const { log, out } = logger();
    const endless = new Error('endless');
    endless.cause = endless;
    log.error({ err: endless });
    log.error({
      err: new AggregateError([cause, 'text', { secret: CANARIES.peerSecret }, 5], 'many'),
    });
    log.error({ err: Object.assign(new Error('x'), { message: 5, name: { a: 1 }, stack: 7 }) });
    log.error({
      err: Object.assign(new Error('y'.repeat(100_000)), { code: `bad ${CANARIES.jwt}` }),
    });
    const [, aggregate, odd, long] = out.lines;
    expect(aggregate).toMatchObject({
      err: {
        errors: [
          { code: 'ECONNREFUSED' },
          { name: 'NotAnError', message: 'text' },
          { name: 'NotAnError', message: 'An object was thrown.' },
          { name: 'NotAnError', message: '5' },
        ],
      },
    });
    expect(odd).toMatchObject({ err: { name: '', message: '' } });
    expect((long as { err: { message: string } }).err.message).toHaveLength(2001);
    expect(long).not.toHaveProperty('err.code');
    assertNoCanary(out.text);
  });

  test('that cannot be read does not stop the log', () => {
    const { log, out } = logger();
    const hostile = Object.defineProperty(new Error('x'), 'cause', {
      get: () => {
        throw new Error('no');
      },
    });
    log.error({ err: hostile }, 'Failed');
    expect(out.line).toMatchObject({ message: 'Failed', err: { name: 'Unreadable' } });
  });
});

test('no canary survives, wherever it is planted', () => {
  const { log, out } = logger();
  const { jwt, clientSecret, peerSecret, masterKey, privateJwk } = CANARIES;
  const basic = Buffer.from(`peer:${peerSecret}`).toString('base64');
  for (const secret of [jwt, clientSecret, peerSecret, masterKey, privateJwk['d'] ?? '']) {
    log.info(secret);
    log.info('got %s and %s', secret, 'more');
    log.info({ a: 1 }, 'got %s', secret);
    log.info('got %o and %j', { x: secret }, { secret });
    log.info({ deep: { list: [{ text: `it is ${secret}` }] }, [secret]: 1, token: secret });
    log.child({ binding: secret }).child({ token: secret }).info('x');
    const child = log.child({});
    child.setBindings({ late: secret });
    child.info('x');
    log.child({ access_token: { nested: secret } }).info(new Error(secret), 'with %s', secret);
    log.error(new Error('outer', { cause: new Error(secret, { cause: secret }) }));
    log.error({ err: `thrown ${secret}`, errors: [new Error(secret)] });
    log.info({
      map: new Map([['password', secret]]),
      set: new Set([secret]),
      buffer: Buffer.from(secret),
    });
    log.info({ toJSON: () => secret }, 'x');
    log.info({ url: new URL(`https://u:${encodeURIComponent(secret)}@host.example/`) });
  }
  log.info(
    { headers: { authorization: `Basic ${basic}` }, jwk: privateJwk },
    `Authorization: Basic ${basic}`,
  );
  log.info(JSON.stringify(privateJwk));
  log.info({
    body: JSON.stringify({ client_secrets: ['a', clientSecret], client_secret: clientSecret }),
  });
  log.info({ SecretString: JSON.stringify({ a: clientSecret }), RotationToken: 'short' });
  const nest = new NestLogger(log);
  for (const secret of [jwt, clientSecret, peerSecret, masterKey]) {
    nest.log(secret, 'Context');
    nest.error(new Error(secret), `Error: ${secret}\n    at x (y:1:2)`, 'Context');
    nest.warn({ secret, x: secret }, secret);
    nest.fatal(() => secret, [secret], 'Context');
  }
  expect(out.lines.length).toBeGreaterThan(70);
  assertNoCanary(out.text);
});

describe('the text format', () => {
  test('is a line for people, with the error below', () => {
    const out = new LogLines();
    const log = createLogger({ level: 'info', format: 'text', destination: out });
    log.warn({ versionId: 'v1', reason: 'two words', list: [1] }, 'Careful');
    log.error(
      { err: new StoreError('STORE_BUSY', 'retry', 'Locked', { cause: new Error('inner') }) },
      'Failed',
    );
    const [first, second, ...rest] = out.text.split('\n');
    expect(first).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} WARN {2}Careful versionId=v1 reason="two words" list=\[1\]$/,
    );
    expect(second).toMatch(/^\d\d:\d\d:\d\d\.\d{3} ERROR Failed$/);
    expect(rest[0]).toBe('    StoreError: Locked');
    expect(rest).toContain('      code [STORE_BUSY]');
    expect(rest).toContain('    caused by:');
    expect(rest).toContain('    Error: inner');
  });

  test('a line without a message or an error', () => {
    jest.useFakeTimers({ now: Date.parse('2026-01-02T03:04:05.678Z') });
    const out = new LogLines();
    createLogger({ level: 'info', format: 'text', destination: out }).info({ a: 1 });
    expect(out.text).toBe('03:04:05.678 INFO a=1\n');
  });
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
      fc.property(fc.string({ unit: character }), (peer) => {
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

describe("Nest's lines", () => {
  test('go through the log with context and level', () => {
    const { log, out } = logger();
    const nest = new NestLogger(log);
    nest.log('Started', 'App');
    nest.log('Mapped {/x, GET} route', 'RouterExplorer');
    nest.warn('Careful');
    nest.debug(() => 'lazy', 'App');
    nest.verbose(class Named {}, 'App');
    nest.error('Broken', 'Error: Broken\n    at x (y:1:2)', 'App');
    nest.error(new StoreError('STORE_BUSY', 'retry', 'Locked'), undefined, 'ExceptionsHandler');
    nest.fatal({ a: 1 }, { b: 2 }, 'App');
    nest.log('With', { a: 1 }, 'App');
    nest.log(undefined);
    expect(
      out.lines.map(({ time: _time, pid: _pid, service: _service, ...line }) => line),
    ).toMatchObject([
      { level: 'info', message: 'Started', context: 'App' },
      { level: 'debug', message: 'Mapped {/x, GET} route', context: 'RouterExplorer' },
      { level: 'warn', message: 'Careful' },
      { level: 'debug', message: 'lazy', context: 'App' },
      { level: 'trace', message: 'Named', context: 'App' },
      { level: 'error', message: 'Broken', stack: expect.stringContaining('at x'), context: 'App' },
      {
        level: 'error',
        message: 'Locked',
        err: { code: 'STORE_BUSY' },
        context: 'ExceptionsHandler',
      },
      { level: 'fatal', message: '', details: [{ a: 1 }, { b: 2 }], context: 'App' },
      { level: 'info', message: 'With', details: [{ a: 1 }], context: 'App' },
      { level: 'info', message: 'undefined' },
    ]);
  });

  test('under the level cost no lazy message', () => {
    const { log } = logger('info');
    new NestLogger(log).debug(() => {
      throw new Error('asked for');
    });
  });
});

describe('standard output', () => {
  // What `npm test` has built: a process of its own cannot load TypeScript.
  const folder = fileURLToPath(new URL('../../dist', import.meta.url));

  function run(script: string): { lines: string[]; status: number | null } {
    const result = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      cwd: folder,
      encoding: 'utf8',
    });
    return {
      lines: result.stdout.split('\n').filter((line) => line !== ''),
      status: result.status,
    };
  }

  const START = `
    import { createLogger, flushLogger } from './operations/log.js';
    const log = createLogger({ level: 'info' });
    for (let count = 0; count < 500; count += 1) log.info({ count }, 'x'.repeat(500));
  `;

  test.each([
    ['at the end', ``, 0],
    ['at process.exit', `process.exit(3);`, 3],
    ['at an uncaught error', `throw new Error('bye');`, 1],
    ['after a flush', `await flushLogger(log); process.exitCode = 4;`, 4],
  ])('is complete %s', (_when, end, status) => {
    const result = run(START + end);
    expect(result.status).toBe(status);
    expect(result.lines).toHaveLength(500);
    expect(JSON.parse(result.lines.at(-1) ?? '')).toMatchObject({ count: 499 });
  });

  test('flushing a destination that keeps nothing back is no mistake', async () => {
    await expect(flushLogger(logger().log)).resolves.toBeUndefined();
  });
});
