import type { CommanderError } from 'commander';
import type { Output } from './output.js';

/** Whether a call asks for JSON. Read from the call itself, because one that is wrong may not have been understood. */
export function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json');
}

/** Tells programs of a wrong call; people were told already, on standard error. */
export function showUsageError(output: Output, { code, message }: CommanderError): void {
  if (!output.json) return;
  const words =
    code === 'commander.help' ? 'no command was given' : message.replace(/^error: /, '');
  const error = { code: 'USAGE', kind: 'rejected', message: words };
  output.out(`${JSON.stringify({ error }, null, 2)}\n`);
}
