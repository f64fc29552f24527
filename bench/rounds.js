/** Each once in each round, and another one first in the next round. */
export async function inTurn(names, rounds, measure) {
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names.map((_, at) => names[(at + round) % names.length])) {
      await measure(name, round);
    }
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
