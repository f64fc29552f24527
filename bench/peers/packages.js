import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));

/**
 * Installs what this folder's package.json names, as its lockfile has it: a clean `npm ci` of the project stays without it.
 *
 * @returns why that could not be done, or undefined.
 */
export async function installPackages(tell) {
  const { dependencies } = createRequire(import.meta.url)('./package.json');
  tell(`peers: npm ci in bench/peers (${Object.keys(dependencies).join(', ')})`);
  try {
    await promisify(execFile)('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: FOLDER,
    });
    return undefined;
  } catch (error) {
    return `npm ci: ${
      String(error.stderr ?? error)
        .trim()
        .split('\n')[0]
    }`;
  }
}
