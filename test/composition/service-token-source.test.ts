import { expect, test } from '@jest/globals';
import { createServiceTokenSource } from '../../src/composition/runtime.js';
import { createBroker, START, TOKEN_SECRET, tokenAt } from '../serving/broker.js';
import { serializeServiceToken } from '../../src/tokens/service-token.js';

function setUp() {
  const { clock, store, serving } = createBroker();
  const source = createServiceTokenSource(serving.tokenCache);
  const replace = (accessToken: string): void => {
    store.edit(TOKEN_SECRET, serializeServiceToken(tokenAt(START, { accessToken })));
  };
  return { clock, store, source, replace };
}

test('patience waits out the second in which an ordinary read was made', async () => {
  const { clock, source, replace } = setUp();
  const first = await source.getToken();
  replace('header.payload.signature-two');
  clock.advance(300);
  const impatient = await source.getToken({ force: true });
  expect(impatient.accessToken).toBe(first.accessToken);
  const patient = await Promise.all([
    source.getToken({ force: true, patient: true }),
    source.getToken({ force: true, patient: true }),
  ]);
  expect(patient.map(({ accessToken }) => accessToken)).toEqual([
    'header.payload.signature-two',
    'header.payload.signature-two',
  ]);
  expect(clock.now() - START).toBe(1_000);
});

test('patience costs no wait after a forced read', async () => {
  const { clock, store, source } = setUp();
  await source.getToken();
  clock.advance(1_000);
  await source.getToken({ force: true });
  clock.advance(100);
  await source.getToken({ force: true, patient: true });
  expect([clock.now() - START, store.calls.read]).toEqual([1_100, 2]);
});

test('a demand is in seconds, and one that is not a demand is refused', async () => {
  const { store, source } = setUp();
  const { accessToken } = await source.getToken({ minTtlSeconds: 3_600 });
  expect(accessToken).toBe((await source.getToken()).accessToken);
  await expect(source.getToken({ minTtlSeconds: 30 * 86_400 })).rejects.toMatchObject({
    code: 'TOKEN_LIFE_TOO_SHORT',
  });
  const reads = store.calls.read;
  await expect(source.getToken({ minTtlMs: 3_600_000 } as object)).rejects.toMatchObject({
    code: 'CLIENT_MISCONFIGURED',
    kind: 'misconfigured',
    message: '"minTtlMs" is now "minTtlSeconds", in seconds.',
  });
  expect(store.calls.read).toBe(reads);
});
