import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { askBroker, judgeHealth, statusLines } from '../../src/cli/status.js';

const URL = 'http://127.0.0.1:3000';
const details = (checks: object): object => ({ status: 'ok', details: checks });

describe('what a broker says of itself', () => {
  test.each([
    ['ready', true, details({ token: { status: 'up' }, rotation: { status: 'up' } }), []],
    [
      'degraded',
      true,
      details({
        token: { status: 'up' },
        rotation: { status: 'degraded', reason: 'The provider is down.' },
        coverage: { status: 'degraded' },
      }),
      [
        { check: 'rotation', reason: 'The provider is down.' },
        { check: 'coverage', reason: 'degraded' },
      ],
    ],
    [
      'not ready',
      false,
      details({ token: { status: 'down', reason: 'No service token yet.' } }),
      [{ check: 'token', reason: 'No service token yet.' }],
    ],
    ['not ready', false, 'anything', []],
    ['ready', true, null, []],
    ['ready', true, { details: { token: null, other: 7 } }, []],
  ])('is %s', (state, isReady, body, reasons) => {
    expect(judgeHealth(URL, isReady, body)).toEqual({
      url: URL,
      state,
      words: `${state} at ${URL}`,
      reasons,
      details: body,
    });
  });

  test.each([
    ['ready', true, { status: 'ok' }, ''],
    ['degraded', true, { status: 'degraded' }, '; its log says why'],
    ['not ready', false, { status: 'error' }, '; its log says why'],
  ])('is %s, by its status alone', (state, isReady, body, hint) => {
    const { words, ...others } = judgeHealth(URL, isReady, body);
    expect(others).toEqual({ url: URL, state, reasons: [], details: body });
    expect(words.startsWith(`${state} at ${URL}${hint}`)).toBe(true);
    expect(words.includes('BROKER_MANAGEMENT_PORT')).toBe(hint !== '');
  });

  test('tells what it serves', () => {
    const stale = details({ token: { status: 'degraded', remaining_seconds: 3_600, stale: true } });
    expect(judgeHealth(URL, true, stale).serves).toEqual({ remaining_seconds: 3_600, stale: true });
    const fresh = details({ token: { status: 'up', remaining_seconds: 7 } });
    expect(judgeHealth(URL, true, fresh).serves).toEqual({ remaining_seconds: 7, stale: false });
    expect(
      judgeHealth(URL, true, details({ token: { remaining_seconds: 'x' } })),
    ).not.toHaveProperty('serves');
  });

  test('does not reach the terminal with what could move the cursor', () => {
    const body = details({ 'a\u001b[2J': { status: 'down', reason: 'b\n\u202ec' } });
    expect(judgeHealth(URL, false, body).reasons).toEqual([{ check: 'a [2J', reason: 'b c' }]);
  });
});

test('what is no broker is a finding, not an error', async () => {
  const server = createServer((_request, response) => response.end('<html>'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const words = `no answer at ${url} (what answers there is no broker)`;
  expect(await askBroker(url)).toEqual({ url, state: 'no answer', words, reasons: [] });
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
});

describe('status, for people', () => {
  const NOW = Date.parse('2026-11-22T12:00:00Z');
  const VERSION = '0b6d7c0e-8d0c-4bd4-8c8a-c5d1e7d5b1f0';
  const status: Parameters<typeof statusLines>[0] = {
    ok: true,
    store: 'embedded',
    token_secret: 'service-token-broker/token',
    rotated_by: 'broker',
    next_rotation: '2026-11-23T03:00:00.000Z',
    current: {
      version_id: VERSION,
      generated_at: '2026-11-22T03:00:00.000Z',
      expires_at: '2026-11-23T03:59:00.000Z',
      remaining_seconds: 57_540,
    },
    coverage: { covered: true, required: 1, explanation: 'A token lives long enough.' },
    broker: {
      url: URL,
      state: 'degraded',
      words: `degraded at ${URL}`,
      serves: { remaining_seconds: 57_540, stale: true },
      reasons: [{ check: 'peers', reason: 'They cannot be read.' }],
    },
  };

  test('has the tokens in a table, and the rest beside its labels', () => {
    expect(statusLines(status, NOW)).toEqual([
      'TOKEN    VERSION                               MINTED (UTC)      EXPIRES (UTC)     LEFT',
      `current  ${VERSION}  2026-11-22 03:00  2026-11-23 03:59  15 h 59 min`,
      '',
      'Secret store  embedded, token secret "service-token-broker/token"',
      'Rotation      by the broker; next 2026-11-23 03:00 UTC',
      'Coverage      ok: A token lives long enough.',
      `Broker        degraded at ${URL}`,
      '              serves a token with 15 h 59 min left, STALE: it cannot read the secret store',
      '              peers: They cannot be read.',
    ]);
  });

  test('names what is pending, and a token that is not served any more', () => {
    const late = { ...status, ok: false, pending_leftover: VERSION };
    const lines = statusLines(late, NOW + 57_500_000);
    expect(lines.slice(0, 4)).toEqual([
      expect.stringMatching(/^TOKEN /),
      expect.stringMatching(/ 40 s$/),
      `pending  ${VERSION}  -                 -                 -`,
      '',
    ]);
    expect(lines).toContain(
      'Served        no: too little life left. Rotate now: service-token-broker rotate',
    );
    expect(lines).toContain(
      'Pending       a rotation runs now, or one did not finish (rotate --repair)',
    );
  });

  test('has no table while there is no token', () => {
    const { current: _current, coverage: _coverage, ...nothing } = status;
    expect(statusLines({ ...nothing, ok: false }, NOW)[0]).toBe(
      'Service token  none yet: run "service-token-broker rotate", and see what it says',
    );
  });

  test('fits 100 columns, and is painted by what it means', () => {
    const lines = statusLines({ ...status, pending_leftover: VERSION }, NOW);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    const painted = statusLines(status, NOW, (tone, text) => `<${tone}>${text}</>`);
    expect(painted).toContain(`<strong>Broker      </>  <warning>degraded</> at ${URL}`);
    expect(painted).toContain('<strong>Coverage    </>  <good>ok</>: A token lives long enough.');
    expect(painted[0]).toMatch(/^<strong>TOKEN .*LEFT<\/>$/);
  });
});
