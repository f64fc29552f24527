import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

/** Milliseconds between two looks. */
const INTERVAL = 100;

/**
 * Waits until the packages in `dist-packages` are built, which `bundle-programs.mjs`, beside this file, has begun.
 *
 * @throws Error if that failed; the reason is in the output of the run.
 */
export async function packagesBuild(): Promise<void> {
  const file = process.env['TEST_PACKAGES_BUILD'];
  if (file === undefined) return;
  let code: string;
  while ((code = readFileSync(file, 'utf8')) === '') await wait(INTERVAL);
  if (code !== '0') throw new Error(`node build/packages.mjs ended with ${code}`);
}
