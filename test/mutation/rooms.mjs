/**
 * The rooms of `src` whose code is mutated, and the tests that judge it, each a folder or a file: those of the room, then
 * others that call it in the same process, for what these leave.
 */
export const ROOMS = {
  tokens: ['test/tokens'],
  verification: ['test/verification'],
  rotation: ['test/rotation'],
  peers: [
    'test/peers',
    'test/serving/workload-login.test.ts',
    'test/serving/certificate-login.test.ts',
    'test/lambda/function-peers.test.ts',
  ],
};
