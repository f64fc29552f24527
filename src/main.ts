// The container's door: `node dist/main.js` is `service-token-broker serve`.
import { tooManyOpenFiles } from './cli/start-errors.js';

try {
  const { runProgram } = await import('./cli/program.js');
  process.exitCode = await runProgram([
    ...process.argv.slice(0, 2),
    'serve',
    ...process.argv.slice(2),
  ]);
} catch (error) {
  const tooMany = tooManyOpenFiles(error);
  if (tooMany === undefined) throw error;
  process.stderr.write(`${tooMany}\n(TOO_MANY_OPEN_FILES)\n`);
  process.exitCode = 1;
}
