// Imported first by what is run from a clone: on a Node.js that the package does not support it says so, and ends.
// It uses nothing that Node.js 14 lacks. The command has its own check: src/cli/node-version.ts.
import { readFileSync } from 'fs';

const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** Whether a version is in a range of the form `^20.19.0 || >=24.0.0`. Pure. */
export function isSupported(version, range) {
  const [major, minor] = version.split('.').map(Number);
  return linesOf(range).some(({ sign, line, lowest }) =>
    major === line ? minor >= lowest : sign === '>=' && major > line,
  );
}

/** The same words as the command has. */
export function neededNode(version, range) {
  const lines = linesOf(range).map(({ line, lowest }) => (lowest > 0 ? `${line}.${lowest}` : line));
  return `service-token-broker needs Node.js ${lines.join(', ')} or newer: this is ${version}.`;
}

function linesOf(range) {
  return range.split(' || ').map((part) => {
    const [, sign, line, lowest] = /^(\^|>=)(\d+)\.(\d+)\.0$/.exec(part);
    return { sign, line: Number(line), lowest: Number(lowest) };
  });
}

if (!isSupported(process.versions.node, engines.node)) {
  process.stderr.write(`${neededNode(process.versions.node, engines.node)}\n`);
  process.exit(1);
}
