import { median, pairedRatio, spread } from '../statistics.js';
import { ratio, withSpread } from '../table.js';

/**
 * Lines of cells with a line for each contender: of every figure the median of all rounds and, but for the first contender, how
 * many times the first one's it is, which is the median of the quotients round by round.
 *
 * @param measured for each contender's name its rounds, each with every figure; or a text, why it was skipped.
 * @param figures `{ title, key, format }`; a figure that a contender does not have is undefined.
 */
export function comparison(measured, figures) {
  const contenders = Object.entries(measured);
  const [[, first]] = contenders;
  return [
    ['', ...figures.map(({ title }) => title)],
    ...contenders.map(([name, rounds]) =>
      [name].concat(
        figures.map((figure, index) => {
          if (typeof rounds !== 'string')
            return cell(rounds, rounds === first ? [] : first, figure);
          return index === 0 ? `skipped: ${rounds}` : '';
        }),
      ),
    ),
  ];
}

function cell(rounds, references, { key, format }) {
  const values = rounds.map((round) => round[key]);
  if (values.length === 0 || values.includes(undefined)) return '–';
  const own = format(median(values));
  const others = references.map((round) => round[key]);
  if (others.length === 0 || others.includes(undefined)) return own;
  return `${own} (${times(pairedRatio(values, others))})`;
}

function times(quotient) {
  return `${quotient < 10 ? ratio(quotient) : Math.round(quotient).toLocaleString('en-US')}×`;
}

/**
 * A promise about one figure of the first of two contenders: at most so many times, or at least so many times, the other's.
 * `limit` has `most` or `least`.
 */
export function promise(name, [own, other], { key, format }, limit) {
  const { most, least } = limit;
  const target = most === undefined ? `at least ${least} times` : `at most ${most} times`;
  if (typeof other === 'string') return { name, measured: `SKIPPED: ${other}`, target };
  const [values, references] = [own, other].map((rounds) => rounds.map((round) => round[key]));
  if ([...values, ...references].includes(undefined)) {
    return { name, measured: 'SKIPPED: not told here', target };
  }
  const quotient = pairedRatio(values, references);
  return {
    name,
    measured: withSpread(spread(values), format),
    reference: withSpread(spread(references), format),
    ratio: ratio(quotient),
    target,
    met: most === undefined ? quotient >= least : quotient <= most,
  };
}
