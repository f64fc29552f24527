import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { askBroker, judgeHealth } from '../../src/cli/status.js';

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
