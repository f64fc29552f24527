import { parseDocument } from 'yaml';
import { sourceOf, type ConfigFile } from './check-settings.js';
import type { ConfigMistake } from './config-error.js';
import { fileKey, SETTING_NAMES, type SettingName } from './settings.js';
import { suggest } from './suggest.js';

const BY_KEY: ReadonlyMap<string, SettingName> = new Map(
  SETTING_NAMES.map((name) => [fileKey(name), name]),
);

const ALLOWED_FILE = 'a YAML 1.2 file of settings, one `key: value` each';

/**
 * Reads the YAML text of a configuration file. Values become the text that the environment variable would have: a
 * list is joined by commas, and an empty value counts as not given.
 *
 * @param path how the file is named in mistakes.
 */
export function parseConfigFile(content: string, path: string): ConfigFile {
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
    // The only failure left: an alias. The parser's message quotes it, so it is not kept.
    return fileMistake(path, 'it has aliases, which settings do not need');
  }
  if (typeof keys !== 'object' || keys === null || Array.isArray(keys)) {
    return fileMistake(path, 'it is not a list of keys and values');
  }
  return readKeys(keys, path);
}

/** The answer for a file that cannot be used at all. */
export function fileMistake(path: string, problem: string): ConfigFile {
  const mistake = { name: 'BROKER_CONFIG', given: `"${path}"`, problem, allowed: ALLOWED_FILE };
  return { path, texts: new Map(), mistakes: [mistake] };
}

function readKeys(content: object, path: string): ConfigFile {
  const texts = new Map<SettingName, string>();
  const mistakes: ConfigMistake[] = [];
  for (const [key, value] of Object.entries(content)) {
    const name = BY_KEY.get(key);
    const text = textOf(value);
    if (name === undefined) mistakes.push(unknownKey(key, path));
    else if (text === undefined) mistakes.push(nestedValue(name, path));
    else if (text !== '') texts.set(name, text);
  }
  return { path, texts, mistakes };
}

function textOf(value: unknown): string | undefined {
  if (value === null) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (!Array.isArray(value)) return undefined;
  const items = value.map((item: unknown) => (Array.isArray(item) ? undefined : textOf(item)));
  // A comma inside an item would turn it into two.
  return items.every((item) => item !== undefined && !item.includes(','))
    ? items.join(',')
    : undefined;
}

function unknownKey(key: string, path: string): ConfigMistake {
  const near = suggest(key, [...BY_KEY.keys()]);
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
