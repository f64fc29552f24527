import root from '../../jest.config.js';

export default {
  ...root,
  rootDir: '../..',
  testMatch: [
    '<rootDir>/test/faults/**/*.faults.ts',
    '<rootDir>/test/faults/{rotation-kill,store-rekey}.test.ts',
  ],
  // The suite measures times.
  maxWorkers: 1,
};
