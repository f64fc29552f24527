import { nextState, numberOf, stateOf } from './chance.js';
import { isWithin, nextWithin, replicasOf } from './company.js';
import { push, pop } from './virtual-time.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const SKEW = 60 * SECOND;
/** As a replica of a Region sees what another Region has written. */
const REPLICATION = 2 * SECOND;

/** What is counted, of all replicas together. */
export function newCounts(company) {
  return {
    /** Requests for a token that a broker was sent; those that wait for the next token are not among them. */
    requests: 0,
    DescribeSecret: 0,
    GetSecretValue: 0,
    mints: 0,
    /** Calls that had no token to go with. */
    without: 0,
    /** Calls that were made with a token that receivers refuse. */
    refused: 0,
    /** Mints in each second. */
    mintsIn: new Uint32Array(Math.ceil((company.end - company.start) / SECOND) + 1),
  };
}

/**
 * Runs units one after the other, each from one call that matters to the next: in between it leaps, or coasts over what it
 * does in every quiet hour. The counts are those of {@link runCallByCall}, which a test compares.
 */
export function runTogether(units) {
  for (const unit of units) {
    for (const life of unit.lives) {
      unit.begin(life);
      for (let call = unit.firstCall; call < life.end; call = unit.leap(call, life.end))
        unit.act(call);
    }
  }
}

/** Runs every call of every unit, in the order of time. */
export function runCallByCall(units) {
  const heap = [];
  let sequence = 0;
  const plan = (at, unit, life) => push(heap, { at, sequence: (sequence += 1), unit, life });
  units.forEach((unit) => unit.lives.length > 0 && plan(unit.lives[0].start, unit, 0));
  while (heap.length > 0) {
    const { at, unit, life } = pop(heap);
    const { start, end } = unit.lives[life];
    if (at === start) unit.begin(unit.lives[life]);
    else unit.act(at);
    const next = at === start ? unit.firstCall : at + unit.every;
    if (next < end) plan(next, unit, life);
    else if (life + 1 < unit.lives.length) plan(unit.lives[life + 1].start, unit, life + 1);
  }
}

/** What all units have in common: calls at a fixed pace, by processes that start anew. */
class Unit {
  constructor({ name, company, counts, lives, weight = 1 }) {
    this.company = company;
    this.counts = counts;
    this.lives = lives;
    this.weight = weight;
    this.every = company.callSeconds * SECOND;
    this.state = stateOf(company.seed, name);
    this.firstCall = 0;
    /** No call before this instant does anything but use the token at hand. */
    this.quiet = 0;
  }

  random() {
    this.state = nextState(this.state);
    return numberOf(this.state);
  }

  begin({ start }) {
    // After its start, so that both ways to run it tell the two apart.
    this.firstCall = start + 1 + Math.floor(this.random() * this.every);
    this.quiet = 0;
  }

  /** The call at or after an instant, and after `call`. */
  callFrom(instant, call) {
    const { firstCall, every } = this;
    return Math.max(call + every, firstCall + Math.ceil((instant - firstCall) / every) * every);
  }

  leap(call) {
    return this.callFrom(this.quiet, call);
  }

  /** The store answers, or not: it is down, or throttles half of the calls. */
  asksStore(region, now) {
    if (isWithin(this.company.storeDown[region], now)) return false;
    return !isWithin(this.company.storeThrottled[region], now) || this.random() >= 0.5;
  }
}

/** The lives of a replica: from each start to the next. */
function livesOf(company, replica) {
  const starts = company.startsOf(replica);
  return starts.map((start, index) => ({ start, end: starts[index + 1] ?? company.end }));
}

/** Versions of one token with the instant from which receivers refuse each: it was withdrawn, or its key was. */
export function versionsOf(all, token, { leaks, keyChanges }) {
  const versions = all.filter((version) => version.token === token);
  return versions.map((version, index) => {
    const until = versions[index + 1]?.at ?? Number.POSITIVE_INFINITY;
    const leaked = leaks.find((at) => version.at <= at && at < until) ?? Number.POSITIVE_INFINITY;
    const key = keyChanges.find((at) => version.mintedAt <= at) ?? Number.POSITIVE_INFINITY;
    return Object.assign({}, version, { refusedFrom: Math.min(leaked, key) });
  });
}

/** What a broker serves of one token: instants, and a version's index, -1 for none, -2 while it is down. */
function timelineOf(served, token, versions) {
  const indexOf = new Map(versions.map(({ versionId }, index) => [versionId, index]));
  const at = served.map((change) => change.at);
  const version = served.map(({ versions: shown }) =>
    shown === undefined ? -2 : (indexOf.get(shown[token]) ?? -1),
  );
  return { at, version };
}

