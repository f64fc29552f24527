import { join } from 'node:path';
import { forked } from './forked.js';
import { underLoad } from './load.js';
import { setScene } from './scene.js';
import { startBroker } from './server-process.js';
import { pairedRatio, spread } from './statistics.js';
import { megabytes, microseconds, number, ratio, withSpread } from './table.js';

/** What two processes of the same build differ by on a shared machine. */
const MOST = 1.1;

const SETTINGS = {
  // What nobody can look at is not kept.
  without: { BROKER_PUBLIC_URL: 'https://broker.example.test' },
  with: { BROKER_PUBLIC_URL: 'https://broker.example.test', BROKER_MANAGEMENT_PORT: '0' },
};

/** What a request costs while there is a status page and nobody looks: two brokers in turn, one without. */
export async function measureStatusPage(build, flags, tell) {
  const names = Object.keys(SETTINGS);
  const generator = forked('./load-generator.js');
  const scenes = {};
  const brokers = {};
  const rounds = { without: [], with: [] };
  try {
    for (const name of names) {
      scenes[name] = await setScene(build, SETTINGS[name]);
      const { env, folder } = scenes[name];
      brokers[name] = await startBroker(build, 'serve', env, join(folder, 'serve.log'));
    }
    const load = (name, seconds) =>
      underLoad(
        generator,
        { url: `${brokers[name].url}/v1/token`, pid: brokers[name].pid },
        {
          headers: { authorization: scenes[name].authorization },
          connections: flags.connections,
          seconds,
        },
      );
    for (const name of names) await load(name, flags.warmUp);
    for (let round = 0; round < flags.rounds; round += 1) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        const measured = await load(name, flags.seconds);
        rounds[name].push(measured);
        tell(
          `status-page: round ${round + 1} of ${flags.rounds}, ${name}: ${number(measured.perSecond)}`,
        );
      }
    }
  } finally {
    await Promise.all(Object.values(brokers).map((broker) => broker.stop()));
    await generator.stop();
    await Promise.all(Object.values(scenes).map((scene) => scene.close()));
  }
  const row = (name, figure, format, most) => {
    const [own, reference] = ['with', 'without'].map((which) =>
      rounds[which].map((round) => round[figure]),
    );
    if ([...own, ...reference].includes(undefined)) {
      return { name, measured: 'SKIPPED: not told here' };
    }
    const quotient = pairedRatio(own, reference);
    return {
      name,
      measured: withSpread(spread(own), format),
      reference: withSpread(spread(reference), format),
      ratio: ratio(quotient),
      ...(most !== undefined && { target: `at most ${most} times`, met: quotient <= most }),
    };
  };
  const what = 'with a status page at which nobody looks, and without';
  return [
    row(`processor time of a request, ${what}`, 'processor', microseconds, MOST),
    row(`memory of serve under load, ${what}`, 'resident', megabytes),
  ];
}
