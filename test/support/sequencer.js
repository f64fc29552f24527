import Sequencer from '@jest/test-sequencer';

/**
 * Files that take longest, most of it waiting: begun last, they would run alone at the end. Then folders of the like. The
 * other files of `deploy` take what these have packaged.
 */
const FIRST = [
  '/faults/matrix.',
  '/deploy/several-tokens.',
  '/e2e/command-line.',
  '/e2e/doctor.',
  '/faults/rotation-kill.',
  '/e2e/shutdown.',
  '/e2e/example-mesh.',
  '/package/packed.',
  '/deploy/options.',
  '/faults/',
  '/e2e/',
  '/client/recovery.',
  '/package/',
  '/redirect-matrix.',
  '/attacks/http.',
];

const rankOf = ({ path }) => {
  const rank = FIRST.findIndex((part) => path.replaceAll('\\', '/').includes(part));
  return rank < 0 ? FIRST.length : rank;
};

/** The order of jest, which knows how long files took here before, and in a new clone only their size. */
export default class LongestFirst extends Sequencer {
  sort(tests) {
    return super.sort(tests).toSorted((one, other) => rankOf(one) - rankOf(other));
  }
}
