import { runBroker } from '../composition/run-broker.js';
import { readConfig, type CommandContext } from './commands.js';

/** `serve`: runs the broker until it is told to stop. */
export async function serveCommand(context: CommandContext): Promise<void> {
  await runBroker(readConfig(context));
}
