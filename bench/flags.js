import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';

const help = ({ command, parts, more }) => `npm run ${command} -- [flags]

  --rounds=N        rounds of load, in each of which all that are compared take turns (default 7, at least 1);
                    three times as many starts of the guard's applications
  --seconds=N       length of one measurement (default 4)
  --warm-up=N       seconds of load on each server before the first round (default 4)
  --connections=N   connections of the load (default 64)
  --starts=N        starts of each kind (default 5)
  --only=A,B        some of: ${parts.join(', ')}
  --quick           5 rounds of 2 seconds, a warm-up of 2, 3 starts: to see that it runs, not to judge
  --dist=FOLDER     a build in another folder (default: dist)
  ${more}
  --help
`;

const QUICK = { rounds: '5', seconds: '2', 'warm-up': '2', starts: '3' };
const USUAL = { rounds: '7', seconds: '4', 'warm-up': '4', starts: '5' };

/** What was asked of `npm run bench`; `parts` are the names of all that it can measure. */
export function readBenchFlags(parts) {
  const more =
    '--beside=FOLDER   another build, which the load and the start of serve are measured beside';
  return read({ command: 'bench', parts, more }, { beside: { type: 'string' } });
}

/** What was asked of a script whose tables and plots stand in the documentation. */
export function readPageFlags(command, parts) {
  const more = '--write           writes the tables and the plots into docs/';
  return read({ command, parts, more }, { write: { type: 'boolean', default: false } });
}

/** Ends the process when the flags cannot be understood, or help was wanted. */
function read(script, options) {
  const text = { type: 'string' };
  const { values } = parseArgs({
    options: {
      rounds: text,
      seconds: text,
      'warm-up': text,
      connections: { ...text, default: '64' },
      starts: text,
      only: { ...text, default: script.parts.join(',') },
      quick: { type: 'boolean', default: false },
      dist: { ...text, default: fileURLToPath(new URL('../dist', import.meta.url)) },
      help: { type: 'boolean', default: false },
      ...options,
    },
  });
  if (values.help) {
    process.stdout.write(help(script));
    process.exit(0);
  }
  const given = { ...(values.quick ? QUICK : USUAL), ...values };
  const only = given.only.split(',');
  const unknown = only.find((part) => !script.parts.includes(part));
  if (unknown !== undefined) {
    throw new Error(`--only knows ${script.parts.join(', ')}, not "${unknown}".`);
  }
  return {
    rounds: positive('rounds', given.rounds),
    seconds: positive('seconds', given.seconds),
    warmUp: positive('warm-up', given['warm-up']),
    connections: positive('connections', given.connections),
    starts: positive('starts', given.starts),
    only,
    quick: given.quick,
    dist: given.dist,
    beside: given.beside,
    write: given.write,
  };
}

function positive(name, text) {
  if (!/^[1-9][0-9]{0,3}$/.test(text)) throw new Error(`--${name} must be a whole number above 0.`);
  return Number(text);
}
