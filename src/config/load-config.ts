import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { otherThanFile } from '../secrets/embedded/data-folder.js';
import { decodeText, trimPasted } from '../tokens/json.js';
import type { BrokerConfig } from './broker-config.js';
import {
  checkSettings,
  SECTION_NAMES,
  sourceOf,
  type ConfigFile,
  type SectionName,
  type SettingDefaults,
} from './check-settings.js';
import { suggest, type ConfigMistake } from './config-error.js';
import { textOf } from './named-tokens.js';
import { fileKey, SETTING_NAMES, type SettingName } from './settings.js';

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

const BY_KEY: ReadonlyMap<string, SettingName> = new Map(
  SETTING_NAMES.map((name) => [fileKey(name), name]),
);

const ALLOWED_FILE = 'a YAML 1.2 file of settings, one `key: value` each';

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

/** The result for a file that cannot be used at all. */
function fileMistake(path: string, problem: string): ConfigFile {
  const mistake = { name: 'BROKER_CONFIG', given: `"${path}"`, problem, allowed: ALLOWED_FILE };
  return { path, texts: new Map(), mistakes: [mistake] };
}

function readKeys(content: object, path: string): ConfigFile {
  const texts = new Map<SettingName, string>();
  const sections: Partial<Record<SectionName, unknown>> = {};
  const mistakes: ConfigMistake[] = [];
  for (const [key, value] of Object.entries(content)) {
    const section = SECTION_NAMES.find((known) => known === key);
    if (section !== undefined) {
      sections[section] = value;
      continue;
    }
    const name = BY_KEY.get(key);
    const text = textOf(value);
    if (name === undefined) mistakes.push(unknownKey(key, path));
    else if (text === undefined) mistakes.push(nestedValue(name, path));
    else if (text !== '') texts.set(name, text);
  }
  return { path, texts, sections, mistakes };
}

function unknownKey(key: string, path: string): ConfigMistake {
  const near = suggest(key, [...BY_KEY.keys(), ...SECTION_NAMES]);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  const given = JSON.stringify(key.slice(0, 64));
  const problem = `this key is unknown${hint}`;
  return {
    name: 'BROKER_CONFIG',
    source: path,
    given,
    problem,
    sentence: `${path} has the key ${given}, which is unknown${hint}`,
    allowed:
      'the keys of the configuration table, as "service-token-broker serve --help" lists them',
  };
}

function nestedValue(name: SettingName, path: string): ConfigMistake {
  return {
    name,
    source: sourceOf(name, path),
    problem: 'it is neither a single value nor a list of single values without commas',
    allowed: 'a single value, or a list where several are allowed',
  };
}
