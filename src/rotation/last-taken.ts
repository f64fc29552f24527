/**
 * The last taken number of a sequence that is taken from its start on without gaps: leapt over in steps that double, and
 * then halve, so that hundreds cost some twenty questions.
 *
 * @param from a number that is taken.
 */
export async function lastTaken(
  isTaken: (number: number) => Promise<boolean>,
  from: number,
): Promise<number> {
  let last = from;
  let step = 1;
  for (; await isTaken(last + step); step *= 2) last += step;
  for (step = Math.floor(step / 2); step >= 1; step = Math.floor(step / 2)) {
    if (await isTaken(last + step)) last += step;
  }
  return last;
}
