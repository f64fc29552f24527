import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { answersOk, startProcess } from '../server-process.js';

const CRATE = 'aws_secretsmanager_agent';
const VERSION = '2.1.0';
const CACHE = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
const ROOT = join(CACHE, 'service-token-broker-interop', `aws-secretsmanager-agent-${VERSION}`);
const PROGRAM = join(ROOT, 'bin', CRATE);

export const AGENT = `AWS's Secrets Manager Agent ${VERSION}`;

/** Builds AWS's agent from crates.io, once; that takes ten minutes. @returns why it could not be done, or undefined. */
export async function installAgent(tell) {
  if (existsSync(PROGRAM)) return undefined;
  tell(`peers: building ${CRATE} ${VERSION} into ${ROOT}`);
  const args = ['install', `${CRATE}@${VERSION}`, '--locked', '--root', ROOT];
  try {
    await promisify(execFile)('cargo', args, { maxBuffer: 1 << 26 });
    return undefined;
  } catch (error) {
    return `cargo install ${CRATE}: ${String(error.stderr ?? error)
      .trim()
      .split('\n')
      .at(-1)}`;
  }
}

/** AWS's agent as it is installed: default settings, but for a port that is free and no call of STS, which nobody answers here. */
export async function startAgent({ env, secretId, folder }) {
  const own = await mkdtemp(join(folder, 'agent-'));
  const config = join(own, 'config.toml');
  const tokenFile = join(own, 'token');
  const token = 'a-token-against-request-forgery';
  await mkdir(join(own, 'logs'));
  await writeFile(tokenFile, token);
  await writeFile(config, 'http_port = "0"\nvalidate_credentials = false\n');
  const running = await startProcess(PROGRAM, ['--config', config], {
    env: { ...env, AWS_TOKEN: `file://${tokenFile}` },
    cwd: own,
    logFile: join(own, 'stdout'),
    address: /listening on (http:\S+)/,
    isReady: (url) => answersOk(`${url}/ping`),
  });
  return {
    ...running,
    request: {
      url: `${running.url}/secretsmanager/get?secretId=${encodeURIComponent(secretId)}`,
      headers: { 'x-aws-parameters-secrets-token': token },
    },
  };
}