/** The index of the last change that is not after an instant. */
function changeAt({ at }, instant) {
  let low = 0;
  let high = at.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[middle] <= instant) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * A replica with the kit's client, at brokers that serve what {@link runBrokers} says: its decisions are those of
 * `tokens/freshness.ts` and `client/ask-brokers.ts`.
 */
class BrokerClient extends Unit {
  static ttl = 300 * SECOND;

  constructor({ code, brokers, versions, ...parts }) {
    super(parts);
    this.code = code;
    this.versions = versions;
    this.timelines = brokers;
  }

  begin(life) {
    super.begin(life);
    this.brokers = this.timelines.map((timeline, url) => ({ url, timeline }));
    this.hasFailures = false;
    this.held = -1;
    this.broker = 0;
    this.change = 0;
    this.readAt = undefined;
    this.jitter = 0;
    this.failure = undefined;
  }

  act(now) {
    const { code, counts } = this;
    this.#follow(now);
    const freshness = code.decideFreshness({
      now,
      readAt: this.readAt,
      expiresAt: this.held < 0 ? 0 : this.versions[this.held].expiresAt,
      ttl: BrokerClient.ttl,
      jitter: this.jitter,
      skew: SKEW,
    });
    const plan = code.planAnswer(freshness, this.failure, undefined, now, BrokerClient.ttl);
    if (plan === 'wait' || plan === 'serve-and-read' || plan === 'serve-stale-and-read') {
      this.#read(now, freshness === 'unavailable');
    }
    if (!this.#isUsable(now)) counts.without += 1;
    else if (now >= this.versions[this.held].refusedFrom) {
      counts.refused += 1;
      // The receiver's 401: one forced refresh, and one retry.
      this.#read(now, false);
    }
  }

  #isUsable(now) {
    return this.held >= 0 && this.versions[this.held].expiresAt - now > SKEW;
  }

  /** Takes what the request that waits at the broker has brought since the last call. */
  #follow(now) {
    if (this.held < 0) return;
    const { at, version } = this.timelines[this.broker];
    for (; this.change + 1 < at.length && at[this.change + 1] <= now; this.change += 1) {
      const next = version[this.change + 1];
      if (next <= this.held) continue;
      this.held = next;
      this.readAt = at[this.change + 1];
      this.jitter = this.random();
      this.failure = undefined;
    }
  }

  #read(now, isUrgent) {
    const { code, counts } = this;
    for (const broker of code.lineUp(this.brokers, now, isUrgent)) {
      counts.requests += 1;
      const change = changeAt(broker.timeline, now);
      const version = broker.timeline.version[change];
      if (version >= 0 && this.versions[version].expiresAt - now > SKEW) {
        broker.failure = undefined;
        this.held = version;
        this.broker = broker.url;
        this.change = change;
        this.readAt = now;
        this.jitter = this.random();
        this.failure = undefined;
        this.hasFailures = this.brokers.some(({ failure }) => failure !== undefined);
        return;
      }
      broker.failure = code.remember(unreachable(code), broker.failure, now, 0);
      this.hasFailures = true;
    }
    const count = (this.failure?.count ?? 0) + 1;
    const retryAt = code.retryInstant(now, count, this.random());
    this.failure = { error: undefined, at: now, count, retryAt };
  }

  /** Coasts over the ordinary refreshes while the first broker works, and its token is good. */
  leap(call, end) {
    if (this.held < 0 || this.broker !== 0 || this.hasFailures || this.failure !== undefined) {
      return call + this.every;
    }
    const { at } = this.timelines[0];
    const { expiresAt, refusedFrom } = this.versions[this.held];
    const until = Math.min(
      end,
      at[this.change + 1] ?? Number.POSITIVE_INFINITY,
      refusedFrom,
      expiresAt - SKEW,
    );
    const { every, firstCall } = this;
    const { refreshAge } = this.code;
    const { ttl } = BrokerClient;
    let { readAt, jitter, state } = this;
    let requests = 0;
    let last = call;
    for (;;) {
      const due =
        firstCall + Math.ceil((readAt + refreshAge(ttl, jitter) - firstCall) / every) * every;
      const refresh = due > last ? due : last + every;
      if (refresh >= until) break;
      requests += 1;
      readAt = refresh;
      last = refresh;
      state = nextState(state);
      jitter = numberOf(state);
    }
    this.readAt = readAt;
    this.jitter = jitter;
    this.state = state;
    this.counts.requests += requests;
    return this.callFrom(until, last);
  }
}

