import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setScene } from '../../scene.js';
import { temporaryFolder } from '../../scene.js';
import { streamOf } from '../chance.js';
import { foundCompany, isWithin } from '../company.js';
import { simulate } from '../simulate.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const CLOCK = fileURLToPath(new URL('process-clock.mjs', import.meta.url));
const PROCESS = fileURLToPath(new URL('real-process.mjs', import.meta.url));
/** A provider, two brokers and services. */
const PROCESSES = 20;
const BROKERS = 2;
const AUDIENCE = 'https://services.example.test';
/** The processes run for so long before anything is counted, as in the simulation. */
const WARM = 10 * MINUTE;
/** What reality and simulation may differ by. */
const TOLERANCE = 0.05;
/** Kinds of calls with fewer than these are shown, and not judged by themselves. */
const FEW = 1_000;

/**
 * One day of a small company, by real processes and by simulation: two restarts of a broker, and an outage of the provider
 * over the hour at which the token is due, at times from the seed.
 */
export async function checkReality({ code, build, dist, seed, hours = 24, tell }) {
  const company = smallCompany(seed, hours);
  tell(
    `${PROCESSES} processes, ${hours} simulated hours; the provider is down ${times(company.providerDown)}, brokers ${times(company.brokerDown)}`,
  );
  const [simulated] = await simulate({ company, code, ways: ['broker'] });
  const real = await runReal({ company, build, dist, tell });
  const total = ({ storeCalls }) =>
    Object.values(storeCalls).reduce((sum, count) => sum + count, 0);
  const within = (expected, found, most) => Math.abs(found - expected) <= most;
  const row = (name, expected, found, most) => ({
    name,
    expected,
    found,
    met: within(expected, found, most),
  });
  return [
    row('mints', simulated.mints, real.mints, 0),
    row('store calls', total(simulated), total(real), TOLERANCE * total(simulated)),
    ...Object.keys({ ...simulated.storeCalls, ...real.storeCalls }).map((name) => {
      const [expected, found] = [simulated.storeCalls[name] ?? 0, real.storeCalls[name] ?? 0];
      // Each process draws its own jitter: one retry more or less is some ten calls of the rare kinds.
      if (expected < FEW) return { name, expected, found };
      return row(name, expected, found, TOLERANCE * expected);
    }),
    row('calls without a token', simulated.secondsWithout / company.callSeconds, real.without, 0),
  ];
}

function smallCompany(seed, hours) {
  const services = PROCESSES - BROKERS - 1;
  const company = foundCompany({
    seed,
    days: hours / 24,
    services,
    replicas: 1,
    brokers: BROKERS,
    callSeconds: 60,
    failures: false,
    // Time does not pass while a request of the real processes is under way.
    latency: { read: 1, write: 1, failure: 1, mint: 1 },
  });
  const random = streamOf(seed, 'check');
  const within = (from, span) =>
    company.start + Math.round((from + random() * span) / MINUTE) * MINUTE;
  const outage = within(2.5 * HOUR, 0.4 * HOUR);
  // Short enough for the claims of the slot: after an outage that uses up all of them, two brokers may mint.
  const over = company.start + 3 * HOUR + MINUTE;
  const first = within(5 * HOUR, 5 * HOUR);
  const second = within(12 * HOUR, 8 * HOUR);
  return {
    ...company,
    providerDown: [[[outage, over]]],
    brokerDown: [[[first, first + 5 * MINUTE]], [[second, second + MINUTE]]],
  };
}

