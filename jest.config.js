/** Packages of jest itself, and those that keep what all test files have declared: a file's types in GraphQL, say. */
const OWN_FOR_EACH_FILE = '(?:jest|@jest/|expect/|@swc/|@nestjs/(?:graphql|apollo|mercurius)/)';

export default {
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': ['$1.ts', '$1.js'] },
  testEnvironment: '<rootDir>/test/support/realm-environment.mjs',
  transform: {
    '^.+\\.ts$': '@swc/jest',
    [`/node_modules/(?!${OWN_FOR_EACH_FILE}).+\\.[cm]?js$`]:
      '<rootDir>/test/support/native-package.mjs',
  },
  transformIgnorePatterns: [],
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/interop/'],
  // Ten times what the longest takes on a busy machine: a limit ends what hangs, it measures nothing.
  testTimeout: 180_000,
  globalSetup: '<rootDir>/test/support/bundle-programs.mjs',
  testSequencer: '<rootDir>/test/support/sequencer.js',
  // One more than most machines have cores: some tests wait.
  maxWorkers: 3,
};