let failed;
function unreachable({ TokenRequestError }) {
  failed ??= new TokenRequestError('BROKER_UNREACHABLE', 'The broker is down.');
  return failed;
}

/** A service that mints for itself, and keeps the token until a minute before its end. */
class OwnMint extends Unit {
  constructor({ code, region, index, isLeaked, heals, ...parts }) {
    super(parts);
    Object.assign(this, { code, region, isLeaked, heals });
    this.operated = parts.company.operatorMinutes * MINUTE + index * 10 * SECOND;
  }

  begin(life) {
    super.begin(life);
    this.expiresAt = 0;
    this.refusedFrom = Number.POSITIVE_INFINITY;
    this.failures = 0;
    this.retryAt = 0;
  }

  act(now) {
    const { counts } = this;
    // A person has restarted it, as a deployment does: the replicas of a service one after the other.
    if (!this.heals && now >= this.refusedFrom + this.operated) this.expiresAt = 0;
    if (this.expiresAt - now <= SKEW) this.#mint(now);
    if (this.expiresAt <= now) counts.without += 1;
    else if (now >= this.refusedFrom) {
      counts.refused += 1;
      if (this.heals) this.#mint(now);
    }
    this.#rest(now);
  }

  #mint(now) {
    const { code, company, counts } = this;
    if (now < this.retryAt) return;
    if (isWithin(company.providerDown[this.region], now)) {
      this.failures += 1;
      this.retryAt = code.retryInstant(now, this.failures, this.random());
      return;
    }
    this.failures = 0;
    this.retryAt = 0;
    counts.mints += 1;
    counts.mintsIn[Math.floor((now - company.start) / SECOND)] += 1;
    this.expiresAt = now + company.tokenHours * 3_600 * SECOND;
    const later = (instants) => instants.find((at) => at > now) ?? Number.POSITIVE_INFINITY;
    this.refusedFrom = Math.min(
      later(company.keyChanges),
      this.isLeaked ? later(company.leaks) : Number.POSITIVE_INFINITY,
    );
  }

  #rest(now) {
    const isGood = now < this.refusedFrom && this.expiresAt - now > SKEW;
    this.quiet = isGood ? Math.min(this.expiresAt - SKEW, this.refusedFrom) : now;
  }
}

/** A reader of the store with a cache: AWS's library in a process, or AWS's agent on a host. */
class StoreReader extends Unit {
  constructor({ versions, region, heals, least, most, pauseAfterFailure, healing, ...parts }) {
    super(parts);
    Object.assign(this, { versions, region, heals, least, most, pauseAfterFailure, healing });
    this.lag = region === 0 ? 0 : REPLICATION;
  }

  begin(life) {
    super.begin(life);
    this.held = -1;
    this.next = 0;
    this.failures = 0;
    this.healAt = 0;
    this.cursor = -1;
  }

  act(now) {
    const { counts, weight } = this;
    if (now >= this.next) this.#refresh(now);
    const version = this.versions[this.held];
    if (version === undefined) counts.without += weight;
    else if (now >= Math.min(version.expiresAt, version.refusedFrom)) {
      counts.refused += weight;
      if (this.heals && now >= this.healAt) {
        this.healAt = now + this.healing.pause;
        this.#heal(now);
      }
    }
    const held = this.versions[this.held];
    const isGood = held !== undefined && now < Math.min(held.expiresAt, held.refusedFrom);
    this.quiet = isGood ? Math.min(this.next, held.expiresAt, held.refusedFrom) : now;
  }

  /** Coasts over the looks that find nothing new, while the store works and the token is good. */
  leap(call, end) {
    const { versions, lag, least, most, company, region } = this;
    const held = versions[this.held];
    const good = held === undefined ? 0 : Math.min(held.expiresAt, held.refusedFrom);
    if (call >= good || this.failures > 0) return this.callFrom(this.quiet, call);
    const changed = (versions[this.cursor + 1]?.at ?? Number.POSITIVE_INFINITY) + lag;
    const limit = Math.min(end, good, changed, nextWithin(company.storeTroubled[region], call));
    let { next, state } = this;
    let last = call;
    let looks = 0;
    for (let look = this.callFrom(next, last); look < limit; look = this.callFrom(next, last)) {
      looks += 1;
      last = look;
      state = nextState(state);
      next = look + least + Math.floor(numberOf(state) * (most - least + 1));
    }
    this.next = next;
    this.state = state;
    this.counts.DescribeSecret += looks;
    return this.callFrom(Math.min(next, good), last);
  }

