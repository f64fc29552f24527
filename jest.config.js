export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': ['$1.ts', '$1.js'] },
  transform: { '^.+\\.ts$': '@swc/jest' },
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/interop/'],
  // Ten times what the longest takes on a busy machine: a limit ends what hangs, it measures nothing.
  testTimeout: 180_000,
  globalSetup: '<rootDir>/test/support/bundle-programs.mjs',
  testSequencer: '<rootDir>/test/support/sequencer.js',
  // One more than most machines have cores: some tests wait.
  maxWorkers: 3,
};
