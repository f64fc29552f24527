/**
 * Where a process is killed, of so many places, from 1 on: at every fourth and the last; `npm run faults` sets
 * FAULTS_EVERY_WRITE, and takes all.
 */
export function killPoints(places: number): readonly number[] {
  const all = Array.from({ length: places }, (_, index) => index + 1);
  if (process.env['FAULTS_EVERY_WRITE'] === '1') return all;
  return all.filter((place) => place % 4 === 1 || place === places);
}
