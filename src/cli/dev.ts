import { runDevMode } from '../dev/dev-mode.js';
import type { CommandContext } from './commands.js';

/** `dev`: runs the broker with everything it needs in one process, for development only. */
export async function devCommand({ env, output }: CommandContext): Promise<void> {
  await runDevMode(env, (text) => output.out(text));
}
