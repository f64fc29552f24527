import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { frozen, stopWhileRotating } from './beside.js';
import { FAULTS, FaultProxy, type Fault } from './fault-proxy.js';
import { coldStart, outage } from './matrix.js';
import { targetsOf } from './report.js';
import { World, type Lives } from './scene.js';
import { startSecretsManager } from './secrets-manager.js';

/** As short as the schedule's checks, every 15 seconds, allow. */
const LIVES: Lives = { token: 15, slot: 5, ttl: 1, skew: 1, minRemaining: 3 };

/**
 * What a machine that is busy with other things may add to what is measured, in milliseconds. Still, a broker fails that waits
 * for a store that hangs (15 s), that does not come back by itself, or that does not end.
 */
const SLACK = 10_000;

// As in `npm run faults`: a miss is measured once more, and the second result counts.
jest.retryTimes(1, { logErrorsBeforeRetry: true });

/** The short form: a fault of each place. `npm run faults` runs all. */
describe('a bad day', () => {
  test('every figure is reached', async () => {
    const world = await World.open(LIVES, undefined, SLACK);
    const [outages, coldStarted, parts] = await Promise.all([
      Promise.all([
        outage(world, 'store', 'hang'),
        outage(world, 'token endpoint', '500'),
        outage(world, 'client', 'TLS failure'),
      ]),
      coldStart(world, 'keys', 'HTML'),
      Promise.all([frozen(SLACK), stopWhileRotating()]),
    ]);
    await world.close();
    expect(outages.map(({ wasDead }) => wasDead)).toEqual([true, true, true]);
    const targets = targetsOf({ outages, coldStarts: [coldStarted], parts }, SLACK, SLACK);
    expect(Object.fromEntries(targets.map(({ figure, missed }) => [figure, missed]))).toEqual(
      Object.fromEntries(targets.map(({ figure }) => [figure, []])),
    );
  }, 600_000);
});

/** The proxy has to break what it says it breaks, or the suite shows nothing. */
describe('the proxy', () => {
  let target: Awaited<ReturnType<typeof startSecretsManager>>;
  beforeAll(async () => {
    target = await startSecretsManager();
  });
  afterAll(() => target.close());

  const NAMELESS = FAULTS.filter((fault) => fault !== 'DNS failure' && fault !== 'TLS failure');
  const EXPECTED: Readonly<Record<(typeof NAMELESS)[number], string>> = {
    latency: 'no answer in time',
    hang: 'no answer in time',
    reset: 'ECONNRESET',
    'half-open': '400',
    'truncated body': 'cut off',
    garbage: 'HPE_INVALID_CONSTANT',
    HTML: '200 text/html',
    '429': '429 after 7',
    '500': '500',
  };

  async function ask(proxy: FaultProxy): Promise<string> {
    try {
      const response = await fetch(proxy.url, {
        method: 'POST',
        body: '{}',
        signal: AbortSignal.timeout(1_000),
      });
      const body = await response.text().catch(() => undefined);
      if (body === undefined) return 'cut off';
      const type = response.headers.get('content-type');
      if (type === 'text/html') return `${response.status} ${type}`;
      const after = response.headers.get('retry-after');
      return after === null ? `${response.status}` : `${response.status} after ${after}`;
    } catch (error) {
      const { name, cause } = error as { name: string; cause?: { code?: string } };
      return name === 'TimeoutError' ? 'no answer in time' : (cause?.code ?? name);
    }
  }

  test.each(NAMELESS)('%s', async (fault: Fault) => {
    const proxy = await FaultProxy.listen({ target: () => target.url });
    expect(await ask(proxy)).toBe('400');
    await proxy.fail(fault);
    // A connection that was kept may be tried first, and be dead: then the next is a new one.
    const answers = [await ask(proxy), await ask(proxy)];
    expect(answers).toContain(EXPECTED[fault as (typeof NAMELESS)[number]]);
    if (fault === 'half-open') expect(answers).toContain('no answer in time');
    await proxy.heal();
    expect([await ask(proxy), await ask(proxy)]).toContain('400');
    await proxy.close();
  });
});
