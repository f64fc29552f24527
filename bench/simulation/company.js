import { streamOf } from './chance.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** What is simulated when nothing else is said. Spans in the unit that the name ends with. */
export const DEFAULTS = {
  seed: 1,
  days: 30,
  /** P */
  services: 50,
  /** R, of each service, over all Regions. */
  replicas: 4,
  /** B, in each Region. */
  brokers: 3,
  /** G */
  regions: 1,
  /** Service tokens that differ, by audience or scope: a service uses one of them. */
  tokens: 1,
  /** Replicas that share a host, and there one local agent. */
  replicasPerHost: 10,
  /** Pause between two calls of a replica that need the token. */
  callSeconds: 1,
  /** Life of a token as the provider mints it. */
  tokenHours: 25,
  /** When the broker, or the rotation function, rotates; UTC. */
  cron: '0 3 * * *',
  /** Until a person notices that calls are refused, and acts, where no program does. */
  operatorMinutes: 30,
  failures: true,
  /** How long a call of the store takes, one that fails, and a mint; milliseconds, under 100 for the store. */
  latency: { read: 20, write: 40, failure: 1_000, mint: 300 },
};

/** How often each failure happens, and how long it takes: means of an exponential distribution, or fixed numbers. */
const FAILURES = {
  providerOutage: { everyDays: 10, minutes: 45 },
  storeOutage: { everyDays: 15, minutes: 10 },
  storeThrottling: { everyDays: 7, minutes: 15 },
  /** A Region cannot reach the provider and the store. */
  partition: { everyDays: 15, minutes: 20 },
  brokerRestart: { everyDays: 7, seconds: 20 },
  /** A crash, or a host that is drained. */
  replicaRestart: { everyDays: 10 },
  /** A deployment of a service replaces its replicas one after the other. */
  deployment: { everyDays: 3, secondsBetween: 10 },
  leak: { everyDays: 15 },
  /** The provider replaces its signing key and withdraws the old one at once. */
  keyChange: { everyDays: 30 },
};

/**
 * A company and what happens to it, from a seed. Instants are in milliseconds since the Unix epoch; an interval is
 * `[start, end]`.
 */
export function foundCompany(given = {}) {
  const size = { ...DEFAULTS, ...given };
  const start = Date.UTC(2026, 8, 1);
  const end = start + Math.round(size.days * DAY);
  const company = { ...size, start, end, replicaCount: size.services * size.replicas };
  const fate = size.failures ? fail(company) : calm(company);
  /** Times in which a call of the store may fail, for each Region. */
  const storeTroubled = fate.storeDown.map((down, region) =>
    union([...down, ...fate.storeThrottled[region]]),
  );
  return { ...company, ...fate, storeTroubled };
}

function calm({ brokers, regions, start }) {
  const none = Array.from({ length: regions }, () => []);
  return {
    providerDown: none,
    storeDown: none,
    storeThrottled: none,
    brokerDown: Array.from({ length: brokers * regions }, () => []),
    leaks: [],
    keyChanges: [],
    startsOf: () => [start],
  };
}

function fail(company) {
  const { seed, start, end, regions, brokers, services, replicas } = company;
  const times = (name, everyDays) => instants(streamOf(seed, name), start, end, everyDays);
  const intervals = (name, { everyDays, minutes = 0, seconds = 0 }) => {
    const random = streamOf(seed, `${name} lasts`);
    return times(name, everyDays).map((at) => {
      const span = exponential(random, minutes * MINUTE + seconds * SECOND);
      return [at, Math.min(end, Math.ceil(at + Math.max(SECOND, span)))];
    });
  };
  const perRegion = (make) => Array.from({ length: regions }, (_, region) => make(region));
  const provider = intervals('provider', FAILURES.providerOutage);
  const partitions = perRegion((region) => intervals(`partition ${region}`, FAILURES.partition));
  const deployments = Array.from({ length: services }, (_, service) =>
    times(`deployment ${service}`, FAILURES.deployment.everyDays),
  );
  return {
    providerDown: perRegion((region) => union([...provider, ...partitions[region]])),
    storeDown: perRegion((region) =>
      union([...intervals(`store ${region}`, FAILURES.storeOutage), ...partitions[region]]),
    ),
    storeThrottled: perRegion((region) =>
      union(intervals(`throttling ${region}`, FAILURES.storeThrottling)),
    ),
    brokerDown: Array.from({ length: regions * brokers }, (_, broker) =>
      union(intervals(`broker ${broker}`, FAILURES.brokerRestart)),
    ),
    leaks: times('leak', FAILURES.leak.everyDays),
    keyChanges: times('key change', FAILURES.keyChange.everyDays),
    /** When a replica starts with nothing cached, oldest first. */
    startsOf: ({ service, index }) => {
      const { everyDays } = FAILURES.replicaRestart;
      const own = times(`replica ${service * replicas + index}`, everyDays);
      const place = index * FAILURES.deployment.secondsBetween * SECOND;
      const deployed = deployments[service].map((at) => at + place).filter((at) => at < end);
      return [start, ...[...own, ...deployed].sort((one, other) => one - other)];
    },
  };
}

function exponential(random, mean) {
  return -Math.log(1 - random()) * mean;
}

/** Whole milliseconds within the span, in order. */
function instants(random, start, end, everyDays) {
  const found = [];
  let at = start + exponential(random, everyDays * DAY);
  for (; at < end; at += exponential(random, everyDays * DAY)) found.push(Math.ceil(at));
  return found;
}

/** Intervals in order, with those that overlap made one. */
export function union(intervals) {
  const sorted = [...intervals].sort(([one], [other]) => one - other);
  const joined = [];
  for (const [start, end] of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && start <= last[1]) last[1] = Math.max(last[1], end);
    else joined.push([start, end]);
  }
  return joined;
}

/** Whether an instant is in one of the intervals, by binary search. */
export function isWithin(intervals, instant) {
  let low = 0;
  let high = intervals.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (intervals[middle][0] <= instant) low = middle + 1;
    else high = middle;
  }
  return low > 0 && instant < intervals[low - 1][1];
}

/** The first instant from `instant` on that is in one of the intervals. */
export function nextWithin(intervals, instant) {
  for (const [start, end] of intervals) if (instant < end) return Math.max(start, instant);
  return Number.POSITIVE_INFINITY;
}

/** Every replica: its service, its place in it, its Region, its host and its token. */
export function replicasOf({ services, replicas, regions, tokens, replicasPerHost }) {
  const all = [];
  const inRegion = Array.from({ length: regions }, () => 0);
  for (let service = 0; service < services; service += 1) {
    for (let index = 0; index < replicas; index += 1) {
      const region = index % regions;
      const place = inRegion[region];
      inRegion[region] += 1;
      const host = `${region} ${Math.floor(place / replicasPerHost)}`;
      all.push({
        number: all.length,
        service,
        index,
        region,
        place,
        host,
        token: service % tokens,
      });
    }
  }
  return all;
}
