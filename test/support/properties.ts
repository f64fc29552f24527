import fc from 'fast-check';

/**
 * Property tests draw the same values at every run, so that a change is judged by itself and not by luck.
 * `FC_SEED=random` draws others, to look for what these miss; `FC_SEED=NUMBER` repeats such a run.
 */
const wanted = process.env['FC_SEED'] ?? '20261122';
if (wanted !== 'random') {
  const seed = Number(wanted);
  if (!Number.isInteger(seed)) throw new Error('FC_SEED must be a whole number, or "random".');
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed });
}

export { fc };
