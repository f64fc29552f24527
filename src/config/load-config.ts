import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import type { BrokerConfig } from './broker-config.js';
import { checkSettings, type ConfigFile, type SettingDefaults } from './check-settings.js';
import { otherThanFile } from '../tokens/file-kind.js';
import { decodeText, trimPasted } from '../tokens/pasted-text.js';
import { fileMistake, parseConfigFile } from './config-file.js';

/** What {@link loadConfig} reads from. */
export interface LoadConfigOptions {
  /** The environment, usually `process.env`. An empty variable counts as not given. */
  readonly env: NodeJS.ProcessEnv;
  /** Reads the file that `BROKER_CONFIG` names. Default: from the disk, as UTF-8, or UTF-16 with a byte-order mark. */
  readonly readFile?: (path: string) => string;
  /** Defaults that replace the built-in ones: dev mode listens on 127.0.0.1. Environment and file still win. */
  readonly defaults?: SettingDefaults;
}

/**
 * Reads the configuration: environment variables first, then the YAML file that `BROKER_CONFIG` names, then defaults.
 *
 * @throws {ConfigError} `CONFIG_INVALID` with every mistake at once.
 *
 * @example
 * ```ts
 * import { loadConfig } from 'service-token-broker/server';
 *
 * const config = loadConfig({ env: process.env });
 * console.log(config.http.port); // 3000
 * ```
 */
export function loadConfig(options: LoadConfigOptions): BrokerConfig {
  const { env, readFile = readFromDisk, defaults } = options;
  const path = trimPasted(env['BROKER_CONFIG'] ?? '');
  return checkSettings({
    env,
    ...(path !== '' && { file: readConfigFile(path, readFile) }),
    ...(defaults && { defaults }),
  });
}

function readFromDisk(path: string): string {
  const text = decodeText(readRegularFile(path));
  if (text === undefined) throw unusable('not text in UTF-8');
  return text;
}

/** Links are followed: Kubernetes mounts files as such. A pipe or a device is not waited for. */
function readRegularFile(path: string): Uint8Array {
  const requireFile = (instead: string | undefined): void => {
    if (instead !== undefined) throw unusable(`it is ${instead}, where a regular file is needed`);
  };
  // Before it is opened: sockets cannot be, and opening a device may do something.
  requireFile(otherThanFile(statSync(path)));
  // Windows has no such flag: undefined counts as none of the bits.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    requireFile(otherThanFile(fstatSync(file)));
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

/** @param why stands where Node's code would, which people see. */
function unusable(why: string): Error {
  return Object.assign(new Error(why), { code: why });
}

function readConfigFile(path: string, readFile: (path: string) => string): ConfigFile {
  let text: string;
  try {
    text = readFile(path);
  } catch (error) {
    return fileMistake(path, `it cannot be read (${codeOf(error)})`);
  }
  return parseConfigFile(text, path);
}

function codeOf(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : '';
  return typeof code === 'string' && code !== '' ? code : 'for an unknown reason';
}
