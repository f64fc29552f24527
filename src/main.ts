// The container's door: `node dist/main.js` is `service-token-broker serve`.
import { runProgram } from './cli/program.js';

process.exitCode = await runProgram([
  ...process.argv.slice(0, 2),
  'serve',
  ...process.argv.slice(2),
]);
