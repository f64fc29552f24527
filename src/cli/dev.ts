import { runDevMode } from '../dev/dev-mode.js';
import type { CommandContext } from './commands.js';

/** `dev`: runs the broker with everything it needs in one process, for development only. */
export async function devCommand({ env, output }: CommandContext): Promise<void> {
  // For programs standard output is the log alone, an object a line.
  if (output.json) return runDevMode({ ...env, BROKER_LOG_FORMAT: 'json' }, output.err);
  return runDevMode(env, output.out);
}
