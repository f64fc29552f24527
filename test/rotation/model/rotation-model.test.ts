import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { temporaryFolders } from '../../support/temporary-folder.js';
import { BREAKAGES } from './breakages.js';
import { runModel } from './model.js';
import { LOOKED_UP } from './provider.js';
import { SIGNED } from './signed.js';
import { embeddedStores, MEMORY } from './stores.js';

/** The short form of `npm run models`, whose runs are more than these. */
const SEED = 20261122;
const newFolder = temporaryFolders('rotation-model');

// Most errors of a run are part of it.
const { stackTraceLimit } = Error;
beforeAll(() => {
  Error.stackTraceLimit = 0;
});
afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

describe('every invariant of rotation holds, whatever happens', () => {
  test('on the store in memory', async () => {
    const report = await runModel({ kind: MEMORY, signatures: LOOKED_UP, runs: 150, seed: SEED });
    expect(report.failure).toBeUndefined();
    expect(report.runs).toBe(150);
  });

  test('on the embedded store, with signed tokens', async () => {
    const kind = await embeddedStores(await newFolder());
    try {
      const report = await runModel({ kind, signatures: SIGNED, runs: 12, seed: SEED });
      expect(report.failure).toBeUndefined();
      expect(report.runs).toBe(12);
    } finally {
      await kind.close();
    }
  });
});

describe('the model notices a rotator that', () => {
  test.each(Object.entries(BREAKAGES))('%s', async (_name, { says, seed = SEED, ...breakage }) => {
    const { failure } = await runModel({
      kind: MEMORY,
      signatures: LOOKED_UP,
      runs: 2_000,
      seed,
      shrinks: false,
      breakage,
    });
    expect(failure).toMatch(says);
    expect(failure).toMatch(
      /^Again: MODEL_STORE=memory MODEL_SEED=\d+ MODEL_COMMANDS=\d+ MODEL_PATH=\d+/m,
    );
  });
});
