/**
 * What jest loads itself: its own packages, and what its global set-up needs. And packages that keep what a test file has
 * declared, its types in GraphQL.
 */
const NOT_NATIVE = '(?:jest|@jest/|expect/|@swc/|esbuild/|@nestjs/(?:graphql|apollo|mercurius)/)';

export default {
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': ['$1.ts', '$1.js'] },
  testEnvironment: '<rootDir>/test/support/realm-environment.mjs',
  transform: {
    '^.+\\.ts$': '@swc/jest',
    [`/node_modules/(?!${NOT_NATIVE}).+\\.[cm]?js$`]: '<rootDir>/test/support/native-package.mjs',
  },
  transformIgnorePatterns: [],
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/interop/'],
  // Ten times what the longest takes on a busy machine: a limit ends what hangs, it measures nothing.
  testTimeout: 180_000,
  globalSetup: '<rootDir>/test/support/bundle-programs.mjs',
  testSequencer: '<rootDir>/test/support/sequencer.js',
  // Two more than most machines have cores: some tests wait.
  maxWorkers: 4,
};
