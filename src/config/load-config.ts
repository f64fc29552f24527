import { hash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { isScalar, parseDocument, visit, type Document } from 'yaml';
import { otherThanFile } from '../secrets/embedded/data-folder.js';
import { decodeText, trimPasted } from '../tokens/json.js';
import type { BrokerConfig } from './broker-config.js';
import { checkSettings, type ConfigFile, type SettingDefaults } from './check-settings.js';
import { fileMistake, keysOf, readKeys } from './config-file.js';

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
  return loadWithFile(options).config;
}

/** A configuration file as it was when the broker was started. */
export interface LoadedFile {
  readonly path: string;
  /** By {@link digestText}. */
  readonly digest: string;
  /** What it says, but for its peers and trusted issuers: see `keysOf`. */
  readonly keys: ReadonlyMap<string, string>;
}

/** A configuration, and the file that it was made of: `undefined` when there was none. */
export interface LoadedConfig {
  readonly config: BrokerConfig;
  readonly file: LoadedFile | undefined;
}

/** What tells one text of a file from another: its SHA-256. */
export function digestText(text: string): string {
  return hash('sha256', text, 'base64');
}

/** As {@link loadConfig}, for those who look later whether the file has changed. */
export function loadWithFile(options: LoadConfigOptions): LoadedConfig {
  const { env, readFile = readConfigText, defaults } = options;
  const path = trimPasted(env['BROKER_CONFIG'] ?? '');
  if (path === '')
    return { config: checkSettings({ env, ...(defaults && { defaults }) }), file: undefined };
  const { text, file } = readTextAndFile(path, readFile);
  return {
    config: checkSettings({ env, file, ...(defaults && { defaults }) }),
    file: { path, digest: digestText(text), keys: keysOf(file) },
  };
}

/** Reads a configuration file. What is wrong with it is among its mistakes. */
export function readConfigFile(path: string, readFile = readConfigText): ConfigFile {
  return readTextAndFile(path, readFile).file;
}

function readTextAndFile(
  path: string,
  readFile: (path: string) => string,
): { readonly text: string; readonly file: ConfigFile } {
  let text = '';
  try {
    text = readFile(path);
    return { text, file: parseConfigFile(text, path) };
  } catch (error) {
    return { text, file: fileMistake(path, unreadable(error)) };
  }
}

/** What is wrong with a file that cannot be read. */
export function unreadable(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : '';
  return `it cannot be read (${typeof code === 'string' && code !== '' ? code : 'for an unknown reason'})`;
}

/** The text of a configuration file. @throws {Error} with a `code`, which {@link unreadable} shows. */
export function readConfigText(path: string): string {
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
export function parseConfigFile(content: string, path: string): ConfigFile {
  const text = content.replace(/^\ufeff/, '');
  const document = parseDocument(text, {
    // Pretty errors quote the file's lines, which may hold the master key.
    prettyErrors: false,
    stringKeys: true,
    // The parser compares each key with all others: seconds for thousands of peers.
    uniqueKeys: false,
  });
  const [error] = document.errors;
  const notYaml = (code: string, position: number): ConfigFile => {
    const line = text.slice(0, position).split('\n').length;
    return fileMistake(path, `it is not YAML: ${code} in line ${line}`);
  };
  if (error !== undefined) return notYaml(error.code, error.pos[0]);
  const repeated = repeatedKey(document);
  if (repeated !== undefined) return notYaml('DUPLICATE_KEY', repeated);
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

/** Where a key stands that its map has already; `undefined` when there is none. */
function repeatedKey(document: Document): number | undefined {
  let position: number | undefined;
  visit(document, {
    Map: (_, { items }) => {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        const name = isScalar(key) ? key.value : key;
        if (seen.has(name)) {
          position = isScalar(key) ? key.range?.[0] : 0;
          return visit.BREAK;
        }
        seen.add(name);
      }
      return undefined;
    },
  });
  return position;
}
