import { pairedRatio } from '../statistics.js';

/**
 * How a figure grows with the size of something, and whether that is as it was expected. Pure.
 *
 * `flat`: the largest size has at most `most` times the figure of the smallest. `linear`: from the second largest size to the largest,
 * where whatever is constant weighs least, the figure grows by at most `most` for each one more. `exact`: each figure is `most`.
 *
 * @param points each a size and a figure, the sizes rising; perhaps with the values of all rounds, which are then compared round by round.
 * @returns what was found (a quotient, a slope, or the figure furthest off), and whether it is as expected.
 */
export function judge({ kind, most }, points) {
  const [, first, firsts = [first]] = points[0];
  const [size, last, lasts = [last]] = points.at(-1);
  const [sizeBefore, before] = points.at(-2);
  switch (kind) {
    case 'flat': {
      const found = pairedRatio(lasts, firsts);
      return { found, met: found <= most };
    }
    case 'linear': {
      const found = (last - before) / (size - sizeBefore);
      return { found, met: found <= most };
    }
    case 'exact': {
      const found = points.map(([, value]) => value).find((value) => value !== most) ?? most;
      return { found, met: found === most };
    }
    default:
      throw new Error(`No figure grows "${kind}".`);
  }
}
