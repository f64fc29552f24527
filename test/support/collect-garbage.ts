import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Attempts that collect what is young: what has been used a moment ago. All that a worker holds takes a hundred times as long. */
const YOUNG_ATTEMPTS = 5;

/**
 * Collects garbage until `done`. The SQLite driver releases a closed file when its statements are collected; a test that
 * looks at the files afterwards cannot leave that to chance.
 */
export async function collectGarbageUntil(done: () => boolean): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void;
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (done()) return;
    if (attempt < YOUNG_ATTEMPTS) collect({ type: 'minor' });
    else collect();
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  throw new Error('Something still holds what should have been collected.');
}
