// The tests as they are, with other code in place of what is mutated, and judged by another runner.
import base from '../../jest.config.js';

export default {
  ...base,
  rootDir: '../..',
  transform: {
    '/src/.+\\.ts$': '<rootDir>/test/mutation/mutated-source.mjs',
    ...base.transform,
  },
  testRunner: '<rootDir>/test/mutation/judge-mutants.mjs',
  testEnvironment: '<rootDir>/test/mutation/environment.mjs',
  reporters: [],
  silent: true,
};