  /** The version that the store shows now. */
  #current(now) {
    const { versions, lag } = this;
    while (this.cursor + 1 < versions.length && versions[this.cursor + 1].at + lag <= now) {
      this.cursor += 1;
    }
    return this.cursor;
  }

  #refresh(now) {
    const { counts } = this;
    if (!this.asksStore(this.region, now)) {
      this.failures += 1;
      this.next = now + this.pauseAfterFailure(this.failures, this.held >= 0);
      return;
    }
    this.failures = 0;
    // What is there already is only looked at: the value is read again when another version is current.
    if (this.held >= 0 || this.least !== this.most) counts.DescribeSecret += 1;
    const current = this.#current(now);
    if (current !== this.held) counts.GetSecretValue += 1;
    this.held = current;
    this.next = now + this.least + Math.floor(this.random() * (this.most - this.least + 1));
  }

  #heal(now) {
    const { counts, healing } = this;
    if (!this.asksStore(this.region, now)) return;
    const current = this.#current(now);
    if (healing.describes) {
      counts.DescribeSecret += this.weight;
      if (current !== this.held) counts.GetSecretValue += 1;
    } else counts.GetSecretValue += this.weight;
    this.held = current;
  }
}

/** AWS's caching library: the secret is described again after 30 to 60 minutes, at random. */
const LIBRARY = {
  least: 1_800 * SECOND,
  most: 3_600 * SECOND,
  pauseAfterFailure: (failures) => Math.min(SECOND * 2 ** (failures - 1), 3_600 * SECOND),
  healing: { describes: true, pause: 5 * SECOND },
};
/** AWS's agent: described again after five minutes; a failure that may pass makes what is there good for as long. */
const AGENT = {
  least: 300 * SECOND,
  most: 300 * SECOND,
  pauseAfterFailure: (_, hasToken) => (hasToken ? 300 * SECOND : 0),
  healing: { describes: false, pause: 0 },
};

/** The replicas of a company with the kit's client. @param ran what `runBrokers` returned. */
export function brokerClients({ company, code, counts, ran }) {
  const tokens = Array.from({ length: company.tokens }, (_, token) => {
    const versions = versionsOf(ran.versions, token, company);
    return { versions, timelines: ran.served.map((served) => timelineOf(served, token, versions)) };
  });
  return replicasOf(company).map((replica) => {
    const { versions, timelines } = tokens[replica.token];
    const own = timelines.slice(
      replica.region * company.brokers,
      (replica.region + 1) * company.brokers,
    );
    // Each begins its list with another broker, so that these share the load.
    const first = replica.place % own.length;
    return new BrokerClient({
      name: `client ${replica.number}`,
      company,
      code,
      counts,
      versions,
      brokers: [...own.slice(first), ...own.slice(0, first)],
      lives: livesOf(company, replica),
    });
  });
}

/** The replicas, each of which mints for itself. @param heals whether a 401 makes it mint at once. */
export function ownMinters({ company, code, counts, heals }) {
  const all = replicasOf(company);
  const leaking = Math.floor(numberOf(stateOf(company.seed, 'leaking replica')) * all.length);
  return all.map(
    (replica) =>
      new OwnMint({
        name: `minter ${replica.number}`,
        company,
        code,
        counts,
        heals,
        region: replica.region,
        index: replica.index,
        isLeaked: replica.number === leaking,
        lives: livesOf(company, replica),
      }),
  );
}

/** The replicas, each with AWS's caching library. @param ran what the rotation function did. */
export function libraryReaders({ company, counts, ran, heals }) {
  const versions = versionsOfAll(ran, company);
  return replicasOf(company).map(
    (replica) =>
      new StoreReader({
        ...LIBRARY,
        name: `library ${replica.number}`,
        company,
        counts,
        heals,
        region: replica.region,
        versions: versions[replica.token],
        lives: livesOf(company, replica),
      }),
  );
}

function versionsOfAll({ versions }, company) {
  return Array.from({ length: company.tokens }, (_, token) => versionsOf(versions, token, company));
}

/** AWS's agent on each host, for each token that a replica there uses. */
export function agentReaders({ company, counts, ran, heals }) {
  const hosts = new Map();
  for (const { host, region, token } of replicasOf(company)) {
    const key = `${host} ${token}`;
    const known = hosts.get(key) ?? { key, region, token, weight: 0 };
    hosts.set(key, { ...known, weight: known.weight + 1 });
  }
  const lives = [{ start: company.start, end: company.end }];
  const versions = versionsOfAll(ran, company);
  return [...hosts.values()].map(
    ({ key, region, token, weight }) =>
      new StoreReader({
        ...AGENT,
        name: `agent ${key}`,
        company,
        counts,
        heals,
        weight,
        region,
        versions: versions[token],
        lives,
      }),
  );
}
