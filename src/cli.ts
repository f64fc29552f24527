#!/usr/bin/env node
// Loads the program only here, so that an error of loading it is explained and not just thrown.
import { tooManyOpenFiles } from './cli/start-errors.js';

try {
  const { runProgram } = await import('./cli/program.js');
  process.exitCode = await runProgram(process.argv);
} catch (error) {
  const tooMany = tooManyOpenFiles(error);
  if (tooMany === undefined) throw error;
  process.stderr.write(`${tooMany}\n(TOO_MANY_OPEN_FILES)\n`);
  process.exitCode = 1;
}
