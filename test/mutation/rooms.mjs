/**
 * The rooms of `src` whose code is mutated, and the tests that judge it, each a folder or a file: those of the room, then
 * others that call it in the same process, for what these leave. Files with a `!` are left out: each of their tests is a whole
 * simulation, or starts a store, which would cost a mutant many seconds.
 */
export const ROOMS = {
  tokens: ['test/tokens'],
  verification: ['test/verification'],
  rotation: [
    'test/rotation',
    'test/lambda/rotation-function.test.ts',
    '!test/rotation/rotation-schedule-month.test.ts',
    '!test/rotation/store-calls.test.ts',
    '!test/rotation/clock-skew.test.ts',
    '!test/rotation/clock-year.test.ts',
    '!test/rotation/time-zones.test.ts',
    '!test/rotation/model/rotation-model.test.ts',
  ],
  peers: [
    'test/peers',
    'test/serving/workload-login.test.ts',
    'test/serving/certificate-login.test.ts',
    'test/lambda/function-peers.test.ts',
  ],
};
