#!/usr/bin/env node
// Loads the program only here, so that an error of loading it is explained and not just thrown.
import { unsupportedNode } from './cli/node-version.js';
import { tooManyOpenFiles } from './cli/start-errors.js';

try {
  const unsupported = unsupportedNode(process.versions.node);
  if (unsupported === undefined) {
    const { runProgram } = await import('./cli/program.js');
    process.exitCode = await runProgram(process.argv);
  } else {
    process.stderr.write(`${unsupported}\n(NODE_VERSION)\n`);
    process.exitCode = 1;
  }
} catch (error) {
  const tooMany = tooManyOpenFiles(error);
  if (tooMany === undefined) throw error;
  process.stderr.write(`${tooMany}\n(TOO_MANY_OPEN_FILES)\n`);
  process.exitCode = 1;
}
