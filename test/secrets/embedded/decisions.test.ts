import { describe, expect, test } from '@jest/globals';
import { fc } from '../../support/properties.js';
import { retryDelay } from '../../../src/secrets/embedded/database.js';
import {
  labelsByVersion,
  labelsOf,
  promoted,
  withLabel,
  withoutLabel,
  KEPT_AGE,
  KEPT_VERSIONS,
  versionsToTrim,
  type TrimCandidate,
} from '../../../src/secrets/embedded/embedded-store.js';

describe('versionsToTrim', () => {
  const now = 1_750_000_000_000;
  const old = (versionId: string, labelled = false, ageBeyond = 1): TrimCandidate => ({
    versionId,
    createdAt: now - KEPT_AGE - ageBeyond,
    labelled,
  });
  const young = (count: number): TrimCandidate[] =>
    Array.from({ length: count }, (_, index) => ({
      versionId: `young ${index}`,
      createdAt: now,
      labelled: false,
    }));

  test('keeps everything up to the limit, however old', () => {
    expect(versionsToTrim([old('a'), ...young(KEPT_VERSIONS - 1)], now)).toEqual([]);
  });

  test('deletes the oldest first, and only as many as are too many', () => {
    const versions = [old('b', false, 2), old('c', false, 1), old('a', false, 3), ...young(99)];
    expect(versionsToTrim(versions, now)).toEqual(['a', 'b']);
  });

  test('deletes none that has a label, nor one of exactly a day or less', () => {
    expect(versionsToTrim([old('labelled', true), ...young(200)], now)).toEqual([]);
    expect(versionsToTrim([old('a day', false, 0), ...young(200)], now)).toEqual([]);
  });

  test('for any versions: deletes no labelled and no young one, and never below the limit', () => {
    const candidate = fc.record({
      versionId: fc.uuid(),
      createdAt: fc.integer({ min: now - 3 * KEPT_AGE, max: now + KEPT_AGE }),
      labelled: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(candidate, { maxLength: 160, selector: (one) => one.versionId }),
        (versions) => {
          const gone = new Set(versionsToTrim(versions, now));
          expect(gone.size).toBeLessThanOrEqual(Math.max(0, versions.length - KEPT_VERSIONS));
          for (const one of versions.filter(({ versionId }) => gone.has(versionId))) {
            expect(one.labelled).toBe(false);
            expect(now - one.createdAt).toBeGreaterThan(KEPT_AGE);
          }
        },
      ),
    );
  });
});

describe('labels', () => {
  const labels = new Map([
    ['AWSCURRENT', 'two'],
    ['AWSPENDING', 'three'],
    ['AWSPREVIOUS', 'one'],
  ]);

  test.each([
    ['the pending one', 'three', { AWSCURRENT: 'three', AWSPREVIOUS: 'two' }],
    ['the previous one', 'one', { AWSCURRENT: 'one', AWSPENDING: 'three', AWSPREVIOUS: 'two' }],
    ['one without a label', 'new', { AWSCURRENT: 'new', AWSPENDING: 'three', AWSPREVIOUS: 'two' }],
    ['the current one', 'two', Object.fromEntries(labels)],
  ])('promoting %s', (_, versionId, expected) => {
    expect(Object.fromEntries(promoted(labels, versionId))).toEqual(expected);
  });

  test('the first promotion makes nothing previous', () => {
    expect(Object.fromEntries(promoted(new Map([['AWSPENDING', 'one']]), 'one'))).toEqual({
      AWSCURRENT: 'one',
    });
  });

  test('a label moves, and is taken off only from its holder', () => {
    expect(withLabel(labels, 'AWSPENDING', 'four').get('AWSPENDING')).toBe('four');
    expect(withoutLabel(labels, 'AWSPENDING', 'three').has('AWSPENDING')).toBe(false);
    expect(withoutLabel(labels, 'AWSPENDING', 'two')).toBe(labels);
    expect(labels.get('AWSPENDING')).toBe('three');
  });

  test('are listed by version', () => {
    const both = withLabel(labels, 'AWSPENDING', 'two');
    expect(labelsOf(both, 'two')).toEqual(['AWSCURRENT', 'AWSPENDING']);
    expect(labelsOf(both, 'unknown')).toEqual([]);
    expect(labelsByVersion(both)).toEqual(
      new Map([
        ['two', ['AWSCURRENT', 'AWSPENDING']],
        ['one', ['AWSPREVIOUS']],
      ]),
    );
  });
});

describe('retryDelay', () => {
  test('is between 2.5 and 70 milliseconds, and about five seconds for all attempts together', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.double({ min: 0, max: 1, noNaN: true }), (attempt, random) => {
        const delay = retryDelay(attempt, random);
        expect(delay).toBeGreaterThanOrEqual(2.5);
        expect(delay).toBeLessThanOrEqual(70);
      }),
    );
    const total = Array.from({ length: 99 }, (_, index) => retryDelay(index + 1, 0.5));
    expect(total.reduce((sum, delay) => sum + delay, 0)).toBeGreaterThan(4500);
  });
});
