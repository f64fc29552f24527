import { nextState, numberOf, streamOf } from './chance.js';
import { isWithin, union } from './company.js';
import {
  AUDIENCE,
  Cloud,
  CREDENTIALS_SECRET,
  ISSUER,
  keyIdOf,
  PEERS_SECRET,
  tokenSecretId,
} from './cloud.js';
import { watchKeys, KEYS_AGE } from './keys.js';
import { nextTick, VirtualTime } from './virtual-time.js';

const SECOND = 1_000;
const TTL = 300 * SECOND;
const SKEW = 60 * SECOND;
const MINIMUM_REMAINING = 3_600 * SECOND;
/** The least time between two reads of the list of peers, as in `serving.ts`. */
const WARM_INTERVAL = 240 * SECOND;
/** How long each of some replicas waits at a broker, in seconds: they never all come back at one tick. */
const WAITS = [300, 241, 199, 283];
/** By then a read that a tick has begun has ended, if it was not to fail. */
const READ_ENDS = 100;

const CODE = [
  'testing/memory-secret-store.js',
  'secrets/secret-store.js',
  'tokens/service-token.js',
  'tokens/freshness.js',
  'tokens/errors.js',
  'provider/provider-http.js',
  'provider/provider-errors.js',
  'rotation/rotator.js',
  'rotation/rotation-schedule.js',
  'rotation/rotation-gate.js',
  'rotation/coverage.js',
  'rotation/due.js',
  'rotation/token-source.js',
  'rotation/token-watch.js',
  'serving/serving.js',
  'serving/waiting-peers.js',
  'peers/peers.js',
  'client/ask-brokers.js',
  'client/client-errors.js',
];

/** The code of the project that is run, from a build (`openBuild(dist).load`) or from its source. */
export async function loadCode(load) {
  const modules = [];
  for (const path of CODE) modules.push(await load(path));
  return Object.assign({}, ...modules);
}

/**
 * Runs the brokers of a company: the project's own rotators, schedules, caches, endpoints and watches, over a store and a
 * provider that fail as the company's seed says.
 *
 * @param role `brokers`, or `rotation-function`: one process that only rotates, for those who read the store themselves.
 * @returns the cloud's counts, and for each broker what it serves: changes `{ at, versions }`, a version (or `undefined`)
 *   for each token, and `undefined` instead of the list while the broker is down.
 */
export async function runBrokers({ company, code, role = 'brokers', everySecond = false }) {
  const time = new VirtualTime(company.start - 10 * 60 * SECOND);
  const cloud = new Cloud({ company, code, time });
  const peer = seedSecrets(cloud, company, code);
  const isServing = role === 'brokers';
  const places = isServing
    ? company.brokerDown.map((down, number) => ({
        number,
        region: Math.floor(number / company.brokers),
        down,
      }))
    : [{ number: 0, region: 0, down: [] }];
  const brokers = places.map(
    (place) => new Broker({ ...place, company, code, time, cloud, peer, isServing, everySecond }),
  );
  for (const broker of brokers) broker.begin();
  const operate = (at, revoke) => time.at(at, () => void withdraw(brokers, cloud, revoke));
  for (const at of company.leaks) operate(at, true);
  const delay = company.operatorMinutes * 60 * SECOND;
  // A watch finds a withdrawn key; where nothing watches, a person does.
  if (!isServing) for (const at of company.keyChanges) operate(at + delay, false);
  await time.run(company.start);
  cloud.storeCalls = {};
  cloud.mints = 0;
  for (const broker of brokers) broker.settle(company.start);
  const events = await time.run(company.end);
  return {
    storeCalls: cloud.storeCalls,
    mints: cloud.mints,
    versions: cloud.versions,
    served: brokers.map(({ served }) => served),
    events,
  };
}

function seedSecrets({ memory, time }, { tokens }, code) {
  memory.seed(CREDENTIALS_SECRET, '{"client_id":"broker","client_secret":"of the simulation"}');
  const names = Array.from({ length: tokens }, (_, token) => nameOf(token));
  const bytes = (count) => Buffer.alloc(count, 7);
  const added = code.withPeer(code.NO_PEERS, 'services', ['token'], time.now(), bytes, names);
  memory.seed(PEERS_SECRET, code.serializePeers(added.peers));
  for (let token = 0; token < tokens; token += 1) memory.seed(tokenSecretId(token));
  return `Basic ${Buffer.from(`services:${added.secret}`).toString('base64')}`;
}

