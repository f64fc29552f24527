// Runs commands one after another in one process, each as a process of its own would: with its environment, its folder, its
// input, and its output. Starting a process for each costs five times what most of them do.
import { Readable } from 'node:stream';
import { runProgram } from '../../dist/cli/program.js';

// A command ends its process when it has been done for a second.
process.exit = () => undefined;

const streams = ['stdout', 'stderr'];

process.on('message', (command) => void run(command));

async function run({ args, env, cwd, input }) {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, env);
  process.chdir(cwd);
  Object.defineProperty(process, 'stdin', { value: Readable.from([input]), configurable: true });
  const written = { stdout: '', stderr: '' };
  for (const name of streams) {
    process[name].write = (text) => {
      written[name] += text;
      return true;
    };
  }
  const listeners = process.eventNames().map((name) => [name, process.listeners(name)]);
  const code = await runProgram([process.execPath, 'service-token-broker', ...args]);
  for (const name of streams) process[name].removeAllListeners('error');
  for (const [name, before] of listeners) {
    for (const listener of process.listeners(name)) {
      if (!before.includes(listener)) process.off(name, listener);
    }
  }
  process.send({ code, signal: null, ...written });
}