async function runReal({ company, build, dist, tell }) {
  const scene = await setScene(build);
  const keys = await temporaryFolder();
  // The scene's own provider is not used: the one of the check is a process, with the same clock as all others.
  const running = [];
  const begin = company.start - WARM;
  const start = async (given, at) => {
    const child = fork(PROCESS, {
      execArgv: ['--import', CLOCK],
      env: { PATH: process.env.PATH, SIMULATED_START: String(at) },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const one = { child, ask: (message) => ask(child, message) };
    running.push(one);
    const { started, failed } = await one.ask({ dist, ...given });
    if (started === undefined) throw new Error(`A process of the check did not start: ${failed}`);
    return Object.assign(one, started);
  };
  const stop = (one) => {
    running.splice(running.indexOf(one), 1);
    one.child.kill('SIGKILL');
  };
  try {
    const client = await clientOf(build, scene);
    const provider = await start(
      {
        role: 'provider',
        down: company.providerDown[0],
        options: {
          ...client,
          port: 0,
          dataDir: keys.path,
          audience: AUDIENCE,
          accessTokenTtlSeconds: company.tokenHours * 3_600,
        },
      },
      begin,
    );
    const ports = [];
    const startBroker = async (number, at) => {
      const env = {
        ...scene.env,
        BROKER_ISSUER: provider.issuer,
        PORT: String(ports[number] ?? 0),
      };
      const broker = await start({ role: 'broker', env }, at);
      ports[number] = new URL(broker.url).port;
      return broker;
    };
    const brokers = [];
    for (let number = 0; number < company.brokers; number += 1) {
      brokers.push(await startBroker(number, begin));
    }
    const urls = brokers.map(({ url }) => url);
    const services = [];
    for (let number = 0; number < company.services; number += 1) {
      const first = number % urls.length;
      const own = [...urls.slice(first), ...urls.slice(0, first)];
      const everyMilliseconds = company.callSeconds * SECOND;
      services.push(
        await start({ role: 'service', brokers: own, peer: scene.peer, everyMilliseconds }, begin),
      );
    }
    const lost = { storeCalls: {} };
    for (let now = begin; now < company.end;) {
      const isFine = isDetail(company, now);
      const next = now + (isFine ? SECOND : MINUTE);
      for (const [number, down] of company.brokerDown.entries()) {
        const isDown = isWithin(down, now);
        if (isDown && brokers[number] !== undefined) {
          add(lost, (await brokers[number].ask({ order: 'counts' })).counts);
          stop(brokers[number]);
          brokers[number] = undefined;
        } else if (!isDown && brokers[number] === undefined) {
          brokers[number] = await startBroker(number, now);
        }
      }
      const up = brokers.filter((broker) => broker !== undefined);
      await Promise.all(up.map((broker) => broker.ask({ until: next })));
      await provider.ask({ until: next });
      if (next % MINUTE === 0) {
        await Promise.all(services.map((service) => service.ask({ until: next })));
      }
      if (next % HOUR === 0) tell(`  ${new Date(next).toISOString()}`);
      if (next === company.start) {
        await Promise.all(running.map((one) => one.ask({ order: 'reset' })));
      }
      now = next;
    }
    const total = { storeCalls: { ...lost.storeCalls }, mints: 0, without: 0 };
    for (const one of running) add(total, (await one.ask({ order: 'counts' })).counts);
    return total;
  } finally {
    for (const { child } of running) child.kill('SIGKILL');
    await scene.close();
    await keys.remove();
  }
}

/** Times in which brokers talk to each other by the store: there all clocks go second by second. */
function isDetail({ start, providerDown, brokerDown }, now) {
  const slot = start + 3 * HOUR;
  const around = (from, to) => now >= from - MINUTE && now < to + 3 * MINUTE;
  const [[, up]] = providerDown[0];
  return (
    now < start - WARM + MINUTE ||
    around(slot, Math.max(slot, up)) ||
    brokerDown.flat().some(([, to]) => around(to, to))
  );
}

async function clientOf(build, scene) {
  const [{ ensureDevCredentials }, { openStore }, time] = await Promise.all(
    ['dev/dev-logins.js', 'composition/open-store.js', 'tokens/time.js'].map(build.load),
  );
  const store = await openStore(scene.config, time.systemClock);
  try {
    return await ensureDevCredentials(store, scene.config);
  } finally {
    await store.close();
  }
}

function add(total, { storeCalls, mints = 0, without = 0 }) {
  for (const [name, number] of Object.entries(storeCalls)) {
    total.storeCalls[name] = (total.storeCalls[name] ?? 0) + number;
  }
  total.mints = (total.mints ?? 0) + mints;
  total.without = (total.without ?? 0) + without;
}

function ask(child, message) {
  return new Promise((resolve, reject) => {
    const onExit = (code, signal) =>
      reject(new Error(`A process of the check ended (${code ?? signal}).`));
    child.once('exit', onExit);
    child.once('message', (answer) => {
      child.off('exit', onExit);
      resolve(answer);
    });
    child.send(message);
  });
}

const clockTime = (at) => new Date(at).toISOString().slice(11, 16);
const times = (intervals) =>
  intervals
    .flat()
    .map(([from, to]) => `${clockTime(from)} to ${clockTime(to)}`)
    .join(', ');