const nameOf = (token) => (token === 0 ? 'default' : `token-${token}`);

/** A person withdraws the token, and tries again until it has worked. */
async function withdraw(brokers, cloud, revoke) {
  const clock = cloud.time.clock();
  cloud.operations += 1;
  for (;;) {
    const broker = brokers.find(({ region, process }) => region === 0 && process !== undefined);
    if (broker !== undefined && (await broker.rotateNow(revoke))) break;
    await clock.sleep(30 * SECOND);
  }
  cloud.operations -= 1;
}

class Broker {
  served = [];
  process;

  constructor(parts) {
    Object.assign(this, parts);
  }

  /** Starts the process, and plans every restart. */
  begin() {
    const { time, down, company } = this;
    this.#start();
    for (const [start, end] of down) {
      time.at(start, () => this.#stop());
      if (end < company.end) time.at(end, () => this.#start());
    }
  }

  /** Forgets what was served before the first instant that counts. */
  settle(at) {
    const last = this.served.at(-1);
    this.served = [{ at, versions: last?.versions }];
  }

  async rotateNow(revoke) {
    const { process } = this;
    const done = await Promise.all(
      process.tokens.map(({ rotator, cache }) =>
        rotator.rotate({ trigger: 'http', revoke, force: true }).then(
          () => {
            cache?.invalidate();
            cache?.refresh();
            return true;
          },
          () => false,
        ),
      ),
    );
    return done.every(Boolean);
  }

  #stop() {
    this.process?.end();
    this.process = undefined;
    this.served.push({ at: this.time.now(), versions: undefined });
  }

  #start() {
    const { number, region, company, code, time, cloud, peer, isServing, everySecond } = this;
    this.process = startProcess({
      number,
      region,
      company,
      code,
      time,
      cloud,
      peer,
      isServing,
      everySecond,
      onServed: (versions) => this.#note(versions),
    });
  }

  #note(versions) {
    const last = this.served.at(-1)?.versions;
    if (last !== undefined && versions.every((version, token) => version === last[token])) return;
    this.served.push({ at: this.time.now(), versions });
  }
}

