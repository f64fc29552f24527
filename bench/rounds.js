/**
 * In which order so many take this turn: each goes first as often as the others, and comes after each of the others, since what
 * one leaves behind (garbage, sleeping threads) slows the next. Pure.
 */
export function orderOf(count, turn) {
  const strides = Array.from({ length: count }, (_, stride) => stride).filter(
    (stride) => greatestDivisor(stride, count) === 1,
  );
  const stride = strides[turn % strides.length] ?? 1;
  return Array.from({ length: count }, (_, at) => (turn + at * stride) % count);
}

function greatestDivisor(one, other) {
  return one === 0 ? other : greatestDivisor(other % one, one);
}

/** Each once in each round. */
export async function inTurn(names, rounds, measure) {
  for (let round = 0; round < rounds; round += 1) {
    for (const index of orderOf(names.length, round)) await measure(names[index], round);
  }
}

/** The same; the values that `measure` returned, a list for each. */
export async function measuredInTurn(contenders, rounds, measure) {
  const values = new Map(contenders.map((contender) => [contender, []]));
  await inTurn(contenders, rounds, async (contender, round) => {
    values.get(contender).push(await measure(contender, round));
  });
  return [...values.values()];
}
