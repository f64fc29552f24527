import { describe, expect, test } from '@jest/globals';
import { billOf } from '../../bench/simulation/bill.js';
import { loadCode } from '../../bench/simulation/brokers.js';
import { foundCompany, isWithin, nextWithin, union } from '../../bench/simulation/company.js';
import { runCallByCall, runTogether } from '../../bench/simulation/replicas.js';
import { simulate, WAYS } from '../../bench/simulation/simulate.js';
import { fc } from '../support/properties.js';

const code = await loadCode((path: string) => import(`../../src/${path}`));

/** Small enough to run each call: what differs with the seed is what fails, and when. */
function smallCompany(seed: number, given: object = {}) {
  return foundCompany({
    seed,
    days: 1,
    services: 2,
    replicas: 3,
    brokers: 1,
    regions: 1 + (seed % 2),
    replicasPerHost: 2,
    callSeconds: 60,
    ...given,
  });
}

function counted(results: readonly object[]): readonly object[] {
  return results.map((result) => ({ ...result, processorSeconds: undefined }));
}

describe('the simulation of a company', () => {
  test('counts the same, whether it leaps from event to event or makes every call', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 1_000_000 }), async (seed) => {
        const company = smallCompany(seed);
        // The brokers are the same for both: only the replicas are run in two ways.
        const ran = new Map();
        const leapt = await simulate({ company, code, ran, run: runTogether });
        const each = await simulate({ company, code, ran, run: runCallByCall });
        expect(counted(leapt)).toEqual(counted(each));
      }),
      { seed: 1, numRuns: Number(process.env['SIMULATION_RUNS'] ?? 2) },
    );
  });

  test('a broker that coasts reads as often as one whose every second is run', async () => {
    const company = smallCompany(7, { days: 0.15, regions: 1 });
    const ways = ['broker'];
    const coasted = await simulate({ company, code, ways });
    const each = await simulate({ company, code, ways, everySecond: true });
    expect(counted(coasted)).toEqual(counted(each));
  });

  test('a calm day of the defaults mints once, and nobody is refused', async () => {
    const company = smallCompany(1, { days: 1, failures: false });
    const [broker, mint] = await simulate({ company, code, ways: ['broker', 'mint'] });
    expect(broker).toMatchObject({ mints: 1, refused: 0, secondsWithout: 0 });
    expect(mint).toMatchObject({ mints: company.replicaCount, refused: 0, secondsWithout: 0 });
  });

  test('the same seed gives the same month, another seed another', async () => {
    const month = async (seed: number) =>
      counted(await simulate({ company: smallCompany(seed), code, ways: ['mint', 'agent'] }));
    expect(await month(3)).toEqual(await month(3));
    expect(await month(3)).not.toEqual(await month(5));
  });

  test('every way has a title of its own', () => {
    const titles = Object.values(WAYS).map(({ title }) => title);
    expect(titles.length).toBeGreaterThan(3);
    expect(titles.every((title) => title.length > 0)).toBe(true);
  });
});

describe('the bill', () => {
  test('has the prices of the public lists', () => {
    const storeCalls = { GetSecretValue: 20_000, DescribeSecret: 10_000 };
    const bill = billOf({ mints: 2_000, storeCalls, secrets: 3, days: 30 });
    expect(bill.mints).toBeCloseTo(4.5);
    expect(bill.storeCalls).toBeCloseTo(0.15);
    // DescribeSecret reads no value, so that KMS is not asked.
    expect(bill.keyCalls).toBeCloseTo(0.06);
    expect(bill.secrets).toBeCloseTo(1.2);
    expect(bill.total).toBeCloseTo(4.5 + 0.15 + 0.06 + 1.2 + 1);
  });

  test('who stores nothing pays for no secret and no key', () => {
    expect(billOf({ mints: 0, storeCalls: {}, secrets: 0, days: 30 }).total).toBe(0);
  });
});

describe('intervals', () => {
  const interval = fc
    .tuple(fc.integer({ min: 0, max: 1_000 }), fc.integer({ min: 1, max: 100 }))
    .map(([start, span]): [number, number] => [start, start + span]);

  test('a union covers what its parts cover', () => {
    fc.assert(
      fc.property(fc.array(interval), fc.integer({ min: 0, max: 1_200 }), (parts, instant) => {
        const isCovered = parts.some(([start, end]) => start <= instant && instant < end);
        const joined = union(parts);
        expect(isWithin(joined, instant)).toBe(isCovered);
        const next = nextWithin(joined, instant);
        expect(next === instant).toBe(isCovered);
      }),
    );
  });
});
