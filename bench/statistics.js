/** The middle value; with an even number of values the mean of the two in the middle. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1
    ? sorted[Math.floor(middle)]
    : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The values that so many of all values do not exceed (nearest rank). Sorts what it is given, a typed array. */
export function quantiles(values) {
  values.sort();
  const at = (share) => values[Math.max(0, Math.ceil(values.length * share) - 1)];
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999) };
}

/** Median, least and greatest. */
export function spread(values) {
  return { median: median(values), least: Math.min(...values), greatest: Math.max(...values) };
}

/**
 * The median of the quotients, round by round. The two of a round ran next to each other, so that a minute in which
 * the machine was busy slows both, and leaves their quotient alone.
 */
export function pairedRatio(values, references) {
  return median(values.map((value, round) => value / references[round]));
}
