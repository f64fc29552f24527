import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { redactText } from '../tokens/redaction.js';
import { groupSettings, type BrokerConfig } from './broker-config.js';
import { ConfigError, type ConfigMistake } from './config-error.js';
import { fileMistake, parseConfigFile, sourceOf, type ConfigFile } from './config-file.js';
import { HIDDEN } from './hidden.js';
import { SETTINGS_SCHEMA } from './schema.js';
import { SETTING_NAMES, settingOf, type SettingName } from './settings.js';
import { suggest } from './suggest.js';

/** What {@link loadConfig} reads from. */
export interface LoadConfigOptions {
  /** The environment, usually `process.env`. An empty variable counts as not given. */
  readonly env: NodeJS.ProcessEnv;
  /** Reads the file that `BROKER_CONFIG` names. Default: from the disk, as UTF-8. */
  readonly readFile?: (path: string) => string;
  /** Defaults that replace the built-in ones: dev mode listens on 127.0.0.1. Environment and file still win. */
  readonly defaults?: Readonly<Partial<Record<SettingName, string>>>;
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
  const { env, readFile = readFromDisk, defaults = {} } = options;
  const path = env['BROKER_CONFIG'] ?? '';
  const file = path === '' ? EMPTY_FILE : readConfigFile(path, readFile);

  const texts: Partial<Record<SettingName, string>> = {};
  const sources = new Map<SettingName, string>();
  for (const name of SETTING_NAMES) {
    const fromEnvironment = env[name];
    const fromFile = file.texts.get(name);
    if (fromEnvironment !== undefined && fromEnvironment !== '') {
      texts[name] = fromEnvironment;
    } else if (fromFile !== undefined) {
      texts[name] = fromFile;
      sources.set(name, sourceOf(name, path));
    } else {
      texts[name] = defaults[name] ?? settingOf(name).default;
    }
  }

  const result = SETTINGS_SCHEMA.safeParse(texts);
  const mistakes = [
    ...file.mistakes,
    ...(result.error?.issues ?? []).map((issue) => mistakeOf(issue, texts, sources)),
  ];
  if (!result.success || mistakes.length > 0) throw new ConfigError(oneEach(mistakes));
  return groupSettings(result.data, unknownVariables(env));
}

const EMPTY_FILE: ConfigFile = { texts: new Map(), mistakes: [] };

function readFromDisk(path: string): string {
  return readFileSync(path, 'utf8');
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

function mistakeOf(
  issue: z.core.$ZodIssue,
  texts: Readonly<Partial<Record<SettingName, string>>>,
  sources: ReadonlyMap<SettingName, string>,
): ConfigMistake {
  // Every path starts with the setting's name: the schema is an object of them.
  const name = issue.path[0] as SettingName;
  const setting = settingOf(name);
  const source = sources.get(name);
  const text = texts[name];
  return {
    name,
    ...(source === undefined ? {} : { source }),
    ...(text === undefined ? {} : { given: setting.secret === true ? HIDDEN : shown(text) }),
    // Our own messages only: the library's may quote what was given.
    ...(issue.code === 'custom' ? { problem: issue.message } : {}),
    allowed: setting.allowed,
  };
}

/** What was given, short enough to read, and without what was pasted into the wrong setting. */
function shown(text: string): string {
  const safe = redactText(text);
  return JSON.stringify(safe.length > 80 ? `${safe.slice(0, 80)}…` : safe);
}

/** A list of several bad items is one mistake. */
function oneEach(mistakes: readonly ConfigMistake[]): readonly ConfigMistake[] {
  const seen = new Map(mistakes.map((mistake) => [JSON.stringify(mistake), mistake]));
  return [...seen.values()];
}

/** People look for the client credentials among the variables; they are told where those live. */
const CREDENTIALS_VARIABLE = /^BROKER_CLIENT_(?:ID|SECRETS?|KEY)$/;

function unknownVariables(env: NodeJS.ProcessEnv): readonly string[] {
  const known: readonly string[] = [...SETTING_NAMES, 'BROKER_CONFIG'];
  return Object.keys(env)
    .filter((name) => name.startsWith('BROKER_') && !known.includes(name))
    .sort()
    .map((name) => {
      const near = suggest(name, known);
      if (CREDENTIALS_VARIABLE.test(name)) {
        return `${name} is not a setting and has no effect: client credentials belong into the credentials secret (BROKER_CREDENTIALS_SECRET_ID).`;
      }
      const hint = near === undefined ? '' : ` Did you mean ${near}?`;
      return `${name} is not a setting and has no effect.${hint}`;
    });
}