/** One life of a broker's process: what `composition/runtime.ts` puts together, without HTTP. */
function startProcess({
  number,
  region,
  company,
  code,
  time,
  cloud,
  peer,
  isServing,
  everySecond,
  onServed,
}) {
  const life = { isAlive: true };
  const startedAt = time.now();
  const busy = isServing ? busyTimes(company, region, number) : [];
  const clock = time.clock(() => life.isAlive);
  const store = cloud.storeIn(region, () => life.isAlive);
  const random = streamOf(company.seed, `broker ${number} ${startedAt}`);
  const provider = cloud.providerIn(region, () => life.isAlive, random);
  const gate = code.createRotationGate(clock);
  const base = code.createSlots(company.cron);
  const keys = watchKeys({
    company,
    code,
    cloud,
    clock,
    region,
    random: streamOf(company.seed, `keys ${number}`),
  });
  let peersJitter = 0;
  /** Between two reads of a token while replicas wait for it; ticks are whole seconds. */
  const interval = Math.ceil(code.followInterval(company.tokens) / SECOND) * SECOND;
  const tokens = Array.from({ length: company.tokens }, (_, token) => {
    const name = nameOf(token);
    const part = {
      token,
      name,
      refusedAt: undefined,
      checkedAt: 0,
      known: undefined,
      notBefore: 0,
    };
    const source = new code.TokenSource({
      store,
      credentialsSecretId: CREDENTIALS_SECRET,
      provider,
      configured: { issuer: ISSUER, audience: AUDIENCE },
      createVerifier: () => ({
        verify: async (accessToken) => {
          keys.require(keyIdOf(accessToken));
          return { principal: { kind: 'service' } };
        },
      }),
      clock,
    });
    const rotator = new code.Rotator({
      store,
      tokenSecretId: tokenSecretId(token),
      tokenName: name,
      mint: (signal) => source.mint(signal),
      verify: async (minted) => {
        keys.refresh();
        await source.verify(minted);
      },
      minimumLife: MINIMUM_REMAINING,
      manualInterval: 60 * SECOND,
      clock,
      observer: {
        rotationEnded: ({ result, trigger }) => {
          if (result === 'failed') return;
          part.watch?.expire();
          part.isAsked = true;
          if (trigger === 'http') return;
          part.cache?.invalidate();
          part.cache?.refresh();
        },
      },
    });
    const slots = token === 0 ? base : code.spreadSlots(base, name);
    return Object.assign(part, { source, rotator, slots });
  });
  const serving = isServing
    ? code.createServing({
        store,
        tokens: tokens.map(({ name, token }) => ({
          name,
          secretId: tokenSecretId(token),
          skewMs: SKEW,
        })),
        peersSecretId: PEERS_SECRET,
        clock,
        ttlMs: TTL,
        random,
        maxWaiting: 1_000,
        // Called right after the cache has drawn the jitter of its next read.
        peerReads: { readSucceeded: () => (peersJitter = random.last) },
      })
    : undefined;
  for (const part of tokens) {
    part.cache = serving?.tokenCaches.get(part.name);
    if (part.cache !== undefined) {
      part.watch = new code.TokenWatch({
        current: async () => (await part.cache.get()).value,
        knownVersionId: () => part.cache.status().value?.versionId,
        verify: async (token) => {
          part.checkedAt = clock.now();
          part.isAsked = false;
          part.seen = part.cache.status().value?.versionId;
          await part.source.verify(token);
        },
        freshKeys: async () => keys.refreshWhenDue(),
        clock,
      });
    }
    part.schedule = new code.RotationSchedule({
      rotator: {
        attempt: (key) => part.rotator.attempt(key),
        describe: () => part.rotator.describe(),
        rotate: (request) => part.rotator.rotate(request),
        current: async () => {
          part.notBefore = 0;
          part.known = await part.rotator.current();
          return part.known;
        },
      },
      slots: part.slots,
      minimumRemaining: MINIMUM_REMAINING,
      clock,
      refusal: () => part.watch?.refusal(),
      enter: () => gate.enter('provider'),
      random,
      observer: { checkFailed: (_, nextCheckAt) => (part.notBefore = nextCheckAt) },
    });
  }

  /** What a peer would be given now. */
  const show = () => {
    if (serving === undefined) return;
    onServed(
      tokens.map(({ cache }) => {
        const { value, expiresAt = 0 } = cache.status();
        return value !== undefined && expiresAt - time.now() > SKEW ? value.versionId : undefined;
      }),
    );
  };

  const tick = () => {
    if (!life.isAlive) return;
    serving?.keepWarm();
    for (const { schedule, watch } of tokens) {
      void schedule.check();
      void watch?.check().then(() => schedule.check());
    }
    if (serving !== undefined) tokens.forEach((part) => answerRefused(part));
    time.at(time.now() + READ_ENDS, () => {
      if (!life.isAlive) return;
      show();
      const begun = time.now() - READ_ENDS;
      const quiet = everySecond ? 0 : quietUntil(time.now());
      const next = nextTick(startedAt, Math.max(begun + SECOND, quiet));
      time.at(everySecond ? next : coast(next), tick);
    });
  };

  /**
   * Leaps over a time in which this process would only read what has not changed: the token every 15 seconds, and the list of
   * peers. It counts those reads and draws their jitter, and lands where both are due at once, so that the caches go on as
   * if they had made each read.
   */
  const coast = (tick) => {
    if (serving === undefined) return tick;
    const now = time.now();
    const starts = tokens.map(({ cache }) => cache.status().readAt);
    const { readAt: peersAt } = serving.peerDirectory.status();
    const horizon = horizonOf(now);
    if (horizon <= tick || starts.some((start) => start !== starts[0] || start + interval !== tick))
      return tick;
    let token = tick;
    let peers = nextTick(startedAt, peersAt + code.refreshAge(TTL, peersJitter));
    if (peers <= now) return tick;
    let state = random.state;
    let count = 0;
    let landing;
    while (Math.min(token, peers) < horizon) {
      if (token === peers) landing = { at: token, state, count };
      const at = Math.min(token, peers);
      // At one tick the tokens are read before the list of peers.
      if (token === at) {
        for (let index = 0; index < tokens.length; index += 1) state = nextState(state);
        count += tokens.length;
        token += interval;
      }
      if (peers === at) {
        state = nextState(state);
        count += 1;
        peers = nextTick(startedAt, at + code.refreshAge(TTL, numberOf(state)));
      }
    }
    if (landing === undefined) return tick;
    random.state = landing.state;
    cloud.count({ GetSecretValue: landing.count });
    keys.coast(startedAt, landing.at);
    return landing.at;
  };

  /** Until when nothing happens to this process but what it does itself in every quiet hour. */
  const horizonOf = (now) => {
    if (cloud.operations > 0 || isWithin(busy, now) || quietUntil(now, false) <= now) return now;
    const next = busy.find(([start]) => start > now)?.[0] ?? company.end;
    // What is counted begins at the company's start.
    const end = now < company.start ? company.start : company.end;
    return Math.min(next, end, quietUntil(now, false)) - 2 * SECOND;
  };

  /** Until when no tick of this process would read, write, mint or verify anything. */
  const quietUntil = (now, withReads = true) => {
    let until = Number.POSITIVE_INFINITY;
    const least = (instant) => (until = Math.min(until, instant));
    const cached = ({ readAt, consecutiveFailures, value, expiresAt = 0 }, pause, skew) =>
      readAt === undefined ||
      consecutiveFailures > 0 ||
      value === undefined ||
      expiresAt - now <= skew
        ? least(now)
        : least(Math.min(withReads ? readAt + pause : expiresAt - skew, expiresAt - skew));
    for (const part of tokens) {
      const { known, slots, cache, watch, notBefore, seen, checkedAt, isAsked } = part;
      const due =
        known === undefined || notBefore > 0
          ? { kind: 'unknown' }
          : code.decideDue({
              now,
              slots,
              current: known,
              minimumRemaining: MINIMUM_REMAINING,
            });
      if (due.kind !== 'none' || watch?.refusal() !== undefined) least(now);
      else least(Math.min(slots.nextAfter(now), known.expiresAt - MINIMUM_REMAINING));
      if (cache === undefined) continue;
      const status = cache.status();
      cached(status, interval, SKEW);
      if (withReads) least(Math.min(checkedAt + KEYS_AGE, keys.dueAt()));
      if (isAsked || status.value?.versionId !== seen) least(now);
    }
    if (serving !== undefined) cached(serving.peerDirectory.status(), WARM_INTERVAL, 0);
    return until;
  };

  /** Replicas whose call was refused ask past the caches; all of them together cause a read a second. */
  const answerRefused = (part) => {
    const token = part.cache.status().value?.token;
    if (token === undefined || !isRefusedNow(token.accessToken, cloud)) return;
    void ask(part.name, { 'cache-control': ['no-cache'] });
  };

  const ask = (name, headers) =>
    serving.token.answer({
      method: 'GET',
      url: name === 'default' ? '/v1/token' : `/v1/tokens/${name}`,
      headers: { authorization: [peer], ...headers },
      remoteAddress: '192.0.2.1',
      encrypted: true,
      onDisconnect: () => () => undefined,
    });

  /** The replicas that wait at this broker: a few make it read as often as all would. */
  const keepWaiting = async ({ name }, seconds) => {
    let tag;
    while (life.isAlive) {
      const wait = tag === undefined ? {} : { prefer: [`wait=${seconds}`], 'if-none-match': [tag] };
      const { status, headers } = await ask(name, wait);
      if (!life.isAlive) return;
      show();
      tag =
        status === 200 ? headers[headers.indexOf('ETag') + 1] : status === 304 ? tag : undefined;
      const isHeld = headers.includes('Preference-Applied') || status === 200;
      if (!isHeld) await clock.sleep(SECOND);
    }
  };

  tick();
  if (serving !== undefined)
    for (const part of tokens) for (const seconds of WAITS) void keepWaiting(part, seconds);
  return {
    tokens,
    end: () => {
      life.isAlive = false;
    },
  };
}

/** Times around what happens to a broker of a Region, with the time that it takes to settle. */
function busyTimes({ storeDown, storeThrottled, brokerDown, leaks, keyChanges }, region, number) {
  return union([
    ...[...storeDown[region], ...storeThrottled[region]].map(([from, to]) => [
      from,
      to + 60 * SECOND,
    ]),
    ...brokerDown[number],
    ...leaks.map((at) => [at, at + 300 * SECOND]),
    ...keyChanges.map((at) => [at, at + 900 * SECOND]),
  ]);
}

function isRefusedNow(accessToken, cloud) {
  return keyIdOf(accessToken) !== cloud.keyId();
}
