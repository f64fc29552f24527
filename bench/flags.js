import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';

const HELP = `npm run bench -- [flags]

  --rounds=N        rounds of load, each with the bare server and the broker in turn (default 7, at least 1);
                    three times as many starts of the guard's applications
  --seconds=N       length of one measurement (default 4)
  --warm-up=N       seconds of load on each server before the first round (default 4)
  --connections=N   connections of the load (default 64)
  --starts=N        starts of each kind (default 5)
  --only=A,B        some of: load, hour, start, production, peers, status-page, many-tokens,
                    verification, guard, traces, client-token, client-calls, lambda
  --quick           5 rounds of 2 seconds, a warm-up of 2, 3 starts: to see that it runs, not to judge
  --dist=FOLDER     a build in another folder (default: dist)
  --beside=FOLDER   another build, which the load and the start of serve are measured beside
  --help
`;

const QUICK = { rounds: '5', seconds: '2', 'warm-up': '2', starts: '3' };
const USUAL = { rounds: '7', seconds: '4', 'warm-up': '4', starts: '5' };
const PARTS = [
  'load',
  'hour',
  'start',
  'production',
  'peers',
  'status-page',
  'many-tokens',
  'verification',
  'guard',
  'traces',
  'client-token',
  'client-calls',
  'lambda',
];

/** What was asked for. Ends the process when it cannot be understood, or help was wanted. */
export function readFlags() {
  const text = { type: 'string' };
  const { values } = parseArgs({
    options: {
      rounds: text,
      seconds: text,
      'warm-up': text,
      connections: { ...text, default: '64' },
      starts: text,
      only: { ...text, default: PARTS.join(',') },
      quick: { type: 'boolean', default: false },
      dist: { ...text, default: fileURLToPath(new URL('../dist', import.meta.url)) },
      beside: text,
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  const given = { ...(values.quick ? QUICK : USUAL), ...values };
  const only = given.only.split(',');
  const unknown = only.find((part) => !PARTS.includes(part));
  if (unknown !== undefined) throw new Error(`--only knows ${PARTS.join(', ')}, not "${unknown}".`);
  return {
    rounds: positive('rounds', given.rounds),
    seconds: positive('seconds', given.seconds),
    warmUp: positive('warm-up', given['warm-up']),
    connections: positive('connections', given.connections),
    starts: positive('starts', given.starts),
    only,
    dist: given.dist,
    beside: given.beside,
  };
}

function positive(name, text) {
  if (!/^[1-9][0-9]{0,3}$/.test(text)) throw new Error(`--${name} must be a whole number above 0.`);
  return Number(text);
}
