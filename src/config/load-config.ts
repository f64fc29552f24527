import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { otherThanFile } from '../secrets/embedded/data-folder.js';
import { decodeText, trimPasted } from '../tokens/json.js';
import type { BrokerConfig } from './broker-config.js';
import { checkSettings, type ConfigFile, type SettingDefaults } from './check-settings.js';
import { fileMistake, readKeys } from './config-file.js';

/** Options of {@link loadConfig}. */
export interface LoadConfigOptions {
  /** The environment, usually `process.env`. An empty variable counts as missing. */
  readonly env: NodeJS.ProcessEnv;
  /** Reads the file that `BROKER_CONFIG` names. Default: from the disk, as UTF-8, or UTF-16 with a byte-order mark. */
  readonly readFile?: (path: string) => string;
  /** Defaults that replace the built-in ones. Environment and file take precedence. */
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

/** Reads a configuration file. What is wrong with it is among its mistakes. */
export function readConfigFile(
  path: string,
  readFile: (path: string) => string = readFromDisk,
): ConfigFile {
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

function readFromDisk(path: string): string {
  const text = decodeText(readRegularFile(path));
  if (text === undefined) throw unusable('not text in UTF-8');
  return text;
}

/** Follows links, which Kubernetes mounts files as. Does not wait for a pipe or a device. */
function readRegularFile(path: string): Uint8Array {
  const requireFile = (instead: string | undefined): void => {
    if (instead !== undefined) throw unusable(`it is ${instead}, where a regular file is needed`);
  };
  // Before opening: a socket cannot be opened, and opening a device may have an effect.
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

/** @param why takes the place of Node's code, which the message shows. */
function unusable(why: string): Error {
  return Object.assign(new Error(why), { code: why });
}

/**
 * Reads the YAML text of a configuration file. Values become the text that the environment variable would have: a list
 * is joined by commas, and an empty value counts as missing.
 *
 * @param path the file's name in mistakes.
 */
function parseConfigFile(content: string, path: string): ConfigFile {
  const text = content.replace(/^\ufeff/, '');
  // Pretty errors quote the file's lines, which may hold the master key.
  const document = parseDocument(text, { prettyErrors: false, stringKeys: true });
  const [error] = document.errors;
  if (error !== undefined) {
    const line = text.slice(0, error.pos[0]).split('\n').length;
    return fileMistake(path, `it is not YAML: ${error.code} in line ${line}`);
  }
  let keys: unknown;
  try {
    keys = document.toJS({ maxAliasCount: 0 }) ?? {};
  } catch {
    // An alias is the only possible failure. The parser's message quotes it, so it is not kept.
    return fileMistake(path, 'it has aliases, which settings do not need');
  }
  if (typeof keys !== 'object' || keys === null || Array.isArray(keys)) {
    return fileMistake(path, 'it is not a list of keys and values');
  }
  return readKeys(keys, path);
}
