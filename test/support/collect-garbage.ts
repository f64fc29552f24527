import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

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
    // What has been used a moment ago is young. All that a worker holds takes a hundred times as long.
    if (attempt < YOUNG_ATTEMPTS) collect({ type: 'minor' });
    else collect();
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  throw new Error('Something still holds what should have been collected.');
}
