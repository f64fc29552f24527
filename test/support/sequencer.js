import Sequencer from '@jest/test-sequencer';

/** Folders, and a file, whose tests take longest, most of it waiting: begun last, they would run alone at the end. */
const FIRST = [
  '/test/faults/matrix.',
  '/test/faults/',
  '/test/e2e/',
  '/test/package/',
  '/test/deploy/',
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
