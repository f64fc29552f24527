import { billOf } from './bill.js';
import { runBrokers } from './brokers.js';
import {
  agentReaders,
  brokerClients,
  libraryReaders,
  newCounts,
  ownMinters,
  runTogether,
} from './replicas.js';

/** The ways to come by a service token, by name. */
export const WAYS = {
  broker: { title: 'this broker, and its client', reads: 'brokers', make: brokerClients },
  mint: { title: 'each replica mints', make: ownMinters },
  'mint-401': { title: 'the same, and again after a 401', make: ownMinters, heals: true },
  library: { title: "AWS's caching library", reads: 'rotation-function', make: libraryReaders },
  'library-401': {
    title: 'the same, refreshed after a 401',
    reads: 'rotation-function',
    make: libraryReaders,
    heals: true,
  },
  agent: { title: "AWS's agent on each host", reads: 'rotation-function', make: agentReaders },
  'agent-401': {
    title: 'the same, `refreshNow` after a 401',
    reads: 'rotation-function',
    make: agentReaders,
    heals: true,
  },
};

/**
 * Simulates a company by each of the ways.
 *
 * @param run how the replicas are run: `runTogether`, or `runCallByCall` for the test that compares them.
 * @param ran what the brokers of this company did, where that is known already; it is added to.
 * @returns for each way what it asked of the provider and of the store, what that costs, and what the callers noticed.
 */
export async function simulate({
  company,
  code,
  ways = Object.keys(WAYS),
  run = runTogether,
  everySecond = false,
  ran = new Map(),
}) {
  const results = [];
  for (const name of ways) {
    const { title, reads, make, heals = false } = WAYS[name];
    const startedAt = process.cpuUsage();
    if (reads !== undefined && !ran.has(reads)) {
      ran.set(reads, await runBrokers({ company, code, role: reads, everySecond }));
    }
    const base = ran.get(reads) ?? { mints: 0, storeCalls: {} };
    const counts = newCounts(company);
    run(make({ company, code, counts, heals, ran: base }));
    const mints = base.mints + counts.mints;
    const storeCalls = merged(base.storeCalls, counts);
    const { user, system } = process.cpuUsage(startedAt);
    results.push({
      name,
      title,
      mints,
      mostMintsInASecond: counts.mintsIn.reduce((most, count) => Math.max(most, count), 0),
      storeCalls,
      calls: Object.values(storeCalls).reduce((total, count) => total + count, 0),
      requests: counts.requests,
      secondsWithout: counts.without * company.callSeconds,
      refused: counts.refused,
      bill: billOf({ mints, storeCalls, secrets: secretsOf(reads, company), days: company.days }),
      processorSeconds: (user + system) / 1_000_000,
    });
  }
  return results;
}

function merged(calls, counts) {
  const all = { ...calls };
  for (const name of ['DescribeSecret', 'GetSecretValue']) {
    if (counts[name] > 0) all[name] = (all[name] ?? 0) + counts[name];
  }
  return all;
}

/** The tokens' secrets and the credentials, and with the broker the list of peers, in each Region. */
function secretsOf(reads, { tokens, regions }) {
  if (reads === undefined) return 0;
  return (tokens + (reads === 'brokers' ? 2 : 1)) * regions;
}
